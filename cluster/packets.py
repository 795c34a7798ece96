"""The packets of one connection as hosts saw them: what `facts.capture`'s shell prints, read.

A host sees a packet before any of its filters when it comes in, and after all of them when it goes out (packet(7)): seen and not
answered is another thing than not seen.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Self

from cluster.errors import HostError
from cluster.observed import SeenService, ipvs_table


class Direction(StrEnum):
    """Of a packet, as its host sees it."""

    IN = "in"
    OUT = "out"
    PASSING = "passing"
    """For another MAC address: a switch that does not know the way sends it to all (packet(7), PACKET_OTHERHOST)."""


@dataclass(frozen=True)
class Frame:
    """A packet's headers, as they were."""

    host: str
    seconds: float
    """Since the epoch, by the host's own clock."""
    interface: str
    direction: Direction
    ethernet: bool
    data: bytes = field(repr=False)

    @property
    def macs(self) -> tuple[str, str]:
        """Of the sender and the receiver; empty in a tunnel."""
        return (_mac(self.data[6:12]), _mac(self.data[:6])) if self.ethernet else ("", "")

    @property
    def network(self) -> bytes:
        return self.data[14:] if self.ethernet else self.data


@dataclass(frozen=True)
class Packet:
    """TCP."""

    frame: Frame
    source: IPv4Address
    source_port: int
    target: IPv4Address
    target_port: int
    flags: frozenset[str]
    payload: int
    """Bytes."""
    tunnel: tuple[IPv4Address, IPv4Address] | None = None
    """From and to, in the outer header of an IPIP packet."""
    identity: tuple[int, int, int] = (0, 0, 0)
    """Its number in the IP header, of its sequence and of what it acknowledges."""

    @property
    def kind(self) -> str:
        """In a word or two, as people say it."""
        if "RST" in self.flags:
            return "RST"
        if "SYN" in self.flags:
            return "SYN-ACK" if "ACK" in self.flags else "SYN"
        if self.payload:
            return f"{self.payload} bytes"
        return "FIN" if "FIN" in self.flags else "ACK"

    def __str__(self) -> str:
        around = f", in IPIP {self.tunnel[0]} → {self.tunnel[1]}" if self.tunnel else ""
        return f"{self.kind} {self.source}:{self.source_port} → {self.target}:{self.target_port}{around}"


@dataclass(frozen=True)
class IcmpError:
    """What somebody says of a packet of the connection (RFC 792)."""

    frame: Frame
    source: IPv4Address
    target: IPv4Address
    kind: int
    code: int
    about: IPv4Address
    """Where the packet was to go."""

    def __str__(self) -> str:
        said = _SAID.get((self.kind, self.code)) or _KINDS.get(self.kind, f"type {self.kind}")
        return f"ICMP {said} {self.source} → {self.target}, about a packet to {self.about}"


_KINDS = {3: "unreachable", 4: "source quench", 5: "redirect", 11: "time exceeded", 12: "parameter problem"}
_SAID = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 2): "protocol unreachable",
    (3, 3): "port unreachable",
    (3, 4): "packet too large",
    (3, 9): "prohibited",
    (3, 10): "prohibited",
    (3, 13): "prohibited",
}


@dataclass(frozen=True)
class Arp:
    """RFC 826."""

    frame: Frame
    question: bool
    sender: IPv4Address
    sender_mac: str
    target: IPv4Address


@dataclass(frozen=True)
class Interface:
    """A network device."""

    mac: str
    up: bool


@dataclass(frozen=True)
class Capture:
    """All that one host saw, and what else there says where a packet can go."""

    host: str
    packets: tuple[Packet, ...] = ()
    errors: tuple[IcmpError, ...] = ()
    arps: tuple[Arp, ...] = ()
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    addresses: Mapping[IPv4Address, str] = field(default_factory=dict)
    """Interfaces by address."""
    neighbours: Mapping[IPv4Address, str] = field(default_factory=dict)
    """MACs by address; empty where nobody answered."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """By their path under /proc/sys/net/ipv4."""
    listens: tuple[tuple[IPv4Address, int], ...] = ()
    """Where somebody listens for TCP."""
    table: tuple[SeenService, ...] = ()
    lost: int = 0
    """Packets that the kernel could not hand over."""
    unable: str = ""
    """Why it saw no packets: it was not allowed to."""

    @property
    def macs(self) -> frozenset[str]:
        # A tunnel has an IP address in that place.
        return frozenset(each.mac for each in self.interfaces.values() if ":" in each.mac) - {_NO_MAC}

    def frames(self) -> list[Frame]:
        """All, by their time."""
        seen: list[Packet | IcmpError | Arp] = [*self.packets, *self.errors, *self.arps]
        return sorted((each.frame for each in seen), key=lambda frame: frame.seconds)

    def unanswered(self, address: IPv4Address) -> bool:
        """Whether it asked by ARP for the address, and nobody said anything."""
        asked = any(a.question and a.target == address and a.frame.direction is Direction.OUT for a in self.arps)
        told = any(not a.question and a.sender == address and a.frame.direction is Direction.IN for a in self.arps)
        return asked and not told


@dataclass(frozen=True)
class Attempt:
    """The connection, as the client saw it."""

    word: str
    """connected, refused, timeout, reset, unreachable, closed or silent (after it was connected), failed."""
    port: int = 0
    why: str = ""
    said: bytes = b""
    """What the server said first."""

    @property
    def connected(self) -> bool:
        return self.word in {"connected", "closed", "silent"}

    @property
    def greeting(self) -> str:
        """What a MySQL server said (its version, or an error), in words; empty if that was not MySQL's protocol."""
        payload = self.said[4:]
        if payload[:1] == b"\x0a":  # Protocol::HandshakeV10
            # MariaDB 10 puts that before its version, for replicas of old (sql/mysqld.h, RPL_VERSION_HACK).
            return payload[1:].split(b"\0")[0].decode("ascii", "replace").removeprefix("5.5.5-")
        if payload[:1] == b"\xff":  # ERR_Packet
            return payload[3:].decode("utf-8", "replace")
        return ""


_NO_MAC = "00:00:00:00:00:00"
_ETHERNET = frozenset({1, 772})
"""ARPHRD_ETHER, ARPHRD_LOOPBACK (linux/if_arp.h)."""
_OUTGOING, _OTHERHOST = 4, 3
"""PACKET_* (linux/if_packet.h)."""
_TCP, _IPIP, _ICMP = 6, 4, 1
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK")


@dataclass
class _Read:
    """Words of lines, by their first word."""

    host: str
    lines: dict[str, list[list[str]]]

    @classmethod
    def of(cls, host: str, output: Iterable[str]) -> Self:
        lines: dict[str, list[list[str]]] = {}
        for words in map(str.split, output):
            if words:
                lines.setdefault(words[0], []).append(words[1:])
        return cls(host, lines)

    def __getitem__(self, kind: str) -> list[list[str]]:
        return self.lines.get(kind, [])


def parse(host: str, output: Iterable[str]) -> Capture:
    """From what a capture printed. Raises HostError if it stopped half-way or cannot be read."""
    text = list(output)
    read = _Read.of(host, text)
    if "end" not in read.lines:
        raise HostError("its capture stopped half-way")
    try:
        return _capture(read, [line[len("table ") :] for line in text if line.startswith("table ")])
    except (ValueError, IndexError, struct.error) as error:
        raise HostError(f"its capture cannot be read ({type(error).__name__}: {error})") from error


def attempt(output: Iterable[str]) -> Attempt:
    """From what the client's machine printed. Raises HostError."""
    read = _Read.of("", output)
    if not read["attempt"]:
        raise HostError("the client could not be used: it did not say what became of the connection")
    word, _, port, *why = read["attempt"][0]
    said = bytes.fromhex(read["said"][0][0]) if read["said"] else b""
    return Attempt(word, int(port), " ".join(why), said)


def _capture(read: _Read, table: list[str]) -> Capture:
    seen = [_decoded(_frame(read.host, words)) for words in read["packet"]]
    return Capture(
        host=read.host,
        packets=tuple(each for each in seen if isinstance(each, Packet)),
        errors=tuple(each for each in seen if isinstance(each, IcmpError)),
        arps=tuple(each for each in seen if isinstance(each, Arp)),
        interfaces={name: Interface(mac, up == "up") for name, mac, up in read["interface"]},
        addresses={IPv4Address(address): name for name, address in read["address"]},
        neighbours={IPv4Address(address): mac.replace("-", "") for address, mac, _ in read["neighbour"]},
        settings={name: value for name, value, *_ in read["setting"]},
        listens=tuple((IPv4Address(address), int(port)) for address, port in read["listens"]),
        table=tuple(ipvs_table(table)),
        lost=sum(int(words[0]) for words in read["lost"]),
        unable=" ".join(word for words in read["unable"] for word in words),
    )


def _frame(host: str, words: list[str]) -> Frame:
    seconds, interface, link, direction, data = words
    way = {_OUTGOING: Direction.OUT, _OTHERHOST: Direction.PASSING}.get(int(direction), Direction.IN)
    return Frame(host, float(seconds), interface, way, int(link) in _ETHERNET, bytes.fromhex(data))


def _decoded(frame: Frame) -> Packet | IcmpError | Arp | None:
    if frame.ethernet and frame.data[12:14] == b"\x08\x06":
        _, _, _, _, operation, mac, sender, _, target = struct.unpack("!HHBBH6s4s6s4s", frame.network[:28])
        return Arp(frame, operation == 1, IPv4Address(sender), _mac(mac), IPv4Address(target))
    ip = _Ip.of(frame.network)
    if ip.protocol == _IPIP:
        inner = _Ip.of(ip.rest)
        return _tcp(frame, inner, (ip.source, ip.target)) if inner.protocol == _TCP else None
    if ip.protocol == _ICMP:
        return IcmpError(frame, ip.source, ip.target, ip.rest[0], ip.rest[1], _Ip.of(ip.rest[8:]).target)
    return _tcp(frame, ip) if ip.protocol == _TCP else None


def _tcp(frame: Frame, ip: "_Ip", tunnel: tuple[IPv4Address, IPv4Address] | None = None) -> Packet:
    source, target, sequence, acknowledged, offset, flags = struct.unpack("!HHIIBB", ip.rest[:14])
    words = frozenset(name for bit, name in enumerate(_FLAGS) if flags >> bit & 1)
    payload = ip.length - ip.header - (offset >> 4) * 4
    identity = (ip.number, sequence, acknowledged)
    return Packet(frame, ip.source, source, ip.target, target, words, payload, tunnel, identity)


@dataclass(frozen=True)
class _Ip:
    """RFC 791, 3.1."""

    header: int
    length: int
    number: int
    protocol: int
    source: IPv4Address
    target: IPv4Address
    rest: bytes

    @classmethod
    def of(cls, data: bytes) -> Self:
        first, length, number, protocol, source, target = struct.unpack("!BxHH3xB2x4s4s", data[:20])
        header = (first & 15) * 4
        return cls(header, length, number, protocol, IPv4Address(source), IPv4Address(target), data[header:])


def _mac(data: bytes) -> str:
    return data.hex(":")
