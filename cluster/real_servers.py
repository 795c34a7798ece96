"""What a real server carries, thing by thing."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from cluster.boot import device_files
from cluster.declaration import Declaration
from cluster.kit import LIBRARY, Kit
from cluster.parts import Address, Chain, File, Link, Listener, Part, Route, Rule, Thing, Unit
from cluster.routing import WORST_METRIC
from cluster.vocabulary import (
    CLUSTERCHECK_PORT,
    MAIN_TABLE,
    ROUTING_TABLE,
    SEED_ROUTING_TABLE,
    SEGMENT_TABLE,
    Check,
    Mode,
    ReturnPath,
)

ETHERNET_MTU = 1500
"""Bytes of the largest packet where nobody says otherwise (RFC 894)."""

TUNNEL_HEADERS = 20 + 20 + 20
"""Bytes that a TCP packet in a tunnel carries besides its data: the outer IP header, its own, and TCP's (RFC 2003; RFC 6691)."""


@dataclass(frozen=True)
class RealServerParts(Kit):
    """The parts of real servers."""

    mtu: int = ETHERNET_MTU
    """Of the largest packet that reaches this server."""
    neighbours: Mapping[IPv4Address, str] | None = None
    """`neighbours` of the declaration, where somebody has them: each of a hundred servers knows all others."""
    still_ask: tuple[IPv4Address, ...] = ()
    """Who checks this server's health besides the declared directors."""

    def parts(self, name: str, modes: AbstractSet[Mode]) -> Iterator[Part]:
        """All that real server `name` must carry so that every one of `modes` works there."""
        if self.declaration.connections.keepalive:
            yield self._keepalive()
        if self.declaration.vips and modes & {Mode.DR, Mode.TUN}:
            yield self._arp()
        if Mode.TUN in modes and self.declaration.vips:
            yield self._tunnel()
            if (part := self._segment_size(name)).rules:
                yield part
        if self.declaration.vips and modes & {Mode.DR, Mode.TUN}:
            yield self._virtual_addresses(modes)
        if Mode.NAT in modes and self.declaration.nat.return_path is not ReturnPath.SNAT:
            yield self._return_path(name)
        if self.declaration.clustercheck_wanted:
            yield self.clustercheck()
        yield Part(Thing.DATABASE, listeners=tuple(self._listeners(name, modes)))

    def _listeners(self, name: str, modes: AbstractSet[Mode]) -> Iterator[Listener]:
        """dr and tun leave a packet's target as it is, the VIP; nat and checks of the port go to the server's own address."""
        may_restart = self.declaration.mysql.restart == "needed"
        own = self.declaration.real_server[name].address
        others = (other for other, server in self.declaration.real_server.items() if other != name and server.share)
        # Of two others one may be the donor.
        alone = len(list(islice(others, 2))) < 2 and not self.declaration.clustercheck.serve_donor  # noqa: PLR2004 (two)
        for service in self.declaration.service.values():
            if service.protocol == "udp":
                continue
            mysql = service.check.clustercheck_path is not None
            if service.vip and modes & {Mode.DR, Mode.TUN}:
                yield Listener(service.vip, service.port, mysql, may_restart, alone)
            if Mode.NAT in modes or service.check is Check.TCP:
                yield Listener(own, service.port_at_servers, mysql, may_restart, alone)

    def _keepalive(self) -> Part:
        # Kernel: Documentation/networking/ip-sysctl.rst. For sockets that ask for it: MySQL's and MariaDB's do.
        connections = self.declaration.connections
        sysctls = {
            "net.ipv4.tcp_keepalive_time": int(connections.keepalive),
            "net.ipv4.tcp_keepalive_intvl": int(connections.keepalive_retry),
        }
        return Part(Thing.KEEPALIVE, sysctls=sysctls, files=(self.sysctl_file("keepalive", sysctls),))

    def _arp(self) -> Part:
        # Kernel: Documentation/networking/ip-sysctl.rst. On `all`: each interface uses the larger of its own and this.
        sysctls = {"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2}
        return Part(Thing.ARP, sysctls=sysctls, files=(self.sysctl_file("arp", sysctls),))

    def _tunnel(self) -> Part:
        # Packets leave the tunnel with a client's address that is not reachable through tunl0: any reverse path filter drops
        # them, silently. The larger of `all` and the interface counts.
        sysctls = {"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.tunl0.rp_filter": 0}
        return Part(
            Thing.TUNNEL,
            modules=("ipip",),
            links=(Link("tunl0", "ipip"),),
            sysctls=sysctls,
            files=(self.modules_file("tunnel", ("ipip",)), self.sysctl_file("tunnel", sysctls)),
        )

    def _segment_size(self, name: str) -> Part:
        # A client sends no larger segments than the answer to its first packet asks for. The route of that answer says the
        # size; table and rule are those of answers from VIPs, so that nothing else of this host is touched. Where no route of
        # the table fits, the main table goes on as before.
        d, server = self.declaration, self.declaration.real_server[name]
        largest = (d.tun.mtu or self.mtu) - TUNNEL_HEADERS
        routes: list[Route] = []
        if server.address in d.network:
            routes = [Route(SEGMENT_TABLE, str(d.network), device=server.interface, advmss=largest)]
            if d.router:
                routes += [Route(SEGMENT_TABLE, "default", device=server.interface, via=d.router, advmss=largest)]
        answers = dict.fromkeys((s.vip, s.port) for s in d.service.values() if s.vip and s.protocol == "tcp")
        rules = tuple(
            Rule(SEGMENT_TABLE, SEGMENT_TABLE, source=vip, protocol="tcp", source_port=port)
            for vip, port in (answers if routes else ())
        )
        return self._routing(Thing.SEGMENT_SIZE, server.interface, rules, tuple(routes))

    def _routing(
        self,
        thing: Thing,
        interface: str,
        rules: tuple[Rule, ...],
        routes: tuple[Route, ...],
        chains: tuple[Chain, ...] = (),
    ) -> Part:
        """Rules and routes, and the service that has them at boot and keeps them while the interface comes and goes."""
        name = thing.replace(" ", "-")
        values = {"thing": thing, "rules": rules, "routes": routes, "chains": chains, "interface": interface}
        program = File(f"{LIBRARY}/{name}", self.render("routing.j2", values), mode=0o755)
        unit_file, unit = self.service(
            f"lbctl-{name}", "routing.service.j2", {"program": program.path, "thing": thing, "chains": chains}, program
        )
        return Part(
            thing,
            packages=("iptables",) if chains else (),
            routes=routes,
            rules=rules,
            chains=chains,
            files=(program, unit_file),
            units=(unit,),
        )

    def _virtual_addresses(self, modes: AbstractSet[Mode]) -> Part:
        vips = self.declaration.vips
        links = (Link("dummy0", "dummy"),) * (Mode.DR in modes) + (Link("tunl0", "ipip"),) * (Mode.TUN in modes)
        addresses = tuple(Address(link.name, vip) for link in links for vip in vips)
        files = tuple(file for link in links for file in device_files(self, link, addresses))
        return Part(Thing.VIRTUAL_ADDRESS, links=links, addresses=addresses, files=files)

    def _return_path(self, name: str) -> Part:
        server = self.declaration.real_server[name]
        marked = self.declaration.nat.return_path is ReturnPath.FWMARK
        table = SEED_ROUTING_TABLE if marked else ROUTING_TABLE
        answers = sorted({(s.protocol, s.port_at_servers) for s in self.declaration.service.values()})
        if marked:
            rules: tuple[Rule, ...] = (Rule(preference=ROUTING_TABLE, table=table, mark=SEED_ROUTING_TABLE),)
            chains: tuple[Chain, ...] = (
                Chain(
                    "mangle",
                    "LBCTL-RETURN",
                    "OUTPUT",
                    tuple(
                        f"-s {server.address}/32 -p {protocol} -m {protocol} --sport {port} "
                        f"-j MARK --set-xmark 0x{SEED_ROUTING_TABLE:x}/0xffffffff"
                        for protocol, port in answers
                    ),
                ),
            )
        else:
            rules = tuple(
                Rule(ROUTING_TABLE, table, source=server.address, protocol=protocol, source_port=port)
                for protocol, port in answers
            )
            chains = ()
        routes = self._return_routes(name, table)
        part = self._routing(Thing.RETURN_PATH, server.interface, rules, routes, chains)
        if not self.declaration.nat.direct_when_alone:
            return part
        program, unit_file, unit = self._gateway_watch(name, answers)
        return replace(part, files=(*part.files, program, unit_file), units=(*part.units, unit))

    def _gateway_watch(self, name: str, answers: Sequence[tuple[str, int]]) -> tuple[File, File, Unit]:
        # Its rules come and go: they are the service's affair, which takes them away when it stops, and no part's.
        d, server = self.declaration, self.declaration.real_server[name]
        values = {
            "gateway": d.gateway_for(next(iter(d.director))),
            "interface": server.interface,
            "neighbours": self._neighbours(name),
            "rules": [Rule(ROUTING_TABLE - 1, MAIN_TABLE, server.address, *answer) for answer in answers],
        }
        program = File(f"{LIBRARY}/gateway-watch", self.render("gateway-watch.j2", values), mode=0o755)
        unit_file, unit = self.service(
            "lbctl-gateway-watch", "gateway-watch.service.j2", {"program": program.path}, program
        )
        return program, unit_file, unit

    def _neighbours(self, name: str) -> dict[IPv4Address, str]:
        """Directors and other real servers on the network, also in words."""
        others = dict(self.neighbours or neighbours(self.declaration))
        others.pop(self.declaration.real_server[name].address, None)
        return others

    def _return_routes(self, name: str, table: int) -> tuple[Route, ...]:
        # The unreachable route first: when the others are lost, replies must not leave directly, past the director.
        # Each director directly: health checks of port 3306 from the passive one must not go through a dead gateway.
        # Each other server as well: replication and transfers between them are no director's business.
        d, interface = self.declaration, self.declaration.real_server[name].interface
        gateway = d.gateway_for(next(iter(d.director)))
        direct: dict[str, IPv4Address | None] = dict.fromkeys(self._neighbours(name).values())
        direct |= {_destination(net): None if net.subnet_of(d.network) else d.router for net in d.nat.direct}
        return (
            Route(table, "default", kind="unreachable", metric=WORST_METRIC),
            *(Route(table, to, device=interface, via=via) for to, via in direct.items()),
            Route(table, "default", device=interface, via=gateway),
        )

    def clustercheck(self) -> Part:
        """The health service."""
        d = self.declaration
        arguments = [f"--port={CLUSTERCHECK_PORT}", f"--socket={d.clustercheck.socket}"]
        # Not on the command line: a restart whenever a director comes or goes is more than is needed.
        askers = dict.fromkeys((*(director.address for director in d.director.values()), *self.still_ask, "127.0.0.1"))
        allow = File(f"{LIBRARY}/clustercheck.allow", "".join(f"{address}\n" for address in askers))
        arguments += [f"--allow={allow.path}"]
        arguments += ["--serve-donor"] if d.clustercheck.serve_donor else []
        program = File(f"{LIBRARY}/clustercheck", self.render("clustercheck.py", {}), mode=0o755)
        values = {"program": program.path, "arguments": arguments, "user": "clustercheck"}
        unit_file, unit = self.service("lbctl-clustercheck", "clustercheck.service.j2", values, program)
        return Part(
            Thing.CLUSTERCHECK,
            packages=("python3",),
            users=("clustercheck",),
            database_users=("clustercheck",),
            files=(program, allow, unit_file),
            units=(unit,),
        )


def neighbours(declaration: Declaration) -> dict[IPv4Address, str]:
    """Directors, and real servers that are on their network, also in words."""
    servers = (server.address for server in declaration.real_server.values() if server.address in declaration.network)
    return {a: str(a) for a in (*(director.address for director in declaration.director.values()), *servers)}


def _destination(network: IPv4Network) -> str:
    """As `ip route` shows it: a single address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
