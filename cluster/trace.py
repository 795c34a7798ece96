"""The way of one connection from packets that hosts saw: hop by hop, and where it ends.

There are four legs: SYN there, SYN-ACK back, ACK there, and the server's first words back (MySQL's greeting). On each the packet
must be seen at one place after another: out of the client, into the director and out again, into the server (tun: there once
more, taken out of its tunnel); answers in dr and tun go from server to client, in nat through the director.

The first place where it was not seen, after which it was seen nowhere either, is where it ends; why it may is in
`cluster.dead_ends`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from ipaddress import IPv4Address
from itertools import pairwise, product
from math import inf

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint
from cluster.packets import Attempt, Capture, Direction, IcmpError, Packet
from cluster.vocabulary import Mode

CLIENT = "client"
"""What the client's machine is called where its name is not known."""
TUNNEL = "tunl0"
"""Where packets come out of IPIP: the device that module ipip makes."""


class Leg(StrEnum):
    """In their order."""

    SYN = "SYN"
    SYN_ACK = "SYN-ACK"
    ACK = "ACK"
    WORDS = "first words"

    @property
    def there(self) -> bool:
        """From client to server."""
        return self in {Leg.SYN, Leg.ACK}

    @property
    def opens(self) -> bool:
        """Its packet is sent once, unless it is lost."""
        return self in {Leg.SYN, Leg.SYN_ACK}


class At(StrEnum):
    """A kind of place on the way."""

    CLIENT = "client"
    DIRECTOR = "director"
    SERVER = "server"
    TUNNEL_END = "tunnel's end"
    """On the server."""


@dataclass(frozen=True)
class Hop:
    """A place where a packet of the connection must be seen."""

    leg: Leg
    at: At
    host: str
    direction: Direction
    packets: tuple[Packet, ...] = ()
    """As it was seen there, with its repetitions."""
    watched: bool = True
    """False: nobody could look there."""
    told: bool | None = None
    """Where nobody could look: whether it was there by what the client says of its connection."""

    @property
    def seen(self) -> bool | None:
        """None: not known."""
        return bool(self.packets) if self.watched else self.told

    @property
    def times(self) -> int:
        """How often it was seen. A bond, a VLAN or a bridge and its device below see each packet once each.

        What one device sees twice was sent twice, though nothing may tell it from the first: a SYN-ACK's number is always 0
        (net/ipv4/ip_output.c, ip_build_and_send_pkt).
        """
        of_device = Counter((packet.identity, packet.flags, packet.frame.interface) for packet in self.packets)
        most: dict[object, int] = {}
        for (identity, flags, _), count in of_device.items():
            most[identity, flags] = max(most.get((identity, flags), 0), count)
        return sum(most.values())


@dataclass(frozen=True)
class Said:
    """What else hosts said about the connection: a reset, an ICMP error, a packet that went another way."""

    host: str
    direction: Direction
    interface: str
    seconds: float
    what: str


@dataclass(frozen=True)
class Case:
    """All that is known."""

    declaration: Declaration
    endpoint: Endpoint
    attempt: Attempt
    captures: Mapping[str, Capture]
    """By host; the client's is `CLIENT`."""
    ports: range
    """The client has one of these."""
    speaks: bool = True
    """The server speaks first."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """Why a host could not be asked, by its name."""

    def watched(self, host: str) -> bool:
        return host in self.captures and not self.captures[host].unable

    def owner(self, mac: str) -> str:
        """The host that has this MAC address; empty: none that is known."""
        return next((name for name, seen in self.captures.items() if mac in seen.macs), "")

    def holders(self, address: IPv4Address) -> list[str]:
        """Directors that have an address."""
        return [n for n in self.declaration.director if n in self.captures and address in self.captures[n].addresses]

    def there(self, packet: Packet) -> bool:
        """Whether it goes from client to server."""
        return packet.source_port in self.ports

    def of(self, leg: Leg, host: str, direction: Direction) -> list[Packet]:
        seen = self.captures[host].packets if host in self.captures else ()
        return [p for p in seen if p.frame.direction is direction and self.leg(p) is leg]

    def leg(self, packet: Packet) -> Leg | None:
        """Which leg's packet it is; None: it opens or closes nothing that is looked at."""
        there, flags = self.there(packet), packet.flags
        if "RST" in flags:
            return None
        if "SYN" in flags:
            wanted = Leg.SYN if there else Leg.SYN_ACK
            return wanted if there == ("ACK" not in flags) else None
        if there:
            return Leg.ACK if not packet.payload and "FIN" not in flags else None
        return Leg.WORDS if packet.payload else None


@dataclass(frozen=True)
class Course:
    """The way that a connection took."""

    case: Case
    mode: Mode
    """The method by which it was forwarded; the declared one where it was not."""
    director: str
    """Empty: none got it, and none holds the address."""
    server: str
    """Empty: it was sent to none."""
    hops: tuple[Hop, ...]
    said: tuple[Said, ...]
    shifts: Mapping[str, float]
    """What to add to a host's clock, in seconds, so that no packet comes before it went."""

    @property
    def end(self) -> Hop | None:
        """Where it ends; None: nowhere."""
        last = max((n for n, hop in enumerate(self.hops) if hop.seen), default=-1)
        return next((hop for hop in self.hops[last + 1 :] if hop.seen is False), None)

    @property
    def passed_by(self) -> tuple[Hop, ...]:
        """Places where it was not seen, though it was seen after them."""
        return tuple(hop for n, hop in enumerate(self.hops) if hop.seen is False and any(h.seen for h in self.hops[n:]))

    @property
    def before_end(self) -> Hop | None:
        """The last place where it was seen."""
        return next((hop for hop in reversed(self.hops) if hop.seen), None)

    @property
    def followed(self) -> bool:
        """Whether any host of the cluster saw it."""
        return any(hop.packets for hop in self.hops if hop.at is not At.CLIENT)

    @property
    def client(self) -> str:
        """The client's address and port as they were seen; empty: they were not."""
        first = next((p for hop in self.hops if hop.leg is Leg.SYN for p in hop.packets), None)
        return f"{first.source}:{first.source_port}" if first else ""

    def at(self, leg: Leg, at: At, direction: Direction) -> Packet | None:
        """What was seen there first."""
        for hop in self.hops:
            if (hop.leg, hop.at, hop.direction) == (leg, at, direction) and hop.packets:
                return hop.packets[0]
        return None

    def shown_until(self) -> tuple[Hop, ...]:
        """The hops up to the end, or to the last one that was seen."""
        end = self.end
        return self.hops[: self.hops.index(end) + 1] if end else self.hops

    def milliseconds(self, host: str, seconds: float) -> float:
        """Since the first packet."""
        start = min((self._common(p) for hop in self.hops for p in hop.packets), default=seconds)
        return (seconds + self.shifts.get(host, 0) - start) * 1000

    def _common(self, packet: Packet) -> float:
        return packet.frame.seconds + self.shifts.get(packet.frame.host, 0)


def course(case: Case) -> Course:
    """The way of the connection, from what hosts saw."""
    director, sent = _director(case)
    server = _server(case, director, sent)
    mode = _mode(case, sent or _first(case.of(Leg.SYN, server, Direction.IN)))
    hops = tuple(_hops(case, mode, director, server))
    found = Course(case, mode, director, server, hops, (), {})
    found = replace(found, shifts=_shifts(found.hops))
    return replace(found, said=tuple(_said(found)))


def _director(case: Case) -> tuple[str, Packet | None]:
    """The director that the connection came to, and what it sent on."""
    reached = [n for n in case.declaration.director if case.of(Leg.SYN, n, Direction.IN)]
    for name in reached:
        # One that passes it on to another director is only a router.
        sent = _first(case.of(Leg.SYN, name, Direction.OUT))
        if sent and case.owner(sent.frame.macs[1]) not in case.declaration.director:
            return name, sent
    if reached:
        return reached[-1], None
    unseen = [name for name in case.declaration.director if not case.watched(name)]
    return next(iter((*case.holders(case.endpoint.address), *unseen)), ""), None


def _server(case: Case, director: str, sent: Packet | None) -> str:
    """The server that it was sent to."""
    addresses = {server.address: name for name, server in case.declaration.real_server.items()}
    if sent and sent.tunnel:
        return addresses.get(sent.tunnel[1], "")
    if sent and sent.target in addresses:
        return addresses[sent.target]
    if sent:
        owner = case.owner(sent.frame.macs[1])
        return owner if owner in case.declaration.real_server else _neighbour(case, director, sent.frame.macs[1])
    return next((name for name in addresses.values() if case.of(Leg.SYN, name, Direction.IN)), "")


def _neighbour(case: Case, director: str, mac: str) -> str:
    """The server that the director thinks has this MAC address."""
    known = case.captures[director].neighbours
    return next((n for n, server in case.declaration.real_server.items() if known.get(server.address) == mac), "")


def _mode(case: Case, sent: Packet | None) -> Mode:
    if sent is None:
        return case.declaration.mode
    if sent.tunnel:
        return Mode.TUN
    return Mode.NAT if sent.target != case.endpoint.address else Mode.DR


def _first(packets: Iterable[Packet]) -> Packet | None:
    return next(iter(packets), None)


_Place = tuple[At, Direction, Callable[[Packet], bool]]


def _places(mode: Mode, endpoint: Endpoint, *, there: bool) -> Iterator[_Place]:
    """Where a packet must be seen, one after another, and how it must look there."""

    def called(packet: Packet) -> bool:
        return (packet.target, packet.target_port) == (endpoint.address, endpoint.port) and not packet.tunnel

    def answers(packet: Packet) -> bool:
        return (packet.source, packet.source_port) == (endpoint.address, endpoint.port)

    def any_(_: Packet) -> bool:
        return True

    if there:
        yield At.CLIENT, Direction.OUT, called
        yield At.DIRECTOR, Direction.IN, called
        yield At.DIRECTOR, Direction.OUT, any_
        yield At.SERVER, Direction.IN, (lambda packet: packet.tunnel is not None) if mode is Mode.TUN else any_
        if mode is Mode.TUN:
            yield At.TUNNEL_END, Direction.IN, called
        return
    yield At.SERVER, Direction.OUT, any_
    if mode is Mode.NAT:
        yield At.DIRECTOR, Direction.IN, any_
        yield At.DIRECTOR, Direction.OUT, answers
    yield At.CLIENT, Direction.IN, answers


def _hops(case: Case, mode: Mode, director: str, server: str) -> Iterator[Hop]:
    hosts = {At.CLIENT: CLIENT, At.DIRECTOR: director, At.SERVER: server, At.TUNNEL_END: server}
    for leg in Leg:
        if leg is Leg.WORDS and not case.speaks:
            return
        for at, direction, fits in _places(mode, case.endpoint, there=leg.there):
            host = hosts[at]
            packets = tuple(packet for packet in case.of(leg, host, direction) if fits(packet))
            # A host without a name is one that the connection never came to, if none of its kind went unwatched.
            peers = case.declaration.director if at is At.DIRECTOR else case.declaration.real_server
            watched = case.watched(host) if host else all(map(case.watched, peers))
            yield Hop(leg, at, host, direction, packets, watched, _told(case.attempt, leg) if at is At.CLIENT else None)


def _told(attempt: Attempt, leg: Leg) -> bool | None:
    """What the client's word for its connection says of a leg at its end."""
    if leg is Leg.WORDS:
        return bool(attempt.said)
    return attempt.connected or (None if leg is Leg.SYN else False)


def _shifts(hops: tuple[Hop, ...]) -> dict[str, float]:
    """What to add to each host's clock, in seconds. That of the client, or of the first host that saw anything, is right.

    Clocks of hosts may differ by more than a packet takes. One with which no packet is seen before it was sent is believed;
    another is moved by as little as makes that so.
    """
    seen = [(hop.host, hop.packets[0].frame.seconds) for hop in hops if hop.packets]
    hosts = list(dict.fromkeys(host for host, _ in seen))
    # How much more must be added to the one's clock than to the other's, at least: directly, and through others.
    least = {(one, other): -inf for one in hosts for other in hosts}
    for (one, sent), (other, came) in pairwise(seen):
        least[one, other] = max(least[one, other], sent - came)
    for via, one, other in product(hosts, hosts, hosts):
        least[one, other] = max(least[one, other], least[one, via] + least[via, other])
    shifts: dict[str, float] = {}
    for host in hosts:
        low = max((shift + least[before, host] for before, shift in shifts.items()), default=0.0)
        high = min((shift - least[host, before] for before, shift in shifts.items()), default=0.0)
        shifts[host] = low if low > high or (high == inf and low < -_IN_STEP) else min(max(0.0, low), high)
    return shifts


_IN_STEP = 0.05
"""Seconds: where no answer arrived, a clock that is ahead by less may be right."""


def _said(course: Course) -> Iterator[Said]:
    """Resets, errors and strays, by time: where they were sent, or else where they came in."""
    hops = {id(packet.frame) for hop in course.hops for packet in hop.packets}
    found: dict[str, Said] = {}
    for name, capture in course.case.captures.items():
        resets = [p for p in capture.packets if "RST" in p.flags or (p.kind == "SYN-ACK" and id(p.frame) not in hops)]
        told: list[Packet | IcmpError] = [*resets, *capture.errors]
        for each in told:
            frame = each.frame
            if frame.direction is Direction.PASSING:
                continue
            one = Said(name, frame.direction, frame.interface, frame.seconds, str(each))
            known = found.get(one.what)
            if known is None or (known.direction is Direction.IN and one.direction is Direction.OUT):
                found[one.what] = one
    yield from sorted(found.values(), key=lambda s: s.seconds + course.shifts.get(s.host, 0))
