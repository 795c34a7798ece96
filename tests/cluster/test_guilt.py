"""Each server past the load balancer, and which of the two is guilty."""

from collections.abc import Sequence

import pytest

from cluster.declaration import Declaration
from cluster.directly import direct_probes, judge_direct
from cluster.guilt import conclusions
from cluster.large import REQUEST, judge_large, large_probe
from cluster.reading import read
from cluster.verification import TIMED_OUT, Answer, Kind, Verdict, judge, probes
from tests.cluster.sample import LAB

MB4 = 4_000_000
DENIED = "ERROR 1045 (28000): Access denied for user 'x'"
UNREACHABLE = "ERROR 2002 (HY000): Can't connect to server on '10.0.0.2' (115)"


def cluster(*changes: tuple[str, str]) -> Declaration:
    text = LAB
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read(text, "lab.toml")


NAT = cluster(('mode = "dr"', 'mode = "nat"'))
SNAT = cluster(('mode = "dr"', 'mode = "nat"'), ("[nat]", '[nat]\nreturn_path = "snat"'))
DRAINED = cluster(('address = "10.0.0.2"', 'address = "10.0.0.2"\ndrained = true'))


def service(declaration: Declaration, said: str, client: str = "10.0.0.5") -> Verdict:
    """At the reading VIP: "db1 db2", or an error after an exclamation mark."""
    probe = next(p for p in probes(declaration, count=12) if str(p.endpoint) == "10.0.0.10:3306")
    failed = [Answer(error=said[1:])] * 6 if said.startswith("!") else []
    return judge(probe, failed or [Answer(name, client) for name in said.split() * 4])


def direct(
    declaration: Declaration, services: Sequence[Verdict] = (), expect: Sequence[str] = (), **said: Answer
) -> list[Verdict]:
    """Every server; those that are not named answer well."""
    found = []
    for probe in direct_probes(declaration, expect=expect, large=MB4):
        name = probe.endpoint.service
        answer = said.get(name, Answer(name, "10.0.0.5", sent=REQUEST, received=MB4))
        found.append(judge_direct(probe, [answer], services, declaration.real_server))
    return found


def concluded(declaration: Declaration, services: Sequence[Verdict], **said: Answer) -> str:
    return "\n".join(conclusions(declaration, [*services, *direct(declaration, services, (), **said)]))


# What to try


def test_each_server_at_its_own_port() -> None:
    asked = direct_probes(cluster(), large=MB4)
    assert [str(p.endpoint) for p in asked] == ["10.0.0.1:3306", "10.0.0.2:3306", "10.0.0.3:3306"]
    assert {p.word for p in asked} == {"direct"}
    assert {p.large for p in asked} == {MB4}


def test_the_port_is_the_servers() -> None:
    nat = cluster(('mode = "dr"', 'mode = "nat"'), ("nat_port = 5506", "port = 3307\nserver_port = 3306"))
    assert {p.endpoint.port for p in direct_probes(nat)} == {3306}


def test_what_is_not_mysql_gets_a_plain_connection_and_udp_none() -> None:
    web = cluster(("nat_port = 5506", 'port = 80\ncheck = "tcp"'))
    assert [(p.endpoint.port, p.sql, p.large) for p in direct_probes(web, large=MB4)][:2] == [
        (80, False, 0),
        (3306, True, MB4),
    ]
    names = cluster(("nat_port = 5506", 'port = 53\nprotocol = "udp"\ncheck = "none"'))
    assert {p.endpoint.port for p in direct_probes(names)} == {3306}


# One server


def test_a_server_that_answers() -> None:
    verdict = direct(cluster())[0]
    assert verdict.healthy
    assert (verdict.answers, verdict.clients, verdict.remarks) == ({"db1": 1}, {"10.0.0.5": 1}, ())


def test_a_server_that_does_not() -> None:
    verdict = direct(cluster(), db2=Answer(error=UNREACHABLE))[1]
    assert verdict.faults == (f"does not answer directly: {UNREACHABLE}",)


@pytest.mark.parametrize(
    ("declaration", "expect", "why"),
    [
        (DRAINED, (), "drained"),
        (cluster(('address = "10.0.0.2"', 'address = "10.0.0.2"\nweight = 0')), (), "weight 0"),
        (cluster(), ("db1", "db3"), "not expected to serve"),
    ],
)
def test_a_server_that_need_not_serve_is_asked_and_said_so(
    declaration: Declaration, expect: Sequence[str], why: str
) -> None:
    assert direct(declaration, expect=expect)[1].remarks == (why,)
    dead = direct(declaration, expect=expect, db2=Answer(error=UNREACHABLE))[1]
    assert dead.healthy
    assert dead.remarks == (why, f"does not answer directly: {UNREACHABLE}")


def test_behind_a_firewall_is_no_fault() -> None:
    reads = service(cluster(), "db1 db2 db3")
    verdict = direct(cluster(), [reads], db2=Answer(error=TIMED_OUT))[1]
    assert verdict.healthy
    assert "only the way from here to its own address is closed" in verdict.remarks[0]


def test_another_server_at_that_address() -> None:
    assert direct(cluster(), db2=Answer("db3", sent=REQUEST, received=MB4))[1].faults == (
        "db3 answers at the address of db2",
    )
    assert "calls itself galera-7" in direct(cluster(), db2=Answer("galera-7", sent=REQUEST, received=MB4))[1].remarks


def test_an_account_that_is_refused() -> None:
    refused = Answer(error=DENIED)
    assert direct(cluster(), db2=refused)[1].faults == (f"answers, and refuses this account: {DENIED}",)
    assert direct(SNAT, db2=refused)[1].healthy
    assert not direct(SNAT, db2=Answer(error=UNREACHABLE))[1].healthy
    seen = direct(cluster(), [service(cluster(), "db1 db2 db3")], db2=refused)[1]
    assert "by the load balancer it lets it in" in seen.remarks[0]


def test_large_packets_that_hang_directly() -> None:
    hangs = Answer("db2", "10.0.0.5", TIMED_OUT, sent=REQUEST)
    verdict = direct(cluster(), db2=hangs)[1]
    assert "an answer of 4 MB hangs" in verdict.faults[0]
    asked = large_probe(service(cluster(), "db2").probe, MB4)
    passes = judge_large(asked, [Answer("db2", sent=REQUEST, received=MB4)])
    assert direct(cluster(), [passes], db2=hangs)[1].healthy


# Which of the two


def test_nothing_to_say_where_all_is_well_or_nobody_was_asked() -> None:
    assert concluded(cluster(), [service(cluster(), "db1 db2 db3")]) == ""
    assert conclusions(cluster(), [service(cluster(), "!no answer in time")]) == ()


def test_the_load_balancer() -> None:
    text = concluded(cluster(), [service(cluster(), "!no answer in time")])
    assert text.startswith(
        "10.0.0.10:3306 fails and each server answers directly: the load balancer's path is guilty, no database"
    )


def test_the_databases() -> None:
    down = {name: Answer(error=UNREACHABLE) for name in ("db1", "db2", "db3")}
    text = concluded(cluster(), [service(cluster(), "!refused")], **down)
    assert text.startswith("10.0.0.10:3306 fails and no server answers directly: the databases are guilty")
    assert "nat.direct" not in text
    assert "pass the active director" in concluded(NAT, [service(NAT, "!refused")], **down)


def test_one_database() -> None:
    reads = service(cluster(), "db1 db3")
    assert not reads.healthy
    text = concluded(cluster(), [reads], db2=Answer(error=UNREACHABLE))
    assert text == "db2 does not answer directly: the database is guilty, or its machine, not the load balancer"


def test_one_database_that_clients_are_sent_to_all_the_same() -> None:
    text = concluded(cluster(), [service(cluster(), "!reset")], db2=Answer(error=UNREACHABLE))
    assert "10.0.0.10:3306 fails though db1 and db3 answer directly: lbctl status says" in text


def test_one_that_is_left_out() -> None:
    text = concluded(cluster(), [service(cluster(), "db1 db3")])
    assert text.startswith("db2 answers directly and not by the load balancer: lbctl status says why")


def test_a_wrong_password_is_nobodys_guilt() -> None:
    refused = {name: Answer(error=DENIED) for name in ("db1", "db2", "db3")}
    assert concluded(cluster(), [service(cluster(), f"!{DENIED}")], **refused) == ""


def test_a_drained_server_says_nothing_of_the_others() -> None:
    text = concluded(DRAINED, [service(DRAINED, "!no answer in time")], db2=Answer(error=UNREACHABLE))
    assert "each server answers directly: the load balancer's path is guilty" in text


def test_whose_packets() -> None:
    reads = service(cluster(), "db1 db2 db3")
    cut = judge_large(large_probe(reads.probe, MB4), [Answer("db2", error=TIMED_OUT)])
    assert cut.probe.kind is Kind.LARGE
    assert "large packets pass directly and not by 10.0.0.10:3306" in concluded(cluster(), [reads, cut])
    text = concluded(cluster(), [reads, cut], db2=Answer("db2", "10.0.0.5", TIMED_OUT))
    assert "large packets of db2 do not pass directly either" in text


def test_the_client_that_servers_see() -> None:
    text = concluded(cluster(), [service(cluster(), "db1 db2 db3", client="10.0.0.200")])
    assert text.startswith("10.0.0.10:3306: servers see 10.0.0.200 as client, and directly 10.0.0.5")
    assert concluded(SNAT, [service(SNAT, "db1 db2 db3", client="10.0.0.4")]) == ""
