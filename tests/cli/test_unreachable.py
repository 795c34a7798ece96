"""Hosts that cannot be asked: each is named with its reason, exit code 3, also where nothing was to be changed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shop import SAMPLE

pytestmark = pytest.mark.process

LBCTL = Path(sys.executable).with_name("lbctl")


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """A cluster of which no host answers."""
    file = tmp_path / "shop.toml"
    hosts = "".join(
        f'{line}\nssh = {{ host = "127.0.0.1", port = 1 }}\n' if line.startswith("address") else f"{line}\n"
        for line in SAMPLE.splitlines()
    )
    file.write_text(hosts)
    return file


@pytest.mark.parametrize(
    "words",
    [
        ("plan",),
        ("switch-mode", "tun", "--plan"),
        ("director", "remove", "lb2", "--plan"),
        ("real-server", "drain", "db1", "--plan", "--json"),
        ("uninstall", "--plan"),
        ("failover", "--plan"),
        ("trial", "start", "--plan"),
        ("trial", "show"),
        ("trial", "clear"),
    ],
    ids=" ".join,
)
def test_it_is_said_why_and_exits_with_3(words: tuple[str, ...], nobody: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [LBCTL, "-c", nobody, *words],
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert "lb1" in said
    assert "refuses the connection" in said
    assert "Traceback" not in said


def test_a_fix_that_cures_nothing_says_so(nobody: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [LBCTL, "-c", nobody, "doctor", "--fix", "--yes"],
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stdout.endswith("Nothing of that is cured by a deploy, so nothing was changed.\n")


# Prints what is carried out, and carries nothing out. Directors are taken for reachable, but those in SILENT.
DRY = """\
import os
import cli.changing, cluster.plan
from types import SimpleNamespace
plan = cluster.plan.plan
def planned(blueprint, seen, unreachable):
    heard = set(blueprint.declaration.director) - set(os.environ["SILENT"].split())
    return plan(blueprint, seen, {name: why for name, why in unreachable.items() if name not in heard})
cluster.plan.plan = planned
def note(ctx, looked, change, wanted, manner):
    print("does", change.what)
    change.file.write_text(change.after)
    return SimpleNamespace(left=(), report=SimpleNamespace(failed={}))
cli.changing._do = note
from cli.main import main
main()
"""
REMOVE = ("remove", "db1")
ADD = ("add", "db4", "--address", "10.0.0.8", "--ssh-host", "127.0.0.1", "--weight", "2", "--ramp", "0.1")


@pytest.mark.parametrize(
    ("words", "silent", "steps"),
    [
        (REMOVE, "", ["real-server remove db1: drain", "real-server remove db1"]),
        (REMOVE, "lb2", ["real-server remove db1: drain"]),
        (("drain", "db1"), "", ["real-server drain db1"]),
        (ADD, "", ["real-server add db4", "real-server add db4, weight 2"]),
    ],
)
def test_a_command_of_several_changes_is_cut_short_by_a_silent_director_alone(
    words: tuple[str, ...], silent: str, steps: list[str], nobody: Path
) -> None:
    """A dead server ends none; a director may still send connections as before."""
    if words is ADD:
        nobody.write_text(nobody.read_text() + "[ssh]\nport = 1\n")
    done = subprocess.run(
        [sys.executable, "-c", DRY, "-c", nobody, "real-server", *words, "--yes"],
        env=os.environ | {"SILENT": silent},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.removeprefix("does ") for line in done.stdout.splitlines() if line.startswith("does ")]
    assert told == steps, done.stderr
    assert done.returncode == 3
