"""A real machine of a lab: Debian's sshd, reached from outside of the lab's network namespace."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.transports.conftest import Machines
from tests.transports.test_vanishing import wait_until

pytestmark = pytest.mark.lab

NAME = "transports"
LB1 = "@lab/lb1"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(NAME)
    try:
        lab.up(["lb1"])
        yield lab
    finally:
        lab.down()


def test_commands(lab: Lab, machines: Machines) -> None:
    line = "x" * 999 + "\n"
    report = machines.drive(
        {LB1: {"lab_name": lab.name}},
        ["connect"],
        ["command", "hostname"],
        ["command", "cat", {"_stdin": line * 2000}],
        ["command", "true", {"_stdin": line * 2000}],
        ["command", "sleep 100", {"_timeout": 1}],
        ["command", "kill -9 $$"],
        ["operation", "hostname"],
        ["disconnect"],
    )
    _, hostname, echo, unread, slow, killed, operation, _ = [
        result[LB1] if isinstance(result, dict) else result for result in report.results
    ]
    assert hostname["stdout"] == operation["stdout"] == "lb1"
    assert len(echo["stdout"]) == 2_000_000 - 1
    assert unread["succeeded"]
    assert slow["failure"]["reason"] == "timeout"
    assert not killed["succeeded"]
    assert report.sockets_left == 0


def test_what_is_not_there(lab: Lab, machines: Machines) -> None:
    hosts = {
        "@lab/lb9": {"lab_name": lab.name},
        "@lab/lb8": {"lab_name": lab.name, "ssh_hostname": "10.0.0.88"},
        "@lab/lb7": {"lab_name": lab.name, "ssh_hostname": "lb1.example.net"},
        LB1: {"lab_name": lab.name, "ssh_key": str(machines.other_key.file)},
    }
    errors = machines.drive(hosts, ["connect"]).connect_errors
    assert {host: error["reason"] for host, error in errors.items()} == {
        "@lab/lb9": "settings",
        "@lab/lb8": "no_route",
        "@lab/lb7": "settings",
        LB1: "authentication",
    }
    assert "lb1" in errors["@lab/lb9"]["cure"]


def test_plain_pyinfra_from_the_ordinary_namespace(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "inventory.py").write_text("hosts = ['@lab/lb1']\n")
    (tmp_path / "deploy.py").write_text(
        "from pyinfra.operations import server\nserver.shell(name='say it', commands=['echo it is $(hostname)'])\n"
    )
    run = subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-y", "-vvv", "inventory.py", "deploy.py"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"LBCTL_LAB": lab.name},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr
    assert "it is lb1" in run.stderr


def test_a_machine_that_loses_power_is_given_up_within_its_time(lab: Lab, machines: Machines) -> None:
    # The last one: it leaves the machine switched off.
    machines.begin(
        {LB1: {"lab_name": lab.name}},
        ["connect"],
        ["command", "touch /run/started; sleep 300"],
        ["disconnect"],
    )
    wait_until(lambda: lab.exec("lb1", "test -e /run/started", check=False).returncode == 0)
    lab.power_off("lb1")
    report = machines.report()
    result = report.results[1][LB1]
    assert result["error"]["class"] == "ConnectionLostError"
    assert 10 < result["seconds"] < 90
    assert report.sockets_left == 0
