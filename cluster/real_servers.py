"""What a real server carries, thing by thing."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from cluster.kit import LIBRARY, Kit
from cluster.parts import Address, Chain, File, Link, Listener, Part, Route, Rule, Thing
from cluster.vocabulary import CLUSTERCHECK_PORT, ROUTING_TABLE, SEED_ROUTING_TABLE, Check, Mode, ReturnPath

WORST_METRIC = 4278198272
"""Just under the kernel's last resort, as in the kernel's own documentation of VRF (Documentation/networking/vrf.rst):
`unreachable default` with it catches replies when the table's other routes are gone."""


class RealServerParts(Kit):
    """The parts of real servers."""

    def parts(self, name: str, modes: AbstractSet[Mode]) -> Iterator[Part]:
        """All that real server `name` must carry so that every one of `modes` works there."""
        if self.declaration.vips and modes & {Mode.DR, Mode.TUN}:
            yield self._arp()
        if Mode.TUN in modes and self.declaration.vips:
            yield self._tunnel()
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
        for service in self.declaration.service.values():
            if service.protocol == "udp":
                continue
            mysql = service.check.clustercheck_path is not None
            if service.vip and modes & {Mode.DR, Mode.TUN}:
                yield Listener(service.vip, service.port, mysql, may_restart)
            if Mode.NAT in modes or service.check is Check.TCP:
                yield Listener(own, service.server_port or service.port, mysql, may_restart)

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

    def _virtual_addresses(self, modes: AbstractSet[Mode]) -> Part:
        vips = self.declaration.vips
        links = (Link("dummy0", "dummy"),) * (Mode.DR in modes) + (Link("tunl0", "ipip"),) * (Mode.TUN in modes)
        files = tuple(
            File(
                f"/etc/network/interfaces.d/lbctl-{link.name}",
                self.render("interface.j2", {"link": link, "addresses": vips}),
            )
            for link in links
        )
        addresses = tuple(Address(link.name, vip) for link in links for vip in vips)
        return Part(Thing.VIRTUAL_ADDRESS, links=links, addresses=addresses, files=files)

    def _return_path(self, name: str) -> Part:
        server = self.declaration.real_server[name]
        marked = self.declaration.nat.return_path is ReturnPath.FWMARK
        table = SEED_ROUTING_TABLE if marked else ROUTING_TABLE
        answers = sorted({(s.protocol, s.server_port or s.port) for s in self.declaration.service.values()})
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
        routes = self._return_routes(table, server.interface)
        values = {"rules": rules, "routes": routes, "chains": chains, "interface": server.interface, "table": table}
        program = File(f"{LIBRARY}/return-path", self.render("return-path.j2", values), mode=0o755)
        unit_file, unit = self.service(
            "lbctl-return-path", "return-path.service.j2", {"program": program.path}, program
        )
        return Part(
            Thing.RETURN_PATH,
            packages=("iptables",) if chains else (),
            routes=routes,
            rules=rules,
            chains=chains,
            files=(program, unit_file),
            units=(unit,),
        )

    def _return_routes(self, table: int, interface: str) -> tuple[Route, ...]:
        # Each director directly: health checks of port 3306 from the passive one must not go through a dead gateway.
        # The unreachable route first: when the others are lost, replies must not leave directly, past the director.
        gateway = self.declaration.gateway_for(next(iter(self.declaration.director)))
        directors = (director.address for director in self.declaration.director.values())
        return (
            Route(table, "default", kind="unreachable", metric=WORST_METRIC),
            *(Route(table, str(address), device=interface) for address in directors),
            Route(table, "default", device=interface, via=gateway),
        )

    def clustercheck(self) -> Part:
        """The health service."""
        d = self.declaration
        arguments = [f"--port={CLUSTERCHECK_PORT}", f"--socket={d.clustercheck.socket}"]
        arguments += [f"--allow={director.address}" for director in d.director.values()]
        arguments += ["--allow=127.0.0.1"]
        arguments += ["--serve-donor"] if d.clustercheck.serve_donor else []
        program = File(f"{LIBRARY}/clustercheck", self.render("clustercheck.py", {}), mode=0o755)
        values = {"program": program.path, "arguments": arguments, "user": "clustercheck"}
        unit_file, unit = self.service("lbctl-clustercheck", "clustercheck.service.j2", values, program)
        return Part(
            Thing.CLUSTERCHECK,
            packages=("python3",),
            users=("clustercheck",),
            database_users=("clustercheck",),
            files=(program, unit_file),
            units=(unit,),
        )
