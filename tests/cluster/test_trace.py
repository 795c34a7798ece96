"""The way of a connection from what hosts saw: whole in each mode, and where it ends, with the reason and its fault.

`traces/` is what hosts of the lab printed (25 November 2026), in three modes with and without a fault; the rest is put together.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cluster.dead_ends import Verdict, judge
from cluster.faults import Fault
from cluster.trace import CLIENT, Course, course
from cluster.vocabulary import Mode
from tests.cluster.wire import ACK, IN, OUT, PORT, RST, STRANGER, SYN, SYN_ACK, VIP, Wire, recorded, tcp

HOPS = {"dr": 12, "tun": 14, "nat": 16}
CONNECTED = f"connected 10.0.0.5 {PORT} "
REFUSED = "refused 0.0.0.0 20003 Connection refused"
TIMEOUT = "timeout 0.0.0.0 20003 "


def judged(wire: Wire, said: str = TIMEOUT, silent: tuple[str, ...] = ()) -> tuple[Course, Verdict]:
    found = course(wire.case(said, silent=silent))
    return found, judge(found)


def ends(found: Course) -> str:
    end = found.end
    return f"{end.leg} {end.at} {end.direction}" if end else ""


def faults(verdict: Verdict) -> list[Fault | None]:
    return [reason.fault for reason in verdict.reasons]


@pytest.mark.parametrize("mode", Mode)
def test_the_whole_way(mode: str) -> None:
    wire = Wire(mode)
    wire.whole()
    found, verdict = judged(wire, CONNECTED)
    assert verdict.good
    assert verdict.what == f"the connection works, by {mode} to db2: 11.4.2-MariaDB"
    assert (found.director, found.server, found.mode) == ("lb1", "db2", mode)
    assert found.client == f"10.0.0.5:{PORT}"
    assert len(found.hops) == HOPS[mode]
    assert all(hop.seen for hop in found.hops)
    assert not found.said


@pytest.mark.parametrize(("name", "server"), [("dr", "db3"), ("tun", "db1"), ("nat", "db3")])
def test_the_whole_way_on_machines(name: str, server: str) -> None:
    found = course(recorded(name))
    verdict = judge(found)
    assert verdict.good, verdict
    assert verdict.what == f"the connection works, by {found.mode} to {server}: 10.11.19-MariaDB-0+deb12u1"
    assert (found.mode, found.director, found.server) == (name, "lb2", server)
    assert all(hop.seen for hop in found.hops)
    assert not found.said
    times = [found.milliseconds(hop.host, hop.packets[0].frame.seconds) for hop in found.hops]
    assert times == pytest.approx(sorted(times), abs=0.001)
    assert times[-1] < 50


@pytest.mark.parametrize(
    ("name", "dies_at", "fault", "certain"),
    [
        ("dr-no-vip", "SYN-ACK server out", Fault.VIP_MISSING, True),
        ("tun-ipip-dropped", "SYN tunnel's end in", Fault.FIREWALL, False),
        ("nat-no-return-path", "SYN-ACK director in", Fault.RETURN_PATH, True),
    ],
)
def test_where_it_died_on_machines(name: str, dies_at: str, fault: Fault, *, certain: bool) -> None:
    found = course(recorded(name))
    verdict = judge(found)
    assert (ends(found), verdict.host, verdict.dies) == (dies_at, "db3", True)
    assert [(reason.fault, reason.seen) for reason in verdict.reasons] == [(fault, certain)]
    assert verdict.notes == ("SYN was sent 3 times",)


def test_a_service_that_does_not_speak_first() -> None:
    wire = Wire()
    wire.there(0, SYN)
    wire.back(1, SYN_ACK)
    wire.there(2, ACK)
    case = wire.case(CONNECTED)
    found = course(type(case)(**{**case.__dict__, "speaks": False}))
    assert judge(found).good
    assert len(found.hops) == 10


def test_a_client_that_may_not_look() -> None:
    wire = Wire()
    wire.whole()
    found, verdict = judged(wire, CONNECTED, silent=(CLIENT,))
    assert verdict.good
    assert verdict.notes == ("the client's machine could not be watched: Operation not permitted",)
    assert [hop.seen for hop in found.hops if hop.at == "client"] == [True] * 4


def test_a_client_that_may_not_look_and_gets_nothing() -> None:
    wire = Wire()
    wire.there(0, SYN)
    wire.back(1, SYN_ACK)
    found, verdict = judged(wire, silent=(CLIENT,))
    assert ends(found) == "SYN-ACK client in"
    assert not verdict.good


@dataclass(frozen=True)
class Dies:
    """Where and why."""

    name: str
    make: Callable[[Wire], None]
    ends: str
    host: str
    fault: Fault | None
    mode: str = "dr"
    said: str = TIMEOUT
    certain: bool = True


def reaches(count: int, change: Callable[[Wire], None] = lambda _: None) -> Callable[[Wire], None]:
    def make(wire: Wire) -> None:
        wire.there(0, SYN, count)
        wire.there(1000, SYN, count)
        change(wire)

    return make


def without(host: str, **fields: object) -> Callable[[Wire], None]:
    def change(wire: Wire) -> None:
        for name, value in fields.items():
            setattr(wire[host], name, value)

    return change


def resets(wire: Wire) -> None:
    wire.passes(2, tcp(f"{VIP}:3306", f"10.0.0.5:{PORT}", RST), "db2", CLIENT)


def answers_directly(wire: Wire) -> None:
    """nat: past the director; the client does not know who that is."""
    wire.passes(2, tcp("10.0.0.2:3306", f"10.0.0.5:{PORT}", SYN_ACK), "db2", CLIENT)
    wire.passes(2.2, tcp(f"10.0.0.5:{PORT}", "10.0.0.2:3306", RST), CLIENT, "db2")


def answers_to(host: str) -> Callable[[Wire], None]:
    source = "10.0.0.2:3306"

    def change(wire: Wire) -> None:
        wire.passes(2, tcp(source if wire.mode == "nat" else f"{VIP}:3306", f"10.0.0.5:{PORT}", SYN_ACK), "db2", host)

    return change


def sends_to(mac: str) -> Callable[[Wire], None]:
    def change(wire: Wire) -> None:
        wire[CLIENT].saw(0, OUT, tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", SYN), CLIENT, mac)

    return change


def to_passive(wire: Wire) -> None:
    wire.passes(0, tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", SYN), CLIENT, "lb2")


def forwarded_to(mac: str) -> Callable[[Wire], None]:
    def make(wire: Wire) -> None:
        wire.there(0, SYN, 2)
        wire["lb1"].saw(1, OUT, tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", SYN), "lb1", mac)

    return make


def both(*changes: Callable[[Wire], None]) -> Callable[[Wire], None]:
    def change(wire: Wire) -> None:
        for each in changes:
            each(wire)

    return change


def answered_so_far(wire: Wire) -> None:
    wire.there(0, SYN)
    wire.back(1, SYN_ACK)


def accepted_in_silence(wire: Wire) -> None:
    answered_so_far(wire)
    wire.there(2, ACK)


EMPTY = both(without("lb1", table=()))
NONE_ALIVE = without("lb1", table=Wire()["lb1"].table[:1])
TUNNEL = ("SYN tunnel's end in", "db2")
ANSWER = ("SYN-ACK server out", "db2")
BACK = ("SYN-ACK director out", "lb1")
ELSEWHERE = both(without("db2", listens=("127.0.0.1:3306",)), resets)
TO_DIRECTOR = reaches(4, answers_to("lb1"))
NO_FORWARDING = both(TO_DIRECTOR, without("lb1", settings={"ip_forward": "0"}))
SILENT = "silent 10.0.0.5 20003 "
DIES = [
    Dies("nobody has the address", both(lambda w: w[CLIENT].asked(VIP), without("lb1", addresses=())), "", CLIENT, Fault.NOBODY),
    Dies("to a server", sends_to("db1"), "SYN director in", CLIENT, Fault.ARP),
    Dies("to a stranger", sends_to(STRANGER), "SYN director in", CLIENT, Fault.ADDRESS_TAKEN),
    Dies("to the passive director", to_passive, "SYN director out", "lb2", Fault.NEIGHBOUR),
    Dies("lost before the director", reaches(1), "SYN director in", "lb1", None, certain=False),
    Dies("the table is empty", reaches(2, EMPTY), "SYN director out", "lb1", Fault.TABLE),
    Dies("no server is in rotation", reaches(2, NONE_ALIVE), "SYN director out", "lb1", Fault.OUT),
    Dies("the server is gone", reaches(2, lambda w: w["lb1"].asked("10.0.0.2")), "SYN director out", "lb1", Fault.DEAD_HOST),
    Dies("the director drops it", reaches(2), "SYN director out", "lb1", Fault.FIREWALL, certain=False),
    Dies("to another server's MAC", forwarded_to("lb2"), "SYN server in", "lb1", Fault.NEIGHBOUR),
    Dies("to a MAC that nobody has", forwarded_to(STRANGER), "SYN server in", "lb1", Fault.NEIGHBOUR),
    Dies("lost before the server", reaches(3), "SYN server in", "db2", None, certain=False),
    Dies("no VIP", reaches(4, without("db2", addresses=())), *ANSWER, Fault.VIP_MISSING),
    Dies("nothing listens", reaches(4, both(without("db2", listens=()), resets)), *ANSWER, Fault.DATABASE_DOWN, said=REFUSED),
    Dies("bound elsewhere", reaches(4, ELSEWHERE), *ANSWER, Fault.BOUND, said=REFUSED),
    Dies("rejected", reaches(4, resets), *ANSWER, Fault.FIREWALL, said=REFUSED),
    Dies("dropped", reaches(4), *ANSWER, Fault.FIREWALL, certain=False),
    Dies("to a director that has it", TO_DIRECTOR, "SYN-ACK client in", "db2", Fault.RETURN_PATH_DOUBLED),
    Dies("the client drops it", answered_so_far, "ACK client out", CLIENT, Fault.FIREWALL, certain=False),
    Dies("the server says nothing", accepted_in_silence, "first words server out", "db2", None, said=SILENT, certain=False),
    Dies("no tunnel", reaches(4, without("db2", tunnel="")), *TUNNEL, Fault.MODULE, mode="tun"),
    Dies("tunnel down", reaches(4, without("db2", tunnel="down")), *TUNNEL, Fault.TUNNEL, mode="tun"),
    Dies("IPIP dropped", reaches(4), *TUNNEL, Fault.FIREWALL, mode="tun", certain=False),
    Dies("rp_filter", reaches(5, without("db2", settings={"conf/all/rp_filter": "1"})), *ANSWER, Fault.RP_FILTER, mode="tun"),
    Dies("no return path", reaches(4, answers_directly), "SYN-ACK director in", "db2", Fault.RETURN_PATH, mode="nat"),
    Dies("to the passive gateway", reaches(4, answers_to("lb2")), "SYN-ACK director in", "db2", Fault.GATEWAY, mode="nat"),
    Dies("no gateway", reaches(4, lambda w: w["db2"].asked("10.0.0.12")), *ANSWER, Fault.RETURN_PATH, mode="nat"),
    Dies("no forwarding", NO_FORWARDING, *BACK, Fault.FORWARDING, mode="nat"),
    Dies("FORWARD drops", TO_DIRECTOR, *BACK, Fault.FIREWALL, mode="nat", certain=False),
]  # fmt: skip


@pytest.mark.parametrize("dies", DIES, ids=lambda dies: dies.name)
def test_where_and_why(dies: Dies) -> None:
    wire = Wire(dies.mode)
    dies.make(wire)
    found, verdict = judged(wire, dies.said)
    assert not verdict.good
    assert ends(found) == dies.ends or not found.followed
    assert verdict.host == dies.host
    assert all(reason.seen for reason in verdict.reasons) == dies.certain
    if dies.certain:
        assert set(faults(verdict)) - {None} == {dies.fault}
    else:
        assert dies.fault in faults(verdict)


def test_it_was_sent_several_times() -> None:
    wire = Wire()
    reaches(2)(wire)
    _, verdict = judged(wire)
    assert verdict.notes == ("SYN was sent 2 times",)


def test_a_reset_is_told_by_who_sent_it() -> None:
    wire = Wire()
    reaches(4, resets)(wire)
    found, verdict = judged(wire, REFUSED)
    assert [(said.host, said.direction) for said in found.said] == [("db2", "out")]
    assert verdict.seen == (
        f"db2 eth0 out: RST {VIP}:3306 → 10.0.0.5:{PORT}",
        "the client says: refused (Connection refused)",
    )


def test_a_server_that_cannot_be_asked() -> None:
    wire = Wire()
    reaches(3)(wire)
    _, verdict = judged(wire, silent=("db2",))
    assert verdict.host == "db2"
    assert faults(verdict) == [Fault.DEAD_HOST]
    assert "db2 could not be watched: no route to host" in verdict.notes


def test_a_passive_director_that_cannot_be_asked_stops_nobody() -> None:
    wire = Wire()
    wire.whole()
    _, verdict = judged(wire, CONNECTED, silent=("lb2",))
    assert verdict.good


def test_the_active_director_cannot_be_asked() -> None:
    wire = Wire()
    wire.whole()
    found, verdict = judged(wire, CONNECTED, silent=("lb1",))
    assert verdict.good
    assert [hop.seen for hop in found.hops if hop.at == "director"] == [None] * 4


def test_past_the_director() -> None:
    """The how-to's "ARP problem": it works, and is not balanced."""
    wire = Wire()
    wire.passes(0, tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", SYN), CLIENT, "db2")
    wire.back(1, SYN_ACK)
    wire.passes(2, tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", ACK), CLIENT, "db2")
    wire.back(3, 0x18, 91)
    _, verdict = judged(wire, CONNECTED)
    assert not verdict.good
    assert verdict.what == "it went past the director, straight to db2"
    assert faults(verdict) == [Fault.ARP]


def test_by_another_method_than_declared() -> None:
    wire = Wire("tun")
    wire.whole()
    wire.mode = "dr"
    _, verdict = judged(wire, CONNECTED)
    assert not verdict.good
    assert verdict.what == "the connection works, by tun; declared is dr"


def test_both_hold_the_address() -> None:
    wire = Wire()
    wire["lb2"].addresses = (VIP,)
    wire.whole()
    _, verdict = judged(wire, CONNECTED)
    assert verdict.notes == (f"lb1 and lb2 both hold {VIP} (docs/doctor.md#split-brain)",)


def test_a_director_that_only_routes_it_on() -> None:
    wire = Wire()
    called = tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", SYN)
    wire["lb2"].saw(0, IN, called, CLIENT, "lb2")
    wire["lb2"].saw(0, OUT, called, "lb2", "lb1")
    wire.whole()
    found, verdict = judged(wire, CONNECTED)
    assert found.director == "lb1"
    assert verdict.good


def test_a_port_that_is_changed_on_the_way() -> None:
    _, verdict = judged(Wire(), f"connected 192.0.2.7 {PORT} ")
    assert not verdict.good
    assert "changes its port" in verdict.what


def test_a_port_that_is_changed_on_the_way_of_a_client_that_may_look() -> None:
    wire = Wire()
    wire[CLIENT].saw(0, OUT, tcp(f"10.0.0.5:{PORT}", f"{VIP}:3306", SYN), CLIENT, STRANGER)
    wire[CLIENT].saw(1, IN, tcp(f"{VIP}:3306", f"10.0.0.5:{PORT}", SYN_ACK), STRANGER, CLIENT)
    _, verdict = judged(wire, CONNECTED)
    assert "changes its port" in verdict.what


def test_no_host_can_be_asked() -> None:
    wire = Wire()
    wire.whole()
    hosts = ("lb1", "lb2", "db1", "db2", "db3")
    found, verdict = judged(wire, CONNECTED, silent=hosts)
    assert verdict.what == "the connection works, and no host could be watched"
    assert {hop.seen for hop in found.hops if hop.at != "client"} == {None}
    _, verdict = judged(wire, silent=(*hosts, CLIENT))
    assert not verdict.good


def test_neither_director_nor_server_can_be_asked() -> None:
    wire = Wire()
    wire.whole()
    _, verdict = judged(wire, CONNECTED, silent=("lb1", "db2"))
    assert verdict.what == "the connection works, by dr to a server that was not watched: 11.4.2-MariaDB"
    assert len(verdict.notes) == 2


def test_clocks_that_differ() -> None:
    wire = Wire()
    wire["db2"].clock, wire["lb1"].clock = -90, 0.004
    wire.whole()
    found, _ = judged(wire, CONNECTED)
    times = [found.milliseconds(hop.host, hop.packets[0].frame.seconds) for hop in found.hops]
    assert times[:6] == sorted(times[:6])
    assert times[5] == pytest.approx(1.1, abs=0.01)
