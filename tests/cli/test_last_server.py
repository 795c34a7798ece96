"""The last server in rotation: --force is about servers that are dead, not about a declaration by which nobody serves."""

from pathlib import Path

import pytest

from cluster.errors import Exit
from tests.cli.shop import SAMPLE, Lbctl
from tests.cli.test_one_document import Hosts, hosts

__all__ = ["hosts"]

DB1 = "[real_server.db1]\n"


@pytest.mark.parametrize("other", ["drained = true", "weight = 0"])
@pytest.mark.parametrize("force", [(), ("--force",)])
@pytest.mark.parametrize("command", ["drain", "remove"])
def test_it_stays(
    command: str, force: tuple[str, ...], other: str, *, hosts: Hosts, lbctl: Lbctl, declaration: Path
) -> None:
    text = SAMPLE.replace(DB1, f"{DB1}{other}\n")
    declaration.write_text(text)
    done = lbctl("-c", declaration, "real-server", command, "db2", "--yes", *force)
    assert done.exit_code == Exit.REFUSED
    assert "without db2 nobody would be served" in done.stderr
    assert "lbctl real-server undrain" in done.stderr
    assert declaration.read_text() == text
    assert hosts.changes == []


def test_one_that_is_drained_may_go(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace(DB1, f"{DB1}drained = true\n"))
    done = lbctl("-c", declaration, "real-server", "remove", "db1", "--yes")
    assert done.exit_code == Exit.DONE, done.stderr
    assert hosts.changes == ["real-server remove db1: drain", "real-server remove db1"]
