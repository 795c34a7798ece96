"""All hosts are looked at side by side, over real SSH; one that is dead is named and holds nobody up."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.sample import LAB
from tests.transports.conftest import Machines

pytestmark = pytest.mark.process


def command(machines: Machines, moods: dict[str, str], *words: str) -> list[str]:
    """lbctl for a cluster whose hosts are SSH servers on this machine."""
    text = LAB.replace("10.0.0.", "127.0.9.")
    text += f'\n[ssh]\nuser = "root"\nkey = "{machines.user_key.file}"\nknown_hosts = "{machines.known_hosts}"\n'
    for name in ("db1", "db2", "db3", "lb1", "lb2"):
        server = machines.serve(moods.get(name, ""))
        kind = "director" if name.startswith("lb") else "real_server"
        text += f'\n[{kind}.{name}.ssh]\nhost = "127.0.0.1"\nport = {server.port}\n'
    file = machines.directory / "lab.toml"
    file.write_text(text)
    return [str(Path(sys.executable).parent / "lbctl"), "--cluster", str(file), *words]


def settings(machines: Machines) -> dict[str, Any]:
    environment = {**os.environ, "HOME": str(machines.directory), "XDG_STATE_HOME": str(machines.directory)}
    environment.pop("SSH_AUTH_SOCK", None)
    return {"env": environment, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def lbctl(machines: Machines, moods: dict[str, str], *words: str) -> tuple[int, Any, str]:
    """Exit code, what it printed (JSON is read), and its standard error."""
    done = subprocess.run(command(machines, moods, *words), check=False, timeout=120, **settings(machines))
    return done.returncode, json.loads(done.stdout) if "--json" in words else done.stdout, done.stderr


def test_a_host_that_says_nothing_is_named_and_the_others_are_seen(machines: Machines) -> None:
    code, found, errors = lbctl(machines, {"lb2": "silent"}, "status", "--json")
    assert (code, errors) == (4, "")
    assert list(found["dead"]) == ["lb2"]
    assert "does not speak SSH within 5.25 s" in found["dead"]["lb2"]
    assert [each["part"] for each in found["directors"]] == ["stopped", "dead"]
    assert not found["healthy"]
    # The others were asked all that there is: this machine is no director and no server.
    assert {each["host"] for each in found["drift"]} == {"lb1", "db1", "db2", "db3"}


def test_a_host_that_ends_the_connection(machines: Machines) -> None:
    code, found, _ = lbctl(machines, {"db1": "slams"}, "status", "--json")
    assert code == 4
    assert list(found["dead"]) == ["db1"]


def test_all_are_dead(machines: Machines) -> None:
    everyone = dict.fromkeys(("db1", "db2", "db3", "lb1", "lb2"), "slams")
    code, found, errors = lbctl(machines, everyone, "status", "--json")
    assert (code, errors) == (4, "")
    assert len(found["dead"]) == 5
    assert found["drift"] == []


def test_watch_once(machines: Machines) -> None:
    code, text, errors = lbctl(machines, {"db3": "slams"}, "watch", "--once")
    assert (code, errors) == (4, "")
    assert "db3 cannot be asked" in text
    assert "\x1b" not in text


def test_one_stops_watching_with_ctrl_c(machines: Machines) -> None:
    """What is watched goes to a file: the status once, then only what happens. The end is no failure."""
    with subprocess.Popen(command(machines, {}, "watch", "--interval", "0.2"), **settings(machines)) as watching:
        assert watching.stdout
        shown = [watching.stdout.readline()]
        while "wrong" not in shown[-1]:
            shown.append(watching.stdout.readline())
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    assert shown[0].startswith("Cluster lab, mode dr")


def test_a_machine_that_is_no_director(machines: Machines) -> None:
    code, _, errors = lbctl(machines, {}, "status", "--here")
    assert code == 2
    assert "none of the cluster's directors" in errors
