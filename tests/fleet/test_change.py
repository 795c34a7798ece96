"""What the end of a change says of what is still used."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cluster.change import Change, Drain
from cluster.errors import HostError, RequestError
from cluster.observed import HostState
from cluster.plan import Plan, Step, Work
from fleet import deployment
from fleet.change import Listener, carry_out, refuse_unwritable, save
from fleet.deployment import Progress, Report
from fleet.session import Session
from tests.cluster.test_fading import DR, PORTS, moved
from tests.variants import Variant

STEPS = ((Work.INSTALL, "lb2"), (Work.CONFIGURE, "lb1"), (Work.CONFIGURE, "lb2"))

Seen = Mapping[str, HostState | None]


class Looks:
    """A session that sees one thing after the other."""

    def __init__(self, *seen: Seen) -> None:
        self.blueprint = DR
        self.unreachable: dict[str, str] = {}
        self.seen = list(seen)

    def observe(self) -> Seen:
        return self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]


def without_ports(seen: Mapping[str, HostState]) -> Seen:
    """After directors gave up nat's own ports."""

    def given_up(state: HostState) -> HostState:
        return replace(state, services=tuple(s for s in state.services if str(s.endpoint) not in PORTS))

    return {name: given_up(state) for name, state in seen.items()}


@pytest.mark.parametrize("gone", [True, False])
def test_a_port_that_was_given_up_is_not_said_to_be_used(gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Somebody closed a connection there a moment ago, and nobody is connected."""
    before = moved(inactive=1)
    session = Looks(before, without_ports(before) if gone else before)

    def deployed(session: Looks, wanted: Plan, _progress: object, **_: object) -> Report:
        return Report(seen=session.observe(), remaining=wanted)

    monkeypatch.setattr(deployment, "carry_out", deployed)
    change = Change("deploy", Path("none"), "", "", DR, Drain(0))
    done = carry_out(cast("Session", session), change, Plan(()), Listener(cast("Any", None)))
    assert bool(done.left) is not gone


def test_the_declaration_names_a_director_before_it_joins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Killed from then on, a deploy goes on; a moment before, it goes back, and nothing runs on the new one yet."""
    alone, pair = Variant(directors=1), Variant()
    file = tmp_path / "cluster.toml"
    file.write_text(alone.text)
    names: list[tuple[str, bool]] = []

    def deployed(session: Looks, wanted: Plan, progress: Progress, **_: object) -> Report:
        for step in wanted.steps:
            progress(step, None)
            names.append((*step.changes, file.read_text() == pair.text))  # type: ignore[arg-type]
        return Report(seen=session.observe(), remaining=wanted)

    monkeypatch.setattr(deployment, "carry_out", deployed)
    blueprint = replace(pair.blueprint, former=alone.declaration)
    change = Change("director add lb2", file, alone.text, pair.text, blueprint, Drain(0))
    session = Looks({})
    session.blueprint = blueprint
    steps = tuple(Step(work, "", {name: ()}) for work, name in STEPS)
    carry_out(cast("Session", session), change, Plan(steps), Listener(lambda _step, _results: None))
    assert names[: len(STEPS)] == [("lb2", False), ("lb1", False), ("lb2", True)]


def edit(file: Path) -> Change:
    return Change("switch-mode nat", file, "before", "after", DR)


def test_a_declaration_behind_a_link_is_written_where_it_is(tmp_path: Path) -> None:
    """`/etc/lbctl.toml` may lead into a checkout of the operator's."""
    (tmp_path / "checkout").mkdir()
    file, link = tmp_path / "checkout/cluster.toml", tmp_path / "cluster.toml"
    file.write_text("before")
    file.chmod(0o640)
    link.symlink_to(file)
    save(edit(link))
    assert link.is_symlink()
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("after", 0o640)
    assert [each.name for each in file.parent.iterdir()] == ["cluster.toml"]


def test_a_declaration_that_cannot_be_written_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = edit(tmp_path / "cluster.toml")
    refuse_unwritable(change)
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(RequestError, match="cannot be written to") as refused:
        refuse_unwritable(change)
    assert "nothing was changed" in refused.value.message
    refuse_unwritable(replace(change, after="before"))


def test_a_disk_that_fills_up_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text("before")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(HostError, match="was not written: No space left on device; hosts are changed already"):
        save(edit(file))
    assert file.read_text() == "before"
