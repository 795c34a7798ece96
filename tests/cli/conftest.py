"""A declaration to start from, and a way to call lbctl."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.cli.shop import SAMPLE, Lbctl


@pytest.fixture
def lbctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lbctl:
    """Nothing of the developer's own settings has a say."""
    monkeypatch.delenv("LBCTL_CLUSTER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def call(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    file = tmp_path / "shop.toml"
    file.write_text(SAMPLE)
    return file
