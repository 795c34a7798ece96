"""The way of one client's connection through a cluster as it was seen, hop by hop, or the place where it ends and why.

An independent judge: it asks what the kernels of the hosts do (`cluster.kernel`), never what a footprint wants. So it can tell
whether a plan is right, and a person where a packet stays.

The way of a connection, and what each station needs. "Measured": tried in network namespaces (Linux 6.1).

1. The client asks the network who has the endpoint's address. Exactly one host answers; two are two directors that both hold it,
   or a real server that does not keep silent (the how-to's "ARP problem").
2. That host's IPVS table has the endpoint, and a server with a weight (ipvsadm(8)).
3. dr: the packet reaches the server as it is, which must have the endpoint's address. tun: the same in a tunnel. nat: its target
   becomes the server's own address and port, and the director must forward (measured; dr and tun need no forwarding).
4. Something listens there at that address and port.
5. The answer leaves the server by its rules and tables. dr and tun: directly; nat: through the director that the connection came
   by, the only one that knows to put the endpoint's address back in (ip_vs_out in net/netfilter/ipvs/ip_vs_core.c), unless the
   director put itself in as client.
6. The client takes the answer only if it comes from the endpoint.

An established connection keeps its method (measured), needs its service and its server to be in the table still
(expire_nodest_conn: else it is reset), and is otherwise subject to the same.

The invariant that every prefix of every plan is held to by this model stands in `cluster.plan`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint
from cluster.kernel import Machine, Packet, Way
from cluster.observed import HostState, SeenDestination, SeenService
from cluster.vocabulary import Mode

CLIENT = "client"
"""The name of the host where a connection begins and its answer arrives."""


@dataclass(frozen=True)
class Hop:
    """What happens at one host, in a few words."""

    host: str
    what: str

    def __str__(self) -> str:
        return f"{self.host}: {self.what}"


@dataclass(frozen=True)
class Path:
    """The way of a connection that works."""

    hops: tuple[Hop, ...]
    director: str
    server: str
    mode: Mode
    answers_from: IPv4Address
    """What the client sees as the source of the answer."""
    server_sees: IPv4Address
    """What the server sees as its client."""


@dataclass(frozen=True)
class Fault:
    """Where a connection ends, and why. `hops` led there."""

    hops: tuple[Hop, ...]
    host: str
    why: str
    server: str = ""
    """The one that it was sent to; empty: it came to none."""

    def __str__(self) -> str:
        return f"{self.host}: {self.why}"


@dataclass(frozen=True)
class Connection:
    """An established connection, as its director's kernel knows it."""

    client: IPv4Address
    endpoint: Endpoint
    destination: SeenDestination
    """The server with the method that the connection keeps."""
    server_sees: IPv4Address


@dataclass(frozen=True)
class World:
    """All hosts on the network at one moment. One that could not be asked may be left out; what it does is then not known."""

    machines: Mapping[str, Machine]
    router: IPv4Address | None = None
    """No host of the cluster; it has whatever lies beyond the network."""
    down: frozenset[str] = frozenset()
    """Hosts whose service does not answer."""

    @classmethod
    def of(cls, declaration: Declaration, seen: Mapping[str, HostState | None], down: Iterable[str] = ()) -> "World":
        """The cluster of a declaration, without the hosts that could not be asked."""
        hosts = {name: (declaration.host(name), state) for name, state in seen.items() if state}
        machines = {name: Machine(name, h.address, h.interface, state) for name, (h, state) in hosts.items()}
        return cls(machines, declaration.router, frozenset(down))

    def answering(self, address: IPv4Address) -> list[Machine]:
        """Who answers when the network is asked for an address."""
        return [machine for machine in self.machines.values() if machine.answers_arp(address)]


def paths(world: World, client: IPv4Address, endpoint: Endpoint) -> tuple[Path | Fault, ...]:
    """Where a new connection may go: one way for each server in rotation, or the fault that keeps it from all of them."""
    start = _Way(world, client, endpoint)
    try:
        director, service = start.to_director()
        destinations = start.in_rotation(director, service)
    except _DeadEndError as end:
        return (end.fault,)
    return tuple(start.branch().through(director, destination) for destination in destinations)


def path(world: World, connection: Connection) -> Path | Fault:
    """The way of the next packet of an established connection."""
    start = _Way(world, connection.client, connection.endpoint, connection)
    try:
        director, service = start.to_director()
        start.still_there(director, service)
    except _DeadEndError as end:
        return end.fault
    return start.through(director, connection.destination)


def connections(world: World, client: IPv4Address, endpoint: Endpoint) -> Iterator[Connection]:
    """One connection to each server in rotation, as they would be established now."""
    for found in paths(world, client, endpoint):
        if isinstance(found, Path):
            director, server = world.machines[found.director].state, world.machines[found.server]
            for service in director.services:
                for destination in service.destinations:
                    if _same(service.endpoint, endpoint) and destination.address == server.address:
                        yield Connection(client, endpoint, destination, found.server_sees)


class _DeadEndError(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def _same(one: Endpoint, other: Endpoint) -> bool:
    return (one.address, one.port, one.protocol) == (other.address, other.port, other.protocol)


@dataclass
class _Way:
    """A connection on its way."""

    world: World
    client: IPv4Address
    endpoint: Endpoint
    established: Connection | None = None
    hops: list[Hop] = field(default_factory=list)
    server: str = ""

    def branch(self) -> "_Way":
        return replace(self, hops=[*self.hops])

    def pass_(self, host: str, what: str) -> None:
        self.hops.append(Hop(host, what))

    def ends(self, host: str, why: str) -> _DeadEndError:
        return _DeadEndError(Fault(tuple(self.hops), host, why, self.server))

    # There.

    def to_director(self) -> tuple[Machine, SeenService]:
        director = self.who_has(CLIENT, self.endpoint.address)
        for machine in self.world.machines.values():
            if machine is not director and machine.gives_away(self.endpoint.address):
                why = f"its own ARP questions name {self.endpoint.address}, and clients note it (arp_announce below 2)"
                raise self.ends(machine.name, why)
        self.pass_(CLIENT, f"asks for {self.endpoint.address}; {director.name} answers")
        for service in director.state.services:
            if _same(service.endpoint, self.endpoint):
                return director, service
        raise self.ends(director.name, f"has no virtual service {self.endpoint}")

    def who_has(self, asking: str, address: IPv4Address) -> Machine:
        answering = [machine for machine in self.world.answering(address) if machine.name != asking]
        if len(answering) == 1:
            return answering[0]
        names = " and ".join(machine.name for machine in answering)
        raise self.ends(asking, f"{names} both answer for {address}" if names else f"nobody answers for {address}")

    def in_rotation(self, director: Machine, service: SeenService) -> tuple[SeenDestination, ...]:
        found = tuple(destination for destination in service.destinations if destination.weight)
        if not found:
            raise self.ends(director.name, f"{self.endpoint} has no server in rotation")
        return found

    def still_there(self, director: Machine, service: SeenService) -> None:
        assert self.established  # noqa: S101 (asked for established ones only)
        wanted = self.established.destination
        if not any((d.address, d.port) == (wanted.address, wanted.port) for d in service.destinations):
            raise self.ends(director.name, f"{wanted.address} is no longer in its table: the connection is reset")

    def through(self, director: Machine, destination: SeenDestination) -> Path | Fault:
        """To the server and back."""
        try:
            server = self.found(destination)
            arrived = self.forwarded(director, server, destination)
            self.accepted(server, destination.mode, arrived)
            self.answered(director, server, destination.mode, arrived)
        except _DeadEndError as end:
            return end.fault
        sees = arrived.source
        return Path(tuple(self.hops), director.name, server.name, destination.mode, self.endpoint.address, sees)

    def found(self, destination: SeenDestination) -> Machine:
        for machine in self.world.machines.values():
            if machine.address == destination.address:
                self.server = machine.name
                return machine
        raise self.ends(str(destination.address), "no host has this address, or it could not be asked")

    def forwarded(self, director: Machine, server: Machine, destination: SeenDestination) -> Packet:
        """The packet as the server gets it."""
        target = self.endpoint.address, self.endpoint.port
        if destination.mode is Mode.NAT:
            target = destination.address, destination.port
        packet = Packet(self.client, target[0], self.endpoint.protocol, target_port=target[1])
        if destination.mode is not Mode.NAT:
            self.pass_(director.name, f"sends it to {server.name} by {destination.mode}")
            return packet
        if not director.forwards:
            raise self.ends(director.name, "ip_forward is off: it passes nothing on by nat")
        source = self.seen_by_server(director, packet)
        as_client = f", with {source} as client" if source != self.client else ""
        self.pass_(director.name, f"sends it to {server.name} by nat{as_client}")
        return Packet(source, target[0], self.endpoint.protocol, target_port=target[1])

    def seen_by_server(self, director: Machine, packet: Packet) -> IPv4Address:
        if self.established is None:
            return director.address if director.translates(packet) else self.client
        if self.established.server_sees != self.client and not director.keeps_translations:
            raise self.ends(director.name, "no longer translates: the connection's packets leave with their own source")
        return self.established.server_sees

    def accepted(self, server: Machine, mode: Mode, packet: Packet) -> None:
        if mode is Mode.TUN and (why := server.tunnel_fault()):
            raise self.ends(server.name, why)
        if not server.owns(packet.target):
            raise self.ends(server.name, f"does not have {packet.target}, and drops what is sent there")
        if server.name in self.world.down:
            raise self.ends(server.name, "does not answer")
        port = packet.target_port or 0
        if not server.listens(packet.target, port, packet.protocol):
            raise self.ends(server.name, f"nothing listens at {packet.target}:{port}")
        self.pass_(server.name, f"accepts it at {packet.target}:{port}")

    # And back.

    def answered(self, director: Machine, server: Machine, mode: Mode, packet: Packet) -> None:
        answer = Packet(packet.target, packet.source, packet.protocol, packet.target_port)
        way = server.way(answer)
        if way.unreachable:
            raise self.ends(server.name, f"table {way.table} has only its unreachable route for the answer")
        last = self.next_hop(server, answer, way)
        if mode is not Mode.NAT:
            self.direct(server, last)
        elif packet.source == director.address:
            self.to_itself(director, server, last)
        else:
            self.back_through(director, server, answer, last)

    def next_hop(self, server: Machine, answer: Packet, way: Way) -> Machine | None:
        """The host of ours that the answer goes to next; None: it goes straight to its target."""
        if way.via is None:
            return next((m for m in self.world.machines.values() if m.address == answer.target), None)
        if server.owns(way.via):
            raise self.ends(server.name, f"{way.via} is an address of its own, and no gateway")
        return None if way.via == self.world.router else self.who_has(server.name, way.via)

    def direct(self, server: Machine, last: Machine | None) -> None:
        source = self.endpoint.address
        if last is None:
            self.pass_(server.name, f"answers the client itself, from {source}")
            return
        if last.owns(source):
            raise self.ends(last.name, f"gets an answer from {source}, which is its own address, and drops it")
        if not last.forwards:
            raise self.ends(last.name, f"gets an answer from {source} and passes nothing on (ip_forward is off)")
        self.pass_(server.name, f"answers from {source}, through {last.name}")

    def to_itself(self, director: Machine, server: Machine, last: Machine | None) -> None:
        if last is not director:
            past = last.name if last else "nobody"
            raise self.ends(server.name, f"sends the answer to {past}, and its client is {director.name}")
        if not director.forwards:
            raise self.ends(director.name, "ip_forward is off: it passes no answers on")
        self.pass_(server.name, f"answers {director.name}")
        self.pass_(director.name, f"answers the client from {self.endpoint}")

    def back_through(self, director: Machine, server: Machine, answer: Packet, last: Machine | None) -> None:
        if last is None:
            why = f"gets an answer from {answer.source} and asked {self.endpoint.address}: it went past the director"
            raise self.ends(CLIENT, why)
        if last is not director:
            raise self.ends(
                last.name, f"gets the answer and knows nothing of the connection, which is {director.name}'s"
            )
        self.pass_(server.name, f"answers through {director.name}")
        self.pass_(director.name, f"answers the client from {self.endpoint}")
