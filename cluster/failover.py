"""Another director takes over as planned: whether it may begin, and what it has cost. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.errors import RefusedError, RequestError
from cluster.footprint import Blueprint
from cluster.keepalived import fading, source_network_translated
from cluster.observed import HostState, SeenService
from cluster.order import is_active, runs_keepalived, unsettled
from cluster.table import spread
from cluster.vocabulary import Mode

Services = Sequence[SeenService]
"""A director's table."""


@dataclass(frozen=True)
class Move:
    """From which director to which."""

    source: str
    target: str


@dataclass(frozen=True)
class Cost:
    """What a failover has cost."""

    seconds: float
    """From the stop of the old director's keepalived until the new one held the addresses. The old one forwarded meanwhile."""
    before: int
    """Established connections that stood at its beginning and did not end by themselves meanwhile."""
    known: int
    """Of these, those that the new director knows."""


def move(declaration: Declaration, seen: Mapping[str, HostState | None], to: str | None) -> Move:
    """Who hands over to whom. Raises RequestError or RefusedError where it is not to be."""
    directors = {name: state for name in declaration.director if (state := seen.get(name))}
    holders = [name for name, state in directors.items() if is_active(declaration, state)]
    if len(holders) != 1:
        several = f"several directors hold the virtual addresses: {', '.join(holders)}"
        raise RefusedError(
            several if holders else "no director that can be asked holds the virtual addresses", cure="lbctl plan"
        )
    (source,) = holders
    others = [name for name, state in directors.items() if name != source and runs_keepalived(state)]
    if to == source:
        raise RequestError(f"{to} is the active director already")
    if not others:
        raise RefusedError(
            f"there is no other director that runs: {source} has nobody to hand over to", cure="lbctl plan"
        )
    # VRRP elects by priority, and by the higher address where priorities were equal (RFC 5798, 6.4.2).
    heir = max(others, key=lambda name: declaration.director[name].priority)
    if to is not None and to not in others:
        raise RequestError(f"{to} is no director that runs", cure=f"running: {', '.join(others)}")
    if to is not None and to != heir:
        raise RefusedError(
            f"{heir} would take over, by its priority, not {to}",
            cure="change their priorities in the declaration, deploy",
        )
    state = spread(declaration, heir, directors[heir])
    former = fading(declaration, heir, (service.endpoint for service in state.services))
    against = unsettled(declaration, heir, state, [directors[source]], former) or lacks(
        state.services, directors[source].services
    )
    if against:
        raise RefusedError(f"{heir} cannot serve yet: {against}", cure="lbctl deploy")
    return Move(source, heir)


def handed_on(blueprint: Blueprint, leaver: str, seen: Mapping[str, HostState | None]) -> Move | None:
    """To whom a director that stops for good hands over what clients use. None where there is nothing to hand over, or nobody: it
    holds nothing, one that stays holds it, too, nobody stays, or connections are not copied between directors.

    Raises RefusedError where nobody who stays can serve yet.
    """
    before = blueprint.former or blueprint.declaration
    # One that comes with the same change does not run yet; another one that leaves is no heir.
    staying = [name for name in blueprint.declaration.director if name in before.director.keys() - blueprint.leaving]
    theirs = {name: state for name in (*staying, leaver) if (state := seen.get(name))}
    holders = [name for name, state in theirs.items() if is_active(before, state)]
    if holders != [leaver] or not staying or not before.vrrp.synchronise_connections:
        return None
    return move(before, theirs, None)


def gate(wanted: Move) -> str:
    """What holds before the active director lets go."""
    return f"{wanted.target} knows which client goes where, and every established connection of {wanted.source}"


def gate_of_leaving(blueprint: Blueprint, leaver: str, seen: Mapping[str, HostState | None]) -> str:
    """What must hold before a director stops for good, as far as can be said now; "" where nothing is handed over."""
    try:
        wanted = handed_on(blueprint, leaver, seen)
    except RefusedError as error:
        return f"does not hold now: {error.message}"
    return gate(wanted) if wanted else ""


def lacks(heir: Services, source: Services) -> str | None:
    """Which server gets connections from `source` and would get none from `heir`; None where it serves as well.

    keepalived that has just started waits for each server's first check (`alpha`): until then its table is empty.
    """

    def receiving(services: Services) -> set[tuple[str, str]]:
        return {(str(s.endpoint), f"{d.address}:{d.port}") for s in services for d in s.destinations if d.weight}

    missing = sorted(receiving(source) - receiving(heir))
    return f"it does not send connections for {missing[0][0]} to {missing[0][1]} yet" if missing else None


def answers_through(declaration: Declaration) -> tuple[IPv4Address, tuple[tuple[IPv4Address, str, int], ...]] | None:
    """nat: the gateway that floats, and where answers come to it from: address, protocol, port. None where servers do not answer
    clients through one: in another mode, and where they see a director as their client.
    """
    gateway = declaration.nat.gateway
    if declaration.mode is not Mode.NAT or source_network_translated(declaration) or gateway is None:
        return None
    ends = sorted({(service.protocol, service.port_at_servers) for service in declaration.service.values()})
    return gateway, tuple((server.address, *end) for server in declaration.real_server.values() for end in ends)


Known = frozenset[tuple[str, ...]]
"""Established connections of an IPVS table: client, port, virtual address, port, server, port, all hexadecimal."""


def known(lines: Iterable[str]) -> Known:
    """From /proc/net/ip_vs_conn (net/netfilter/ipvs/ip_vs_conn.c, ip_vs_conn_seq_show)."""
    return frozenset(tuple(words[1:7]) for words in _entries(lines) if words[7] == "ESTABLISHED")


def stuck(lines: Iterable[str]) -> Known:
    """Which client goes to which server, where services are persistent: the templates in the same file, which have no port.

    Without those that the kernel has given up (port FFFF: ip_vs_conn.c, ip_vs_check_template).
    """
    return frozenset(tuple(words[1:7]) for words in _entries(lines) if words[2] == "0000" and words[4] != "FFFF")


def _entries(lines: Iterable[str]) -> Iterator[list[str]]:
    """Of IPv4: no service of ours has another address."""
    for words in map(str.split, lines):
        if len(words) > 7 and not any(":" in words[place] for place in (1, 3, 5)):  # noqa: PLR2004
            yield words


def remembered_otherwise(clients: Known, there: Known) -> Known:
    """Of what `stuck` found, what another director remembers with another server: the kernel does not replace it (ip_vs_sync.c,
    ip_vs_proc_conn).
    """
    places = {client[:4] for client in there}
    return frozenset(client for client in clients if client[:4] in places)


def clients_by_server(connections: Known) -> dict[IPv4Address, frozenset[str]]:
    """Where the clients of these connections are, ADDRESS:PORT, for each server that has them."""
    found: dict[IPv4Address, set[str]] = {}
    for client, port, _, _, server, _ in connections:
        place = f"{IPv4Address(int(client, 16))}:{int(port, 16)}"
        found.setdefault(IPv4Address(int(server, 16)), set()).add(place)
    return {server: frozenset(places) for server, places in found.items()}


def of_clients(connections: Known, declaration: Declaration) -> Known:
    """Without those that directors made themselves."""
    own = {f"{int(IPv4Address(director.address)):08X}" for director in declaration.director.values()}
    return frozenset(connection for connection in connections if connection[0] not in own)
