"""An operator changes a cluster that clients work with: nobody notices, whatever is changed."""

import time

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.load import Load, Orders
from tests.system.live import at_work, nobody_noticed, nobody_owned_twice
from tests.system.machines import PATIENT, Cluster, Run, wait_until
from tests.variants import PASSWORD, Variant

# Minutes each, and not yet dependable: docs/development.md, "The long tests".
pytestmark = [pytest.mark.lab, pytest.mark.soak]

BEFORE_CRASH = 8
"""Seconds after which a director has heard of all connections of the other one."""


def well(run: Run) -> Run:
    assert run.status == Exit.DONE, run.output
    return run


def deployed(cluster: Cluster, variant: Variant) -> str:
    """Deployed and at rest: the active director's name."""
    cluster.declare(variant, **PATIENT)
    well(cluster.lbctl("deploy", "--yes"))
    return at_rest(cluster)


def at_rest(cluster: Cluster) -> str:
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster.active()


def nothing_to_do(cluster: Cluster) -> None:
    """The declaration says what is there, once what clients still used is gone with them."""
    well(cluster.lbctl("deploy", "--yes"))
    assert "Nothing to do" in well(cluster.lbctl("plan", "--check")).output


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Mode.DR, Mode.NAT),
        pytest.param(Mode.NAT, Mode.TUN, marks=pytest.mark.soak),
        pytest.param(Mode.TUN, Mode.DR, marks=pytest.mark.soak),
    ],
)
def test_switch_mode_and_back(cluster: Cluster, before: Mode, after: Mode) -> None:
    deployed(cluster, Variant(before))
    with at_work(cluster) as seen:
        switched = well(cluster.lbctl("switch-mode", after, "--yes", "--drain", "0"))
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    assert "Still used" in switched.output
    assert f'mode = "{after}"' in cluster.file.read_text()
    cluster.reread()
    at_rest(cluster)
    nothing_to_do(cluster)

    with at_work(cluster) as seen:
        well(cluster.lbctl("rollback", "--yes", "--drain", "0"))
    nobody_noticed(seen)
    assert f'mode = "{before}"' in cluster.file.read_text()


def test_who_is_connected_at_a_port_of_nats_own_stays_served(cluster: Cluster) -> None:
    deployed(cluster, Variant(Mode.NAT))
    places = tuple((str(e.address), e.port) for e in cluster.endpoints("read") if e.port != 3306)
    with Load(cluster.lab, Orders(places, held=5, new_per_second=0)) as load:
        said = well(cluster.lbctl("switch-mode", "dr", "--yes", "--drain", "5s")).output
        summary = load.stop().summary()
    assert summary.cut == {}, summary
    assert "clients of 10.0.0.12:5506 (read) must change to 10.0.0.10:3306" in said
    assert "10.0.0.12:5506 is still used" in said
    cluster.reread()
    well(cluster.lbctl("switch-mode", "--resume", "--yes"))
    at_rest(cluster)
    nothing_to_do(cluster)


@pytest.mark.soak
@pytest.mark.parametrize("mode", [Mode.NAT, Mode.DR, Mode.TUN])
def test_a_director_comes_to_one_that_is_alone_and_leaves(cluster: Cluster, mode: Mode) -> None:
    deployed(cluster, Variant(mode, directors=1))
    add = ["director", "add", "lb2", "--address", "10.0.0.6", "--yes"]
    with at_work(cluster) as seen:
        well(cluster.lbctl(*add, *(["--gateway", "10.0.0.12"] if mode is Mode.NAT else [])))
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    cluster.reread()
    assert at_rest(cluster) == "lb1"
    nothing_to_do(cluster)

    with at_work(cluster) as seen:
        well(cluster.lbctl("director", "remove", "lb1", "--yes"))
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    cluster.reread()
    assert at_rest(cluster) == "lb2"
    nothing_to_do(cluster)
    assert cluster.on("lb1", "ls /var/lib/lbctl /etc/keepalived/keepalived.conf 2>/dev/null; true") == ""


def test_a_director_that_came_goes_by_rollback(cluster: Cluster) -> None:
    deployed(cluster, Variant(Mode.DR, directors=1))
    before = cluster.file.read_text()
    well(cluster.lbctl("director", "add", "lb2", "--address", "10.0.0.6", "--yes"))
    cluster.reread()
    at_rest(cluster)
    with at_work(cluster) as seen:
        well(cluster.lbctl("rollback", "--yes"))
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    assert cluster.file.read_text() == before
    cluster.reread()
    assert at_rest(cluster) == "lb1"
    nothing_to_do(cluster)


def test_a_dead_director_is_taken_out(cluster: Cluster) -> None:
    """The active one loses power: that costs what a crash costs, and to take it out costs nothing more."""
    first = deployed(cluster, Variant(Mode.DR))
    (second,) = set(cluster.declaration.director) - {first}
    text = cluster.file.read_text()
    try:
        with at_work(cluster) as crash:
            time.sleep(BEFORE_CRASH)
            cluster.lab.power_off(first)
            wait_until(lambda: cluster.on(second, "ip -o addr show dev eth0 to 10.0.0.10/32"), f"{second} takes over")
        assert crash.summary.cut == {}, str(crash.summary)
        refused = cluster.lbctl("director", "remove", first, "--yes")
        assert "--dead" in refused.output
        assert refused.status == Exit.REFUSED, refused.output
        with at_work(cluster) as seen:
            well(cluster.lbctl("director", "remove", first, "--dead", "--yes"))
        nobody_noticed(seen)
        nobody_owned_twice(seen)
        cluster.reread()
        assert list(cluster.declaration.director) == [second]
        nothing_to_do(cluster)
    finally:
        cluster.lab.power_on(first)
    # It comes back, and is declared again.
    cluster.file.write_text(text)
    cluster.reread()
    well(cluster.lbctl("deploy", "--yes"))
    at_rest(cluster)


@pytest.mark.soak
def test_a_server_rests_leaves_and_comes(cluster: Cluster) -> None:
    deployed(cluster, Variant(Mode.DR, "ranked"))
    with at_work(cluster, held=0) as seen:
        # A connection whose client was killed in an earlier test is not waited for.
        well(cluster.lbctl("real-server", "drain", "db3", "--yes", "--drain", "5s"))
        wait_until(lambda: "db3" not in cluster.answers(cluster.endpoints("read")[0]), "db3 is drained")
        well(cluster.lbctl("real-server", "undrain", "db3", "--yes"))
        well(cluster.lbctl("real-server", "remove", "db3", "--yes", "--drain", "5s", "--cut"))
        well(cluster.lbctl("real-server", "add", "db3", "--address", "10.0.0.3", "--yes"))
    nobody_noticed(seen)
    cluster.reread()
    at_rest(cluster)
    cluster.rotates(cluster.endpoints("read")[0])
    nothing_to_do(cluster)


@pytest.mark.soak
def test_the_last_live_server_is_not_drained(cluster: Cluster) -> None:
    deployed(cluster, Variant(Mode.DR))
    for name in ("db2", "db3"):
        well(cluster.lbctl("real-server", "drain", name, "--yes", "--drain", "0"))
    for force in ([], ["--force"]):
        refused = cluster.lbctl("real-server", "drain", "db1", "--yes", *force)
        assert refused.status == Exit.REFUSED, refused.output
        assert "all others are drained or of weight 0" in refused.output


@pytest.mark.soak
@pytest.mark.parametrize("mode", [Mode.DR, Mode.TUN, Mode.NAT])
def test_failover_and_return(cluster: Cluster, mode: Mode) -> None:
    first = deployed(cluster, Variant(mode))
    (second,) = set(cluster.declaration.director) - {first}
    with at_work(cluster) as seen:
        shown = well(cluster.lbctl("failover", "--plan")).output
        assert "Nothing was changed" in shown
        assert cluster.active() == first
        said = well(cluster.lbctl("failover", "--yes")).output
        assert f"{second} holds the addresses" in said
        assert cluster.active() == second
        at_rest(cluster)
        well(cluster.lbctl("failover", "--to", first, "--yes"))
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    assert cluster.active() == first
    assert PASSWORD not in said
