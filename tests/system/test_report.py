"""What a report says of real machines: all well under load, a database that is down, a failover while it looks."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.load import Load, Orders
from tests.pages.browser import program, tab
from tests.pages.test_report import read, said
from tests.system.machines import Cluster, wait_until
from tests.variants import PASSWORD, Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak]

ASKED = timedelta(seconds=10)
"""A look may be dated so much later than its director was asked: it waits for all hosts, and these are slow."""


@pytest.fixture
def served(cluster: Cluster) -> Cluster:
    """Deployed in nat, where directors see both ways, with a password; serving, and all well."""
    cluster.declare(Variant(Mode.NAT, vrrp="password"))
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    wait_until(lambda: look(cluster)["status"]["healthy"], "a report finds nothing wrong")
    return cluster


def look(cluster: Cluster, *words: str) -> dict[str, Any]:
    """As for programs. Only a host that does not take a connection is slow, and this machine is busy."""
    run = cluster.lbctl("report", "--json", "--patience", "8", *(words or ("--over", "0")))
    found: dict[str, Any] = json.loads(run.output)
    assert run.status == (Exit.DONE if found["status"]["healthy"] else Exit.TROUBLE), run.output
    return found


def written(cluster: Cluster, over: str = "0") -> str:
    """The page, which must be whole whatever it says."""
    file = cluster.folder / "report.html"
    run = cluster.lbctl("report", "--patience", "8", "--over", over, "--output", str(file))
    text = file.read_text()
    assert run.status == (Exit.DONE if "Nothing is wrong." in text else Exit.TROUBLE), run.output
    found = read(text)
    assert [link for link in found.links if not link.startswith(("#", "data:"))] == []
    assert PASSWORD not in text
    return text


@contextmanager
def at_work(cluster: Cluster) -> Iterator[None]:
    """Ten new connections a second at each service."""
    places = tuple((str(e.address), e.port) for name in ("read", "write") for e in cluster.endpoints(name)[:1])
    with Load(cluster.lab, Orders(places, held=4, new_per_second=20)):
        yield


def test_all_is_well_under_load(served: Cluster, tmp_path: Path) -> None:
    verified = served.lbctl("verify")
    assert verified.status == Exit.DONE, verified.output
    with at_work(served):
        text = written(served, "20s")
    seen = said(text)
    assert "Nothing is wrong." in seen
    assert f"active director {served.active()} servers in rotation 3 of 3" in seen
    assert "None: every host is as declared." in seen
    assert "1 deploy ✓ done" in seen
    assert re.search(r"verify ✓ nothing bad \d+ s before this report", seen)
    assert "read 10.0.0.10:3306 (rotates): db1 4, db2 4, db3 4" in seen
    rate = float(re.search(r"new connections / s ([\d.]+)", seen)[1])  # type: ignore[index]
    assert 5 < rate < 40, seen
    assert len(re.findall(r'class="plot"', text)) == 4  # bytes go both ways here
    if program():
        shown(tmp_path / "report.html", tmp_path)


def shown(file: Path, folder: Path) -> None:
    with tab() as page:
        for width in (1280, 360):
            page.open(file, width=width)
            assert page.requests() == [file.resolve().as_uri()]
            assert page.complaints() == []
            assert page.value("document.documentElement.scrollWidth") <= width
            page.picture(folder / f"report-{width}.png")


def test_rates_are_what_clients_did(served: Cluster) -> None:
    """Counted by the kernel between looks: not more, not less."""
    (reads, *_) = served.endpoints("read")
    made: list[tuple[datetime, datetime]] = []
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look, served, "--over", "25s")
        while not looking.done():
            began = datetime.now(UTC)
            served.answers(reads, 1)
            made.append((began, datetime.now(UTC)))
        found = looking.result()["traffic"]
    first = datetime.fromisoformat(found["began"])
    last = first + timedelta(seconds=found["seconds"][-1])
    surely = sum(first < began and ended < last - ASKED for began, ended in made)
    perhaps = sum(first - ASKED < ended and began < last for began, ended in made)
    counted = sum(
        (rate or {"connections": 0})["connections"] * (after - before)
        for row in found["servers"]
        if row["endpoint"] == str(reads)
        for rate, (before, after) in zip(row["rates"], pairwise(found["seconds"]), strict=True)
    )
    assert 5 < surely <= round(counted) <= perhaps


def test_a_database_that_is_down(served: Cluster) -> None:
    served.on("db3", "systemctl stop mariadb")
    try:
        wait_until(lambda: "db3" in " ".join(look(served)["status"]["troubles"]), "db3 is missed")
        seen = said(written(served))
        assert "servers in rotation 2 of 3" in seen
        assert "db3 is out of read 10.0.0.10:3306" in seen
        assert "nothing listens at port 3306" in seen
        assert "db1 answers from 10.0.0.1; a rule sends that to 10.0.0.12" in seen
    finally:
        served.on("db3", "systemctl start mariadb")
    wait_until(lambda: look(served)["status"]["healthy"], "it is back")


def test_a_failover_while_it_looks_and_in_the_history(served: Cluster) -> None:
    old = served.active()
    (new,) = set(served.declaration.director) - {old}
    verified = served.lbctl("verify")
    assert verified.status == Exit.DONE, verified.output
    # Earlier tests on this lab may have made changes, too.
    *_, last = json.loads(served.lbctl("history", "--json").output)["changes"]
    number = last["number"] + 1
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(written, served, "60s")
        done = served.lbctl("failover", "--yes")
        seen = said(looking.result())
    assert done.status == Exit.DONE, done.output
    # Directors are asked one beside the other: one look may meet both, or neither.
    assert re.search(rf"failover: (nobody|{old}|{old} and {new}|{new} and {old}) → {new} active", seen), seen
    assert f"active director {new}" in seen
    assert f"{new} answers ARP for 10.0.0.10" in seen
    assert re.search(rf"\b{number} failover {old} to {new} ✓ done .* UTC · \S+@\S+ · took \d+ s", seen), seen
    assert f"Since then: change {number}, failover {old} to {new}." in seen
