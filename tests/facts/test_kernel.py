"""The kernel's table by netlink: messages byte by byte as ip_vs_ctl.c fills them, taken apart by pyroute2, read by us."""

import socket
import struct
from ipaddress import IPv4Address
from typing import Any

from pyroute2.netlink.generic.ipvs import ipvsmsg

from cluster.keepalived import Endpoint
from cluster.observed import SeenDestination, SeenService
from cluster.pulse import Pulse, Traffic
from cluster.vocabulary import Mode
from facts.kernel import attributes, read

NEW_SERVICE, NEW_DEST = 1, 5
SERVICE, DEST = 1, 2


def attribute(kind: int, payload: bytes) -> bytes:
    """struct nlattr, and its padding."""
    return struct.pack("HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def u16(value: int) -> bytes:
    return struct.pack("H", value)


def u32(value: int) -> bytes:
    return struct.pack("I", value)


def address(text: str) -> bytes:
    """union nf_inet_addr."""
    return socket.inet_aton(text) + bytes(12)


def stats(*figures: int) -> bytes:
    """IPVS_SVC_ATTR_STATS64: connections, packets and bytes in total, then in a second."""
    return b"".join(attribute(kind, struct.pack("Q", figure)) for kind, figure in enumerate(figures, start=1))


def service(vip: str, port: int, *, flags: int = 0, timeout: int = 0, protocol: int = 6, family: int = 2) -> bytes:
    return b"".join(
        [
            attribute(1, u16(family)),
            attribute(2, u16(protocol)),
            attribute(3, address(vip)),
            attribute(4, struct.pack(">H", port)),
            attribute(6, b"wrr\0"),
            attribute(7, struct.pack("II", flags, 0xFFFFFFFF)),
            attribute(8, u32(timeout)),
            attribute(9, socket.inet_aton("0.0.0.0")),
            attribute(12, stats(9, 90, 80, 9000, 8000, 0, 0, 0, 0, 0)),
        ]
    )


def by_mark(mark: int) -> bytes:
    """A service that the firewall chooses."""
    kinds = {1: u16(2), 5: u32(mark), 6: b"rr\0", 7: struct.pack("II", 0, 0xFFFFFFFF), 8: u32(0), 9: bytes(4)}
    return b"".join(attribute(kind, payload) for kind, payload in kinds.items())


def server(rip: str, method: int, weight: int, active: int, inactive: int, *figures: int) -> bytes:
    """The address before its family, as the kernel does it."""
    return b"".join(
        [
            attribute(1, address(rip)),
            attribute(2, struct.pack(">H", 3306)),
            attribute(3, u32(method)),
            attribute(4, u32(weight)),
            attribute(5, u32(0)),
            attribute(6, u32(0)),
            attribute(7, u32(active)),
            attribute(8, u32(inactive)),
            attribute(9, u32(0)),
            attribute(11, u16(2)),
            attribute(12, stats(*figures)),
        ]
    )


def taken_apart(kind: int, command: int, payload: bytes) -> Any:
    body = struct.pack("BBH", command, 1, 0) + attribute(kind | 0x8000, payload)
    message = ipvsmsg(struct.pack("IHHII", 16 + len(body), 30, 2, 1, 1) + body)
    message.decode()
    name = "IPVS_CMD_ATTR_SERVICE" if kind == SERVICE else "IPVS_CMD_ATTR_DEST"
    return attributes(message.get(name))


def dumped(found: bytes, *servers: bytes) -> tuple[Any, list[Any]]:
    of_servers = [taken_apart(DEST, NEW_DEST, each) for each in servers]
    return taken_apart(SERVICE, NEW_SERVICE, found), of_servers


KEY = (("tcp", IPv4Address("10.0.0.10"), 3306), IPv4Address("10.0.0.1"), 3306)


def test_a_service_with_its_servers() -> None:
    figures = (7, 70, 60, 2**40, 6000, 1, 2, 3, 4, 5)
    seen = read(
        Pulse(keepalived="active"), [dumped(service("10.0.0.10", 3306), server("10.0.0.1", 3, 10, 4, 2, *figures))]
    )
    assert seen.services == (
        SeenService(
            Endpoint("", IPv4Address("10.0.0.10"), 3306),
            "wrr",
            None,
            None,
            (SeenDestination(IPv4Address("10.0.0.1"), 3306, Mode.DR, 10, 4, 2),),
        ),
    )
    assert seen.totals == {KEY: Traffic(7, 70, 60, 2**40, 6000)}
    assert seen.rates == {KEY: Traffic(1, 2, 3, 4, 5)}
    assert seen.keepalived == "active"


def test_each_method_whatever_else_its_bits_say() -> None:
    servers = [server(f"10.0.0.{n}", method, 1, 0, 0) for n, method in ((1, 0), (2, 2), (3, 3), (4, 0x0100 | 2))]
    seen = read(Pulse(), [dumped(service("10.0.0.10", 3306), *servers)])
    assert [d.mode for d in seen.services[0].destinations] == [Mode.NAT, Mode.TUN, Mode.DR, Mode.TUN]


def test_persistence() -> None:
    seen = read(Pulse(), [dumped(service("10.0.0.11", 3306, flags=1, timeout=86400))])
    (found,) = seen.services
    assert (found.persistence, found.granularity) == (86400, IPv4Address("0.0.0.0"))


def test_udp_is_known_and_what_is_none_of_ours_is_left_out() -> None:
    table = [
        dumped(by_mark(7), server("10.0.0.1", 0, 1, 0, 0)),
        dumped(service("10.0.0.10", 53, protocol=17)),
        dumped(service("10.0.0.10", 99, protocol=132)),  # SCTP
    ]
    assert [each.endpoint for each in read(Pulse(), table).services] == [
        Endpoint("", IPv4Address("10.0.0.10"), 53, "udp")
    ]
