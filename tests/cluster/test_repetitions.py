"""How often a packet was sent, by how often it was seen: several devices of one host may see the same one."""

from cluster.dead_ends import Verdict, judge
from cluster.trace import CLIENT, Course, Leg, course
from tests.cluster.wire import OUT, PORT, SYN, SYN_ACK, VIP, Wire, tcp


def judged(wire: Wire, said: str = f"timeout 0.0.0.0 {PORT} ") -> tuple[Course, Verdict]:
    found = course(wire.case(said))
    return found, judge(found)


def test_a_bond_and_the_device_below_it_see_each_packet_once_each() -> None:
    wire = Wire()
    wire.whole()
    for host in (wire[CLIENT], wire["lb1"], wire["db2"]):
        host.packets += [line.replace(" eth0 ", " bond0 ") for line in host.packets]
    found, verdict = judged(wire, f"connected 10.0.0.5 {PORT} ")
    assert (verdict.good, verdict.notes) == (True, ())
    assert {hop.times for hop in found.hops} == {1}


def test_what_a_bond_sees_twice_was_sent_twice() -> None:
    """Also a SYN-ACK, whose number is 0 each time."""
    wire = Wire()
    for at in (0, 1000):
        wire.there(at, SYN)
        wire.back(at + 1, SYN_ACK)
    for host in (wire[CLIENT], wire["lb1"], wire["db2"]):
        host.packets += [line.replace(" eth0 ", " bond0 ") for line in host.packets]
    found, verdict = judged(wire)
    assert verdict.notes == ("SYN was sent 2 times",)
    assert {hop.times for hop in found.hops if hop.leg is Leg.SYN_ACK} == {2}


def test_a_packet_with_another_number_was_sent_again() -> None:
    again = tcp("10.0.0.5:20003", f"{VIP}:3306", SYN)
    wire = Wire()
    wire[CLIENT].saw(0, OUT, again, CLIENT, "lb1")
    wire[CLIENT].saw(1000, OUT, again[:4] + b"\0\1" + again[6:], CLIENT, "lb1", interface="bond0")
    _, verdict = judged(wire)
    assert verdict.notes == ("SYN was sent 2 times",)
