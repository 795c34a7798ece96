"""Who goes when, and what must stay: pure decisions about the directors' turn and about what is still in use."""

from collections.abc import Iterable, Mapping

from cluster.declaration import Declaration
from cluster.footprint import ALL_MODES
from cluster.keepalived import endpoints, floating_addresses, weights_for
from cluster.observed import HostState
from cluster.vocabulary import Mode


def turns(declaration: Declaration, seen: Mapping[str, HostState]) -> tuple[str, ...]:
    """The directors in the order in which they are to be changed.

    Passive ones first, the one that holds the virtual addresses last: what is wrong shows where no client is. When nobody
    holds them the preferred one goes first, so that it becomes the active one.
    """
    active = {name for name in declaration.director if name in seen and is_active(declaration, seen[name])}
    preferred = sorted(declaration.director, key=lambda name: -declaration.director[name].priority)
    if not active:
        return tuple(preferred)
    return tuple(sorted(preferred, key=lambda name: name in active))


def is_active(declaration: Declaration, seen: HostState) -> bool:
    """Whether this director holds what floats between them."""
    return any(seen.holds(address) for address in floating_addresses(declaration))


def modes_in_use(declaration: Declaration, directors: Iterable[HostState | None]) -> frozenset[Mode]:
    """The declared mode and those in the directors' tables. A director that could not be seen (None) may use any."""
    modes = {declaration.mode}
    for state in directors:
        modes |= ALL_MODES if state is None else state.modes
    return frozenset(modes)


def modes_to_keep(
    declaration: Declaration, directors: Iterable[HostState | None], servers: Iterable[HostState | None]
) -> tuple[frozenset[Mode], str]:
    """The modes whose footprint must stay, and why any but the declared one does (for people; "" when none does).

    Established connections keep their method until they end, and the kernel does not show it. So a mode that no director uses
    any more stays as long as a connection could be using it: nat at a server's own address, dr and tun at a VIP. Connections
    between the cluster's own hosts (replication, checks) do not count.
    """
    used = modes_in_use(declaration, directors)
    kept = dict.fromkeys(used - {declaration.mode}, "a director uses it")
    own = {host.address for host in (*declaration.real_server.values(), *declaration.director.values())}
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
    table = {(service.endpoint.address, service.endpoint.port): service for service in seen.services}
    for endpoint in endpoints(declaration, name):
        service = table.get((endpoint.address, endpoint.port))
        if service is None:
            return f"{endpoint} is not in the kernel's table"
        declared = declaration.service[endpoint.service]
        if service.scheduler != declared.scheduler:
            return f"{endpoint} has scheduler {service.scheduler}, not {declared.scheduler}"
        weights = {declaration.real_server[n].address: w for n, w in weights_for(declared, declaration).items()}
        for destination in service.destinations:
            if destination.mode is not declaration.mode:
                return f"{endpoint} reaches {destination.address} by {destination.mode}, not {declaration.mode}"
            if destination.address not in weights:
                return f"{endpoint} still has {destination.address}"
            if destination.weight != weights[destination.address]:
                return f"{endpoint} gives {destination.address} weight {destination.weight}"
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
        if state is None:
            if changing and declaration.real_server[name].address in director.destinations:
                return f"{name} is in rotation and cannot be asked whether it is ready for {declaration.mode}"
        elif lacking.get(name) and _may_serve(declaration, state):
            return f"{name} may be in rotation and is not ready for {declaration.mode}: {lacking[name]}"
    failed = next(iter(failed_directors), None)
    if changing and failed:
        return f"{failed} failed on the way to {declaration.mode}; this one keeps serving as before"
    return None


def _may_serve(declaration: Declaration, state: HostState) -> bool:
    """Whether directors may find this server healthy."""
    if any(service.check.clustercheck_path is None for service in declaration.service.values()):
        return True
    return any("clustercheck" in name and unit.active for name, unit in state.units.items())
