"""What the lab writes and looks at: no machine is booted here."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli.lab
from cluster.errors import RefusedError, RequestError
from cluster.vocabulary import BootFiles
from lab import galera, host, image, machine, recipe, shell
from lab.image import Image, content_key
from lab.lab import Lab
from lab.lock import locked
from lab.places import Places
from lab.process import Process
from lab.topology import Seat

DB1, LB1 = Seat("db1", IPv4Address("10.0.0.1")), Seat("lb1", IPv4Address("10.0.0.4"))


def test_ssh_is_strict_about_host_keys_and_knows_every_machine() -> None:
    assert shell.config(Path("/run/x"), [DB1, LB1]) == (
        "Host db1\n  HostName 10.0.0.1\nHost lb1\n  HostName 10.0.0.4\nHost *\n"
        "  User root\n"
        "  IdentityFile /run/x/id_ed25519\n"
        "  IdentitiesOnly yes\n"
        "  UserKnownHostsFile /run/x/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  ControlMaster auto\n"
        "  ControlPath /run/x/ssh/%h\n"
        "  ControlPersist 300\n"
        "  ServerAliveInterval 5\n"
        "  ConnectTimeout 10\n"
        "  LogLevel ERROR\n"
    )
    assert shell.known_hosts("ssh-ed25519 AAAA", [DB1, LB1]) == (
        "db1,10.0.0.1 ssh-ed25519 AAAA\nlb1,10.0.0.4 ssh-ed25519 AAAA\n"
    )


def test_a_machine_keeps_to_one_cpu_and_has_a_disk_of_its_own() -> None:
    places = Places("x", Path("/run/x"), Path("/cache/x"))
    command = machine.command(places, DB1, Image(Path("/images/plain-0")), [0, 1])
    assert command[:4] == ["taskset", "-c", "1", "linux.uml"]
    assert "ubd0=/cache/x/db1.cow,/images/plain-0/base.img" in command
    assert "vec0:transport=tap,ifname=db1,gro=1,mac=02:00:0a:00:00:01" in command
    assert "LAB_ADDR=10.0.0.1/24" in command


def test_every_database_is_told_the_same_last_view() -> None:
    both = [DB1, Seat("db2", IPv4Address("10.0.0.2"))]
    first, second = (galera.view(own, both).splitlines() for own in both)
    assert first[0] != second[0]
    assert first[1:] == second[1:]
    assert sum(line.startswith("member:") for line in first) == 2


def test_a_process_is_read_whatever_its_program_is_called() -> None:
    numbers = " ".join(str(number) for number in range(4, 53))
    assert Process.parse(f"42 (a) b (c)) S 1 {numbers}") == Process(pid=42, start=21)


def test_a_recycled_process_id_is_not_taken_for_ours() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        ours = Process.parse(Path(f"/proc/{child.pid}/stat").read_text())
        assert ours.alive()
        assert not Process(ours.pid, ours.start - 1).alive()
        child.kill()
        assert wait_until(lambda: not ours.alive())  # a zombie by now: nobody has collected it
    finally:
        child.kill()
        child.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


# What this machine must have


def test_a_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/dpkg-query")
    with pytest.raises(RequestError) as error:
        host.check(1, image_too=True, look=lambda names: set(names) - {"mmdebstrap", "user-mode-linux"})
    assert "user-mode-linux, mmdebstrap" in error.value.message
    assert error.value.cure.startswith("apt-get install --no-install-recommends user-mode-linux mmdebstrap")
    assert error.value.exit_code == 2


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(RequestError, match="needs root"):
        host.check(1, image_too=False)


def test_too_little_room_is_said_in_numbers(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"GiB free, 1048576\.0 GiB are needed for disks"):
        host._check_room(tmp_path / "not" / "yet", 2**50, "disks", cure="make room")


def test_a_compiler_is_needed_for_cpus_with_tile_registers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "has_tile_registers", lambda: False)
    assert "gcc" not in host.packages()
    monkeypatch.setattr(host, "has_tile_registers", lambda: True)
    assert host.packages()[-2:] == ["gcc", "libc6-dev"]


def test_the_makefile_and_the_lab_read_one_list() -> None:
    assert (files("lab") / "packages.txt").read_text().split() == [p for p in host.packages() if p not in host.COMPILER]


# Images


def test_an_image_is_known_by_what_it_is_made_of(tmp_path: Path) -> None:
    sources = tmp_path / "lab"
    shutil.copytree(str(files("lab")), sources, ignore=shutil.ignore_patterns("__pycache__"))
    plain = recipe.recipe("ifupdown")
    key = content_key(plain, "6.1", sources)
    assert key == content_key(plain, "6.1", sources)
    assert key != content_key(plain, "6.2", sources)
    assert key != content_key(recipe.recipe("networkd"), "6.1", sources)
    (sources / "lab.py").write_text("another program, the same image")
    assert key == content_key(plain, "6.1", sources)
    (sources / "guest/common/usr/lib/lab/init").write_text("another first process")
    assert key != content_key(plain, "6.1", sources)


def test_a_variant_has_one_image_however_it_is_named() -> None:
    assert repr(recipe.recipe(BootFiles.IFUPDOWN)) == repr(recipe.recipe("ifupdown"))


def test_the_mirror_is_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_key(recipe.recipe("ifupdown"), "6.1")
    monkeypatch.setenv("LBCTL_LAB_MIRROR", "http://mirror.example")
    assert content_key(recipe.recipe("ifupdown"), "6.1") != before


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(RequestError, match="no image variant 'netplan'"):
        recipe.recipe("netplan")


def test_no_image_has_keepalived_or_python_before_somebody_installs_them() -> None:
    for variant in ("ifupdown", "networkd"):
        assert not {"keepalived", "ipvsadm", "python3", "python3-minimal"} & set(recipe.recipe(variant).packages)
    assert "python3" in recipe.recipe("python").packages


def test_what_is_not_up_replaces_no_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCTL_LAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RequestError, match="is not up"):
        Lab("never-booted").snapshot("deployed")
    assert not (tmp_path / "cache").exists()


def test_old_images_go_unless_a_lab_runs_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCTL_LAB_CACHE", str(tmp_path))
    for age, key in enumerate(["ifupdown-e", "ifupdown-d", "ifupdown-c", "ifupdown-b", "networkd-a"]):
        path = tmp_path / "images" / key
        path.mkdir(parents=True)
        (tmp_path / "snapshots" / key / "deployed").mkdir(parents=True)
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "labs/running").mkdir(parents=True)
    (tmp_path / "labs/running/image").write_text("ifupdown-b")
    image.prune(keep=Image(tmp_path / "images/ifupdown-e"))
    assert {path.name for path in (tmp_path / "images").iterdir()} == {
        "ifupdown-e",
        "ifupdown-d",
        "ifupdown-b",
        "networkd-a",
    }
    assert not (tmp_path / "snapshots/ifupdown-c").exists()
    assert (tmp_path / "snapshots/ifupdown-b/deployed").exists()


HOLD = """
import sys, time
from pathlib import Path
from lab.lock import locked
with locked(Path(sys.argv[1]), what="it", seconds=0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_by_one_and_freed_when_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []
        with (
            pytest.raises(RefusedError, match="the lab is in use"),
            locked(path, what="the lab", seconds=0.2, waiting=lambda: said.append("waiting")),
        ):
            pytest.fail("two hold it")
        assert said == ["waiting"]
        holder.kill()
    with locked(path, what="the lab", seconds=0):
        path.unlink()  # as `down` does
        with locked(path, what="the lab", seconds=0):
            pass


@pytest.mark.parametrize("words", [["ipvsadm", "-Ln"], ["--", "ipvsadm", "-Ln"]])
def test_a_command_there_is_given_as_to_ssh(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(cli.lab, "_become", became.append)
    monkeypatch.setattr(Lab, "ssh_argv", lambda _, host, command: [host, *command])
    assert CliRunner().invoke(cli.lab.app, ["ssh", "lb1", *words]).exit_code == 0
    assert became == [["lb1", "ipvsadm", "-Ln"]]
