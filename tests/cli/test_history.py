"""What `lbctl history` prints, and how it and `lbctl unlock` end where nobody can be asked."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli import history
from cluster.history import Entry, History, Lock, Owner, outcome
from tests.cli.shop import Lbctl

WHEN = datetime(2026, 11, 25, 0, 20, 3, tzinfo=UTC)
DONE = Entry(9, "deploy", "anna", "desk", WHEN, WHEN + timedelta(minutes=1), "done", None, "a" * 64, ("db1", "lb1"))
BEGUN = Entry(10, "deploy", "bert", "roof", WHEN + timedelta(hours=1), before="a" * 64, after="b" * 64)
LOCK = Lock(Owner("bert", "roof", 12, BEGUN.began - timedelta(seconds=1), "deploy", "m"), 4, ("lb1", "lb2"))
FOUND = History((DONE, BEGUN), {"b" * 64: ("lb1",)}, {"lb2": "no route"}, {"lb1:/x/0003.json": "it is empty"})


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    history._table(FOUND, FOUND.entries, [(LOCK, "no sign of life for 75 s")])
    assert capsys.readouterr().out.splitlines() == [
        "no.  began                    by         what    result      hosts changed",
        "9    2026-11-25 00:20:03 UTC  anna@desk  deploy  done        db1, lb1",
        "10   2026-11-25 01:20:03 UTC  bert@roof  deploy  unfinished  -",
        "the cluster is locked (on lb1, lb2) by bert on roof (process 12) since 2026-11-25 01:20:02 UTC: deploy; "
        "but no sign of life for 75 s",
        "lb1:/x/0003.json was left out: it is empty",
    ]
    history._table(History(), (), [])
    assert capsys.readouterr().out == "No change was written down yet.\n"


def test_what_is_under_way_is_not_unfinished() -> None:
    assert outcome(BEGUN, [(LOCK, "")]) == "under way"
    assert outcome(BEGUN, [(LOCK, "its process has ended")]) == "unfinished"
    assert outcome(BEGUN, []) == "unfinished"
    earlier = replace(BEGUN, began=BEGUN.began - timedelta(hours=1))
    assert outcome(earlier, [(LOCK, "")]) == "unfinished"  # the same person's, but of an hour before
    assert outcome(replace(BEGUN, by="anna"), [(LOCK, "")]) == "unfinished"


def test_for_programs() -> None:
    told = json.loads(json.dumps(history._as_json(FOUND, FOUND.entries, [(LOCK, "")])))
    assert [(change["number"], change["result"], change["ended"]) for change in told["changes"]] == [
        (9, "done", "2026-11-25T00:21:03+00:00"),
        (10, "under way", None),
    ]
    (lock,) = told["locks"]
    assert (lock["owner"]["user"], lock["directors"], lock["stale"]) == ("bert", ["lb1", "lb2"], None)
    assert (told["unreachable"], told["broken"]) == ({"lb2": "no route"}, {"lb1:/x/0003.json": "it is empty"})


@pytest.mark.parametrize("words", [("history",), ("history", "show", "1"), ("unlock",)])
def test_a_declaration_that_is_not_there(words: tuple[str, ...], lbctl: Lbctl, tmp_path: Path) -> None:
    result = lbctl("-c", tmp_path / "none.toml", *words)
    assert result.exit_code == 2
    assert "there is no declaration" in result.stderr


@pytest.mark.parametrize(
    "words", [("history", "--limit", "0"), ("history", "show", "x"), ("history", "shw"), ("unlock", "x")]
)
def test_a_wrong_request(words: tuple[str, ...], lbctl: Lbctl) -> None:
    assert lbctl(*words).exit_code == 2
