"""What a client must see, and what is made of what it saw."""

from collections.abc import Sequence

import pytest

from cluster.declaration import Declaration
from cluster.reading import read
from cluster.verification import Answer, Pattern, Probe, identify, judge, probes, split_writers
from tests.cluster.sample import LAB


def cluster(*changes: tuple[str, str]) -> Declaration:
    text = LAB
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read(text, "lab.toml")


NAT = ('mode = "dr"', 'mode = "nat"')
READ = "nat_port = 5506"


def probe(declaration: Declaration, place: str, *, count: int = 12, expect: Sequence[str] = ()) -> Probe:
    return next(p for p in probes(declaration, count=count, expect=expect) if str(p.endpoint) == place)


def answers(text: str, client: str = "10.0.0.5") -> list[Answer]:
    """Of "db1 db1 db2"."""
    return [Answer(server=name, client=client) for name in text.split()]


# What to try


def test_each_address_and_port_once() -> None:
    assert [str(p.endpoint) for p in probes(cluster(), count=12)] == ["10.0.0.10:3306", "10.0.0.11:3306"]
    places = ["10.0.0.10:3306", "10.0.0.12:5506", "10.0.0.11:3306", "10.0.0.12:5507"]
    assert [str(p.endpoint) for p in probes(cluster(NAT), count=12)] == places


def test_without_a_gateway_every_director_is_a_place_of_its_own() -> None:
    declaration = cluster(NAT, ('gateway = "10.0.0.12"', 'return_path = "snat"'))
    places = {str(p.endpoint) for p in probes(declaration, count=12)}
    assert {"10.0.0.4:5506", "10.0.0.6:5506"} <= places


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ("", Pattern.ROTATES),
        ('scheduler = "wrr"', Pattern.ROTATES),
        ('scheduler = "wlc"', Pattern.ROTATES),
        ('scheduler = "sed"', Pattern.ANY),
        ('scheduler = "sh"', Pattern.ANY),
        ('scheduler = "fo"', Pattern.STICKS),
        ('check = "primary"', Pattern.STICKS),
        ("persistence = {}", Pattern.STICKS),
    ],
)
def test_how_answers_must_be_spread(change: str, pattern: Pattern) -> None:
    assert probe(cluster((READ, change)), "10.0.0.10:3306").pattern is pattern


@pytest.mark.parametrize(
    ("change", "sql"),
    [
        ("", True),
        ('check = "tcp"', True),
        ('check = "tcp"\nport = 80', False),
        ('check = "synced"\nport = 3310', True),
        ('check = "none"\nprotocol = "udp"', False),
    ],
)
def test_which_services_speak_sql(change: str, sql: bool) -> None:  # noqa: FBT001 (a table)
    declaration = cluster((READ, change))
    assert next(p for p in probes(declaration, count=12) if p.endpoint.service == "read").sql is sql


def test_two_whole_turns_at_least() -> None:
    weighted = cluster((READ, 'scheduler = "wrr"'), ('address = "10.0.0.1"', 'address = "10.0.0.1"\nweight = 100'))
    assert probe(weighted, "10.0.0.10:3306").count == 24
    assert probe(cluster(), "10.0.0.10:3306", count=1).count == 6
    assert probe(cluster(), "10.0.0.11:3306", count=1).count == 1


def test_who_should_serve() -> None:
    drained = cluster(('address = "10.0.0.2"', 'address = "10.0.0.2"\nweight = 0'))
    assert list(probe(drained, "10.0.0.10:3306").weights) == ["db1", "db3"]
    assert list(probe(drained, "10.0.0.10:3306", expect=["db2"]).weights) == ["db2"]
    heavy = cluster((READ, 'scheduler = "fo"'), ('address = "10.0.0.3"', 'address = "10.0.0.3"\nweight = 50'))
    assert list(probe(heavy, "10.0.0.10:3306").weights) == ["db3", "db1", "db2"]


# Who answered


@pytest.mark.parametrize(
    "said",
    [
        {"hostname": "db2"},
        {"hostname": "DB2.example.net"},
        {"hostname": "galera-7", "wsrep_node_address": "10.0.0.2"},
        {"hostname": "galera-7", "wsrep_node_address": "10.0.0.2:4567"},
        {"hostname": "galera-7", "wsrep_node_address": "", "wsrep_node_name": "db2"},
        {"hostname": "db1", "wsrep_node_address": "10.0.0.2"},
    ],
)
def test_a_server_is_known_by(said: dict[str, str]) -> None:
    assert identify(cluster(), said) == "db2"


def test_a_stranger_keeps_its_own_name() -> None:
    assert identify(cluster(), {"hostname": "galera-7"}) == "galera-7"
    assert "does not say" in identify(cluster(), {})


def test_whole_names_go_before_short_ones() -> None:
    declaration = cluster(("[real_server.db1]", '[real_server."db.a"]'), ("[real_server.db2]", '[real_server."db.b"]'))
    assert identify(declaration, {"hostname": "db.b"}) == "db.b"
    assert identify(declaration, {"hostname": "db.c"}) == "db.a"


# What is made of it


@pytest.mark.parametrize("scheduler", ["lc", "wlc"])
def test_one_that_has_just_come_back_rightly_gets_all_by_connections(scheduler: str) -> None:
    verdict = judge(probe(cluster((READ, f'scheduler = "{scheduler}"')), "10.0.0.10:3306"), answers("db3 " * 12))
    assert verdict.healthy
    assert verdict.missing == ("db1", "db2")
    assert [text.split(":")[0] for text in verdict.remarks] == ["db1 did not answer", "db2 did not answer"]


def test_reads_rotate() -> None:
    verdict = judge(probe(cluster(), "10.0.0.10:3306"), answers("db1 db2 db3 " * 4))
    assert verdict.healthy
    assert verdict.answers == {"db1": 4, "db2": 4, "db3": 4}
    assert verdict.clients == {"10.0.0.5": 12}
    assert verdict.remarks == ()


def test_a_server_that_never_answers() -> None:
    verdict = judge(probe(cluster(), "10.0.0.10:3306"), answers("db1 db3 " * 6))
    assert verdict.faults == ("db2 did not answer",)
    assert verdict.missing == ("db2",)


def test_a_server_that_is_expected_to_be_away() -> None:
    expected = probe(cluster(), "10.0.0.10:3306", expect=["db1", "db3"])
    assert judge(expected, answers("db1 db3 " * 6)).healthy
    assert judge(expected, answers("db1 db2 db3 " * 4)).faults == (
        "db2 answered and is not one that should serve (db1, db3)",
    )


def test_a_light_server_may_not_have_had_its_turn() -> None:
    weighted = cluster((READ, 'scheduler = "wrr"'), ('address = "10.0.0.1"', 'address = "10.0.0.1"\nweight = 9999'))
    verdict = judge(probe(weighted, "10.0.0.10:3306"), answers("db1 " * 100))
    assert verdict.healthy
    assert "db2 did not answer" in verdict.remarks


def test_an_uneven_spread_is_no_fault() -> None:
    verdict = judge(probe(cluster(), "10.0.0.10:3306"), answers("db1 " * 8 + "db2 " * 2 + "db3 " * 2))
    assert verdict.healthy
    assert verdict.remarks == ("uneven, as it is when other clients connect at the same time",)


def test_writes_stick() -> None:
    write = probe(cluster(), "10.0.0.11:3306")
    assert judge(write, answers("db2 " * 12)).healthy
    assert judge(write, answers("db2 " * 6 + "db1 " * 6)).faults == ("db1 and db2 answered: all must go to one",)


def test_a_writer_by_rank_that_is_not_the_first() -> None:
    ranked = probe(cluster((READ, 'scheduler = "fo"')), "10.0.0.10:3306")
    assert judge(ranked, answers("db1 " * 12)).remarks == ()
    assert judge(ranked, answers("db2 " * 12)).remarks == ("db1 ranks first and does not serve: it fails its check",)


def test_failed_connections_are_counted_by_what_they_say() -> None:
    heard = [*answers("db1 db2 db3 " * 3), *(Answer(error="ERROR 2003"),) * 3]
    verdict = judge(probe(cluster(), "10.0.0.10:3306"), heard)
    assert verdict.faults == ("3 of 12 connections failed: ERROR 2003",)


def test_nobody_answers() -> None:
    verdict = judge(probe(cluster(), "10.0.0.10:3306"), [Answer(error="no answer in time")] * 12)
    assert verdict.faults == ("12 of 12 connections failed: no answer in time",)


def test_the_client_address_that_servers_see() -> None:
    plain = probe(cluster(NAT), "10.0.0.12:5506")
    assert "something translates" in judge(plain, answers("db1 db2 db3", client="10.0.0.4")).faults[0]
    translated = probe(cluster(NAT, ("[nat]", '[nat]\nreturn_path = "snat"')), "10.0.0.12:5506")
    assert judge(translated, answers("db1 db2 db3", client="10.0.0.4")).healthy
    assert "should be a director" in judge(translated, answers("db1 db2 db3", client="10.0.0.5")).faults[0]


def test_a_plain_connection_says_nothing_of_servers() -> None:
    web = next(p for p in probes(cluster((READ, 'check = "tcp"\nport = 80')), count=4) if not p.sql)
    assert judge(web, [Answer(server="connected")] * 6).healthy
    assert not judge(web, [Answer(error="refused")] * 6).healthy


def test_one_writer_at_each_place_but_not_the_same() -> None:
    declaration = cluster(NAT)
    places = [probe(declaration, "10.0.0.11:3306"), probe(declaration, "10.0.0.12:5507")]
    apart = [judge(places[0], answers("db1 " * 3)), judge(places[1], answers("db2 " * 3))]
    assert split_writers(apart) == ("write sticks to different servers: db1 at 10.0.0.11:3306, db2 at 10.0.0.12:5507",)
    assert split_writers([judge(place, answers("db1 " * 3)) for place in places]) == ()


def test_a_spread_that_is_not_by_weight() -> None:
    weighted = cluster((READ, 'scheduler = "wrr"'), ('address = "10.0.0.1"', 'address = "10.0.0.1"\nweight = 100'))
    asked = probe(weighted, "10.0.0.10:3306")
    assert judge(asked, answers("db1 " * 20 + "db2 db3 " * 2)).remarks == ()
    verdict = judge(asked, answers("db1 db2 db3 " * 8))
    assert verdict.healthy
    assert verdict.remarks[1] == "by weight it would be: db1 20, db2 2, db3 2"


@pytest.mark.parametrize("client", ["lb1", "LB2.example.net"])
def test_a_server_that_resolves_names_says_a_directors(client: str) -> None:
    said = answers("db1 db2 db3", client=client)
    assert "something translates" in judge(probe(cluster(NAT), "10.0.0.12:5506"), said).faults[0]
    translated = probe(cluster(NAT, ("[nat]", '[nat]\nreturn_path = "snat"')), "10.0.0.12:5506")
    assert judge(translated, said).healthy


def test_another_name_may_be_a_directors_own() -> None:
    named = answers("db1 db2 db3", client="app1.example.net")
    assert judge(probe(cluster(NAT), "10.0.0.12:5506"), named).healthy
    translated = probe(cluster(NAT, ("[nat]", '[nat]\nreturn_path = "snat"')), "10.0.0.12:5506")
    verdict = judge(translated, named)
    assert verdict.healthy
    assert "should be a director's name" in verdict.remarks[0]
