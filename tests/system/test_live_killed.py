"""The operator of a live change is killed at each of its changes on a host: clients go on, and one can go on or go back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from tests.system.live import at_work, nobody_noticed
from tests.system.machines import Cluster
from tests.variants import ROOT, Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak]

STOPPING = Path(__file__).parent / "stopping.py"

COMMANDS = {
    "switch-mode": (Variant(Mode.DR), ["switch-mode", "nat", "--drain", "0"]),
    "director-add": (
        Variant(Mode.NAT, directors=1),
        ["director", "add", "lb2", "--address", "10.0.0.6", "--gateway", "10.0.0.12"],
    ),
    "director-remove": (Variant(Mode.DR), ["director", "remove", "lb1"]),
    "real-server-drain": (Variant(Mode.DR, "ranked"), ["real-server", "drain", "db3", "--drain", "0"]),
}


def stopped(cluster: Cluster, how: str, place: int, words: list[str]) -> tuple[int, str, int]:
    """An lbctl to which that happens at its Nth change on a host: how it ended, what it said, how many changes had begun."""
    log = cluster.folder / "changes"
    log.write_text("")
    done = subprocess.run(
        [sys.executable, str(STOPPING), how, str(place), str(log), "lbctl", *words, "--yes"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LBCTL_CLUSTER": str(cluster.file),
            "LBCTL_LAB": cluster.lab.name,
            "NO_COLOR": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=900,
    )
    return done.returncode, done.stdout, len(log.read_text().splitlines())


def began_with(cluster: Cluster, variant: Variant) -> str:
    """The cluster before the change: the text of its declaration."""
    cluster.declare(variant)
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
    status, said, changes = stopped(cluster, "nothing", 0, words)
    assert status == Exit.DONE, said
    assert changes > 1
    after = cluster.file.read_text()

    for place in range(1, changes + 1):
        before = began_with(cluster, variant)
        way = "--abort" if place % 2 else "--resume"
        with at_work(cluster, held=5, new_per_second=5) as seen:
            status, said, _ = stopped(cluster, "after" if place % 3 else "before", place, words)
            assert status != Exit.DONE, said
            done = cluster.lbctl("switch-mode", way, "--yes", "--drain", "0")
            assert done.status == Exit.DONE, done.output
        nobody_noticed(seen)
        assert cluster.file.read_text() == (before if way == "--abort" else after), (place, way)
        done = cluster.lbctl("deploy", "--yes")
        assert done.status == Exit.DONE, done.output
        at_rest(cluster)
