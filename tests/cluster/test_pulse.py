"""What changes by the second on a host, from what hosts print."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cluster.observed import UnreadableStateError
from cluster.parts import Address
from cluster.pulse import Ask, Traffic, asks, counters, own_asks, parse
from cluster.vocabulary import Mode
from tests.cluster.sample import LAB
from tests.cluster.watched import blueprint

DIRECTOR = """\
#addresses
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.0.4/24 brd 10.0.0.255 scope global eth0\\       valid_lft forever preferred_lft forever
2: eth0    inet 10.0.0.10/32 scope global eth0\\       valid_lft forever preferred_lft forever
#keepalived
active
#priority
101
#ipvs
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A00000A:0CEA rr
  -> 0A000002:0CEA      Route   10     3          5
#totals
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.10:3306                    700     7001        0  1234567        0
  -> 10.0.0.2:3306                     700     7001        0  1234567        0
#rates
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  10.0.0.10:3306                      3       40        0    12345        0
  -> 10.0.0.2:3306                       3       40        0    12345        0
#cluster-lock
#history
file 0012.json
line 0012.json:{}
#answers
10.0.0.1 9200 / 503 not Synced: Joined (wsrep_local_state 3)
10.0.0.3 9200 / Connection refused
10.0.0.3 3306 - open
#end
"""
KEY = (("tcp", IPv4Address("10.0.0.10"), 3306), IPv4Address("10.0.0.2"), 3306)


def test_a_director() -> None:
    seen = parse(DIRECTOR.splitlines())
    assert (seen.keepalived, seen.priority, seen.lock, seen.listening) == ("active", 101, None, None)
    assert Address("eth0", IPv4Address("10.0.0.10")) in seen.addresses
    assert seen.holds(IPv4Address("10.0.0.10"))
    assert not seen.holds(IPv4Address("10.0.0.11"))
    ((destination,),) = (service.destinations for service in seen.services)
    assert (destination.mode, destination.weight, destination.active, destination.inactive) == (Mode.DR, 10, 3, 5)
    assert seen.totals == {KEY: Traffic(700, 7001, 0, 1_234_567, 0)}
    assert seen.rates == {KEY: Traffic(3, 40, 0, 12_345, 0)}
    assert seen.history == ("file 0012.json", "line 0012.json:{}")
    assert seen.answers == {
        Ask(IPv4Address("10.0.0.1"), 9200, "/"): "503 not Synced: Joined (wsrep_local_state 3)",
        Ask(IPv4Address("10.0.0.3"), 9200, "/"): "Connection refused",
        Ask(IPv4Address("10.0.0.3"), 3306): "open",
    }


def test_a_server() -> None:
    seen = parse(
        [
            "#listening",
            "LISTEN 0      80           0.0.0.0:3306      0.0.0.0:*",
            "LISTEN 0      80              [::]:3306         [::]:*",
            "#answers",
            "127.0.0.1 9200 / 200 Synced",
            "#end",
        ]
    )
    assert seen.listening == frozenset({3306})
    assert seen.answers == {Ask(IPv4Address("127.0.0.1"), 9200, "/"): "200 Synced"}


def test_a_host_with_nothing_of_ours() -> None:
    seen = parse(["#addresses", "#keepalived", "#priority", "#ipvs", "#totals", "#rates", "#end"])
    assert (seen.services, seen.totals, seen.priority, seen.keepalived) == ((), {}, None, "")


@pytest.mark.parametrize("keep", range(len(DIRECTOR.splitlines())))
def test_half_an_answer_is_none(keep: int) -> None:
    with pytest.raises(UnreadableStateError, match="half-way"):
        parse(DIRECTOR.splitlines()[:keep])


def test_garbage_is_told() -> None:
    with pytest.raises(UnreadableStateError, match="cannot be read"):
        parse(DIRECTOR.replace("10.0.0.10/32", "10.0.0.x/32").splitlines())


def test_what_a_host_says_cannot_move_the_cursor() -> None:
    seen = parse(["#keepalived", "active\x1b[2J", "#answers", "10.0.0.1 9200 / 503 \x1b[2Jall is well", "#end"])
    assert list(seen.answers.values()) == ["503 ?[2Jall is well"]
    assert seen.keepalived == "active?[2J"


def test_servers_of_a_service_by_a_mark_are_nobody_elses() -> None:
    lines = ["TCP  10.0.0.10:3306 1 1 1 1 1", "FWM  7 5 5 5 5 5", "  -> 10.0.0.9:0 5 5 5 5 5"]
    assert counters(lines) == {}


def test_what_keepalived_asks() -> None:
    text = LAB.replace(
        "[vrrp]", '[service.web]\nvip = "10.0.0.13"\nport = 80\ncheck = "http"\ncheck_path = "/up"\n\n[vrrp]'
    )
    found = {(endpoint.service, name): ask for endpoint, name, _, _, ask in asks(blueprint(text).declaration, "lb1")}
    db1 = IPv4Address("10.0.0.1")
    assert found["read", "db1"] == found["write", "db1"] == Ask(db1, 9200, "/")
    assert found["web", "db1"] == Ask(db1, 80, "/up")
    # Asked on the server itself: what clustercheck answers; others may not listen there.
    assert own_asks(blueprint(text).declaration, "db1") == (Ask(db1, 9200, "/"),)


def test_what_a_real_director_printed_while_a_database_was_down() -> None:
    captured = Path(__file__).parents[1] / "facts/captured/director-pulse.txt"
    seen = parse(captured.read_text().splitlines())
    key = (("tcp", IPv4Address("10.0.0.10"), 3306), IPv4Address("10.0.0.1"), 3306)
    assert seen.totals[key] == Traffic(168, 1507, 0, 120_619, 0)
    assert seen.rates[key] == Traffic(4, 35, 0, 2797, 0)
    assert (seen.keepalived, seen.priority) == ("active", 101)
    assert seen.answers[Ask(IPv4Address("10.0.0.3"), 9200, "/")].startswith(
        "503 no connection to the server: ERROR 2002"
    )
