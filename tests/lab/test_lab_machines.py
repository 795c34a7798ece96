"""Real machines: each sentence of `lab/lab.py`, seen from outside."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.errors import HostError, RequestError
from lab import image, machine, namespace
from lab.lab import Lab
from lab.places import Places
from lab.progress import silent
from lab.shell import Result
from tests.lab.lab_traces import new_name, traces

pytestmark = pytest.mark.lab

PING = ["ping", "-c1", "-W1"]


def pids(lab: Lab) -> dict[str, int | None]:
    return {found.name: found.pid for found in lab.machines().values()}


def boot_id(lab: Lab, host: str) -> str:
    return lab.exec(host, "cat /proc/sys/kernel/random/boot_id").stdout


def test_machines_are_themselves(lab: Lab) -> None:
    assert lab.exec("db1", "hostname").stdout == "db1\n"
    assert "10.0.0.4/24" in lab.exec("lb1", "ip -4 -o addr show eth0").stdout
    assert lab.exec("lb1", "systemctl is-system-running", check=False).stdout == "running\n"
    assert lab.exec("lb1", "command -v python3 keepalived", check=False).stdout == ""
    lab.exec("lb1", "modprobe -a ip_vs ip_vs_rr dummy ipip")


def test_commands_get_their_input_and_tell_their_end(lab: Lab) -> None:
    assert lab.exec("db1", "tr a-z A-Z", stdin="sql ü").stdout == "SQL ü"
    assert lab.exec("db1", "echo no >&2; exit 7", check=False) == Result("", "no\n", 7)
    with pytest.raises(HostError, match=r"db1: `echo no >&2; exit 7` ended with 7: no"):
        lab.exec("db1", "echo no >&2; exit 7")
    with pytest.raises(HostError, match="did not end within"):
        lab.exec("db1", "sleep 5", timeout=0.5)
    with pytest.raises(RequestError, match="has no machine 'db2'"):
        lab.exec("db2", "true")


def test_client_and_operator_sit_on_the_same_switch(lab: Lab) -> None:
    assert " 10.0.0.5/24" in lab.client(["ip", "-4", "-o", "addr"]).stdout
    assert " 10.0.0.254/24" in lab.operator(["ip", "-4", "-o", "addr"]).stdout
    lab.client([*PING, "10.0.0.4"])
    with lab.client_process(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as cat:
        assert cat.communicate("on the client")[0] == "on the client"


def test_a_socket_reaches_in_from_outside(lab: Lab) -> None:
    home = Path("/proc/thread-self/ns/net").stat().st_ino
    with namespace.socket_in(lab.namespace) as door:
        door.settimeout(5)
        door.connect(("10.0.0.1", 22))
        assert door.recv(4) == b"SSH-"
    assert Path("/proc/thread-self/ns/net").stat().st_ino == home


def test_a_second_up_changes_nothing(lab: Lab) -> None:
    before, ids = pids(lab), boot_id(lab, "db1")
    lab.up(["db1", "lb1"], progress=pytest.fail)  # it would say each step
    assert pids(lab) == before
    assert boot_id(lab, "db1") == ids


def test_packages_come_from_the_machine_itself(lab: Lab) -> None:
    lab.exec("lb1", "apt-get install -y ipvsadm && ipvsadm -Ln")


def test_a_reboot_keeps_the_disk_and_the_process(lab: Lab) -> None:
    before, kernel = boot_id(lab, "lb1"), lab.machines()["lb1"].pid
    lab.exec("lb1", "echo kept >/root/mark; touch /run/mark")
    lab.reboot("lb1")
    assert boot_id(lab, "lb1") != before
    assert lab.exec("lb1", "cat /root/mark; ls /run/mark 2>&1", check=False).stdout.startswith(
        "kept\nls: cannot access"
    )
    assert lab.machines()["lb1"].pid == kernel


def test_a_power_cut_keeps_what_was_written(lab: Lab) -> None:
    lab.exec("lb1", "echo written >/root/mark && sync")
    lab.power_off("lb1")
    assert lab.machines()["lb1"].pid is None
    assert lab.is_up()
    with pytest.raises(HostError):
        lab.operator([*PING, "10.0.0.4"])
    lab.power_on("lb1")
    assert lab.exec("lb1", "cat /root/mark").stdout == "written\n"


def test_a_cable_is_cut_and_mended(lab: Lab) -> None:
    lab.link("lb1", up=False)
    assert not lab.state()["machines"]["lb1"]["plugged"]
    with pytest.raises(HostError):
        lab.operator([*PING, "10.0.0.4"])
    lab.link("lb1", up=True)
    lab.operator([*PING, "10.0.0.4"])
    assert lab.state()["machines"]["lb1"]["plugged"]


def test_a_snapshot_starts_another_lab_beside_the_first(lab: Lab, another: Lab) -> None:
    label = new_name()
    lab.exec("db1", "echo from the snapshot >/root/mark")
    lab.snapshot(label)
    try:
        assert Lab.has_snapshot(label)
        lab.exec("db1", "echo later >/root/mark")
        another.up_from(label, names=["db1"])
        assert another.exec("db1", "cat /root/mark").stdout == "from the snapshot\n"
        assert lab.exec("db1", "cat /root/mark").stdout == "later\n"
        assert set(another.machines()) == {"db1"}
        with pytest.raises(RequestError, match="is up"):
            another.up_from(label)
    finally:
        Lab.remove_snapshot(label)
    assert not Lab.has_snapshot(label)


UP = "import sys; from lab.lab import Lab; Lab(sys.argv[1]).up(['db1', 'lb2'])"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_up_leaves_nothing(number: signal.Signals) -> None:
    name = new_name()
    with subprocess.Popen([sys.executable, "-c", UP, name], stderr=subprocess.PIPE, text=True) as up:
        wait_for(Places.of(name).pid_file("db1"))
        up.send_signal(number)
        _, said = up.communicate(timeout=30)
    assert up.returncode != 0
    assert "KeyboardInterrupt" in said
    assert traces(name) == set()


def test_an_interrupted_up_leaves_what_was_there(another: Lab) -> None:
    def seen() -> tuple[dict[str, int | None], set[str]]:
        # What runs inside lb1 comes and goes, each as a process here.
        return pids(another), {trace for trace in traces(another.name) if "umid=lb1" not in trace}

    another.up(["lb1"])
    before = seen()
    with subprocess.Popen([sys.executable, "-c", UP, another.name], stderr=subprocess.DEVNULL) as up:
        wait_for(Places.of(another.name).pid_file("db1"))
        up.send_signal(signal.SIGINT)
    assert seen() == before
    assert "lb2" not in another.ssh_config.read_text()
    another.exec("lb1", "true")


def test_an_up_that_was_killed_is_carried_on_or_cleared(another: Lab) -> None:
    with subprocess.Popen([sys.executable, "-c", UP, another.name], stderr=subprocess.DEVNULL) as up:
        wait_for(Places.of(another.name).pid_file("db1"))
        up.kill()
    another.up(["db1", "lb2"], progress=silent)
    assert all(pids(another).values())


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def test_an_image_whose_build_is_stopped_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCTL_LAB_CACHE", str(tmp_path))
    build = "from lab import image, progress; image.obtain('ifupdown', progress.to_stderr)"
    with subprocess.Popen([sys.executable, "-c", build], stderr=subprocess.DEVNULL) as builder:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("images/.build.*/root/var/lib/dpkg")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(builder.pid, signal.SIGINT)
    assert [path.name for path in (tmp_path / "images").iterdir()] == [".lock"]
    assert not [line for line in Path("/proc/mounts").read_text().splitlines() if str(tmp_path) in line]
    assert not image.current("ifupdown").exists()
    assert not any(str(tmp_path) in words for words in commands())


def commands() -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_text(errors="replace"))
        except OSError:
            continue
    return found


def test_a_power_cut_in_the_first_moments_leaves_a_machine_that_boots(another: Lab) -> None:
    """What its first process wrote is on the disk before systemd starts."""
    another.up(["db1"])
    another.power_off("db1")
    another.power_on("db1")
    assert another.exec("db1", "hostname; ip -br addr show eth0").stdout.split()[::3] == ["db1", "10.0.0.1/24"]


@pytest.mark.soak  # every other test with a cluster begins with the first half of it
def test_a_galera_cluster_of_three(another: Lab) -> None:
    databases = ["db1", "db2", "db3"]
    another.up(databases)
    another.galera_start()
    query = ["mariadb", "-ulab", "-plab", "-BNe"]
    another.client([*query, "INSERT INTO lab.t (note) VALUES ('written on db1')", "-h10.0.0.1"])
    seen = another.client([*query, "SET SESSION wsrep_sync_wait=1; SELECT note FROM lab.t", "-h10.0.0.3"]).stdout
    assert seen == "written on db1\n"
    another.galera_start()  # nothing to do
    for host in databases:
        another.power_off(host)
    for host in databases:
        machine.boot(Places.of(another.name), another._seat(host), another.image())
    another.wait()
    another.galera_start()
    assert another.client([*query, "SELECT count(*) FROM lab.t", "-h10.0.0.2"]).stdout == "1\n"
