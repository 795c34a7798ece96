"""The packets that a cluster lives on, host by host: what a firewall must let in. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.firewall import IPIP, TCP, UDP, VRRP, Packet
from cluster.footprint import Blueprint
from cluster.keepalived import endpoints
from cluster.vocabulary import CLUSTERCHECK_PORT, Mode

SYNC_PORT = 8848
"""The kernel's copies of connections (net/netfilter/ipvs/ip_vs_sync.c, IP_VS_SYNC_PORT)."""
_NAMES = {IPIP: "IPIP (protocol 4)", VRRP: "VRRP (protocol 112)"}


@dataclass(frozen=True)
class Needed:
    """A packet, where netfilter sees it, and from whom it is."""

    hook: str
    packet: Packet
    source: str

    def __str__(self) -> str:
        packet = self.packet
        what = {TCP: f"TCP {packet.port}", UDP: f"UDP {packet.port}"}.get(packet.protocol) or _NAMES[packet.protocol]
        return f"{'answers of ' if packet.answer else ''}{what} from {self.source}"


def needed(blueprint: Blueprint, host: str) -> Iterator[Needed]:
    """What must come in at `host`, in the declared mode."""
    declaration = blueprint.declaration
    interface = declaration.host(host).interface
    if host in declaration.director:
        yield from _by_director(declaration, host, interface)
    else:
        yield from _by_server(declaration, interface)


def _by_director(declaration: Declaration, host: str, interface: str) -> Iterator[Needed]:
    for other, director in declaration.director.items():
        if other != host:
            yield Needed("input", Packet(VRRP, 0, director.address, interface), other)
            if declaration.vrrp.synchronise_connections:
                yield Needed("input", Packet(UDP, SYNC_PORT, director.address, interface), other)
    for place in endpoints(declaration, host):
        if place.protocol == "tcp":
            yield Needed("input", Packet(TCP, place.port, None, interface), "clients")
    if declaration.mode is Mode.NAT:
        for name, server in declaration.real_server.items():
            for port in _ports(declaration):
                yield Needed("forward", _answer(port, server.address, interface), name)


def _by_server(declaration: Declaration, interface: str) -> Iterator[Needed]:
    for name, director in declaration.director.items():
        if declaration.clustercheck_wanted:
            yield Needed("input", Packet(TCP, CLUSTERCHECK_PORT, director.address, interface), name)
        if declaration.mode is Mode.TUN:
            yield Needed("input", Packet(IPIP, 0, director.address, interface), name)
    inner = "tunl0" if declaration.mode is Mode.TUN else interface
    for port in _ports(declaration):
        yield Needed("input", Packet(TCP, port, None, inner), "clients")


def _ports(declaration: Declaration) -> list[int]:
    """At which servers are reached by TCP."""
    return sorted({s.server_port or s.port for s in declaration.service.values() if s.protocol == "tcp"})


def _answer(port: int, server: IPv4Address, interface: str) -> Packet:
    return Packet(TCP, port, server, interface, answer=True)
