"""What changes by the second on a host, and how it is read from what the host printed.

`cluster.observed` has all that is compared with the declaration, and takes its time; this is small, is asked often, waits for
nobody's lock, and is had from the kernel directly where lbctl runs on a director itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.history import SeenLock
from cluster.keepalived import Checker, Endpoint, checker, configuration
from cluster.observed import HostState, SeenService, UnreadableStateError, ipvs_table
from cluster.parts import Address
from cluster.vocabulary import CLUSTERCHECK_PORT

PATIENCE = 1
"""Seconds that a health check's question waits for its answer."""

Place = tuple[str, IPv4Address, int]
"""Protocol, address and port: by what the kernel knows a service."""


def place(endpoint: Endpoint) -> Place:
    return endpoint.protocol, endpoint.address, endpoint.port


@dataclass(frozen=True)
class Traffic:
    """What ipvsadm counts (ipvsadm(8), --stats), or how much of it in a second (--rate). Out: nat only; the rest goes past."""

    connections: int = 0
    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


Counters = Mapping[tuple[Place, IPv4Address, int], Traffic]
"""By service, and the address and port of a server in it."""


@dataclass(frozen=True)
class Ask:
    """A health check's question, as keepalived puts it. Without a path a connection is all that is wanted."""

    address: IPv4Address
    port: int
    path: str = ""


@dataclass(frozen=True)
class Pulse:
    """A host at one moment. What was not asked of it, or could not be had, is empty."""

    addresses: frozenset[Address] = frozenset()
    keepalived: str = ""
    """systemd's word for the state of its service."""
    priority: int | None = None
    """VRRP's, in the file that keepalived reads."""
    services: tuple[SeenService, ...] = ()
    totals: Counters = field(default_factory=dict)
    rates: Counters = field(default_factory=dict)
    answers: Mapping[Ask, str] = field(default_factory=dict)
    """What health checks are told: "200 Synced", "503 not Synced: …", "connection refused". A director asks only for servers
    that are not in its table, a real server asks itself."""
    listening: frozenset[int] | None = None
    """Real servers: ports at which somebody listens, of the services' and the health service's; None where it was not asked."""
    lock: SeenLock | None = None
    history: tuple[str, ...] = ()
    """The last change, for `cluster.history.history`."""

    def holds(self, address: IPv4Address) -> bool:
        return HostState(addresses=self.addresses).holds(address)


def asks(declaration: Declaration, director: str) -> tuple[tuple[Endpoint, str, IPv4Address, int, Ask], ...]:
    """What this director's keepalived asks: for each endpoint each server by name, its address and port there, the question."""
    return tuple(
        (
            server.endpoint,
            d.name,
            d.address,
            d.port,
            _ask(d.address, d.checker),
        )
        for server in configuration(declaration, director).virtual_servers
        for d in server.destinations
        if d.checker
    )


def own_asks(declaration: Declaration, server: str) -> tuple[Ask, ...]:
    """What this real server's clustercheck can be asked on the server itself: other checks may not listen there."""
    checks = (checker(declaration, service) for service in declaration.service.values())
    found = (_ask(declaration.real_server[server].address, check) for check in checks if check)
    return tuple(dict.fromkeys(ask for ask in found if ask.port == CLUSTERCHECK_PORT and ask.path))


def _ask(address: IPv4Address, check: Checker) -> Ask:
    return Ask(address, check.port, check.path if check.kind == "HTTP_GET" else "")


def parse(output: Iterable[str]) -> Pulse:
    """From what `facts.pulse.script` prints. Raises UnreadableStateError."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output:
        if line.startswith("#"):
            current = sections.setdefault(line[1:], [])
        else:
            current.append(line)
    if "end" not in sections:
        raise UnreadableStateError("its answer stopped half-way")
    try:
        return _pulse(sections)
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableStateError(f"its answer cannot be read ({type(error).__name__}: {error})") from error


def _pulse(sections: Mapping[str, list[str]]) -> Pulse:
    return Pulse(
        addresses=frozenset(_address(line.split()) for line in sections.get("addresses", []) if line.strip()),
        keepalived=_printable("".join(sections.get("keepalived", [])).strip()),
        priority=next((int(line) for line in sections.get("priority", []) if line.strip()), None),
        services=ipvs_table(sections.get("ipvs", [])),
        totals=counters(sections.get("totals", [])),
        rates=counters(sections.get("rates", [])),
        answers=dict(_answer(line) for line in sections.get("answers", []) if line.strip()),
        listening=_ports(sections["listening"]) if "listening" in sections else None,
        lock=SeenLock.among(sections.get("cluster-lock", [])),
        history=tuple(sections.get("history", [])),
    )


def _address(words: list[str]) -> Address:
    """From `ip -4 -o addr show`: "2: eth0    inet 10.0.0.10/32 scope global eth0"."""
    return Address(words[1], IPv4Address(words[3].split("/")[0]))


def counters(lines: Iterable[str]) -> Counters:
    """From `ipvsadm -Ln --stats --exact`, or with --rate: a line for each service, and under it one for each server."""
    found: dict[tuple[Place, IPv4Address, int], Traffic] = {}
    service: Place | None = None
    for words in (line.split() for line in lines):
        if words[:1] in (["TCP"], ["UDP"]):
            service = (words[0].lower(), *_point(words[1]))
        elif words[:1] == ["->"] and service and words[2:3] and words[2].isdigit():
            found[(service, *_point(words[1]))] = Traffic(*map(int, words[2:7]))
        elif words[:1] != ["->"]:
            service = None  # a mark of the firewall's, or another kind that is none of ours
    return found


def _point(text: str) -> tuple[IPv4Address, int]:
    address, _, port = text.rpartition(":")
    return IPv4Address(address), int(port)


def _answer(line: str) -> tuple[Ask, str]:
    address, port, path, *rest = line.split(" ", 3)
    return Ask(IPv4Address(address), int(port), "" if path == "-" else path), _printable("".join(rest).strip())


def _printable(text: str) -> str:
    # What cannot be printed could move the cursor of a terminal, and make a dead server look alive.
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def _ports(lines: Iterable[str]) -> frozenset[int]:
    return frozenset(int(line.split()[3].rpartition(":")[2]) for line in lines if line.strip())
