"""What status and watch say of real machines: all well, a database that is down, a host that is dead, a failover."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from tests.system.machines import Cluster, wait_until
from tests.variants import ROOT, Variant

# Minutes, and few of them seen on the code as it is now: docs/development.md, "The long tests".
pytestmark = [pytest.mark.lab, pytest.mark.soak]


@pytest.fixture
def served(cluster: Cluster) -> Cluster:
    """Deployed, serving, and all well."""
    cluster.declare(Variant(Mode.DR))
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    is_well(cluster)
    return cluster


def seen(cluster: Cluster) -> dict[str, Any]:
    """As for programs. Only a host that does not take a connection is slow, and this machine is busy."""
    run = cluster.lbctl("status", "--json", "--patience", "8")
    found: dict[str, Any] = json.loads(run.output)
    assert run.status == (Exit.DONE if found["healthy"] else Exit.TROUBLE), run.output
    return found


def is_well(cluster: Cluster) -> None:
    # A check that misses once on a busy machine takes a server out for a second.
    wait_until(lambda: seen(cluster)["healthy"], "status finds nothing wrong")


def rows(found: dict[str, Any], server: str) -> list[dict[str, Any]]:
    return [row for endpoint in found["endpoints"] for row in endpoint["servers"] if row["name"] == server]


def once_out(cluster: Cluster, server: str) -> dict[str, Any]:
    """What is seen when the server is in no service any more."""

    def look() -> dict[str, Any]:
        found = seen(cluster)
        return found if {row["health"] for row in rows(found, server)} == {"out"} else {}

    return wait_until(look, f"{server} is out")


def test_all_is_well_and_connections_are_counted(served: Cluster) -> None:
    (reads,) = served.endpoints("read")
    served.answers(reads, 6)
    found = seen(served)
    assert found["serving"] == served.active()
    assert found["directors"][0]["priority"] == served.declaration.director["lb1"].priority
    of_reads = next(e for e in found["endpoints"] if e["service"] == "read")
    assert of_reads["modes"] == ["dr"]
    assert sum(row["total"]["connections"] for row in of_reads["servers"]) >= 6
    assert all(row["total"]["bytes_in"] > 0 for row in of_reads["servers"])


def test_a_database_that_is_down(served: Cluster) -> None:
    served.on("db3", "systemctl stop mariadb")
    try:
        found = once_out(served, "db3")
        why = rows(found, "db3")[0]["why"]
        assert why.startswith("nothing listens at port 3306; clustercheck: no connection to the server: ")
        assert {row["health"] for row in rows(found, "db1")} == {"serving"}
    finally:
        served.on("db3", "systemctl start mariadb")
    is_well(served)


def test_a_dead_host_is_named_and_the_others_are_seen(served: Cluster) -> None:
    served.lab.link("db2", up=False)
    try:
        found = once_out(served, "db2")
        assert list(found["dead"]) == ["db2"]
        assert {row["why"] for row in rows(found, "db2")} == {"the host does not answer"}
        assert {row["health"] for row in rows(found, "db1")} == {"serving"}
        assert found["drift"] == []
    finally:
        served.lab.link("db2", up=True)
    is_well(served)


@contextmanager
def watching(cluster: Cluster, file: Path) -> Iterator[None]:
    """`lbctl watch` into a file, ended by Ctrl-C."""
    environment = {**os.environ, "LBCTL_CLUSTER": str(cluster.file), "LBCTL_LAB": cluster.lab.name}
    with file.open("w") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "lbctl"), "watch", "--interval", "0.5", "--patience", "8"],
            cwd=ROOT,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdout=out,
        )
        try:
            yield
        finally:
            process.send_signal(2)
            assert process.wait(60) == Exit.DONE


def test_watch_tells_a_failover_and_a_weight(served: Cluster, tmp_path: Path) -> None:
    old = served.active()
    (new,) = set(served.declaration.director) - {old}
    (reads,) = served.endpoints("read")
    file = tmp_path / "watched"
    with watching(served, file):
        wait_until(lambda: "Nothing is wrong" in file.read_text(), "the first look")
        done = served.lbctl("failover", "--yes")
        assert done.status == Exit.DONE, done.output
        wait_until(lambda: f"→ {new} active" in file.read_text(), "the failover is told")
        wait_until(lambda: f"the lock is free: failover {old} to {new}" in file.read_text(), "the end of it")
        served.on(new, f"ipvsadm -e -t {reads} -r 10.0.0.1:3306 -g -w 3")
        try:
            wait_until(lambda: f"read {reads}: db1 weight 10 → 3" in file.read_text(), "the weight is told")
        finally:
            served.on(new, f"ipvsadm -e -t {reads} -r 10.0.0.1:3306 -g -w 10")
