"""The packets that a cluster lives on, host by host: what a firewall must let in. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.declaration import Declaration, Director
from cluster.firewall import IPIP, TCP, UDP, VRRP, Packet
from cluster.footprint import Blueprint
from cluster.keepalived import endpoints
from cluster.vocabulary import CLUSTERCHECK_PORT, Check, Mode, ReturnPath

SYNC_PORT = 8848
"""The kernel's copies of connections (net/netfilter/ipvs/ip_vs_sync.c, IP_VS_SYNC_PORT)."""
VRRP_GROUP, SYNC_GROUP = IPv4Address("224.0.0.18"), IPv4Address("224.0.0.81")
"""RFC 5798, 5.1.1.2; ip_vs_sync.c, IP_VS_SYNC_GROUP."""
_NAMES = {IPIP: "IPIP (protocol 4)", VRRP: "VRRP (protocol 112)"}


@dataclass(frozen=True)
class Needed:
    """A packet, where netfilter sees it, and from or (leaving) to whom it is."""

    hook: str
    packet: Packet
    other: str

    def __str__(self) -> str:
        packet = self.packet
        what = {TCP: f"TCP {packet.port}", UDP: f"UDP {packet.port}"}.get(packet.protocol) or _NAMES[packet.protocol]
        way = "to" if self.hook == "output" else "from"
        return f"{'answers of ' if packet.answer else ''}{what} {way} {self.other}"


def needed(blueprint: Blueprint, host: str) -> Iterator[Needed]:
    """What must come in at `host`, be forwarded and leave it, in the declared mode."""
    declaration = blueprint.declaration
    interface = declaration.host(host).interface
    if host in declaration.director:
        yield from _into_director(declaration, host, interface)
        yield from _out_of_director(declaration, host, interface)
    else:
        yield from _into_server(declaration, host, interface)
        yield from _out_of_server(declaration, host, interface)


def _into_director(declaration: Declaration, host: str, interface: str) -> Iterator[Needed]:
    group = declaration.director[host].address if declaration.vrrp.unicast else VRRP_GROUP
    for other, director in _others(declaration, host):
        yield Needed("input", Packet(VRRP, 0, director.address, interface, target=group), other)
        if declaration.vrrp.synchronise_connections:
            copies = Packet(UDP, SYNC_PORT, director.address, interface, target=SYNC_GROUP)
            yield Needed("input", copies, other)
    for place in endpoints(declaration, host):
        if place.protocol == "tcp":
            yield Needed("input", Packet(TCP, place.port, None, interface, target=place.address), "clients")
    if declaration.mode is Mode.NAT:
        for name, server in declaration.real_server.items():
            for port in _ports(declaration):
                yield Needed("forward", _answer(declaration, port, server.address, interface), name)


def _out_of_director(declaration: Declaration, host: str, interface: str) -> Iterator[Needed]:
    """What IPVS sends on passes through OUTPUT, too (net/netfilter/ipvs/ip_vs_xmit.c, NF_INET_LOCAL_OUT)."""
    own = declaration.director[host].address
    for other, director in _others(declaration, host):
        group = director.address if declaration.vrrp.unicast else VRRP_GROUP
        yield Needed("output", Packet(VRRP, 0, own, target=group, out=interface), other)
        if declaration.vrrp.synchronise_connections:
            yield Needed("output", Packet(UDP, SYNC_PORT, own, target=SYNC_GROUP, out=interface), other)
    for name, server in declaration.real_server.items():
        if declaration.clustercheck_wanted:
            yield Needed("output", Packet(TCP, CLUSTERCHECK_PORT, own, target=server.address, out=interface), name)
        if declaration.mode is Mode.TUN:
            tunnelled = Packet(IPIP, 0, own, target=server.address, out=interface, sent_on=True)
            yield Needed("output", tunnelled, name)
        else:
            target = server.address if declaration.mode is Mode.NAT else None
            for port in _ports(declaration):
                sent = Packet(TCP, port, target=target, out=interface, sent_on=True, listed=_listed(declaration))
                yield Needed("output", sent, name)


def _into_server(declaration: Declaration, host: str, interface: str) -> Iterator[Needed]:
    own = declaration.real_server[host].address
    for name, director in declaration.director.items():
        if declaration.clustercheck_wanted:
            yield Needed("input", Packet(TCP, CLUSTERCHECK_PORT, director.address, interface, target=own), name)
        if declaration.mode is Mode.TUN:
            yield Needed("input", Packet(IPIP, 0, director.address, interface, target=own), name)
    inner = "tunl0" if declaration.mode is Mode.TUN else interface
    # At one of several addresses in dr and tun.
    target = own if declaration.mode is Mode.NAT else None
    for port in _ports(declaration):
        yield Needed("input", Packet(TCP, port, None, inner, target=target), "clients")


def _out_of_server(declaration: Declaration, host: str, interface: str) -> Iterator[Needed]:
    own = declaration.real_server[host].address
    for name, director in declaration.director.items():
        if declaration.clustercheck_wanted:
            check = Packet(TCP, CLUSTERCHECK_PORT, own, answer=True, target=director.address, out=interface)
            yield Needed("output", check, name)
    for port in _ports(declaration):
        yield Needed("output", Packet(TCP, port, answer=True, out=interface), "clients")


def _others(declaration: Declaration, host: str) -> list[tuple[str, Director]]:
    return [(name, director) for name, director in declaration.director.items() if name != host]


def _ports(declaration: Declaration) -> list[int]:
    """At which servers are reached by TCP."""
    return sorted({s.port_at_servers for s in declaration.service.values() if s.protocol == "tcp"})


def _listed(declaration: Declaration) -> str:
    """What conntrack calls what IPVS sends on: not a connection that it lists, unless vs.conntrack is set (measured in nat)."""
    return "" if declaration.nat.return_path is ReturnPath.SNAT else "untracked"


def _answer(declaration: Declaration, port: int, server: IPv4Address, interface: str) -> Packet:
    """What a server says first. conntrack, where some rule has it look, has not seen what that answers (measured)."""
    listed = "invalid"
    if any(s.check is Check.TCP for s in declaration.service.values() if s.port_at_servers == port):
        listed = "untracked"  # by our own chain: see DirectorParts._untracked
    if declaration.nat.return_path is ReturnPath.SNAT:
        listed = "established"
    return Packet(TCP, port, server, interface, answer=True, out=interface, sent_on=True, listed=listed)
