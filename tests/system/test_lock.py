"""Two operators and one cluster: who waits for whom, what a killed one leaves, and what the directors remember of them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Exit
from cluster.history import LOCK_FILE
from cluster.vocabulary import Mode
from tests.system.machines import PATIENCE, Cluster, wait_until
from tests.variants import ROOT, Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(1800)]  # several deploys each, on a busy machine

# Found before Debian's own: every change of a file waits in it, looks at the host do not use it.
SLOW = "/usr/local/sbin/sync"
HOLD = f"""touch /run/hold; cat >{SLOW}.new <<'END'
#!/bin/sh
touch /run/held; while [ -e /run/hold ]; do sleep 0.2; done; exec /usr/bin/sync "$@"
END
chmod 755 {SLOW}.new; mv {SLOW}.new {SLOW}"""
RELEASE = f"rm -f {SLOW} /run/hold /run/held"


@contextmanager
def at_work(cluster: Cluster, mode: Mode) -> Iterator["subprocess.Popen[str]"]:
    """An operator's deploy to another mode, in the midst of a change on db1 for as long as this lasts."""
    cluster.declare(Variant(mode, "ranked"))
    cluster.on("db1", HOLD)
    words = [str(Path(sys.executable).with_name("lbctl")), "deploy", "--yes"]
    environment = {**os.environ, "LBCTL_CLUSTER": str(cluster.file), "LBCTL_LAB": cluster.lab.name, "NO_COLOR": "1"}
    log = cluster.folder / "first.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or cluster.on("db1", "ls /run/held", check=False), "it began")
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        cluster.on("db1", RELEASE)
        if process.poll() is None:
            process.kill()
            process.wait()


def changes(cluster: Cluster) -> list[dict[str, Any]]:
    said = cluster.lbctl("history", "--json", "--limit", "200")
    assert said.status == Exit.DONE, said.output
    found: list[dict[str, Any]] = json.loads(said.output)["changes"]
    return found


def locked(cluster: Cluster) -> list[str]:
    return [name for name in cluster.declaration.director if cluster.on(name, f"cat {LOCK_FILE}", check=False)]


def refused(cluster: Cluster, *words: str) -> str:
    said = cluster.lbctl(*words)
    assert said.status == Exit.REFUSED, said.output
    return said.output


def settled(cluster: Cluster, mode: Mode) -> None:
    """Deployed, whatever a test before this one left."""
    cluster.declare(Variant(mode, "ranked"))
    cluster.lbctl("unlock", "--yes")
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output


def test_the_second_operator_is_refused_and_the_first_one_finishes(cluster: Cluster) -> None:
    settled(cluster, Mode.DR)
    before = changes(cluster)
    with at_work(cluster, Mode.TUN) as first:
        assert locked(cluster) == ["lb1", "lb2"]
        said = refused(cluster, "deploy", "--yes")
        assert f"locked (on lb1, lb2) by {first_user(cluster)} on " in said
        assert f"(process {first.pid}) since " in said
        assert "UTC: deploy; last sign of life " in said
        assert "nothing was changed" in said
        assert "last sign of life" in refused(cluster, "unlock", "--yes")
        plain = cluster.pyinfra()
        assert plain.status != 0
        assert "the cluster is locked" in plain.output
        assert plain.changed == []
        assert changes(cluster)[-1]["result"] == "under way"
        sign = f"stat -c %Y {LOCK_FILE}"
        times = {name: cluster.on(name, sign) for name in ("lb1", "lb2")}
        for name, time in times.items():
            wait_until(lambda n=name, t=time: cluster.on(n, sign) != t, f"a sign of life on {name}")  # type: ignore[misc]
        cluster.on("db1", RELEASE)
        assert first.wait(300) == Exit.DONE, (cluster.folder / "first.log").read_text()
    assert locked(cluster) == []
    *earlier, last = changes(cluster)
    assert earlier == before
    assert (last["number"], last["result"]) == (before[-1]["number"] + 1, "done")
    assert set(last["changed"]) == set(cluster.hosts)
    assert last["before"] == before[-1]["after"] != last["after"]
    different = cluster.lbctl("history", "show", str(last["number"]), "--diff").output.splitlines()
    assert [line for line in different if line[:1] in "+-"][2:] == ['-mode = "dr"', '+mode = "tun"']
    shown = cluster.lbctl("history", "show", str(last["number"])).output
    assert shown == cluster.file.read_text()
    cluster.lbctl("deploy", "--yes")  # what connections kept in place
    cluster.mark()
    count = len(changes(cluster))
    again = cluster.lbctl("deploy", "--yes")
    assert "No host was changed." in again.output
    assert cluster.newer() == {}
    assert len(changes(cluster)) == count


def first_user(cluster: Cluster) -> str:
    user: str = changes(cluster)[-1]["by"]
    return user


def test_a_killed_operator_leaves_a_lock_that_says_so(cluster: Cluster) -> None:
    settled(cluster, Mode.DR)
    with at_work(cluster, Mode.TUN) as first:
        first.kill()
        assert first.wait(60) == -signal.SIGKILL
        assert locked(cluster) == ["lb1", "lb2"]
    assert changes(cluster)[-1]["result"] == "unfinished"
    assert f"{first.pid}" in cluster.lbctl("history").output
    assert f"its process {first.pid} on this machine has ended" in refused(cluster, "unlock")
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    assert "is taken over: that process has ended" in done.output
    assert "Nobody holds" in cluster.lbctl("unlock").output
    cluster.table_settles("lb1")
    assert [change["result"] for change in changes(cluster)[-2:]] == ["unfinished", "done"]


def test_ctrl_c_lets_go_of_the_lock_and_says_so_in_the_history(cluster: Cluster) -> None:
    settled(cluster, Mode.DR)
    with at_work(cluster, Mode.TUN) as first:
        first.send_signal(signal.SIGINT)
        wait_until(lambda: "stops when this step is finished" in (cluster.folder / "first.log").read_text(), "it heard")
        assert locked(cluster) == ["lb1", "lb2"]
        cluster.on("db1", RELEASE)
        assert first.wait(PATIENCE * 4) == Exit.INTERRUPTED
        assert locked(cluster) == []
        assert changes(cluster)[-1]["result"] == "interrupted"
    assert "interrupted: " in (cluster.folder / "first.log").read_text()
    settled(cluster, Mode.TUN)
    assert [change["result"] for change in changes(cluster)[-2:]] == ["interrupted", "done"]


def test_a_director_that_lost_power_still_has_the_lock_and_a_dead_one_stops_nobody(cluster: Cluster) -> None:
    settled(cluster, Mode.DR)
    with at_work(cluster, Mode.TUN) as first:
        first.kill()
        first.wait(60)
    cluster.lab.power_off("lb2")
    unlocked = cluster.lbctl("unlock", "--yes")
    assert (unlocked.status, "lb2 could not be asked" in unlocked.output) == (Exit.FAILED, True)
    assert "The lock is gone from lb1." in unlocked.output
    done = cluster.lbctl("deploy", "--yes")
    assert (done.status, "lb2 does not hold the cluster's lock" in done.output) == (Exit.FAILED, True), done.output
    cluster.lab.power_on("lb2")
    cluster.lab.wait("lb2")
    assert locked(cluster) == ["lb2"]
    settled(cluster, Mode.TUN)
    results = [change["result"] for change in changes(cluster)[-3:]]
    assert results == ["unfinished", "done, but not on lb2", "done"], results
