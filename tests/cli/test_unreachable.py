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
