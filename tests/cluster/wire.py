"""What captures on the lab's hosts print of a connection: recorded, and put together packet by packet."""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint
from cluster.packets import Attempt, Capture, attempt, parse
from cluster.reading import read
from cluster.trace import CLIENT, Case
from lab.topology import mac_of
from tests.cluster.sample import LAB

PORT = 20003
PORTS = range(20000, 20008)
VIP = "10.0.0.10"
ENDPOINT = Endpoint("read", IPv4Address(VIP), 3306)
ADDRESSES = {
    CLIENT: "10.0.0.5",
    "lb1": "10.0.0.4",
    "lb2": "10.0.0.6",
    "db1": "10.0.0.1",
    "db2": "10.0.0.2",
    "db3": "10.0.0.3",
}
MACS = {name: mac_of(IPv4Address(address)) for name, address in ADDRESSES.items()}
STRANGER = "52:54:00:00:00:99"
SYN, SYN_ACK, ACK, RST, WORDS = 0x02, 0x12, 0x10, 0x04, 0x18
IN, OUT, PASSING = 0, 4, 3
GREETING = b"\x5b\0\0\0\x0a11.4.2-MariaDB\0"


def declared(mode: str = "dr") -> Declaration:
    return read(LAB.replace('"dr"', f'"{mode}"'), "lab.toml")


def ip(source: str, target: str, protocol: int, rest: bytes, length: int = 0) -> bytes:
    addresses = IPv4Address(source).packed + IPv4Address(target).packed
    return struct.pack("!BBHIBBH", 0x45, 0, length or 20 + len(rest), 0, 64, protocol, 0) + addresses + rest


def tcp(source: str, target: str, flags: int, payload: int = 0) -> bytes:
    """Headers, from and to ADDRESS:PORT."""
    (one, own), (other, others) = source.split(":"), target.split(":")
    header = struct.pack("!HHIIBBHI", int(own), int(others), 1, 1, 0x50, flags, 0, 0)
    return ip(one, other, 6, header, 40 + payload)


@dataclass
class Host:
    """One that watches."""

    name: str
    addresses: tuple[str, ...] = ()
    listens: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    tunnel: str = ""
    table: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    clock: float = 0
    packets: list[str] = field(default_factory=list)

    def saw(
        self, at: float, direction: int, data: bytes, sender: str, receiver: str, *, interface: str = "eth0"
    ) -> None:
        """A packet, `at` so many milliseconds; sender and receiver are hosts' names, or MAC addresses."""
        macs = (MACS.get(name, name) for name in (receiver, sender))
        head = b"".join(bytes.fromhex(mac.replace(":", "")) for mac in macs) + b"\x08\x00"
        link, frame = (1, head + data) if interface != "tunl0" else (768, data)
        self.packets.append(f"packet {1000 + self.clock + at / 1000:.6f} {interface} {link} {direction} {frame.hex()}")

    def asked(self, target: str) -> None:
        """By ARP, and nobody answered."""
        own = bytes.fromhex(MACS[self.name].replace(":", "")), IPv4Address(ADDRESSES[self.name]).packed
        question = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own[0] + own[1] + bytes(6) + IPv4Address(target).packed
        self.packets.append(f"packet 1000.1 eth0 1 4 {(bytes([255] * 6) + own[0]).hex()}0806{question.hex()}")

    def lines(self) -> Iterator[str]:
        yield from self.packets
        yield f"interface eth0 {MACS[self.name]} up"
        if self.tunnel:
            yield f"interface tunl0 0.0.0.0 {self.tunnel}"
        for address in (ADDRESSES[self.name], *self.addresses):
            yield f"address eth0 {address}"
        for name, value in self.settings.items():
            yield f"setting {name} {value}"
        for place in self.listens:
            yield f"listens {place.replace(':', ' ')}"
        for line in self.table:
            yield f"table {line}"
        yield from self.more
        yield "lost 0"
        yield "end"

    def capture(self) -> Capture:
        return parse(self.name, self.lines())


def recorded(name: str) -> Case:
    """What hosts of the lab printed, without what has no say: MODE SERVICE ADDRESS:PORT FIRST-PORT, then each under @HOST."""
    head, *rest = (Path(__file__).parent / "traces" / f"{name}.txt").read_text().splitlines()
    mode, service, place, first = head.split()
    by_host: dict[str, list[str]] = {}
    for line in rest:
        if line.startswith("@"):
            lines = by_host.setdefault(line[1:], [])
        else:
            lines.append(line)
    address, port = place.split(":")
    endpoint = Endpoint(service, IPv4Address(address), int(port))
    captures = {host: parse(host, lines) for host, lines in by_host.items()}
    ports = range(int(first), int(first) + len(PORTS))
    return Case(declared(mode), endpoint, attempt(by_host[CLIENT]), captures, ports)


SERVICE = f"TCP  {int(IPv4Address(VIP)):08X}:0CEA rr"
SERVERS = tuple(f"  -> 0A00000{n}:0CEA      Route   10     0          0" for n in (1, 2, 3))


class Wire:
    """All hosts of the lab as they should be, and no packet yet."""

    def __init__(self, mode: str = "dr") -> None:
        self.mode = mode
        vip = (VIP,) if mode != "nat" else ()
        tunnel = "up" if mode == "tun" else ""
        self.hosts = {name: Host(name, vip, ("0.0.0.0:3306",), tunnel=tunnel) for name in ("db1", "db2", "db3")}
        self.hosts["lb1"] = Host("lb1", (VIP, "10.0.0.12"), settings={"ip_forward": "1"}, table=(SERVICE, *SERVERS))
        self.hosts["lb2"] = Host("lb2", settings={"ip_forward": "1"}, table=(SERVICE, *SERVERS))
        self.hosts["lb1"].more = tuple(f"neighbour {ADDRESSES[n]} {MACS[n]} eth0" for n in ("db1", "db2", "db3"))
        self.hosts[CLIENT] = Host(CLIENT)

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def passes(self, at: float, data: bytes, one: str, other: str) -> None:
        """From one host to the other: both see it."""
        self[one].saw(at, OUT, data, one, other)
        self[other].saw(at + 0.1, IN, data, one, other)

    def there(self, at: float, flags: int, until: int = 99) -> None:
        """From the client by lb1 to db2, over so many of its places."""
        called = tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", flags)
        sent = called
        if self.mode == "tun":
            sent = ip("10.0.0.4", "10.0.0.2", 4, called)
        if self.mode == "nat":
            sent = tcp(f"10.0.0.5:{PORT}", "10.0.0.2:3306", flags)
        steps: list[Callable[[], None]] = [
            lambda: self[CLIENT].saw(at, OUT, called, CLIENT, "lb1"),
            lambda: self["lb1"].saw(at + 0.1, IN, called, CLIENT, "lb1"),
            lambda: self["lb1"].saw(at + 0.2, OUT, sent, "lb1", "db2"),
            lambda: self["db2"].saw(at + 0.3, IN, sent, "lb1", "db2"),
        ]
        if self.mode == "tun":
            steps.append(lambda: self["db2"].saw(at + 0.4, IN, called, "", "", interface="tunl0"))
        for step in steps[:until]:
            step()

    def back(self, at: float, flags: int, payload: int = 0) -> None:
        """And back."""
        client, endpoint = f"10.0.0.5:{PORT}", f"{VIP}:3306"
        if self.mode == "nat":
            self.passes(at, tcp("10.0.0.2:3306", client, flags, payload), "db2", "lb1")
            self.passes(at + 0.2, tcp(endpoint, client, flags, payload), "lb1", CLIENT)
        else:
            self.passes(at, tcp(endpoint, client, flags, payload), "db2", CLIENT)

    def whole(self) -> None:
        """All four legs."""
        self.there(0, SYN)
        self.back(1, SYN_ACK)
        self.there(2, ACK)
        self.back(3, WORDS, 91)

    def case(self, said: str = "timeout 0.0.0.0 0 ", *, silent: Iterable[str] = ()) -> Case:
        """`silent`: hosts that could not be asked."""
        lines = [f"attempt {said}"]
        if said.startswith("connected"):
            lines.append(f"said {GREETING.hex()}")
        return self.with_attempt(attempt(lines), silent)

    def with_attempt(self, made: Attempt, silent: Iterable[str] = ()) -> Case:
        gone = set(silent)
        captures = {name: host.capture() for name, host in self.hosts.items() if name not in gone}
        unasked = {name: "no route to host" for name in gone if name != CLIENT}
        if CLIENT in gone:
            captures[CLIENT] = Capture(CLIENT, unable="Operation not permitted")
        return Case(declared(self.mode), ENDPOINT, made, captures, PORTS, unasked=unasked)
