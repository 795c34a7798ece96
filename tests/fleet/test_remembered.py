"""Checks that are remembered on the operator's machine."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.findings import Check, Finding, Outcome
from cluster.reading import read
from fleet import remembered
from tests.variants import Variant

AT = datetime(2026, 11, 25, 3, 14, 15, tzinfo=UTC)
CHECK = Check(name="verify", at=AT, by="anna@desk", findings=(Finding(outcome=Outcome.BAD, text="é <b>", host="db1"),))
LAB = Variant().declaration


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("LBCTL_LAB", raising=False)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    assert remembered.last(LAB, "verify") is None
    assert remembered.keep(LAB, CHECK) == ""
    assert remembered.last(LAB, "verify") == CHECK
    later = CHECK.model_copy(update={"findings": ()})
    assert remembered.keep(LAB, later) == ""
    assert remembered.last(LAB, "verify") == later
    (file,) = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_commands_and_clusters_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered.keep(LAB, CHECK)
    assert remembered.last(LAB, "doctor") is None
    assert remembered.last(read(Variant().text, "elsewhere/cluster.toml"), "verify") is None
    monkeypatch.setenv("LBCTL_LAB", "second")
    assert remembered.last(LAB, "verify") is None


@pytest.mark.parametrize("text", ["", "{", '{"name": "verify"}', "[]", "\0"])
def test_a_broken_file_is_as_none(text: str, tmp_path: Path) -> None:
    remembered.keep(LAB, CHECK)
    (file,) = files(tmp_path)
    file.write_text(text)
    assert remembered.last(LAB, "verify") is None


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    assert remembered.keep(LAB, CHECK).endswith("Not a directory")
