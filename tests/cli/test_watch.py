"""`lbctl watch` on terminals of all kinds. The hosts are made up."""

import io

import pytest
from rich.console import Console

from cli import watch
from cluster.status import status
from cluster.watching import Course
from tests.cluster.watched import blueprint, healthy, without

PLAN = blueprint()
WELL = healthy(PLAN)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, _environ={"TERM": "dumb"})
    monkeypatch.setattr(watch, "screen_console", lambda: console)
    watch._follow(iter([status(PLAN, WELL), status(PLAN, without(WELL, "db2", "silence"))]), Course())
    assert "Nothing is wrong." in screen.getvalue()
    assert "db2 cannot be asked: silence" in capsys.readouterr().out
