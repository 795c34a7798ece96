"""What a host says of its own before it answers is no part of its answer."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import Host, StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine

from fleet import line
from fleet.line import BEGINS, Answer, HostLine, after_mark
from fleet.lock import _held_by_another


class Connector:
    """Runs commands as a host's SSH server does: by bash, which reads a file of somebody's before."""

    def __init__(self, first: Path) -> None:
        self.first = first

    def run_shell_command(self, command: StringCommand, _stdin: str) -> tuple[bool, CommandOutput]:
        environment = {"BASH_ENV": str(self.first), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            ["bash", "-c", str(command)], input=_stdin, env=environment, capture_output=True, text=True, check=False
        )
        said = [OutputLine("stdout", each) for each in done.stdout.splitlines()]
        said += [OutputLine("stderr", each) for each in done.stderr.splitlines()]
        return done.returncode == 0, CommandOutput(said)


@pytest.mark.process
@pytest.mark.parametrize(
    "rc", ["", "echo Welcome to db1; echo", "printf 'no end of line'", "printf '\\033]0;title\\007'"]
)
def test_a_greeting_is_no_answer(rc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def beside(_host: Host, text: str, _seconds: int) -> dict[str, Any]:
        return {"_stdin": text}

    monkeypatch.setattr(line, "beside_its_steps", beside)
    (first := tmp_path / "bashrc").write_text(rc)
    told = HostLine(cast("Host", SimpleNamespace(connector=Connector(first))), "db1")
    assert told.tell("echo taken; echo 'and more'\n") == Answer(("taken", "and more"))
    assert told.tell(":\n") == Answer()
    assert told.tell("echo half; echo why >&2; exit 3\n") == Answer(("half",), "why")


def test_without_the_mark_nothing_was_answered() -> None:
    assert after_mark(["Welcome", "taken"]) == ()
    assert after_mark([BEGINS, "taken", BEGINS]) == ("taken", BEGINS)


@pytest.mark.parametrize("said", [(), ("",), ("held",), ("held up in traffic",), ("taken",)])
def test_a_lock_is_held_by_nobody_whose_name_makes_no_sense(said: tuple[str, ...]) -> None:
    assert _held_by_another(Answer(said)) is None
