"""The footprint: all that one host must carry for a set of modes, stated once: plan, operations and doctor use it.

A host can carry several modes at once, which is what makes a live change of mode possible: nothing here interferes with
another mode (the return path takes replies from the server's own address only, never those from a VIP).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from cluster.declaration import Declaration
from cluster.keepalived import Left, configuration, contract
from cluster.parts import Address, Chain, File, Footprint, Link, Part, Route, Rule, Thing, Unit
from cluster.vocabulary import CLUSTERCHECK_PORT, ROUTING_TABLE, SEED_ROUTING_TABLE, Mode, ReturnPath, Role

Render = Callable[[str, Mapping[str, Any]], str]
"""(template's name, values) → text. Handed in, so that this room needs neither templates nor disk."""

ALL_MODES = frozenset(Mode)

LIBRARY = "/usr/local/lib/lbctl"
"""Our programs on targets."""

WORST_METRIC = 4278198272
"""Just under the kernel's last resort, as in the kernel's own documentation of VRF (Documentation/networking/vrf.rst):
`unreachable default` with it catches replies when the table's other routes are gone."""


@dataclass(frozen=True)
class Blueprint:
    """From a declaration to footprints. `password` is VRRP's, already read; None where there is none."""

    declaration: Declaration
    render: Render
    password: str | None = field(default=None, repr=False)
    _made: dict[tuple[str, frozenset[Mode]], Footprint] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> str:
        """How pyinfra shows it in `debug-inventory`: the secret stays out."""
        return f"declaration {self.declaration.name} ({self.declaration.source})"

    @property
    def contract(self) -> str:
        """The hash of what directors must agree on."""
        return contract(self.declaration, self.password)

    def keepalived_conf(self, director: str, without: Left = frozenset()) -> File:
        """keepalived.conf of one director, without the given servers in the given services."""
        model = configuration(self.declaration, director, self.password, without)
        values = {"configuration": model, "cluster": self.declaration.name, "contract": self.contract}
        return File(
            "/etc/keepalived/keepalived.conf",
            guarded_text(self.render("keepalived.conf.j2", values)),
            mode=0o600 if self.password else 0o644,
            secret=self.password is not None,
            guarded=True,
        )

    def footprint(self, host: str, modes: AbstractSet[Mode]) -> Footprint:
        """All that `host` must carry so that every one of `modes` works there."""
        key = (host, frozenset(modes))
        if key not in self._made:
            parts = self._director(host, modes) if self.role(host) is Role.DIRECTOR else self._real_server(host, modes)
            self._made[key] = tuple(sorted(parts, key=lambda part: list(Thing).index(part.thing)))
        return self._made[key]

    def known(self, host: str) -> Footprint:
        """All that a declaration of these hosts could have left on `host`: by any mode, by each of nat's return paths, and the
        health service also where nobody asks for it now. What of it is there and not wanted is a leftover.
        """
        key = (host, frozenset[Mode]())
        if key not in self._made:
            d = self.declaration
            ways = [d.model_copy(update={"nat": d.nat.model_copy(update={"return_path": way})}) for way in ReturnPath]
            footprints = [Blueprint(way, self.render, self.password).footprint(host, ALL_MODES) for way in ways]
            health = () if self.role(host) is Role.DIRECTOR else (self._clustercheck(),)
            self._made[key] = merged([part for footprint in (*footprints, health) for part in footprint])
        return self._made[key]

    def role(self, host: str) -> Role:
        return Role.DIRECTOR if host in self.declaration.director else Role.REAL_SERVER

    def _real_server(self, name: str, modes: AbstractSet[Mode]) -> Iterator[Part]:
        if self.declaration.vips and modes & {Mode.DR, Mode.TUN}:
            yield self._arp()
        if Mode.TUN in modes and self.declaration.vips:
            yield self._tunnel()
        if self.declaration.vips and modes & {Mode.DR, Mode.TUN}:
            yield self._virtual_addresses(modes)
        if Mode.NAT in modes and self.declaration.nat.return_path is not ReturnPath.SNAT:
            yield self._return_path(name)
        if self.declaration.clustercheck_wanted:
            yield self._clustercheck()

    def _director(self, name: str, modes: AbstractSet[Mode]) -> Iterator[Part]:
        yield self._connection_table()
        if Mode.NAT in modes:
            yield self._forwarding(name)
            yield self._masquerade(name)
        yield self._keepalived(name)

    # Real servers

    def _arp(self) -> Part:
        # Kernel: Documentation/networking/ip-sysctl.rst. On `all`: each interface uses the larger of its own and this.
        sysctls = {"net.ipv4.conf.all.arp_ignore": 1, "net.ipv4.conf.all.arp_announce": 2}
        return Part(Thing.ARP, sysctls=sysctls, files=(self._sysctl_file("arp", sysctls),))

    def _tunnel(self) -> Part:
        # Packets leave the tunnel with a client's address that is not reachable through tunl0: any reverse path filter drops
        # them, silently. The larger of `all` and the interface counts.
        sysctls = {"net.ipv4.conf.all.rp_filter": 0, "net.ipv4.conf.tunl0.rp_filter": 0}
        return Part(
            Thing.TUNNEL,
            modules=("ipip",),
            links=(Link("tunl0", "ipip"),),
            sysctls=sysctls,
            files=(self._modules_file("tunnel", ("ipip",)), self._sysctl_file("tunnel", sysctls)),
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
        unit_file, unit = self._service(
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

    def _clustercheck(self) -> Part:
        d = self.declaration
        arguments = [f"--port={CLUSTERCHECK_PORT}", f"--socket={d.clustercheck.socket}"]
        arguments += [f"--allow={director.address}" for director in d.director.values()]
        arguments += ["--allow=127.0.0.1"]
        arguments += ["--serve-donor"] if d.clustercheck.serve_donor else []
        program = File(f"{LIBRARY}/clustercheck", self.render("clustercheck.py", {}), mode=0o755)
        values = {"program": program.path, "arguments": arguments, "user": "clustercheck"}
        unit_file, unit = self._service("lbctl-clustercheck", "clustercheck.service.j2", values, program)
        return Part(
            Thing.CLUSTERCHECK,
            packages=("python3",),
            users=("clustercheck",),
            database_users=("clustercheck",),
            files=(program, unit_file),
            units=(unit,),
        )

    # Directors

    def _connection_table(self) -> Part:
        # Documentation/networking/ipvs-sysctl.rst. expire_nodest_conn: a client of a dead server gets a reset instead of a
        # hang; expire_quiescent_template: and a persistent one is sent to a live server.
        sysctls = {"net.ipv4.vs.expire_nodest_conn": 1, "net.ipv4.vs.expire_quiescent_template": 1}
        if self.declaration.nat.return_path is ReturnPath.SNAT:
            sysctls["net.ipv4.vs.conntrack"] = 1
        return Part(
            Thing.KERNEL,
            modules=("ip_vs",),
            sysctls=sysctls,
            files=(self._modules_file("director", ("ip_vs",)), self._sysctl_file("director", sysctls)),
        )

    def _forwarding(self, name: str) -> Part:
        interface = self.declaration.director[name].interface
        sysctls = {
            "net.ipv4.ip_forward": 1,
            # Both: a redirect is sent if either is on, and servers are on the network that they are forwarded to.
            "net.ipv4.conf.all.send_redirects": 0,
            _of_interface(interface, "send_redirects"): 0,
        }
        return Part(Thing.FORWARDING, sysctls=sysctls, files=(self._sysctl_file("forwarding", sysctls),))

    def _masquerade(self, name: str) -> Part:
        d = self.declaration
        services = sorted({(s.protocol, s.server_port or s.port) for s in d.service.values()})
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
        unit_file, unit = self._service("lbctl-masquerade", "masquerade.service.j2", {"program": program.path}, program)
        return Part(Thing.MASQUERADE, packages=("iptables",), chains=chains, files=(program, unit_file), units=(unit,))

    def _untracked(self, name: str) -> tuple[Chain, Chain]:
        """What the director itself says to servers and peers, and hears from them, stays out of the kernel's list of connections.

        Masquerading makes the kernel list every connection that it sees, for two minutes after its end. Health checks alone fill
        the list of a small machine; then nothing new is let through, VRRP's advertisements neither, and both directors become
        active (seen with 192 MB: room for 1536, and 2880 checks in two minutes).
        """
        d = self.declaration
        services = {service.server_port or service.port for service in d.service.values()}
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

    def _keepalived(self, name: str) -> Part:
        conf = self.keepalived_conf(name)
        drop_in = File("/etc/systemd/system/keepalived.service.d/lbctl.conf", self.render("keepalived.drop-in.j2", {}))
        return Part(
            Thing.KEEPALIVED,
            packages=("keepalived", "ipvsadm"),
            files=(drop_in, conf),
            units=(Unit("keepalived.service", revision=conf.sha256, reload=True, ours=False),),
        )

    # Files that several things need

    def _sysctl_file(self, name: str, sysctls: Mapping[str, int]) -> File:
        # 90: after Debian's own 50-default.conf, whose rp_filter = 2 would drop tunnelled packets.
        return File(f"/etc/sysctl.d/90-lbctl-{name}.conf", self.render("sysctl.conf.j2", {"sysctls": sysctls}))

    def _modules_file(self, name: str, modules: tuple[str, ...]) -> File:
        return File(f"/etc/modules-load.d/lbctl-{name}.conf", self.render("modules.conf.j2", {"modules": modules}))

    def _service(self, name: str, template: str, values: Mapping[str, Any], *programs: File) -> tuple[File, Unit]:
        """A unit of our own: its file, and the unit with the revision that the file makes it announce when it starts."""
        texts = [self.render(template, {**values, "revision": ""}), *(program.text for program in programs)]
        revision = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
        text = self.render(template, {**values, "revision": revision})
        return File(f"/etc/systemd/system/{name}.service", text), Unit(f"{name}.service", revision)


def merged(parts: Iterable[Part]) -> Footprint:
    """One part for each thing, with what all of its versions consist of. Of a file the first version stays."""
    things: dict[Thing, list[Part]] = {}
    for part in parts:
        things.setdefault(part.thing, []).append(part)
    return tuple(_merged(thing, things[thing]) for thing in Thing if thing in things)


def _merged(thing: Thing, versions: list[Part]) -> Part:
    def each(name: str) -> tuple[Any, ...]:
        items = {
            getattr(item, "path", item): item for part in reversed(versions) for item in reversed(getattr(part, name))
        }
        return tuple(reversed(items.values()))

    names = (
        "packages",
        "users",
        "modules",
        "files",
        "links",
        "addresses",
        "routes",
        "rules",
        "chains",
        "database_users",
    )
    units = {unit.name: unit for part in versions for unit in part.units}
    sysctls = {key: value for part in versions for key, value in part.sysctls.items()}
    return Part(thing, sysctls=sysctls, units=tuple(units.values()), **{name: each(name) for name in names})


def _of_interface(interface: str, setting: str) -> str:
    """A key of one interface; in slashes where its name has a dot (sysctl.d(5))."""
    separator = "/" if "." in interface else "."
    return separator.join(("net", "ipv4", "conf", interface, setting))


GUARD = "# Managed by lbctl: change the declaration, not this file. "


def guarded_text(body: str) -> str:
    """The body under a first line that carries its hash, by which a later edit by hand is noticed."""
    return f"{GUARD}sha256:{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
