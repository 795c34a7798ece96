"""What captures print is read as packets; half an answer is none."""

from ipaddress import IPv4Address

import pytest

from cluster.errors import HostError
from cluster.packets import Direction, attempt, parse
from tests.cluster.wire import GREETING, IN, OUT, PASSING, PORT, RST, SYN, SYN_ACK, WORDS, Host, ip, tcp

CLIENT = f"10.0.0.5:{PORT}"


def host() -> Host:
    return Host("lb1")


def test_a_packet() -> None:
    lb1 = host()
    lb1.saw(1.5, IN, tcp(CLIENT, "10.0.0.10:3306", SYN), "client", "lb1")
    (packet,) = lb1.capture().packets
    assert str(packet) == f"SYN {CLIENT} → 10.0.0.10:3306"
    assert packet.frame.macs == ("02:00:0a:00:00:05", "02:00:0a:00:00:04")
    assert (packet.frame.interface, packet.frame.direction) == ("eth0", Direction.IN)
    assert packet.frame.seconds == pytest.approx(1000.0015)


@pytest.mark.parametrize(
    ("flags", "payload", "word"),
    [
        (SYN, 0, "SYN"),
        (SYN_ACK, 0, "SYN-ACK"),
        (RST, 0, "RST"),
        (0x14, 0, "RST"),
        (0x11, 0, "FIN"),
        (0x10, 0, "ACK"),
        (WORDS, 91, "91 bytes"),
    ],
)
def test_kinds(flags: int, payload: int, word: str) -> None:
    lb1 = host()
    lb1.saw(0, OUT, tcp(CLIENT, "10.0.0.10:3306", flags, payload), "lb1", "db1")
    assert lb1.capture().packets[0].kind == word


def test_in_a_tunnel_and_out_of_it() -> None:
    db1 = Host("db1", tunnel="up")
    inner = tcp(CLIENT, "10.0.0.10:3306", SYN)
    db1.saw(0, IN, ip("10.0.0.4", "10.0.0.1", 4, inner), "lb1", "db1")
    db1.saw(0.1, IN, inner, "", "", interface="tunl0")
    outer, taken_out = db1.capture().packets
    assert str(outer) == f"SYN {CLIENT} → 10.0.0.10:3306, in IPIP 10.0.0.4 → 10.0.0.1"
    assert taken_out.tunnel is None
    assert taken_out.frame.macs == ("", "")


def test_an_icmp_error() -> None:
    lb1 = host()
    about = ip("10.0.0.1", "10.0.0.5", 1, bytes([3, 3, 0, 0, 0, 0, 0, 0]) + tcp(CLIENT, "10.0.0.10:3306", SYN))
    lb1.saw(0, IN, about, "db1", "lb1")
    (error,) = lb1.capture().errors
    assert str(error) == "ICMP port unreachable 10.0.0.1 → 10.0.0.5, about a packet to 10.0.0.10"


def test_for_another() -> None:
    lb1 = host()
    lb1.saw(0, PASSING, tcp(CLIENT, "10.0.0.10:3306", SYN), "client", "lb2")
    assert lb1.capture().packets[0].frame.direction is Direction.PASSING


def test_an_arp_question_that_nobody_answers() -> None:
    lb1 = host()
    lb1.asked("10.0.0.2")
    seen = lb1.capture()
    assert seen.unanswered(IPv4Address("10.0.0.2"))
    assert not seen.unanswered(IPv4Address("10.0.0.3"))


def test_what_else_is_there() -> None:
    more = ("neighbour 10.0.0.2 - eth0", "neighbour 10.0.0.3 02:00:0a:00:00:03 eth0", "unable Operation not permitted")
    lb1 = Host("lb1", ("10.0.0.10",), ("127.0.0.1:3306",), {"ip_forward": "1"}, "down", more=more)
    seen = lb1.capture()
    assert IPv4Address("10.0.0.10") in seen.addresses
    assert seen.neighbours == {IPv4Address("10.0.0.2"): "", IPv4Address("10.0.0.3"): "02:00:0a:00:00:03"}
    assert seen.listens == ((IPv4Address("127.0.0.1"), 3306),)
    assert seen.settings["ip_forward"] == "1"
    assert not seen.interfaces["tunl0"].up
    assert seen.macs == {"02:00:0a:00:00:04"}
    assert seen.unable == "Operation not permitted"


@pytest.mark.parametrize(
    "lines",
    [[], ["interface eth0 02:00:0a:00:00:04 up"], ["packet 1 eth0 1 0 00zz", "end"], ["packet 1 eth0 1 0 0011", "end"]],
)
def test_what_cannot_be_read_is_an_error(lines: list[str]) -> None:
    with pytest.raises(HostError):
        parse("lb1", lines)


def test_attempts() -> None:
    made = attempt(["packet whatever", "attempt connected 10.0.0.5 20001 ", f"said {GREETING.hex()}"])
    assert (made.connected, made.port, made.greeting) == (True, 20001, "11.4.2-MariaDB")
    refused = attempt(["attempt refused 0.0.0.0 20001 Connection refused"])
    assert (refused.connected, refused.why) == (False, "Connection refused")
    full = attempt(["attempt connected 10.0.0.5 1 ", f"said {(b'0000' + bytes([255, 16, 4]) + b'Too many').hex()}"])
    assert full.greeting == "Too many"
    with pytest.raises(HostError):
        attempt(["packet whatever"])
