"""Who goes when, and what must hold before: pure decisions about the directors' turn."""

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.footprint import table
from cluster.keepalived import Endpoint, endpoints, floating_addresses
from cluster.observed import HostState
from cluster.parts import DAEMON_ARGS, KEEPALIVED_CONF, Thing
from cluster.table import drift
from cluster.vocabulary import ROUTING_TABLE, SEED_ROUTING_TABLE, Mode, ReturnPath

Seen = Mapping[str, HostState | None]

CONNTRACK = "net/ipv4/vs/conntrack"


def turns(declaration: Declaration, seen: Mapping[str, HostState], contract: str) -> tuple[str, ...]:
    """The directors in the order in which they are to be changed.

    Passive ones first, the one that holds the virtual addresses last: what is wrong shows where no client is. When nobody
    holds them the preferred one goes first, so that it becomes the active one. And when what peers must agree on changes, the
    active one goes first: it must have changed before others come back. One that does not run comes last of all: the others
    must know it by then, or it would not hear them, and hold the addresses too.
    """
    active = {name for name in declaration.director if name in seen and is_active(declaration, seen[name])}
    preferred = sorted(declaration.director, key=lambda name: -declaration.director[name].priority)
    if not active:
        return tuple(preferred)
    active_first = _on_other_terms(active, seen, contract)

    def place(name: str) -> tuple[bool, bool]:
        return not (name in seen and runs_keepalived(seen[name])), (name in active) is not active_first

    return tuple(sorted(preferred, key=place))


_FILE = re.compile(r"(?<![^\s\"'])(?:-[A-Za-z]*f\s*|--use-file[=\s]\s*)([!#-&(-~]+)")
"""keepalived(8), -f, also behind other letters; the last one counts."""


def reads_another_file(director: HostState) -> str | None:
    """Why this director must not be changed: keepalived is told to read another file than ours; None where it is not.

    A reload reads that one again, and all that is seen of ours would be taken for what runs: with another list of addresses than
    its peer's it would go on, and both would hold them.
    """
    file = next(reversed(_FILE.findall(director.daemon_args)), KEEPALIVED_CONF)
    return f"its keepalived is told to read {file} (DAEMON_ARGS in {DAEMON_ARGS})" if file != KEEPALIVED_CONF else None


def runs_keepalived(seen: HostState) -> bool:
    """Whether keepalived runs on this director."""
    unit = seen.units.get("keepalived.service")
    return unit is not None and unit.active


def standing_down(declaration: Declaration, seen: Mapping[str, HostState], contract: str) -> tuple[str, ...]:
    """The passive directors that must stop before the active one changes, because what peers must agree on changes.

    `contract` is the hash of the new terms. Peers on different terms reject each other, and both would hold the virtual
    addresses. Until they are back there is no redundancy.
    """
    running = {name for name, state in seen.items() if name in declaration.director and runs_keepalived(state)}
    active = {name for name in running if is_active(declaration, seen[name])}
    if not _on_other_terms(active, seen, contract):
        return ()
    return tuple(name for name in seen if name in running - active)


def _on_other_terms(active: Iterable[str], seen: Mapping[str, HostState], contract: str) -> bool:
    """Whether an active director runs what peers on the new terms would reject."""
    units = (seen[name].units.get("keepalived.service") for name in active)
    return any(unit.active and unit.contract != contract for unit in units if unit)


def parted(declaration: Declaration, name: str, seen: Seen, contract: str) -> str | None:
    """Why director `name`, whose turn it is, must not go over to the terms `contract`; None when nothing speaks against it.

    Peers on different terms do not hear each other, and both would hold the virtual addresses. One that cannot be asked goes on
    as it was. (One that does not run yet starts beside one that cannot be asked: whether that runs is not known either.)
    """
    me = seen.get(name)
    if me is None or not floating_addresses(declaration) or _terms(me) == contract:
        return None
    if why := reads_another_file(me):
        return why
    active = is_active(declaration, me)
    for other in (director for director in declaration.director if director != name):
        state = seen.get(other)
        if state is None and _terms(me) is not None:
            return f"{other} cannot be asked; on other terms than it both would hold the virtual addresses"
        if state and _terms(state) not in {None, contract} and active is not is_active(declaration, state):
            what = "runs" if active else "holds the virtual addresses"
            return f"{other} still {what} on other terms: both would hold them"
    return None


def first_to_float(declaration: Declaration, seen: Seen) -> str | None:
    """The director that must take nat's gateway before servers are sent there; None where that is not so.

    Answers leave through the one director's own address until now. It goes on answering there when it holds the gateway, too;
    servers that were sent to the gateway first would speak to nobody.
    """
    gateway = declaration.nat.gateway
    directors = {name: state for name in declaration.director if (state := seen.get(name))}
    # Also one that leaves the cluster may have it.
    if gateway is None or any(state.holds(gateway) for state in seen.values() if state):
        return None
    serving = [
        name
        for name, state in directors.items()
        # One that translates is the servers' client, and they answer that one wherever the gateway is.
        if state.modes == {Mode.NAT} and runs_keepalived(state) and state.sysctls.get(CONNTRACK) != "1"
    ]
    # Beside another one, which may leave, it would be on terms that the other does not hear.
    alone = serving == [name for name, state in seen.items() if state and runs_keepalived(state)]
    return serving[0] if len(serving) == 1 and alone and declaration.mode is Mode.NAT else None


def must_be_ready(
    declaration: Declaration, director: str, seen: Seen, server: str, state: HostState | None
) -> frozenset[Thing]:
    """What this server must not lack when this director changes.

    One that takes the gateway first goes on sending by nat to servers that answer by its own address, or by no way that is known
    here. They need nothing new for that, and are prepared after it. One that it does not send to yet must be able to answer.
    """
    if first_to_float(declaration, seen) != director:
        return frozenset(Thing) - {Thing.CLUSTERCHECK, Thing.DATABASE}
    me, declared = seen.get(director), declaration.real_server.get(server)
    sent = bool(me and declared and declared.address in me.destinations)
    return frozenset() if sent or (state and answers_by(state)) else frozenset({Thing.RETURN_PATH})


def answers_by(server: HostState) -> tuple[IPv4Address, int] | None:
    """Where answers of nat go from there, and by which table."""
    tables = {ROUTING_TABLE, SEED_ROUTING_TABLE}
    found = (route for route in server.routes if route.table in tables and route.destination == "default")
    return next(((route.via, route.table) for route in found if route.via), None)


def _terms(director: HostState) -> str | None:
    """The hash of what its peers must agree on with it; None while its keepalived does not run."""
    unit = director.units.get("keepalived.service")
    return unit.contract or "not known" if unit and unit.active else None


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


def not_by_declared_method(declaration: Declaration, director: str, seen: HostState) -> frozenset[Mode]:
    """The methods other than the declared one by which this director serves what is declared."""
    declared = {(e.address, e.port) for e in endpoints(declaration, director)}
    used = {
        d.mode
        for service in seen.services
        if (service.endpoint.address, service.endpoint.port) in declared
        for d in service.destinations
    }
    return frozenset(used - {declaration.mode})


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


def unsettled(
    declaration: Declaration,
    name: str,
    seen: HostState,
    others: Iterable[HostState],
    former: tuple[Endpoint, ...] = (),
) -> str | None:
    """What director `name` still lacks before it can be relied on, judged by its kernel; None when nothing. `former`: places of
    services that it goes on serving.

    Servers that fail their check are rightly missing from the table; what is there must be as declared.
    """
    _, differs = next(drift(table(declaration, name, former), seen), (None, None))
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
    servers: Seen,
    lacking: Mapping[str, str],
    failed_directors: Iterable[str],
    *,
    others: Iterable[HostState | None] = (),
) -> str | None:
    """Why this director must not be changed now; None when nothing speaks against it.

    The invariant: a director never sends connections by a method to a server that may be in rotation and does not carry it.
    `lacking` says of each server that could be seen what its footprint for the declared mode still lacks. A server that could
    not be seen (None) is left to the health checks, unless the method is about to change under it. While the method changes, a
    director that failed before this one was the trial: it ends there. One that joins (its table is empty) may take over at once:
    for it changes what changes for the one of `others` that serves.
    """
    serving = next((state for state in (director, *others) if state and state.modes), director)
    changing = bool(serving.modes - {declaration.mode}) or other_way_back(declaration, serving)
    for name, state in servers.items():
        if state and lacking.get(name) and _may_serve(declaration, state):
            return f"{name} may be in rotation and is not ready for {declaration.mode}: {lacking[name]}"
        staying = declaration.real_server.get(name)
        if changing and state is None and staying and staying.address in serving.destinations:
            return f"{name} is in rotation and cannot be asked whether it is ready for {declaration.mode}"
    failed = next(iter(failed_directors), None)
    if changing and failed:
        return f"{failed} failed on the way to {declaration.mode}; this one keeps serving as before"
    return None


def other_way_back(declaration: Declaration, director: HostState) -> bool:
    """Whether answers of nat must find another way than until now: as much of a change for servers as one of the method."""
    if director.modes != {Mode.NAT}:
        return False
    translates = director.sysctls.get(CONNTRACK) == "1"
    gateway = declaration.nat.gateway
    moves = gateway is not None and is_active(declaration, director) and not director.holds(gateway)
    return moves or translates is not (declaration.nat.return_path is ReturnPath.SNAT)


def not_open(
    declaration: Declaration,
    director: HostState,
    servers: Seen,
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
        if state and server.share and server.address not in reached and (starting or _may_serve(declaration, state)):
            return f"clients would be refused by {name}. {what}"
    return None


def _may_serve(declaration: Declaration, state: HostState) -> bool:
    """Whether directors may find this server healthy."""
    if any(service.check.clustercheck_path is None for service in declaration.service.values()):
        return True
    return any("clustercheck" in name and unit.active for name, unit in state.units.items())
