"""Rules of a declaration that look at several keys at once: each says what is wrong, why, and what to write."""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.units import duration
from cluster.vocabulary import CLUSTERCHECK_PORT, Mode, ReturnPath

Key = tuple[str, ...]
Problem = tuple[Key, str]
"""The key to point at, and the message."""

Rule = Callable[[Declaration], Iterator[Problem]]
_RULES: list[Rule] = []

MAX_PASSWORD = 8
"""VRRP version 2 has eight octets for a password (RFC 2338, 5.3.6); keepalived cuts what is longer."""


def _rule(function: Rule) -> Rule:
    _RULES.append(function)
    return function


def problems(declaration: Declaration) -> list[Problem]:
    """Everything that is wrong, in the order of the rules below; empty when all is well."""
    return [problem for rule in _RULES for problem in rule(declaration)]


def password_problem(password: str) -> str | None:
    """What is wrong with a VRRP password; None if nothing is. The text never repeats it."""
    if not password:
        return "the VRRP password is empty"
    if len(password) > MAX_PASSWORD:
        return (
            f"the VRRP password has {len(password)} characters; VRRP 2 carries {MAX_PASSWORD} (keepalived would cut it "
            "silently, and a director that reads it whole would reject the others): shorten it"
        )
    if not password.isascii() or not password.isprintable() or any(c in password for c in " \"'#!\\{}$"):
        return (
            "the VRRP password has a blank or one of \" ' # ! \\ { } $, which keepalived.conf reads as something else"
        )
    return None


@_rule
def _addresses_of_services(d: Declaration) -> Iterator[Problem]:
    for name, service in d.service.items():
        if d.mode is not Mode.NAT and service.vip is None:
            yield (
                ("service", name),
                f"mode {d.mode} needs a vip: it cannot change ports, so each service needs an address",
            )
        if d.mode is Mode.NAT and service.vip is None and service.nat_port is None:
            yield ("service", name), "nothing to connect to: give a vip, a nat_port, or both"
        if d.mode is not Mode.NAT and service.server_port not in {None, service.port}:
            yield (
                ("service", name, "server_port"),
                f"{service.server_port} differs from port {service.port}, and mode {d.mode} cannot change ports: "
                "make them equal or use mode nat",
            )
        if (
            service.protocol == "udp"
            and service.check.clustercheck_path is None
            and service.check not in {"none", "http"}
        ):
            yield ("service", name, "check"), 'a UDP port cannot be checked by TCP: use check = "http" or "none"'


@_rule
def _two_services_on_one_address(d: Declaration) -> Iterator[Problem]:
    seen: dict[tuple[object, ...], str] = {}
    for name, service in d.service.items():
        for key, endpoint in (("vip", (service.vip, service.port)), ("nat_port", ("gateway", service.nat_port))):
            if None in endpoint:
                continue
            other = seen.setdefault((*endpoint, service.protocol), name)
            if other != name:
                yield ("service", name, key), f"service {other} has the same address and port: give each its own"


@_rule
def _virtual_addresses(d: Declaration) -> Iterator[Problem]:
    owners = {address: f"host {name}" for name, address in d.addresses().items()}
    places: list[tuple[Key, IPv4Address]] = [
        (("service", name, "vip"), service.vip) for name, service in d.service.items() if service.vip
    ]
    if d.nat.gateway:
        places.append((("nat", "gateway"), d.nat.gateway))
    for key, address in places:
        if address in owners:
            yield key, f"{address} is the address of {owners[address]}: a virtual address must be free"
        if address not in d.network or address in {d.network.network_address, d.network.broadcast_address}:
            yield key, f"{address} is not a host address in network {d.network}: routers and clients would not find it"
    if d.nat.gateway in d.vips:
        yield (
            ("nat", "gateway"),
            f"{d.nat.gateway} is also a vip; servers that carry it cannot use it as gateway: take another free address",
        )


@_rule
def _addresses_of_hosts(d: Declaration) -> Iterator[Problem]:
    for name, director in d.director.items():
        if director.address not in d.network:
            yield ("director", name, "address"), f"{director.address} is not in network {d.network}, where the VIPs are"
    for name, server in d.real_server.items():
        if server.address not in d.network and d.mode is not Mode.TUN:
            message = f"{server.address} is not in network {d.network}; only mode tun reaches servers beyond a router"
            yield ("real_server", name, "address"), message
    for name in d.director.keys() & d.real_server.keys():
        yield (
            ("director", name),
            f"{name} is also a real server: LVS cannot forward to its own host here; use two machines",
        )


@_rule
def _doubled_addresses(d: Declaration) -> Iterator[Problem]:
    hosts: list[tuple[Key, IPv4Address]] = [
        (("director", name, "address"), h.address) for name, h in d.director.items()
    ]
    hosts += [(("real_server", name, "address"), h.address) for name, h in d.real_server.items()]
    for key, address in hosts:
        others = [other[:2] for other, same in hosts if same == address and other != key]
        if others:
            machine = "; a real server cannot be a director" if any(kind != key[0] for kind, _ in others) else ""
            whose = ", ".join(".".join(other) for other in others)
            yield key, f"{address} is also the address of {whose}: give each its own{machine}"


@_rule
def _directors(d: Declaration) -> Iterator[Problem]:
    seen: dict[int, str] = {}
    for name, director in d.director.items():
        other = seen.setdefault(director.priority, name)
        if other != name:
            yield (
                ("director", name, "priority"),
                f"{director.priority} is also the priority of {other}: give each its own, the higher one is preferred",
            )


@_rule
def _vrrp(d: Declaration) -> Iterator[Problem]:
    if d.vrrp.version == 3 and d.vrrp.password:  # noqa: PLR2004 (VRRP version)
        yield ("vrrp", "password"), "VRRP 3 has no passwords (RFC 5798, 9): leave it out, or set version = 2"
    if d.vrrp.version == 2 and d.vrrp.advertise_every != int(d.vrrp.advertise_every):  # noqa: PLR2004
        yield ("vrrp", "advertise_every"), "VRRP 2 advertises in whole seconds: 1s or more, or set version = 3"
    if not 0.01 <= d.vrrp.advertise_every <= 40:  # noqa: PLR2004 (RFC 5798, 5.2.7: 12 bits of centiseconds)
        yield ("vrrp", "advertise_every"), f"{duration(d.vrrp.advertise_every)} must lie between 10ms and 40s"
    if d.vrrp.announce_every < 1 or d.vrrp.announce_every != int(d.vrrp.announce_every):
        yield ("vrrp", "announce_every"), "keepalived repeats announcements in whole seconds: 1s or more"
    if d.vrrp.preempt and d.vrrp.preempt_delay > 1000:  # noqa: PLR2004 (keepalived.conf(5))
        yield ("vrrp", "preempt_delay"), "keepalived takes at most 1000 seconds"


@_rule
def _nat(d: Declaration) -> Iterator[Problem]:
    if d.mode is not Mode.NAT or d.nat.return_path is ReturnPath.SNAT:
        return
    if len(d.director) > 1 and d.nat.gateway is None:
        yield (
            ("nat", "gateway"),
            "with more than one director replies need a gateway address that floats between them: "
            "set nat.gateway to a free address of the network",
        )


@_rule
def _router(d: Declaration) -> Iterator[Problem]:
    if d.router and (d.router not in d.network or d.router in {*d.addresses().values(), *d.vips, d.nat.gateway}):
        yield ("router",), f"{d.router} must be an address in {d.network}, and none of the cluster's own"
    beyond = [str(net) for net in d.nat.direct if not net.subnet_of(d.network)]
    if beyond and not d.router:
        yield ("nat", "direct"), f"{', '.join(beyond)} is beyond {d.network}: say through which router answers go there"


@_rule
def _connections(d: Declaration) -> Iterator[Problem]:
    c = d.connections
    for key in ("idle", "closing", "udp", "keepalive", "keepalive_retry", "copy_every"):
        value, least = getattr(c, key), int(key != "keepalive")
        if value != int(value) or not least <= value <= 2_000_000:  # noqa: PLR2004 (a kernel of 1000 ticks a second: 24 days)
            yield ("connections", key), f"whole seconds from {least} to 2000000"
    if c.keepalive and c.keepalive + c.keepalive_retry >= c.idle:
        yield (
            ("connections", "keepalive"),
            "keepalive and keepalive_retry together must be shorter than idle: "
            "directors would forget a silent connection before its server asks",
        )


@_rule
def _ports_of_the_directors_themselves(d: Declaration) -> Iterator[Problem]:
    # Without a gateway a nat_port is served on the director's own address, and LVS takes every connection to it.
    logins = {(own or d.ssh).port for own in (director.ssh for director in d.director.values())}
    if d.metrics.enabled and d.metrics.port in logins:
        yield ("metrics", "port"), f"{d.metrics.port} is the directors' SSH port: take another"
    for name, service in d.service.items():
        if d.metrics.enabled and d.nat.gateway is None and service.nat_port == d.metrics.port:
            yield (
                ("service", name, "nat_port"),
                f"{service.nat_port} is metrics.port, which the directors answer at the same address: take another",
            )
        if d.nat.gateway is None and service.protocol == "tcp" and service.nat_port in logins:
            yield (
                ("service", name, "nat_port"),
                f"{service.nat_port} is the directors' SSH port, and nobody could log in any more: take another",
            )


@_rule
def _weights(d: Declaration) -> Iterator[Problem]:
    if not any(server.share for server in d.real_server.values()):
        yield ("real_server",), "all are drained or of weight 0: nobody would be served; leave at least one in rotation"


@_rule
def _persistence(d: Declaration) -> Iterator[Problem]:
    for name, service in d.service.items():
        if not service.persistence:
            continue
        bits = int(service.persistence.granularity)
        inverted = bits ^ 0xFFFFFFFF
        if inverted & (inverted + 1):
            yield (
                ("service", name, "persistence"),
                f"granularity {service.persistence.granularity} is no network mask, such as 255.255.255.0, or 0.0.0.0 for all",
            )
        if service.persistence.timeout < 1 or service.persistence.timeout != int(service.persistence.timeout):
            yield ("service", name, "persistence"), "timeout is in whole seconds, at least 1"
        if service.scheduler == "fo":
            yield (
                ("service", name, "persistence"),
                'scheduler "fo" sends all to one server already: leave persistence out',
            )


@_rule
def _logins(d: Declaration) -> Iterator[Problem]:
    if d.ssh.host:
        yield ("ssh", "host"), f'is for one host: write ssh = {{ host = "{d.ssh.host}" }} in its own table'


@_rule
def _clustercheck(d: Declaration) -> Iterator[Problem]:
    for name, service in d.service.items():
        if d.clustercheck_wanted and CLUSTERCHECK_PORT in {service.port, service.server_port}:
            yield ("service", name, "port"), f"{CLUSTERCHECK_PORT} is clustercheck's on the real servers: take another"
        if service.check != "http" and service.check_path != "/":
            yield ("service", name, "check_path"), 'belongs to check = "http"'


@_rule
def _health(d: Declaration) -> Iterator[Problem]:
    for key in ("every", "timeout"):
        if not 0.1 <= getattr(d.health, key) <= 3600:  # noqa: PLR2004 (below, checks would eat the directors)
            yield ("health", key), f"{duration(getattr(d.health, key))} must lie between 100ms and 1h"
