"""Going on with a change that was stopped half-way, or back: hosts that only the other side names leave, too."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.changing import Asked, _change, _was_left
from cluster.history import Entry
from cluster.observed import HostState
from tests.variants import Variant

ALONE, PAIR = Variant(directors=1).text, Variant().text


@pytest.mark.parametrize(
    ("there", "target", "left"),
    [
        pytest.param(ALONE, ALONE, PAIR, id="abort of an addition, the file as before"),
        pytest.param(PAIR, ALONE, PAIR, id="abort of an addition, the file as after"),
        pytest.param(PAIR, ALONE, None, id="a removal"),
        pytest.param(ALONE, ALONE, PAIR, id="a removal resumed, the file as after"),
    ],
)
def test_who_leaves(there: str, target: str, left: str | None, tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    asked = Asked("a test", lambda _text, _: target, left=left)
    blueprint = _change(file, there, asked).blueprint
    assert blueprint.leaving == {"lb2"}
    assert str(blueprint.host("lb2").address) == "10.0.0.6"


def test_who_leaves_for_good(tmp_path: Path) -> None:
    asked = Asked("a test", lambda _text, _: ALONE, left=PAIR, gone_for_good=True)
    assert _change(tmp_path / "cluster.toml", ALONE, asked).blueprint.leaving == frozenset()


def test_nobody_leaves_where_hosts_come(tmp_path: Path) -> None:
    asked = Asked("a test", lambda _text, _: PAIR, left=ALONE)
    change = _change(tmp_path / "cluster.toml", ALONE, asked)
    assert change.blueprint.leaving == frozenset()
    assert change.before == ALONE


def kept(entry: Entry) -> HostState:
    return HostState(history=(f"file {entry.file}", f"line {entry.file}:{entry.write()}"))


def test_a_change_whose_end_nobody_wrote_down_is_ended_by_the_next_one() -> None:
    """A command that finds nothing to do is written down where the one before it was not finished."""
    begun = Entry(3, "failover lb1 to lb2", "anna", "desk", datetime(2026, 11, 25, tzinfo=UTC))
    ended = replace(begun, ended=datetime(2026, 11, 26, tzinfo=UTC), result="done")
    assert _was_left({"lb1": kept(begun), "lb2": None, "db1": HostState()})
    assert not _was_left({"lb1": kept(ended), "lb2": kept(begun)})  # it was cut off from lb2
    assert not _was_left({"lb1": HostState()})
