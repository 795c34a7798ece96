"""`lbctl report`: what it looks at, what it writes, and how it ends. The hosts are made up."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cli import report
from cluster.errors import Exit
from cluster.footprint import Blueprint
from cluster.history import History
from cluster.status import Answers
from tests.cli.shop import SAMPLE, Lbctl
from tests.cluster.watched import blueprint, healthy, out

PLAN = blueprint(SAMPLE)
WELL = healthy(PLAN)
ILL = out(WELL, PLAN, "db2", "Connection refused")


@dataclass
class Clock:
    """Time passes only when somebody sleeps."""

    now: float = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Hosts:
    """They answer at once, and each time the same."""

    clock: Clock
    answers: Answers = WELL
    blueprint: Blueprint = PLAN
    asked: list[tuple[float, bool]] = field(default_factory=list)
    frozen: bool = False
    """Directors are slow: what is known of them is what they said at first."""

    def look(self, *, whole: bool = True, within: float | None = None) -> Answers:
        del within
        self.asked.append((self.clock.now - 100, whole))
        fresh = self.answers.pulses
        if not self.frozen:
            fresh = {name: replace(pulse) for name, pulse in fresh.items()}
        return replace(self.answers, at=self.answers.at + timedelta(seconds=self.clock.now - 100), pulses=fresh)

    def history(self) -> History:
        return History(unreachable={"lb2": "no route"})


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    clock = Clock()
    found = Hosts(clock)

    @contextmanager
    def eyes(*_: Any, **__: Any) -> Iterator[Hosts]:
        yield found

    monkeypatch.setattr(report, "eyes", eyes)
    monkeypatch.setattr(report, "time", clock)
    return found


def test_a_page_is_written(hosts: Hosts, lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    page = tmp_path / "shop.html"
    page.write_text("an older one")
    done = lbctl("report", "-c", declaration, "-o", page)
    assert (done.exit_code, done.stdout) == (Exit.DONE, f"{page}: nothing is wrong.\n")
    assert "Traffic over 30 s" in page.read_text()
    assert {path for path in tmp_path.iterdir() if path.is_file()} == {declaration, page}
    assert len(hosts.asked) == 31
    # What is compared with the declaration costs a host more than all the rest: once, at the end.
    assert [whole for _, whole in hosts.asked] == [False] * 30 + [True]


def test_trouble_ends_with_4_and_the_page_is_written(
    hosts: Hosts, lbctl: Lbctl, declaration: Path, tmp_path: Path
) -> None:
    hosts.answers = ILL
    done = lbctl("report", "-c", declaration, "-o", tmp_path / "shop.html", "--over", "0")
    assert done.exit_code == Exit.TROUBLE
    assert "2 things are wrong:\n  ✗ db2 is out of read 10.0.0.10:3306" in done.stdout
    assert "db2 is out of read" in (tmp_path / "shop.html").read_text()
    assert hosts.asked == [(0, True)]


def test_a_long_period_has_no_more_looks(hosts: Hosts, lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    lbctl("report", "-c", declaration, "-o", tmp_path / "shop.html", "--over", "1h")
    assert [when for when, _ in hosts.asked] == [120.0 * number for number in range(31)]


def test_for_programs(hosts: Hosts, lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(declaration.parent)
    done = lbctl("report", "-c", declaration, "--json", "--over", "3s")
    found = json.loads(done.stdout)
    assert found["status"]["healthy"] is True
    assert found["traffic"]["seconds"] == [0, 1, 2, 3]
    assert len(found["traffic"]["servers"][0]["rates"]) == 3
    assert found["history_gaps"] == {"lb2": "no route"}
    assert found["checks"] == {"verify": None, "doctor": None}
    assert not (declaration.parent / "report.html").exists()
    assert hosts.asked


def test_what_a_slow_director_said_before_is_no_figure(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    hosts.frozen = True
    found = json.loads(lbctl("report", "-c", declaration, "--json", "--over", "5s").stdout)
    assert found["traffic"]["seconds"] == [0, 5]


@pytest.mark.parametrize("over", ["soon", "-3s", "2d"])
def test_a_period_that_is_none(over: str, lbctl: Lbctl, declaration: Path) -> None:
    done = lbctl("report", "-c", declaration, f"--over={over}")
    assert done.exit_code == Exit.INVALID
    assert "--over: " in done.stderr


@pytest.mark.usefixtures("hosts")
def test_what_is_no_regular_file_stays_what_it_is(lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    """As /dev/null is, which root might replace."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(reading, fcntl.F_SETPIPE_SZ, 2**20)
    try:
        done = lbctl("report", "-c", declaration, "-o", pipe, "--over", "0")
        assert done.exit_code == Exit.DONE, done.stderr
        assert pipe.is_fifo()
        assert os.read(reading, 15) == b"<!DOCTYPE html>"
    finally:
        os.close(reading)


@pytest.mark.usefixtures("hosts")
def test_a_link_stays_one(lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    page, link = tmp_path / "kept" / "page.html", tmp_path / "latest.html"
    page.parent.mkdir()
    link.symlink_to(page)
    for _ in range(2):  # it need not be there yet
        assert lbctl("report", "-c", declaration, "-o", link, "--over", "0").exit_code == Exit.DONE
        assert link.is_symlink()
        assert page.read_text().startswith("<!DOCTYPE html>")
        assert list(page.parent.iterdir()) == [page]


@pytest.mark.usefixtures("hosts")
def test_a_place_that_cannot_be_written(lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    done = lbctl("report", "-c", declaration, "-o", tmp_path / "nowhere/shop.html", "--over", "0")
    assert done.exit_code == Exit.INVALID
    assert "No such file or directory" in done.stderr
