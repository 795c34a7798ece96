"""What was seen on a host, in the words of `cluster.parts`, and how it is read from what the host printed: sections, each under a
line `#NAME`, and `#end` last. Output without the end is an error, never a default.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from cluster.errors import HostError
from cluster.history import SeenLock
from cluster.keepalived import Endpoint
from cluster.listening import SeenBind, SeenListener, bind, ipv4_end, listeners
from cluster.parts import SINGLE, Address, Chain, Route, Rule
from cluster.routing import has_number, seen_route, seen_rule
from cluster.vocabulary import BootFiles, Mode


@dataclass(frozen=True)
class SeenFile:
    """A file that is ours, or stands in a place of ours. `sha256` of the content."""

    sha256: str
    mode: int
    owner: str
    modified: int
    """Seconds since the epoch."""
    guard: str | None = None
    cluster: str = ""
    """Guarded files: `guard` is None without our first line, else "kept" or "edited"; `cluster`: for which it was written."""


@dataclass(frozen=True)
class SeenLink:
    """A network device."""

    up: bool
    kind: str
    received_packets: int
    mtu: int = 0
    """The largest packet that it sends, in bytes."""


@dataclass(frozen=True)
class SeenUnit:
    """A systemd service. `revision`: what it says it was started or reloaded with; None where it says nothing."""

    active: bool
    enabled: bool
    stale: bool
    """systemd has not yet read the unit's file as it now is."""
    revision: str | None
    state: str = ""
    contract: str | None = None
    """keepalived: the hash of what its peers must agree on, in the configuration that it runs."""


@dataclass(frozen=True)
class SeenDestination:
    """A line of the IPVS table under a service."""

    address: IPv4Address
    port: int
    mode: Mode
    weight: int
    active: int
    inactive: int


@dataclass(frozen=True)
class SeenService:
    """A service of the IPVS table."""

    endpoint: Endpoint
    scheduler: str
    persistence: int | None
    granularity: IPv4Address | None
    destinations: tuple[SeenDestination, ...]


@dataclass(frozen=True)
class Connection:
    """An established connection to a service of this server."""

    local: IPv4Address
    """The server's own end: its own address, or a VIP."""
    peer: IPv4Address
    port: int = 0
    """Of the peer."""


@dataclass(frozen=True)
class ForeignLine:
    """A line of a file that is not ours, by which something is done at the next boot."""

    path: str
    number: int
    text: str


@dataclass(frozen=True)
class HostState:
    """All that was asked of one host at one moment."""

    files: Mapping[str, SeenFile] = field(default_factory=dict)
    half_written: frozenset[str] = frozenset()
    """What runs that were cut short left beside files of ours: halves of new ones (`cluster.parts.staged_path`)."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Values by their path under /proc/sys."""
    before: Mapping[str, str] = field(default_factory=dict)
    """Values from before our first change, by key."""
    records: bool = False
    """Whether we keep records there (`cluster.parts.RECORDS`)."""
    packages: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    links: Mapping[str, SeenLink] = field(default_factory=dict)
    addresses: frozenset[Address] = frozenset()
    wider: frozenset[Address] = frozenset()
    """Those with the length of their network: the host's own, and what others than lbctl let float. Nothing of ours."""
    rules: tuple[Rule, ...] = ()
    routes: frozenset[Route] = frozenset()
    table_names: Mapping[int, str] = field(default_factory=dict)
    """Names of those tables that ours have the numbers of (rt_tables): `ip` says them instead of the numbers."""
    chains: tuple[Chain, ...] = ()
    units: Mapping[str, SeenUnit] = field(default_factory=dict)
    database_users: frozenset[str] | None = frozenset()
    """Of those that are asked about; None where the database answers, and does not say (a node that is cut off)."""
    database: str = ""
    """"up", "down", or "" where it was not asked."""
    galera: Mapping[str, str] = field(default_factory=dict)
    """wsrep_on, wsrep_cluster_address, and by what a node's health is told; empty where the database did not answer."""
    listeners: tuple[SeenListener, ...] | None = None
    """Real servers: who listens at the services' ports; None where it was not asked."""
    bind: SeenBind | None = None
    """What a MySQL was told that listens at single addresses."""
    local: frozenset[IPv4Address] = frozenset()
    """All IPv4 addresses of the host."""
    services: tuple[SeenService, ...] = ()
    boot_files: BootFiles | None = BootFiles.IFUPDOWN
    """Who looks after the host's interface; None: neither of the two."""
    network_file: str = ""
    """The name of the .network file that systemd-networkd took for the interface; empty where it does not look after it."""
    keeps_all: bool = False
    """Whether that file or somebody's drop-in to it says KeepConfiguration=yes, which is more than ours does."""
    leased: frozenset[IPv4Address] = frozenset()
    """Addresses that the host has for a time (DHCP)."""
    interfaces: tuple[ForeignLine, ...] = ()
    """Of ifupdown's files: /etc/network/interfaces and those beside it. `source`, stanzas and hooks."""
    later: tuple[ForeignLine, ...] = ()
    """Of sysctl files that are read after ours: settings."""
    established: tuple[Connection, ...] = ()
    """Established connections to this server's services, and those about to be."""

    daemon_args: str = ""
    """Directors: what keepalived is started with (`cluster.parts.DAEMON_ARGS`)."""
    lock: SeenLock | None = None
    """Directors: the cluster's lock, if somebody holds it."""
    history: tuple[str, ...] = ()
    """Directors: the last change, for `cluster.history.history`."""

    def holds(self, address: IPv4Address) -> bool:
        """Whether any device but a silent one of a real server has the address."""
        return self.holds_single(address) or _held(self.wider, address)

    def holds_single(self, address: IPv4Address) -> bool:
        """The same, as lbctl has it held: as an address alone, without the length of its network."""
        return _held(self.addresses, address)

    @property
    def modes(self) -> frozenset[Mode]:
        """The forwarding methods in this director's table."""
        return frozenset(d.mode for service in self.services for d in service.destinations)

    @property
    def destinations(self) -> frozenset[IPv4Address]:
        """The servers in this director's table."""
        return frozenset(d.address for service in self.services for d in service.destinations)

    @property
    def receiving(self) -> frozenset[IPv4Address]:
        """The servers that this director sends new connections to."""
        return frozenset(d.address for service in self.services for d in service.destinations if d.weight)


NETWORKD = "systemd-networkd.service"
_TRUE = {"1", "yes", "y", "true", "t", "on"}
"""systemd.syntax(7), boolean arguments."""


class BusyError(HostError):
    """An earlier run that was interrupted is still at work on the host: what would be seen there is about to change."""


class UnreadableStateError(HostError):
    """A host's answer stopped half-way or is not what was asked for."""


def _held(addresses: Iterable[Address], address: IPv4Address) -> bool:
    return any(a.address == address and a.device not in {"dummy0", "tunl0", "lo"} for a in addresses)


def parse(output: str) -> HostState:
    """The state that `output` describes. Raises UnreadableStateError, BusyError."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output.splitlines():
        if line.startswith("#"):
            current = sections.setdefault(line[1:], [])
        else:
            current.append(line)
    if "busy" in sections:
        raise BusyError("an earlier run is still at work there")
    if "end" not in sections:
        raise UnreadableStateError(
            "its answer stopped half-way", cure="run the command again; if it stays, look at the host's disk and memory"
        )
    try:
        return _state(sections)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UnreadableStateError(f"its answer cannot be read ({type(error).__name__}: {error})") from error


def _state(sections: Mapping[str, list[str]]) -> HostState:
    def words(name: str) -> list[list[str]]:
        return [line.split() for line in sections.get(name, []) if line.strip()]

    links, rules, routes = _trees("\n".join(sections["network"]))
    units = _units(sections.get("units", []), {w[0]: w[1:] for w in words("revisions") if len(w) > 1})
    inet = [(link["ifname"], i) for link in links for i in link.get("addr_info", ()) if i["family"] == "inet"]
    held = frozenset(Address(device, IPv4Address(i["local"]), i["prefixlen"]) for device, i in inet)
    networkd = units.get(NETWORKD)
    network_file = next((w[1] for w in words("boot") if w[0] == "networkd"), "") if networkd and networkd.active else ""
    ifupdown = BootFiles.IFUPDOWN if ["ifupdown"] in words("boot") else None
    database = "".join(sections.get("database", [])).strip()
    unknown = database == "up" and "database-users" not in sections
    return HostState(
        files=_files(words("files"), words("guards")),
        half_written=frozenset(w[0] for w in words("half-written")),
        sysctls=dict(line.split(":", 1) for line in sections.get("sysctls", [])),
        before={w[0]: " ".join(w[2:]) for w in words("before")},
        packages=frozenset(w[0].split(":")[0] for w in words("packages") if w[-1] == "installed"),
        users=frozenset(w[0] for w in words("users")),
        modules=frozenset(w[0] for w in words("modules")),
        links={link["ifname"]: _link(link) for link in links},
        addresses=frozenset(address for address in held if address.length == SINGLE),
        wider=frozenset(address for address in held if address.length != SINGLE),
        rules=tuple(map(seen_rule, rules)),
        routes=frozenset(map(seen_route, filter(has_number, routes))),
        table_names={int(w[0]): w[1] for w in words("table-names")},
        chains=_chains(sections.get("chains", [])),
        units=units,
        database_users=None if unknown else frozenset(w[0] for w in words("database-users")),
        database=database,
        galera={w[0]: w[1] for w in words("galera") if len(w) > 1},
        listeners=listeners(words("listening")) if "listening" in sections else None,
        bind=bind(sections.get("bind", [])),
        local=frozenset(address.address for address in held),
        services=ipvs_table(sections.get("ipvs", []), _seconds(words("persistence"))),
        boot_files=BootFiles.NETWORKD if network_file else ifupdown,
        network_file=network_file,
        keeps_all=bool(network_file) and any(w[0] == "keeps" and w[-1].lower() in _TRUE for w in words("boot")),
        leased=frozenset(IPv4Address(i["local"]) for _, i in inet if i.get("dynamic")),
        interfaces=tuple(map(_foreign_line, sections.get("interfaces", []))),
        later=tuple(map(_foreign_line, sections.get("later", []))),
        records="there" in "".join(sections.get("records", [])),
        established=_established(words("established")),
        daemon_args=next(reversed(sections.get("daemon-args", [])), "").partition("=")[2].strip(),
        lock=SeenLock.among(sections.get("cluster-lock", [])),
        history=tuple(sections.get("history", [])),
    )


def _trees(text: str) -> Iterator[list[dict[str, Any]]]:
    """The answers of `ip -j -batch`: JSON arrays, one after the other."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        tree, end = decoder.raw_decode(text)
        yield [item for item in tree if item]
        text = text[end:].lstrip()


def _files(lines: Iterable[list[str]], guards: Iterable[list[str]]) -> dict[str, SeenFile]:
    """From lines of sha256sum (2 words) and of stat (path, mode, owner, modified)."""
    guarded = {words[0]: (words[1], *words[2:3]) for words in guards}
    sums, stats = dict[str, str](), dict[str, list[str]]()
    for words in lines:
        if len(words) == 2:  # noqa: PLR2004 (sha256sum's two words)
            sums[words[1]] = words[0]
        else:
            stats[words[0]] = words[1:]
    return {
        path: SeenFile(sums[path], int(mode, 8), owner, int(modified), *guarded.get(path, ()))
        for path, (mode, owner, modified) in stats.items()
    }


def _foreign_line(line: str) -> ForeignLine:
    """From PATH:NUMBER:TEXT."""
    path, number, text = line.split(":", 2)
    return ForeignLine(path, int(number), text.strip())


def _link(link: Mapping[str, Any]) -> SeenLink:
    received = link.get("stats64", {}).get("rx", {}).get("packets", 0)
    return SeenLink("UP" in link["flags"], link.get("linkinfo", {}).get("info_kind", ""), received, link.get("mtu", 0))


def _chains(lines: Iterable[str]) -> tuple[Chain, ...]:
    """Chains of ours from iptables-save; a chain without its jump has hook ""."""
    table, rules, hooks = "", {}, {}
    for line in lines:
        words = line.split()
        if line.startswith("*"):
            table = line[1:].strip()
        elif words and words[0].startswith(":LBCTL-"):
            rules[table, words[0][1:]] = list[str]()
        elif words[:1] == ["-A"] and words[1].startswith("LBCTL-"):
            rules[table, words[1]].append(" ".join(words[2:]))
        elif words[:1] == ["-A"] and words[2:3] == ["-j"] and words[3].startswith("LBCTL-"):
            hooks[table, words[3]] = words[1]
    return tuple(Chain(table, name, hooks.get((table, name), ""), tuple(own)) for (table, name), own in rules.items())


def _units(lines: Iterable[str], revisions: Mapping[str, list[str]]) -> dict[str, SeenUnit]:
    """From `systemctl show`: paragraphs of KEY=VALUE."""
    units = {}
    for paragraph in "\n".join(lines).split("\n\n"):
        values = dict(line.split("=", 1) for line in paragraph.splitlines() if "=" in line)
        if values.get("Id"):
            units[values["Id"]] = SeenUnit(
                active=values["ActiveState"] in {"active", "reloading"},
                enabled=values.get("UnitFileState") == "enabled",
                stale=values.get("NeedDaemonReload") == "yes",
                revision=next(iter(revisions.get(values["Id"], ())), None),
                state=values["ActiveState"],
                contract=next(iter(revisions.get(values["Id"], ())[1:]), None),
            )
    return units


def _seconds(lines: Iterable[list[str]]) -> dict[str, int]:
    """How long each persistent service is so, by "-t ADDRESS:PORT", from `ipvsadm -Sn`."""
    return {" ".join(words[1:3]): int(words[words.index("-p") + 1]) for words in lines if "-p" in words}


def ipvs_table(lines: Iterable[str], seconds: Mapping[str, int] | None = None) -> tuple[SeenService, ...]:
    """The table in /proc/net/ip_vs (net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_info_seq_show): hexadecimal addresses and ports.

    The kernel counts persistence there in ticks, whose length it does not say: `seconds` are ipvsadm's.
    """
    found: list[tuple[list[str], list[SeenDestination]]] = []
    for words in (line.split() for line in lines):
        if words[:1] in (["TCP"], ["UDP"]):
            found.append((words, []))
        elif words[:1] == ["->"] and found and ":" in words[1] and words[1] != "RemoteAddress:Port":
            address, port = _hexadecimal(words[1])
            destination = SeenDestination(address, port, Mode.of(words[2]), int(words[3]), int(words[4]), int(words[5]))
            found[-1][1].append(destination)
    return tuple(_service(words, tuple(destinations), seconds or {}) for words, destinations in found)


def _service(words: list[str], destinations: tuple[SeenDestination, ...], seconds: Mapping[str, int]) -> SeenService:
    address, port = _hexadecimal(words[1])
    persistence, granularity = None, None
    if "persistent" in words:
        place = words.index("persistent")
        option = "-u" if words[0] == "UDP" else "-t"
        persistence = seconds.get(f"{option} {address}:{port}", int(words[place + 1]))
        granularity = IPv4Address(int(words[place + 2], 16))
    return SeenService(Endpoint("", address, port, words[0].lower()), words[2], persistence, granularity, destinations)


def _hexadecimal(text: str) -> tuple[IPv4Address, int]:
    address, port = text.split(":")
    return IPv4Address(int(address, 16)), int(port, 16)


def _established(lines: Iterable[list[str]]) -> tuple[Connection, ...]:
    """From `ss -Htn`: State Recv-Q Send-Q Local:Port Peer:Port. Clients that come by IPv6 come past directors."""
    ends = ((ipv4_end(words[3]), ipv4_end(words[4])) for words in lines)
    return tuple(Connection(local[0], *peer) for local, peer in ends if local and peer)
