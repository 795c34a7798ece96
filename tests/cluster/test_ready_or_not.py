"""Servers that are out by design, and servers that only the next failover would lose."""

import pytest

from cluster.status import Health, status
from tests.cluster.sample import LAB
from tests.cluster.test_status import REFUSED, locked, server
from tests.cluster.watched import blueprint, changed, elected, healthy, out, standing_by, unreached
from tests.variants import MATRIX, Variant

PLAN = blueprint()
WELL = healthy(PLAN)


# Standing by


@pytest.mark.parametrize("variant", [v for v in MATRIX if v.writer == "elected"], ids=lambda variant: variant.name)
def test_who_is_not_elected_stands_by(variant: Variant) -> None:
    """As on a real cluster: two of three servers are in no table for the writer's service."""
    found = status(variant.blueprint, elected(variant.blueprint))
    assert found.troubles == ()
    assert server(found, "db1", "write").health is Health.SERVING
    assert {server(found, name).health for name in ("db1", "db2", "db3")} == {Health.SERVING}
    for name, index in (("db2", 1), ("db3", 2)):
        row = server(found, name, "write")
        assert (row.health, row.why) == (
            Health.STANDBY,
            f"clustercheck: wsrep_local_index is {index}, the master is index 0",
        )


ELECTED = Variant(writer="elected").blueprint
READ_ONLY = Variant(writer="ranked").blueprint


@pytest.mark.parametrize("word", ["read_only is ON", "super_read_only is ON", "read_only is 1"])
def test_a_server_that_takes_no_writes_stands_by(word: str) -> None:
    found = status(READ_ONLY, standing_by(healthy(READ_ONLY), READ_ONLY, {"db3": f"503 {word}"}))
    assert (server(found, "db3", "write").health, found.troubles) == (Health.STANDBY, ())


@pytest.mark.parametrize(
    "told",
    [
        "503 not Synced: Joined (wsrep_local_state 3)",
        "503 wsrep_local_index is not known, the master is index 0",
        "503 read_only is not known",
        "no answer within 1 s",
    ],
)
def test_who_is_out_by_anything_else_does_not_stand_by(told: str) -> None:
    found = status(ELECTED, standing_by(healthy(ELECTED), ELECTED, {"db3": told}))
    assert server(found, "db3", "write").health is Health.OUT
    assert len(found.troubles) == 1


def test_where_all_stand_by_nobody_is_the_writer() -> None:
    told = {
        name: f"503 wsrep_local_index is {index}, the master is index 0"
        for index, name in enumerate(("db1", "db2", "db3"), 1)
    }
    found = status(ELECTED, standing_by(healthy(ELECTED), ELECTED, told))
    assert server(found, "db2", "write").health is Health.OUT
    assert found.troubles[0] == "write 10.0.0.11:3306: nobody serves it"


def test_a_server_without_its_database_does_not_stand_by() -> None:
    down = changed(elected(ELECTED), "db2", listening=frozenset())
    assert server(status(ELECTED, down), "db2", "write").health is Health.OUT


# What the backup does not reach


SILENCE = "no answer within 1 s"


def test_what_the_backup_does_not_reach_is_lost_at_the_next_failover() -> None:
    """Say, a firewall that drops what it asks of port 9200."""
    found = status(PLAN, unreached(PLAN, SILENCE, "db1", "db2", "db3"))
    assert {each.health for endpoint in found.endpoints for each in endpoint.servers} == {Health.SERVING}
    assert found.troubles == tuple(
        f"lb2, the backup, would send clients of read 10.0.0.10:3306, write 10.0.0.11:3306 not to {name}: "
        f"clustercheck at {PLAN.declaration.real_server[name].address}:9200/: {SILENCE}"
        for name in ("db1", "db2", "db3")
    )


@pytest.mark.parametrize("variant", [v for v in MATRIX if v.directors == 2], ids=lambda variant: variant.name)
def test_one_that_the_backup_does_not_reach(variant: Variant) -> None:
    found = status(variant.blueprint, unreached(variant.blueprint, SILENCE, "db2"))
    assert {(each.director, each.server, each.service) for each in found.unready} == {
        ("lb2", "db2", "read"),
        ("lb2", "db2", "write"),
    }


@pytest.mark.parametrize("told", ["200 Synced", "open"])
def test_a_backup_whose_keepalived_has_just_started_is_no_trouble(told: str) -> None:
    plan = PLAN if told != "open" else blueprint(LAB.replace("nat_port", 'check = "tcp"\nnat_port'))
    found = status(plan, unreached(plan, told, "db1", "db2", "db3"))
    assert (found.unready, found.troubles) == ((), ())


def test_what_no_director_serves_is_said_once() -> None:
    """Out everywhere, drained, or standing by."""
    assert status(PLAN, out(WELL, PLAN, "db3", REFUSED)).unready == ()
    assert status(ELECTED, elected(ELECTED)).unready == ()
    drained = blueprint(LAB + "drained = true\n")
    assert status(drained, unreached(drained, REFUSED, "db3")).unready == ()


def test_a_backup_is_not_judged_while_a_change_is_under_way_or_nobody_is_active() -> None:
    away = unreached(PLAN, SILENCE, "db1")
    assert status(PLAN, locked(away, 3)).troubles == ()
    assert status(PLAN, changed(away, "lb1", addresses=frozenset())).unready == ()
