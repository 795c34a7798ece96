"""What a picture of the way of a packet shows: the stations of one cluster as they are, and the steps in words. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import endpoints, source_network_translated
from cluster.status import DirectorView, Health, Part, ServerView, Status
from cluster.vocabulary import Mode, ReturnPath


class Look(StrEnum):
    """How a station is drawn."""

    GOOD = "good"
    IDLE = "idle"
    """It does not work now, and that is right: a passive director, a drained server, one that is not the writer."""
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Station:
    name: str
    word: str
    """What it does: "active", "serving"."""
    below: str
    """Its address, and what it has there."""
    look: Look


@dataclass(frozen=True)
class Step:
    """What happens to a packet."""

    text: str
    answer: bool = False


@dataclass(frozen=True)
class Scene:
    mode: Mode
    client: Station
    directors: tuple[Station, ...]
    """The one that forwards first, if one does."""
    forwards: bool
    """Whether the first of them does."""
    servers: tuple[Station, ...]
    picked: str | None
    """The server that the steps follow a packet to."""
    steps: tuple[Step, ...]
    """Two lead to the server; then come answers. One or none where the way ends before."""

    @property
    def through_director(self) -> bool:
        """Whether answers go back the way that requests came."""
        return self.mode is Mode.NAT


def scene(declaration: Declaration, status: Status) -> Scene:
    """The cluster as it is. The mode is the kernel's, where that is one."""
    owners = [d.name for d in status.directors if d.part in {Part.ACTIVE, Part.STRAY}]
    forwarding = next(iter(owners), None)
    modes = {mode for endpoint in status.endpoints for mode in endpoint.modes}
    mode = next(iter(modes)) if len(modes) == 1 else declaration.mode
    order = sorted(status.directors, key=lambda d: d.name != forwarding)
    called = _called(declaration, forwarding or order[0].name)
    rows = _rows(status)
    picked = next((name for name, views in rows.items() if any(v.health is Health.SERVING for v in views)), None)
    return Scene(
        mode=mode,
        client=Station("clients", "", f"call {called[0]}", Look.GOOD),
        directors=tuple(_director(view, called, alone=len(owners) == 1) for view in order),
        forwards=forwarding is not None,
        servers=tuple(_server(views, mode, status) for views in rows.values()),
        picked=picked if forwarding else None,
        steps=tuple(steps(declaration, mode, forwarding, picked, owners[1:])),
    )


# Stations


def _director(view: DirectorView, called: list[str], *, alone: bool) -> Station:
    """`alone`: nobody else is active."""
    look = {Part.ACTIVE: Look.GOOD, Part.BACKUP: Look.IDLE, Part.NOT_ASKED: Look.UNKNOWN}.get(view.part, Look.BAD)
    look = Look.BAD if look is Look.GOOD and not alone else look
    return Station(view.name, view.part, f"{view.address}{_holding(view.holds, called)}", look)


def _holding(holds: tuple[IPv4Address, ...], called: list[str]) -> str:
    """There is room for one, that which the steps tell of; or for a few words."""
    if not holds:
        return ""
    shown = next((address for address in holds if f"{address}" == _address(called[0])), holds[0])
    return f" holds {shown}, …" if len(holds) > 1 else f" holds {shown}"


def _address(place: str) -> str:
    return place.rpartition(":")[0]


def _rows(status: Status) -> dict[str, list[ServerView]]:
    found: dict[str, list[ServerView]] = {}
    for endpoint in status.endpoints:
        for server in endpoint.servers:
            found.setdefault(server.name, []).append(server)
    return found


_WORD = {
    Health.SERVING: ("serving", Look.GOOD),
    Health.DRAINED: ("drained", Look.IDLE),
    Health.STANDBY: ("standby", Look.IDLE),
    Health.OUT: ("out", Look.BAD),
    Health.STRANGER: ("not declared", Look.BAD),
    Health.UNKNOWN: ("unknown", Look.UNKNOWN),
}


def _server(views: list[ServerView], mode: Mode, status: Status) -> Station:
    # Who is not the writer does its work where it serves.
    views = [view for view in views if view.health is not Health.STANDBY] or views
    first = views[0]
    healths = dict.fromkeys(view.health for view in views)
    word, look = ("dead", Look.BAD) if first.name in status.dead else _WORD[first.health]
    if len(healths) > 1 and Health.SERVING in healths:
        word, look = "partly out", Look.BAD
    if look is Look.GOOD and any(view.why for view in views):
        look = Look.BAD
    device = DEVICE.get(mode)
    below = f"{first.address}, VIPs on {device}" if device else f"{first.address}"
    return Station(first.name, word, below, look)


DEVICE = {Mode.DR: "dummy0", Mode.TUN: "tunl0"}
"""Where servers have the VIPs."""


# Steps


def _called(declaration: Declaration, director: str) -> list[str]:
    """Where clients find the first service."""
    places = endpoints(declaration, director)
    return [str(place) for place in places if place.service == places[0].service]


def steps(
    declaration: Declaration, mode: Mode, director: str | None, server: str | None, rivals: Sequence[str] = ()
) -> Iterator[Step]:
    """A connection to the first service. `director`: the one that forwards; `server`: the one that gets it; `rivals`: directors
    that answer for the address, too.
    """
    called = _called(declaration, director or next(iter(declaration.director)))
    if director is None:
        yield Step(f"A client calls {' or '.join(called)}. No director answers for it.")
        return
    vip = _address(called[0])
    calls = f"A client calls {' or '.join(called)}."
    if rivals:
        both = " and ".join((director, *rivals))
        yield Step(f"{calls} {both} answer ARP for {vip}: it is chance which of them gets the packet, say {director}.")
    else:
        yield Step(f"{calls} {director} answers ARP for {vip}, and gets the packet.")
    if server is None:
        yield Step(f"{director} has no server in rotation: the packet goes no further.")
        return
    own = declaration.real_server[server].address if server in declaration.real_server else IPv4Address(server)
    if mode is Mode.NAT:
        yield from _translated(declaration, director, server, own)
        return
    if mode is Mode.DR:
        yield Step(f"{director} sends the same packet on to {server}'s MAC address. Nothing in it is changed.")
        taken = f"{server} has {vip} on dummy0 and takes it"
    else:
        yield Step(f"{director} sends the same packet inside another one to {own} (IPIP).")
        taken = f"{server} unpacks it in tunl0, where it has {vip}"
    yield Step(f"{taken}. It answers the client itself, from {vip}, past the director.", answer=True)


def _translated(declaration: Declaration, director: str, server: str, own: IPv4Address) -> Iterator[Step]:
    service = next(iter(declaration.service.values()))
    target = f"{own}:{service.port_at_servers}"
    if source_network_translated(declaration):
        yield Step(f"{director} rewrites the packet's target to {target}, and its source to an address of its own.")
        yield Step(f"{server} answers {director}, which it takes for the client.", answer=True)
    else:
        by = "a mark and a rule send" if declaration.nat.return_path is ReturnPath.FWMARK else "a rule sends"
        yield Step(f"{director} rewrites the packet's target to {target}.")
        yield Step(
            f"{server} answers from {own}; {by} that to {declaration.gateway_for(director)}, which {director} has.",
            answer=True,
        )
    yield Step(f"{director} puts the address back that the client had called, and forwards the answer.", answer=True)
