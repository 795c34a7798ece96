"""What is still in use, and so must stay: methods in tables, old connections, former places of services. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from cluster.declaration import Declaration
from cluster.footprint import ALL_MODES, Blueprint
from cluster.keepalived import Endpoint, endpoints
from cluster.observed import Connection, HostState
from cluster.order import CONNTRACK, is_active, other_way_back, runs_keepalived
from cluster.parts import Thing
from cluster.vocabulary import Mode, ReturnPath


def modes_in_use(declaration: Declaration, directors: Iterable[HostState | None]) -> frozenset[Mode]:
    """The declared mode and those in the directors' tables. A director that could not be seen (None) may use any."""
    modes = {declaration.mode}
    for state in directors:
        modes |= ALL_MODES if state is None else state.modes
    return frozenset(modes)


def clung_to(
    blueprint: Blueprint, directors: Mapping[str, HostState | None], *, quiet: bool = False
) -> dict[str, tuple[Endpoint, ...]]:
    """Of each director: the former places of services where clients are connected, to this one or to another, which would
    take over.

    `quiet`: closed connections count as well. The kernel forgets one two minutes after its end (`connections.closing`), so that
    nobody has come for as long. Who connects anew for each request is connected only for moments.
    """
    former = {name: blueprint.former_places(name, state) for name, state in directors.items()}
    busy = {
        place
        for name, state in directors.items()
        for place in former[name]
        if state and _used(place, state, quiet=quiet)
    }
    return {name: tuple(place for place in places if place in busy) for name, places in former.items()}


def _used(place: Endpoint, director: HostState, *, quiet: bool) -> bool:
    return any(
        d.active or (quiet and d.inactive)
        for service in director.services
        if (service.endpoint.address, service.endpoint.port) == (place.address, place.port)
        for d in service.destinations
    )


def ends_with_its_place(blueprint: Blueprint, directors: Mapping[str, HostState | None]) -> Iterator[str]:
    """A line for each place that is declared no more, and is no former one either, where clients are connected: they will be cut.

    What leads to other servers, or is at no address that moves between directors, is somebody else's and stays.
    """
    declaration = blueprint.declaration
    before = blueprint.former or declaration
    servers = {host.address for host in (*declaration.real_server.values(), *before.real_server.values())}
    for name, state in directors.items():
        if state is None or name in blueprint.leaving:
            continue
        known = (*endpoints(declaration, name), *blueprint.former_places(name, state))
        places = {(place.address, place.port) for place in known}
        for service in state.services:
            at = service.endpoint
            ours = at.address != declaration.director[name].address and state.holds_single(at.address)
            count = sum(d.active for d in service.destinations if d.address in servers)
            if ours and count and (at.address, at.port) not in places:
                yield f"{at} is declared no more: {count} connection{'s' * (count > 1)} there will be cut ({name})"


def modes_now(blueprint: Blueprint, directors: Mapping[str, HostState | None]) -> frozenset[Mode]:
    """The declared mode, those that directors use, and those that clients still use."""
    in_tables = modes_in_use(blueprint.declaration, telling(blueprint, directors))
    former = any(blueprint.former_places(name, state) for name, state in directors.items())
    return in_tables | ({Mode.NAT} if former else frozenset())


def telling(blueprint: Blueprint, directors: Mapping[str, HostState | None]) -> list[HostState]:
    """The directors whose tables tell which methods are in use.

    Not those whose keepalived runs what is declared: what their tables have otherwise is drift, which is mended next.
    """
    runs = {
        name: unit.revision == blueprint.keepalived_conf(name, former=blueprint.former_places(name, state)).sha256
        for name, state in directors.items()
        if state and name not in blueprint.leaving and (unit := state.units.get("keepalived.service")) and unit.active
    }
    return [state for name, state in directors.items() if state and not runs.get(name)]


def may_use(declaration: Declaration, mode: Mode, connection: Connection) -> bool:
    """Whether an established connection of a server could have come by `mode`: by nat to the server's own address, by dr and tun
    to a VIP. Connections between the cluster's own hosts (replication, checks) did not, unless directors put their own address
    in the client's place.
    """
    own = set(declaration.addresses().values())
    if mode is Mode.NAT and declaration.nat.return_path is ReturnPath.SNAT:
        own -= {director.address for director in declaration.director.values()}
    by_nat = connection.local not in declaration.vips
    return by_nat is (mode is Mode.NAT) and connection.peer not in own


def in_use_by(
    declaration: Declaration, modes: Iterable[Mode], servers: Mapping[str, HostState | None]
) -> frozenset[tuple[str, Connection]]:
    """The established connections that could have come by one of `modes`, each with its server."""
    return frozenset(
        (name, connection)
        for name, state in servers.items()
        if state
        for connection in state.established
        if any(may_use(declaration, mode, connection) for mode in modes)
    )


def translated(declaration: Declaration, seen: Mapping[str, HostState | None]) -> frozenset[tuple[str, Connection]]:
    """Established connections at servers, each with its server, in which a director that translates stands in the client's place.

    Whatever is declared now: they began when it was to (vs.conntrack says so), and are cut when it ends to.
    """
    clients = {director.address for director in declaration.director.values()}
    if not _translating(declaration, seen):
        return frozenset()
    return frozenset(
        (name, connection)
        for name, server in declaration.real_server.items()
        if (state := seen.get(name))
        for connection in state.established
        if connection.local == server.address and connection.peer in clients
    )


def _translating(declaration: Declaration, seen: Mapping[str, HostState | None]) -> bool:
    directors = (seen.get(name) for name in declaration.director)
    return any(state and state.sysctls.get(CONNTRACK) == "1" for state in directors)


def modes_to_keep(
    declaration: Declaration,
    directors: Iterable[HostState | None],
    servers: Iterable[HostState | None],
    drained: AbstractSet[Mode] = frozenset(),
) -> tuple[frozenset[Mode], str]:
    """The modes whose footprint must stay, and why any but the declared one does (for people; "" when none does).

    `drained`: those of which it is known that no established connection uses them.

    Established connections keep their method until they end, and the kernel does not show it. So a mode that no director uses
    any more stays as long as a connection could be using it: nat at a server's own address, dr and tun at a VIP. Connections
    between the cluster's own hosts (replication, checks) do not count.
    """
    directors = tuple(directors)
    used = modes_in_use(declaration, directors)
    seen_in_use = modes_in_use(declaration, [state for state in directors if state])
    unsure = "not every director could be asked"
    kept = {mode: "a director uses it" if mode in seen_in_use else unsure for mode in used - {declaration.mode}}
    for state in servers:
        for mode in ALL_MODES - used - drained:
            if state is None:
                kept[mode] = "not every server could be asked"
                continue
            if any(may_use(declaration, mode, connection) for connection in state.established):
                kept[mode] = "established connections may still use it"
    why = "; ".join(f"{mode}: {reason}" for mode, reason in sorted(kept.items()))
    return frozenset({declaration.mode, *kept}), why


def way_back(
    declaration: Declaration,
    seen: Mapping[str, HostState | None],
    *,
    moved: bool = False,
    drained: AbstractSet[Mode] = frozenset(),
) -> frozenset[Thing]:
    """Things of which nothing may be taken away now: by them the answers of nat connections find their way.

    A mode that is kept is kept as it is declared now. But directors that have not moved, and connections that are established,
    go by the return path under which they began: by the server's rule, or with the director as its client as long as that
    translates (vs.conntrack says so). `moved`: every director that was seen will have moved by then. `drained`: as for
    `modes_to_keep`.
    """
    directors = [seen.get(name) for name in declaration.director]
    clients = {director.address for director in declaration.director.values()}
    own = set(declaration.addresses().values())
    translating = _translating(declaration, seen)
    held: set[Thing] = set()
    if any(state is None or (not moved and _goes_another_way(declaration, state)) for state in directors):
        held |= {Thing.RETURN_PATH, Thing.FORWARDING, Thing.MASQUERADE}
    for name, server in declaration.real_server.items():
        state = seen.get(name)
        peers = {c.peer for c in state.established if c.local == server.address} if state else clients
        if Mode.NAT in drained:
            continue
        if peers - own:
            held |= {Thing.RETURN_PATH, Thing.FORWARDING, Thing.MASQUERADE}
        if translating and peers & clients:
            held |= {Thing.KERNEL, Thing.FORWARDING, Thing.MASQUERADE}
    return frozenset(held)


def _goes_another_way(declaration: Declaration, director: HostState) -> bool:
    """Whether this director sends by nat, which is not declared, or not so."""
    return Mode.NAT in director.modes and (declaration.mode is not Mode.NAT or other_way_back(declaration, director))


def takes_over_early(
    declaration: Declaration,
    name: str,
    directors: Mapping[str, HostState | None],
    servers: Mapping[str, HostState | None],
) -> str | None:
    """Why director `name` must not be started: it would take over from the active one at once, by its priority, while clients are
    connected by nat, which is not declared any more and which it has never served. None when nothing speaks against it.
    """
    seen = directors.get(name)
    if declaration.mode is Mode.NAT or not declaration.vrrp.preempt or seen is None or runs_keepalived(seen):
        return None
    priority = declaration.director[name].priority
    before = [
        other
        for other, state in directors.items()
        if state and other in declaration.director and is_active(declaration, state)
    ]
    held = in_use_by(declaration, (Mode.NAT,), servers)
    if not held or all(declaration.director[other].priority > priority for other in before):
        return None
    return (
        f"it would take over from {before[0]} at once (vrrp.preempt, priority {priority}), and {len(held)} connections that came "
        f"by nat would be cut: let it join before the mode changes, or when they have ended, or with a lower priority"
    )
