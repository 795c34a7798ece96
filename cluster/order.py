"""Who goes when, and what must stay: pure decisions about the directors' turn and about what is still in use."""

from collections.abc import Iterable, Mapping

from cluster.declaration import Declaration
from cluster.footprint import ALL_MODES, Blueprint, table
from cluster.keepalived import endpoints, floating_addresses
from cluster.observed import HostState
from cluster.table import drift
from cluster.vocabulary import Mode


def turns(declaration: Declaration, seen: Mapping[str, HostState], contract: str) -> tuple[str, ...]:
    """The directors in the order in which they are to be changed.

    Passive ones first, the one that holds the virtual addresses last: what is wrong shows where no client is. When nobody
    holds them the preferred one goes first, so that it becomes the active one. And when what peers must agree on changes, the
    active one goes first: it must have changed before others come back, or come for the first time.
    """
    active = {name for name in declaration.director if name in seen and is_active(declaration, seen[name])}
    preferred = sorted(declaration.director, key=lambda name: -declaration.director[name].priority)
    if not active:
        return tuple(preferred)
    active_first = _on_other_terms(active, seen, contract)
    return tuple(sorted(preferred, key=lambda name: (name in active) is not active_first))


def standing_down(declaration: Declaration, seen: Mapping[str, HostState], contract: str) -> tuple[str, ...]:
    """The passive directors that must stop before the active one changes, because what peers must agree on changes.

    `contract` is the hash of the new terms. Peers on different terms reject each other, and both would hold the virtual
    addresses. Until they are back there is no redundancy.
    """
    running = {
        name
        for name, state in seen.items()
        if name in declaration.director and (unit := state.units.get("keepalived.service")) and unit.active
    }
    active = {name for name in running if is_active(declaration, seen[name])}
    if not _on_other_terms(active, seen, contract):
        return ()
    return tuple(name for name in seen if name in running - active)


def _on_other_terms(active: Iterable[str], seen: Mapping[str, HostState], contract: str) -> bool:
    """Whether an active director runs what peers on the new terms would reject."""
    units = (seen[name].units.get("keepalived.service") for name in active)
    return any(unit.active and unit.contract != contract for unit in units if unit)


def left_out(declaration: Declaration, director: str, seen: HostState) -> frozenset[tuple[str, str]]:
    """Pairs of service and server to leave out of the first of two reloads, because the method changes while they are dead.

    A reload that changes lb_kind puts dead servers back into the table, and keepalived, which believes that they are out, never
    takes them out again (keepalived 2.2.7, clear_diff_rs in ipwrapper.c). Added anew by a second reload they wait for their
    check, thanks to `alpha`. A service whose servers are all dead keeps them: without any, keepalived rejects it.
    """
    table = {(service.endpoint.address, service.endpoint.port): service for service in seen.services}
    dead = set()
    for endpoint in endpoints(declaration, director):
        there = table.get((endpoint.address, endpoint.port))
        if there is None or all(destination.mode is declaration.mode for destination in there.destinations):
            continue
        alive = {destination.address for destination in there.destinations}
        gone = {name for name, server in declaration.real_server.items() if server.address not in alive}
        if len(gone) < len(declaration.real_server):
            dead |= {(endpoint.service, name) for name in gone}
    return frozenset(dead)


def is_active(declaration: Declaration, seen: HostState) -> bool:
    """Whether this director holds what floats between them."""
    return any(seen.holds(address) for address in floating_addresses(declaration))


def only_choices(declaration: Declaration, directors: Iterable[HostState]) -> frozenset[str]:
    """The servers that all new connections of a service go to: a writer, usually. They are restarted last.

    Else the writer would move to a server that is restarted next, and clients lose their connections twice.
    """
    directors = tuple(directors)
    telling_ = [state for state in directors if is_active(declaration, state)] or directors
    names = {server.address: name for name, server in declaration.real_server.items()}
    chosen = set()
    for service in (service for state in telling_ for service in state.services):
        receiving = [d for d in service.destinations if d.weight]
        if receiving and (len(receiving) == 1 or service.scheduler == "fo"):
            chosen.add(names.get(max(receiving, key=lambda d: d.weight).address, ""))
    return frozenset(chosen & set(declaration.real_server))


def modes_in_use(declaration: Declaration, directors: Iterable[HostState | None]) -> frozenset[Mode]:
    """The declared mode and those in the directors' tables. A director that could not be seen (None) may use any."""
    modes = {declaration.mode}
    for state in directors:
        modes |= ALL_MODES if state is None else state.modes
    return frozenset(modes)


def telling(blueprint: Blueprint, directors: Mapping[str, HostState | None]) -> list[HostState]:
    """The directors whose tables tell which methods are in use.

    Not those whose keepalived runs what is declared: what their tables have otherwise is drift, which is mended next.
    """
    runs = {
        name: blueprint.keepalived_conf(name).sha256 == unit.revision
        for name, state in directors.items()
        if state and (unit := state.units.get("keepalived.service")) and unit.active
    }
    return [state for name, state in directors.items() if state and not runs.get(name)]


def modes_to_keep(
    declaration: Declaration, directors: Iterable[HostState | None], servers: Iterable[HostState | None]
) -> tuple[frozenset[Mode], str]:
    """The modes whose footprint must stay, and why any but the declared one does (for people; "" when none does).

    Established connections keep their method until they end, and the kernel does not show it. So a mode that no director uses
    any more stays as long as a connection could be using it: nat at a server's own address, dr and tun at a VIP. Connections
    between the cluster's own hosts (replication, checks) do not count.
    """
    directors = tuple(directors)
    used = modes_in_use(declaration, directors)
    seen_in_use = modes_in_use(declaration, [state for state in directors if state])
    unsure = "not every director could be asked"
    kept = {mode: "a director uses it" if mode in seen_in_use else unsure for mode in used - {declaration.mode}}
    own = set(declaration.addresses().values())
    for state in servers:
        for mode in ALL_MODES - used:
            if state is None:
                kept[mode] = "not every server could be asked"
                continue
            count = sum((local in own) is (mode is Mode.NAT) and peer not in own for local, peer in state.established)
            if count:
                kept[mode] = "established connections may still use it"
    why = "; ".join(f"{mode}: {reason}" for mode, reason in sorted(kept.items()))
    return frozenset({declaration.mode, *kept}), why


def unsettled(declaration: Declaration, name: str, seen: HostState, others: Iterable[HostState]) -> str | None:
    """What director `name` still lacks before it can be relied on, judged by its kernel; None when nothing.

    Servers that fail their check are rightly missing from the table; what is there must be as declared.
    """
    _, differs = next(drift(table(declaration, name), seen), (None, None))
    if differs:
        return f"the kernel's table: {differs}"
    floating = floating_addresses(declaration)
    held_by_another = any(is_active(declaration, state) for state in others)
    if floating and not held_by_another and not all(seen.holds(address) for address in floating):
        return "no director holds all virtual addresses"
    return None


def not_ready(
    declaration: Declaration,
    director: HostState,
    servers: Mapping[str, HostState | None],
    lacking: Mapping[str, str],
    failed_directors: Iterable[str],
) -> str | None:
    """Why this director must not be changed now; None when nothing speaks against it.

    The invariant: a director never sends connections by a method to a server that may be in rotation and does not carry it.
    `lacking` says of each server that could be seen what its footprint for the declared mode still lacks. A server that could
    not be seen (None) is left to the health checks, unless the method is about to change under it. While the method changes, a
    director that failed before this one was the trial: it ends there.
    """
    changing = bool(director.modes) and director.modes != {declaration.mode}
    for name, state in servers.items():
        if state and lacking.get(name) and _may_serve(declaration, state):
            return f"{name} may be in rotation and is not ready for {declaration.mode}: {lacking[name]}"
        if changing and state is None and declaration.real_server[name].address in director.destinations:
            return f"{name} is in rotation and cannot be asked whether it is ready for {declaration.mode}"
    failed = next(iter(failed_directors), None)
    if changing and failed:
        return f"{failed} failed on the way to {declaration.mode}; this one keeps serving as before"
    return None


def not_open(
    declaration: Declaration,
    director: HostState,
    servers: Mapping[str, HostState | None],
    refusing: Mapping[str, str],
    *,
    starting: bool = False,
) -> str | None:
    """Why this director must not be changed: it would begin to send clients to a server that refuses them, while the health
    service, which asks by the unix socket, calls that server well. None when nothing speaks against it.

    `refusing` says what each such server lacks. One that the director reaches at the same kind of address already is no reason,
    unless the director does not serve all that is declared yet: it gets no worse, and a change may be the cure. `starting`:
    health services that do not run yet will.
    """
    at_vip = declaration.mode is not Mode.NAT
    reached = {d.address for s in director.services for d in s.destinations if (d.mode is not Mode.NAT) is at_vip}
    serves = {(service.endpoint.address, service.endpoint.port) for service in director.services}
    # The ports are the same on every director; the address of a nat port differs only where there is one director.
    if any((e.address, e.port) not in serves for e in endpoints(declaration, next(iter(declaration.director)))):
        reached = set()
    for name, what in refusing.items():
        state, server = servers.get(name), declaration.real_server[name]
        if state and server.weight and server.address not in reached and (starting or _may_serve(declaration, state)):
            return f"clients would be refused by {name}. {what}"
    return None


def _may_serve(declaration: Declaration, state: HostState) -> bool:
    """Whether directors may find this server healthy."""
    if any(service.check.clustercheck_path is None for service in declaration.service.values()):
        return True
    return any("clustercheck" in name and unit.active for name, unit in state.units.items())
