"""What keepalived.conf says, as a typed model: one for each director, from one declaration.

Directors differ only in router_id, priority and unicast addresses. What peers must agree on is the same by construction:
the VRRP identity, the advertised list and its order (two directors that announce different lists both hold the addresses),
the id of the sync daemon (differing ids lose every connection at failover, silently).
"""

import hashlib
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.declaration import Connections, Declaration, Service
from cluster.vocabulary import CLUSTERCHECK_PORT, Check, Mode, ReturnPath


@dataclass(frozen=True)
class Endpoint:
    """An address and port that the director serves."""

    service: str
    address: IPv4Address
    port: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Checker:
    """A health check: HTTP_GET or TCP_CHECK, times in seconds."""

    kind: str
    port: int
    path: str
    timeout: float
    retry: int
    retry_after: float


@dataclass(frozen=True)
class Destination:
    """A real_server block."""

    name: str
    address: IPv4Address
    port: int
    weight: int
    checker: Checker | None


@dataclass(frozen=True)
class VirtualServer:
    """A virtual_server block."""

    endpoint: Endpoint
    scheduler: str
    mode: Mode
    every: float
    alpha: bool
    persistence_timeout: int | None
    persistence_granularity: IPv4Address | None
    destinations: tuple[Destination, ...]


@dataclass(frozen=True)
class Instance:
    """The vrrp_instance block."""

    name: str
    interface: str
    priority: int
    virtual_router_id: int
    advertise_every: float
    announce_every: int
    """Gratuitous ARP for all addresses, in seconds."""
    preempt: bool
    preempt_delay: float
    password: str | None
    unicast_source: IPv4Address | None
    unicast_peers: tuple[IPv4Address, ...]
    advertised: tuple[IPv4Address, ...]
    excluded: tuple[IPv4Address, ...]


@dataclass(frozen=True)
class Configuration:
    """The whole of keepalived.conf."""

    router_id: str
    vrrp_version: int
    connections: Connections
    sync_interface: str | None
    sync_id: int
    instance: Instance | None
    static_routes: tuple[tuple[IPv4Address, str], ...]
    """(address of a real server, interface). Without a route that has a gateway, a live change of the forwarding method cuts
    DR connections at random: the kernel caches one route for old and new connections of a destination (__ip_vs_get_out_rt)."""
    virtual_servers: tuple[VirtualServer, ...]


def endpoints(declaration: Declaration, director: str) -> tuple[Endpoint, ...]:
    """Where clients find each service on this director, in the order of the declaration; the VIP before the nat port."""

    def each() -> Iterator[Endpoint]:
        for name, service in declaration.service.items():
            if service.vip:
                yield Endpoint(name, service.vip, service.port, service.protocol)
            if declaration.mode is Mode.NAT and service.nat_port:
                yield Endpoint(name, declaration.gateway_for(director), service.nat_port, service.protocol)

    return tuple(each())


def fading(declaration: Declaration, director: str, served: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """Which of those that this director serves are former places of declared services: nat's own ports, of a mode that is left,
    or at an address that was the gateway before.

    They are served, by nat, for as long as clients are connected there: an application learns a new port at its own pace.
    """
    own = {declaration.gateway_for(director), declaration.director[director].address}
    now = {(e.address, e.port, e.protocol) for e in endpoints(declaration, director)}
    there = {(e.address, e.port, e.protocol) for e in served} - now
    return tuple(
        Endpoint(name, address, service.nat_port, service.protocol)
        for name, service in declaration.service.items()
        if service.nat_port
        for address in sorted(own)
        if (address, service.nat_port, service.protocol) in there
    )


Left = AbstractSet[tuple[str, str]]
"""Pairs of service and real server that are left out of a configuration."""


def contract(declaration: Declaration, password: str | None) -> str:
    """A hash of what VRRP peers must agree on. Two directors that run different ones reject each other, and both hold the
    virtual addresses: it cannot be changed on them one after the other.

    It goes where the password itself may be read (keepalived.conf; a file in /run, for root alone), and is never shown.
    """
    vrrp = declaration.vrrp
    advertised = floating_addresses(declaration)[:1]
    terms = (vrrp.version, vrrp.virtual_router_id, vrrp.unicast, password, *advertised)
    return hashlib.sha256(repr(terms).encode()).hexdigest()[:16]


def configuration(
    declaration: Declaration,
    director: str,
    password: str | None = None,
    without: Left = frozenset(),
    former: tuple[Endpoint, ...] = (),
) -> Configuration:
    """The configuration of one director, without the given servers in the given services, and with `former` places
    of services (`fading`).
    """
    me = declaration.director[director]
    instance = _instance(declaration, director, password)
    sync = declaration.vrrp.synchronise_connections and len(declaration.director) > 1 and instance
    return Configuration(
        router_id=director,
        vrrp_version=declaration.vrrp.version,
        connections=declaration.connections,
        sync_interface=me.interface if sync else None,
        sync_id=declaration.vrrp.virtual_router_id,
        instance=instance,
        static_routes=tuple(
            (server.address, me.interface)
            for server in declaration.real_server.values()
            if server.address in declaration.network
        ),
        virtual_servers=(
            *(_virtual_server(declaration, e, declaration.mode, without) for e in endpoints(declaration, director)),
            *(_virtual_server(declaration, e, Mode.NAT) for e in former),
        ),
    )


def floating_addresses(declaration: Declaration) -> tuple[IPv4Address, ...]:
    """What moves between the directors. The first is the one that is advertised: it does not depend on the mode, so that a
    change of mode never makes two directors reject each other.
    """
    gateway = (declaration.nat.gateway,) if declaration.nat.gateway else ()
    return (*gateway, *declaration.vips)


def addresses_of_directors(declaration: Declaration) -> frozenset[IPv4Address]:
    """By which a packet may be sent to one: each one's own, and what moves between them."""
    return frozenset((*floating_addresses(declaration), *(each.address for each in declaration.director.values())))


def hand_over_seconds(declaration: Declaration) -> float:
    """How long a director whose keepalived stops goes on forwarding, in seconds: until its peer has surely taken over.

    A peer does so after three advertisements that did not come and a part of one more, or, in version 2, of a second (RFC 5798,
    6.1; RFC 3768, 6.1). At most ten: a shutdown must not hang. 0 without a peer.
    """
    if len(declaration.director) == 1 or not floating_addresses(declaration):
        return 0
    skew = 1 if declaration.vrrp.version == 2 else declaration.vrrp.advertise_every  # noqa: PLR2004 (VRRP's version)
    return round(min(10, 3 * declaration.vrrp.advertise_every + skew + 1), 3)


def _instance(declaration: Declaration, director: str, password: str | None) -> Instance | None:
    addresses = floating_addresses(declaration)
    if not addresses:
        # keepalived 2.3 does not start with an instance that has no address; one director on its own address needs none.
        return None
    me, vrrp = declaration.director[director], declaration.vrrp
    peers = tuple(other.address for name, other in declaration.director.items() if name != director)
    unicast = vrrp.unicast and peers
    return Instance(
        name=declaration.name,
        interface=me.interface,
        priority=me.priority,
        virtual_router_id=vrrp.virtual_router_id,
        advertise_every=vrrp.advertise_every,
        announce_every=int(vrrp.announce_every),
        preempt=vrrp.preempt,
        preempt_delay=vrrp.preempt_delay,
        password=password if vrrp.password else None,
        unicast_source=me.address if unicast else None,
        unicast_peers=peers if unicast else (),
        advertised=addresses[:1],
        excluded=addresses[1:],
    )


def _virtual_server(
    declaration: Declaration, endpoint: Endpoint, mode: Mode, without: Left = frozenset()
) -> VirtualServer:
    service = declaration.service[endpoint.service]
    weights = weights_for(service, declaration)
    port, check = service.port_at_servers, checker(declaration, service)
    return VirtualServer(
        endpoint=endpoint,
        scheduler=service.scheduler,
        mode=mode,
        every=declaration.health.every,
        alpha=declaration.health.alpha,
        persistence_timeout=int(service.persistence.timeout) if service.persistence else None,
        persistence_granularity=service.persistence.granularity if service.persistence else None,
        destinations=tuple(
            Destination(name, server.address, port, weights[name], check)
            for name, server in declaration.real_server.items()
            if (endpoint.service, name) not in without
        ),
    )


def weights_for(service: Service, declaration: Declaration) -> dict[str, int]:
    """Each server's weight in this service.

    With scheduler "fo" (the heaviest live server gets all) weights must differ, or directors may choose differently: servers
    rank by weight, and where weights are equal by their order in the declaration. 0 stays 0.
    """
    declared = {name: server.share for name, server in declaration.real_server.items()}
    if service.scheduler != "fo":
        return declared
    ranked = sorted((name for name in declared if declared[name]), key=lambda name: -declared[name])
    return declared | {name: 10 * (len(ranked) - place) for place, name in enumerate(ranked)}


def checker(declaration: Declaration, service: Service) -> Checker | None:
    """The health check of each of its servers, if there is one."""
    if service.check is Check.NONE:
        return None
    health = declaration.health
    path = service.check.clustercheck_path
    default_port = CLUSTERCHECK_PORT if path else service.port_at_servers
    return Checker(
        kind="TCP_CHECK" if service.check is Check.TCP else "HTTP_GET",
        port=service.check_port or default_port,
        path=path or service.check_path,
        timeout=health.timeout,
        retry=health.retry,
        retry_after=health.retry_after,
    )


def source_network_translated(declaration: Declaration) -> bool:
    """Whether servers see the director's address instead of the client's."""
    return declaration.mode is Mode.NAT and declaration.nat.return_path is ReturnPath.SNAT
