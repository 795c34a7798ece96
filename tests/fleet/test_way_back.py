"""What a change notes as "before": where a rollback of it leads."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from cluster.change import Change
from cluster.errors import RefusedError
from cluster.history import DONE, FAILED, Entry, History, text_hash
from cluster.observed import HostState
from cluster.vocabulary import Mode
from fleet import history, recorded
from fleet.session import Session
from tests.cluster.test_change import switched
from tests.variants import Variant

DR, TUN, NAT = (Variant(mode) for mode in Mode)
DRAINED = DR.text.replace("[real_server.db2]", "[real_server.db2]\ndrained = true")
PAIR, ALONE = Variant(Mode.DR).text, Variant(Mode.DR, directors=1).text
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
NAMES = {text_hash(each): each for each in (DR.text, TUN.text, NAT.text, DRAINED, ALONE)}

SWITCHED = Entry(2, "switch-mode nat", "ann", "desk", NOON, NOON, DONE, text_hash(DR.text), text_hash(NAT.text))
KILLED = replace(SWITCHED, ended=None, result="")
BROKEN = replace(SWITCHED, result=f"{FAILED}: lb2")
JOINING = replace(KILLED, what="director add lb2", before=text_hash(ALONE), after=text_hash(PAIR))


def noted(monkeypatch: pytest.MonkeyPatch, last: Entry, before: str, after: str, there: Variant = DR) -> str | None:
    """By a command that finds `before` in the file and leads to `after`, on hosts that carry `there`."""
    monkeypatch.setattr(history, "text_of", lambda _, name: NAMES[name])
    change = Change("a test", Path("none"), before, after, DR.blueprint)
    past = History((last,), dict.fromkeys(NAMES, ("lb1", "lb2")))
    return recorded._text_before(cast("Session", None), past, change, switched(there.blueprint))


@pytest.mark.parametrize("last", [KILLED, BROKEN], ids=["killed", "failed"])
@pytest.mark.parametrize("file", [DR.text, NAT.text], ids=["not yet written", "written"])
def test_the_same_again_leads_back_to_before_the_first(monkeypatch: pytest.MonkeyPatch, last: Entry, file: str) -> None:
    """`switch-mode nat`, `--resume` or `deploy` after one that was stopped: what it led to was never there."""
    assert noted(monkeypatch, last, file, NAT.text, there=TUN) == DR.text


@pytest.mark.parametrize("file", [DR.text, NAT.text], ids=["not yet written", "written"])
def test_to_take_back_what_was_stopped_leads_nowhere_else(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    assert noted(monkeypatch, KILLED, file, DR.text, there=TUN) == DR.text


def test_hosts_that_only_the_stopped_change_names_are_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "text_of", lambda _, name: NAMES[name])
    change = Change("abort", Path("none"), ALONE, ALONE, Variant(directors=1).blueprint)
    past = History((JOINING,), dict.fromkeys(NAMES, ("lb1",)))
    assert recorded._text_before(cast("Session", None), past, change, {}) == PAIR


def test_another_command_upon_one_that_was_stopped_leads_back_to_the_file_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert noted(monkeypatch, KILLED, DR.text, DRAINED, there=TUN) == DR.text


def test_what_plain_pyinfra_deployed_is_led_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert noted(monkeypatch, SWITCHED, DR.text, DRAINED, there=DR) == DR.text


def test_what_was_edited_by_hand_and_never_deployed_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert noted(monkeypatch, SWITCHED, DR.text, DRAINED, there=NAT) == NAT.text


def test_a_removal_that_was_stopped_and_taken_back_is_no_place_to_go_back_to(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving = replace(KILLED, what="director remove lb2", before=text_hash(PAIR), after=text_hash(ALONE))
    assert noted(monkeypatch, leaving, PAIR, PAIR, there=TUN) == PAIR


def overtaken(tmp_path: Path, first: Entry | None, last: Entry | None, file: str = DR.text) -> None:
    declaration = tmp_path / "cluster.toml"
    declaration.write_text(file)
    lines = [f"file {first.file}", f"line {first.file}:{first.write()}"] if first else []
    seen: dict[str, HostState | None] = {"lb1": HostState(history=tuple(lines)), "lb2": None, "db1": HostState()}
    change = Change("real-server drain db2", declaration, DR.text, DRAINED, DR.blueprint)
    recorded._refuse_if_overtaken(change, seen, History((last,) if last else ()))


def test_what_another_operator_did_meanwhile_is_not_undone(tmp_path: Path) -> None:
    """Between the plan, or the question, and the lock."""
    overtaken(tmp_path, None, None)
    overtaken(tmp_path, SWITCHED, SWITCHED)
    for first in (None, SWITCHED):
        later = replace(SWITCHED, number=3, what="real-server drain db1")
        with pytest.raises(RefusedError, match=r"change 3 .real-server drain db1, by ann on desk. was made meanwhile"):
            overtaken(tmp_path, first, later)
    with pytest.raises(RefusedError, match=r"cluster\.toml was changed meanwhile"):
        overtaken(tmp_path, SWITCHED, SWITCHED, file=DRAINED)
