"""What a director carries besides keepalived, thing by thing."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from cluster.keepalived import configuration
from cluster.kit import LIBRARY, Kit, of_interface
from cluster.parts import Chain, File, Part, Thing
from cluster.vocabulary import Mode, ReturnPath

UNREACHABLE_AT_ONCE = 0b1100000010000
"""icmp_ratemask without "destination unreachable" (3), by which IPVS refuses; the kernel's own is 6168. A client gets one a
second else, and one more in a burst: the others wait for their time-out."""

COPIED_EVERY = "net.ipv4.vs.sync_refresh_period"
"""Seconds after which a connection that has a packet is copied to the other director again."""


class DirectorParts(Kit):
    """The parts of directors."""

    def parts(self, name: str, modes: AbstractSet[Mode]) -> Iterator[Part]:
        """All that director `name` must carry so that every one of `modes` works there."""
        yield self._connection_table()
        if Mode.TUN in modes and self.declaration.tun.fragment:
            yield self._tunnel()
        if Mode.NAT in modes:
            yield self._forwarding(name)
            yield self._masquerade(name)

    def _connection_table(self) -> Part:
        # Kernel: Documentation/networking/ipvs-sysctl.rst, and ip-sysctl.rst for icmp_ratemask.
        connections = self.declaration.connections
        # sloppy_tcp: a connection that this director has not heard of is taken up instead of reset, which is right where one
        # server takes all (the writer): it survives a failover that came before its state had crossed.
        # conn_reuse_mode 3: a client that takes a port again is a new connection, also where the director saw the old one's end
        # from one side only, as in dr and tun. Else it goes the old one's way, after a change of mode to where nobody listens.
        sysctls: dict[str, int | str] = {"net.ipv4.vs.sloppy_tcp": 1, "net.ipv4.vs.conn_reuse_mode": 3}
        if connections.reset_dead:
            sysctls["net.ipv4.vs.expire_nodest_conn"] = 1
        if connections.unstick_dead:
            sysctls["net.ipv4.vs.expire_quiescent_template"] = 1
        if connections.refuse:
            sysctls["net.ipv4.icmp_ratemask"] = UNREACHABLE_AT_ONCE
        if self.declaration.vrrp.synchronise_connections and len(self.declaration.director) > 1:
            sysctls |= self.synchronisation().sysctls
        if self.declaration.nat.return_path is ReturnPath.SNAT:
            sysctls["net.ipv4.vs.conntrack"] = 1
        return Part(
            Thing.KERNEL,
            modules=("ip_vs",),
            sysctls=sysctls,
            files=(self.modules_file("director", ("ip_vs",)), self.sysctl_file("director", sysctls)),
        )

    def synchronisation(self) -> Part:
        """How the other director's copy of connections is kept."""
        # By the clock alone, not every so many packets: a pooled connection that says nothing but keepalives would else
        # be forgotten by the passive director.
        period = int(self.declaration.connections.copy_every)
        sysctls: dict[str, int | str] = {
            "net.ipv4.vs.sync_threshold": "0 0",
            COPIED_EVERY: period,
        }
        return Part(Thing.KERNEL, sysctls=sysctls)

    def _tunnel(self) -> Part:
        # 0: the outer packet of one that is too large may be cut in two. 1, the kernel's default: the client is told to send
        # smaller ones, and never hears it where ICMP is filtered.
        sysctls = {"net.ipv4.vs.pmtu_disc": 0}
        return Part(Thing.TUNNEL, sysctls=sysctls, files=(self.sysctl_file("tunnel", sysctls),))

    def _forwarding(self, name: str) -> Part:
        interface = self.declaration.director[name].interface
        sysctls = {
            "net.ipv4.ip_forward": 1,
            # Both: a redirect is sent if either is on, and servers are on the network that they are forwarded to.
            "net.ipv4.conf.all.send_redirects": 0,
            of_interface(interface, "send_redirects"): 0,
        }
        return Part(Thing.FORWARDING, sysctls=sysctls, files=(self.sysctl_file("forwarding", sysctls),))

    def _masquerade(self, name: str) -> Part:
        d = self.declaration
        services = sorted({(s.protocol, s.port_at_servers) for s in d.service.values()})
        servers = [server.address for server in d.real_server.values()]
        if d.nat.return_path is ReturnPath.SNAT:
            rules = [
                f"-d {server}/32 -p {protocol} -m {protocol} --dport {port} -j MASQUERADE"
                for server in servers
                for protocol, port in services
            ]
        else:
            # Answers are left alone: IPVS rewrites those of its own connections, and a masqueraded answer of a direct
            # connection to server:3306 would come from an address that the client never called.
            rules = [
                f"-s {server}/32 -p {protocol} -m {protocol} --sport {port} -j RETURN"
                for server in servers
                for protocol, port in services
            ] + [f"-s {server}/32 -j MASQUERADE" for server in servers]
        chain = Chain("nat", "LBCTL-MASQUERADE", "POSTROUTING", tuple(rules))
        chains = (*self._untracked(name), chain)
        program = File(f"{LIBRARY}/masquerade", self.render("masquerade.j2", {"chains": chains}), mode=0o755)
        unit_file, unit = self.service("lbctl-masquerade", "masquerade.service.j2", {"program": program.path}, program)
        return Part(Thing.MASQUERADE, packages=("iptables",), chains=chains, files=(program, unit_file), units=(unit,))

    def _untracked(self, name: str) -> tuple[Chain, Chain]:
        """What the director itself says to servers and peers, and hears from them, stays out of the kernel's list of connections.

        Masquerading makes the kernel list every connection that it sees, for two minutes after its end. Health checks alone fill
        the list of a small machine; then nothing new is let through, VRRP's advertisements neither, and both directors become
        active (seen with 192 MB: room for 1536, and 2880 checks in two minutes).
        """
        d = self.declaration
        services = {service.port_at_servers for service in d.service.values()}
        checks = {c.checker.port for s in configuration(d, name).virtual_servers for c in s.destinations if c.checker}
        # snat: connections of clients must be in the list, and a check of the service's own port looks like one of them.
        ports = sorted(checks - services if d.nat.return_path is ReturnPath.SNAT else checks)
        peers = [other.address for other in d.director.values() if d.vrrp.unicast and other is not d.director[name]]
        pairs = [(server.address, port) for server in d.real_server.values() for port in ports]
        out = ["-d 224.0.0.0/4", *(f"-d {peer}/32" for peer in peers)]
        out += [f"-d {server}/32 -p tcp -m tcp --dport {port}" for server, port in pairs]
        back = ["-d 224.0.0.0/4", *(f"-s {peer}/32" for peer in peers)]
        back += [f"-s {server}/32 -p tcp -m tcp --sport {port}" for server, port in pairs]
        return (
            Chain("raw", "LBCTL-UNTRACKED-OUT", "OUTPUT", tuple(f"{match} -j CT --notrack" for match in out)),
            Chain("raw", "LBCTL-UNTRACKED-IN", "PREROUTING", tuple(f"{match} -j CT --notrack" for match in back)),
        )
