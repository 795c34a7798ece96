"""All hosts are watched side by side, over real SSH; one that is dead is named and stops nobody. The hosts are this machine."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.fleet.test_onlooker import command, settings
from tests.transports.conftest import Machines

pytestmark = pytest.mark.process


def test_a_dead_host_is_named_and_the_others_are_watched(machines: Machines) -> None:
    words = ("doctor", "trace", "write", "--from", "here", "--connect-timeout", "1", "--json")
    done = subprocess.run(
        command(machines, {"lb2": "silent", "db1": "slams"}, *words), check=False, timeout=120, **settings(machines)
    )
    assert (done.returncode, done.stderr) == (4, "")
    found = json.loads(done.stdout)
    assert [note.split(" could")[0] for note in found["notes"] if "could not" in note] == ["db1", "lb2"]
    # Nothing listens here: the loopback interface has the question and its refusal.
    assert found["attempt"]["word"] == "refused"
    assert found["endpoint"] == "127.0.9.11:3306"
    assert found["hops"][0]["interface"] == "lo"
    assert any("RST 127.0.9.11:3306" in each["what"] for each in found["also"])
    assert "lbctl-trace" not in Path("/proc/net/unix").read_text()
