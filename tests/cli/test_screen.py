"""What status and watch print, whole, at 80 columns without colour, beside golden/status/ (`pytest --update-golden`)."""

import io
import json
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cli.screen import as_json, is_row, lines
from cli.watch import frame
from cluster.status import BUSY, Answers, status
from cluster.units import short
from cluster.watching import Course, events
from tests.cluster.sample import LAB
from tests.cluster.test_status import BEGUN, edited, kept, locked
from tests.cluster.test_watching import moved
from tests.cluster.watched import blueprint, changed, healthy, out, without

GOLDEN = Path(__file__).parent / "golden/status"
PLAN = blueprint()
WELL = healthy(PLAN)
DRAINED = blueprint(LAB + "drained = true\n")
NAT = blueprint(LAB.replace('mode = "dr"', 'mode = "nat"'))
SILENT = "no answer from 10.0.0.3 port 22 within 2 s\n  → Is the host up?"

CASES = {
    "healthy": (PLAN, WELL),
    "nat": (NAT, healthy(NAT)),
    "dead-server": (PLAN, without(out(WELL, PLAN, "db3", "no answer within 1 s"), "db3", SILENT)),
    "objecting-server": (PLAN, out(WELL, PLAN, "db3", "503 not Synced: Donor/Desynced (wsrep_local_state 2)")),
    "dead-director": (PLAN, without(WELL, "lb2", SILENT)),
    "split-brain": (PLAN, changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses)),
    "drift": (
        PLAN,
        replace(edited(WELL, weight=3), states={**WELL.states, "db2": replace(WELL.states["db2"], links={})}),
    ),
    "drained": (DRAINED, healthy(DRAINED)),
    "lock-held": (PLAN, replace(locked(WELL, 3), unseen={"db1": BUSY})),
    "unfinished": (PLAN, changed(WELL, "lb1", history=kept(BEGUN))),
    "lock-left-behind": (PLAN, locked(WELL, 600)),
    "nothing-known": (PLAN, Answers(WELL.at, {}, dead=dict.fromkeys(PLAN.declaration.hosts(), SILENT))),
}


def compare(name: str, text: str, request: pytest.FixtureRequest) -> None:
    golden = GOLDEN / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True, parents=True)
        golden.write_text(text)
    assert golden.read_text() == text, f"{golden} says otherwise; if the new text is right: pytest --update-golden"


@pytest.mark.parametrize("name", CASES)
def test_status(name: str, request: pytest.FixtureRequest) -> None:
    plan, answers = CASES[name]
    text = "".join(f"{line}\n" for _, line in lines(status(plan, answers)))
    compare(name, text, request)
    # Sentences may be longer, and go on in the next line of a terminal; tables would be torn.
    assert max(len(line) for line in text.splitlines() if is_row(line)) <= 80


def test_watch(request: pytest.FixtureRequest) -> None:
    course = Course()
    before = after = status(PLAN, WELL)
    for _ in range(20):
        course.add(before)
    after = status(PLAN, moved(out(WELL, PLAN, "db3", "Connection refused")))
    course.add(after)
    happened = deque((after, event) for event in events(before, after))
    console = Console(file=io.StringIO(), width=80, height=60, color_system=None, legacy_windows=False)
    console.print(frame(after, course, happened, 80))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    compare("watch", text, request)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", CASES)
def test_for_programs(name: str) -> None:
    plan, answers = CASES[name]
    found = status(plan, answers)
    read = json.loads(json.dumps(as_json(found), default=str))
    assert read["healthy"] is found.healthy
    assert read["troubles"] == list(found.troubles)
    assert [each["part"] for each in read["directors"]] == [each.part for each in found.directors]
    assert read["endpoints"][0]["servers"][0]["address"] == "10.0.0.1"
    assert (read["unfinished"] or {}).get("number") == (found.unfinished.number if found.unfinished else None)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (9949, "9.9k"),
        (12_345, "12k"),
        (999_499, "999k"),
        (999_500, "1.0M"),
        (10**13, "10T"),
    ],
)
def test_short(number: int, shown: str) -> None:
    assert short(number) == shown
