"""What a host can carry, thing by thing: the words in which a footprint is stated, observed and compared."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from cluster.keepalived import VirtualServer
from cluster.vocabulary import BootFiles


class Thing(StrEnum):
    """One thing on a host. The order is that in which things are built; they are taken away in the opposite one."""

    NETWORKD = "networkd"
    """systemd-networkd leaves alone what it did not make. Before everything that it would take away."""
    KERNEL = "kernel"
    """Modules and settings of the connection table (directors)."""
    KEEPALIVE = "keepalive"
    """Real servers ask silent clients whether they are there, before directors forget the connection."""
    ARP = "arp"
    """Real servers keep silent about virtual addresses. Before the addresses: a server must never announce one."""
    TUNNEL = "tunnel"
    """tunl0, which unpacks what a director tunnels; and what directors do with packets too large for it."""
    SEGMENT_SIZE = "segment size"
    """Real servers ask clients for packets that fit into the tunnel."""
    VIRTUAL_ADDRESS = "virtual address"
    """Real servers accept what is sent to the VIPs."""
    RETURN_PATH = "return path"
    """NAT: answers leave through the director."""
    FORWARDING = "forwarding"
    """NAT: directors forward packets, and do not tell servers a shorter way."""
    MASQUERADE = "masquerade"
    """NAT: what servers start themselves leaves with the director's address."""
    CLUSTERCHECK = "clustercheck"
    """The health service."""
    DATABASE = "database"
    """MySQL accepts what is sent to the VIPs. After the health service, by which directors see it go and come."""
    KEEPALIVED = "keepalived"
    """VRRP, health checks and the IPVS table."""
    METRICS = "metrics"
    """Directors tell Prometheus what they are and do. Last: it tells of all the others, and nothing depends on it."""


NETWORK = tuple(
    thing for thing in Thing if thing not in {Thing.CLUSTERCHECK, Thing.DATABASE, Thing.KEEPALIVED, Thing.METRICS}
)
"""What is built in one go, in the order of `Thing`: no daemon, nothing that clients wait for."""


@dataclass(frozen=True)
class File:
    """A whole file that is ours."""

    path: str
    """`*` stands for the .network file that systemd-networkd took for the host's interface: `cluster.boot` fills it in."""
    text: str = field(repr=False)
    mode: int = 0o644
    secret: bool = False
    """The text must not be shown."""
    guarded: bool = False
    """Somebody may have edited it by hand and would miss the change: its first line carries a hash of the rest."""
    boot: BootFiles | None = None
    """Only on hosts whose network this one configures; None: on every host."""
    early: bool = False
    """Before any package is installed: the package starts a daemon that must know this."""
    successor: str = ""
    """Leftovers: the path is one that an earlier lbctl gave to a file which has this one now."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


SINGLE = 32
"""Bits of an address that is no network's, too."""


@dataclass(frozen=True)
class Link:
    """A network device that must exist and be up. `kind` "dummy" is created; "ipip" comes with its module."""

    name: str
    kind: str


@dataclass(frozen=True)
class Address:
    """An address on a device. All of ours are single ones; keepalived and people also give one the length of its network."""

    device: str
    address: IPv4Address
    length: int = SINGLE


@dataclass(frozen=True)
class Rule:
    """A routing rule; None matches anything."""

    preference: int
    table: int
    source: IPv4Address | None = None
    protocol: str | None = None
    source_port: int | None = None
    mark: int | None = None


@dataclass(frozen=True)
class Route:
    """A route in a table of ours. `destination` is "default", an address or a network."""

    table: int
    destination: str
    device: str | None = None
    via: IPv4Address | None = None
    kind: str = "unicast"
    metric: int | None = None
    advmss: int | None = None
    """The largest segment (bytes of data in a TCP packet) that this host asks those at the other end to send."""


@dataclass(frozen=True)
class Chain:
    """A netfilter chain of our own, in the words of iptables-save, reached by a jump from `hook`."""

    table: str
    name: str
    hook: str
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Listener:
    """Where the server behind a service must accept TCP connections. Its configuration is not ours."""

    address: IPv4Address
    port: int
    mysql: bool
    """It is known to be MySQL: its health is asked of clustercheck."""
    restart: bool
    """It may be restarted where that is all it needs (mysql.restart)."""
    alone: bool = False
    """Fewer than two others serve, and none while it is a donor: of a Galera node that comes back another one is."""


@dataclass(frozen=True)
class Unit:
    """A systemd service that must be enabled and run what is declared.

    `revision` names what it must have been started (or reloaded) with; the running service says its own in
    /run/lbctl/NAME. None: just running.
    """

    name: str
    revision: str | None = None
    reload: bool = False
    """It takes a new configuration by reload: a restart would cut service."""
    ours: bool = True
    """The unit file is ours; False: a package's, which is never removed."""
    lent_by: str = ""
    """A file of ours. While it stands, a package's unit runs because we want it, and stops with the rest."""
    boot: BootFiles | None = None
    """As a file's."""


@dataclass(frozen=True)
class Table:
    """What a director's table must hold, and which addresses are ours alone: any other service on them is a leftover."""

    servers: tuple[VirtualServer, ...]
    ours: frozenset[IPv4Address]


@dataclass(frozen=True)
class Part:
    """All that one thing needs on a host."""

    thing: Thing
    packages: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    sysctls: Mapping[str, int | str] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    rules: tuple[Rule, ...] = ()
    chains: tuple[Chain, ...] = ()
    units: tuple[Unit, ...] = ()
    database_users: tuple[str, ...] = ()
    table: Table | None = None
    """The IPVS table, once the units run what is declared: until then their start or reload changes it."""
    listeners: tuple[Listener, ...] = ()


Footprint = tuple[Part, ...]
"""Parts in the order of `Thing`, at most one of each."""


DAEMON_ARGS = "/etc/default/keepalived"
"""Where Debian's unit of keepalived finds DAEMON_ARGS, which ours hands on."""

KEEPALIVED_CONF = "/etc/keepalived/keepalived.conf"
"""What keepalived reads."""

RECORDS = ("/var/lib/lbctl", "/run/lbctl")
"""What we keep on a host about ourselves: how things were before, what runs, who did what."""

LOCK = "/run/lbctl.lock"
"""Held on a host by whatever changes it: a run that was interrupted may still be at work there when the next one comes."""


def staged_path(path: str) -> str:
    """Where a file's new text waits until it is whole. What is found there was left by a run that was cut short."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.lbctl"


_EXCHANGED = str.maketrans("./", "/.")


def proc_path(key: str) -> str:
    """Where a kernel setting lies under /proc/sys. As sysctl.d(5): a key in which a slash comes before any dot means what it
    says, in any other the two change places (so that the dot in eth0.100 can be written).
    """
    first = next((sign for sign in key if sign in "./"), "/")
    return key if first == "/" else key.translate(_EXCHANGED)
