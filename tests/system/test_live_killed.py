"""The operator of a live change is killed at each of its changes on a host: clients go on, and one can go on or go back."""

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from tests.system.interrupted import Interrupted
from tests.system.live import at_work, nobody_noticed
from tests.system.machines import PATIENT, Cluster
from tests.variants import Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(3600)]

KILLED = -9

COMMANDS = {
    "switch-mode": (Variant(Mode.DR), ["switch-mode", "nat", "--drain", "0"]),
    "director-add": (
        Variant(Mode.NAT, directors=1),
        ["director", "add", "lb2", "--address", "10.0.0.6", "--gateway", "10.0.0.12"],
    ),
    "director-remove": (Variant(Mode.DR), ["director", "remove", "lb1"]),
    "real-server-drain": (Variant(Mode.DR, "ranked"), ["real-server", "drain", "db3", "--drain", "0"]),
    "real-server-remove": (Variant(Mode.DR, "ranked"), ["real-server", "remove", "db3", "--drain", "0", "--cut"]),
}


def began_with(cluster: Cluster, variant: Variant) -> str:
    """The cluster before the change: the text of its declaration."""
    cluster.declare(variant, **PATIENT)
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster.file.read_text()


def at_rest(cluster: Cluster) -> None:
    cluster.reread()
    again = cluster.lbctl("plan", "--check")
    assert again.status == Exit.DONE, again.output


@pytest.mark.parametrize("name", COMMANDS)
def test_it_goes_on_or_back_from_wherever_it_was_killed(cluster: Cluster, name: str) -> None:
    variant, words = COMMANDS[name]
    began_with(cluster, variant)
    stopping = Interrupted(cluster)
    argv = ["lbctl", *words, "--yes"]
    status, begun = stopping.command_stopped("nothing", 0, argv)
    changes = len(begun)
    assert status == Exit.DONE, (cluster.folder / "stopped.log").read_text()
    assert changes > 1
    after = cluster.file.read_text()

    for place in range(1, changes + 1):
        before = began_with(cluster, variant)
        way = "--abort" if place % 2 else "--resume"
        with at_work(cluster, held=5, new_per_second=5) as seen:
            status, _ = stopping.command_stopped("after" if place % 3 else "before", place, argv)
            assert status == KILLED, (cluster.folder / "stopped.log").read_text()
            done = cluster.lbctl("switch-mode", way, "--yes", "--drain", "0")
            assert done.status == Exit.DONE, done.output
            if way == "--resume" and name == "real-server-remove" and cluster.file.read_text() != after:
                # It drains first, which is a change of its own. The same command goes on.
                done = cluster.lbctl(*argv[1:])
                assert done.status == Exit.DONE, done.output
        nobody_noticed(seen)
        assert cluster.file.read_text() == (before if way == "--abort" else after), (place, way)
        done = cluster.lbctl("deploy", "--yes")
        assert done.status == Exit.DONE, done.output
        at_rest(cluster)


@pytest.mark.parametrize("how", ["before", "during", "after"])
def test_a_failover_whose_operator_is_killed_leaves_both_directors_at_work(cluster: Cluster, how: str) -> None:
    began_with(cluster, Variant(Mode.DR))
    with at_work(cluster, held=5, new_per_second=5) as seen:
        status, begun = Interrupted(cluster).command_stopped(how, 1, ["lbctl", "failover", "--yes"])
        assert status == KILLED, (cluster.folder / "stopped.log").read_text()
        assert len(begun) == 1
        done = cluster.lbctl("deploy", "--yes")
        assert done.status == Exit.DONE, done.output
    nobody_noticed(seen)
    at_rest(cluster)
    assert cluster.active() in cluster.declaration.director
