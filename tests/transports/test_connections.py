"""Reaching a host, or saying in words why not."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.transports.conftest import Machines, make_key

pytestmark = pytest.mark.process


def test_connects_and_takes_the_delay_out_and_leaves_nothing_open(machines: Machines) -> None:
    data = machines.data(machines.serve())
    report = machines.drive({"one": data}, ["connect"], ["options"], ["command", "true"], ["disconnect"])
    assert report.results[1]["@lbctl/one"] == {
        "nodelay": 1,
        "keepalive": 1,
        "idle": 5,
        "interval": 5,
        "count": 3,
        "user_timeout": 15_000,
        "channel_timeout": 20,
    }
    assert report.results[2]["@lbctl/one"]["succeeded"]
    assert report.sockets_left == 0


def test_connects_again_after_disconnecting(machines: Machines) -> None:
    data = machines.data(machines.serve())
    rounds = [["connect"], ["command", "echo here"], ["disconnect"]]
    report = machines.drive({"one": data}, *rounds, *rounds)
    assert [report.results[index]["@lbctl/one"]["stdout"] for index in (1, 4)] == ["here", "here"]
    assert report.sockets_left == 0


def test_password(machines: Machines) -> None:
    data = machines.data(machines.serve(), ssh_password="open sesame", ssh_key=str(machines.other_key.file))
    report = machines.drive({"one": data}, ["connect"], ["command", "echo here"], debug=True)
    assert report.results[1]["@lbctl/one"]["stdout"] == "here"
    assert "sesame" not in report.printed


def test_wrong_key(machines: Machines) -> None:
    data = machines.data(machines.serve(), ssh_key=str(machines.other_key.file))
    report = machines.drive({"one": data}, ["connect"])
    error = report.connect_error("one")
    assert (error["class"], error["reason"]) == ("UnreachableError", "authentication")
    assert f"{machines.other_key.file} (ssh-ed25519 SHA256:" in error["message"]
    assert "root@127.0.0.1" in error["message"]
    assert f"ssh-copy-id -i {machines.other_key.file} -p " in error["cure"]
    assert report.sockets_left == 0


def test_default_keys_are_tried_when_none_is_named_and_encrypted_ones_mentioned(
    machines: Machines,
) -> None:
    server = machines.serve()
    home = machines.directory / ".ssh"
    home.mkdir()
    (home / "id_rsa").symlink_to(machines.user_key.file)
    make_key(home / "id_ed25519", password=b"secret")
    data = machines.data(server)
    del data["ssh_key"]
    assert machines.drive({"one": data}, ["connect"]).connect_errors == {}
    (home / "id_rsa").unlink()
    error = machines.drive({"one": data}, ["connect"]).connect_error("one")
    assert error["reason"] == "authentication"
    assert "there is no key to log in with" in error["message"]
    assert "id_ed25519) is encrypted" in error["message"]


def test_key_file_that_is_missing(machines: Machines) -> None:
    data = machines.data(machines.serve(), ssh_key="/nowhere/key")
    error = machines.drive({"one": data}, ["connect"]).connect_error("one")
    assert error["reason"] == "settings"
    assert "/nowhere/key" in error["message"]


def test_unknown_host_key(machines: Machines) -> None:
    server = machines.serve(known=False)
    report = machines.drive({"one": machines.data(server)}, ["connect"])
    error = report.connect_error("one")
    assert error["reason"] == "unknown_host_key"
    assert "SHA256:" in error["message"]
    assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {machines.known_hosts}" in error["cure"]
    assert "accept-new" in error["message"], "pyinfra prints the message alone: the cure must be in it"
    assert machines.known_hosts.read_text() == ""
    assert report.sockets_left == 0


def test_accepting_new_keys_must_be_asked_for_and_is_remembered(machines: Machines) -> None:
    server = machines.serve(known=False)
    lenient = machines.data(server, ssh_strict_host_key_checking="accept-new")
    assert machines.drive({"one": lenient}, ["connect"]).connect_errors == {}
    assert machines.known_hosts.read_text() == f"[127.0.0.1]:{server.port} {server.host_key.public}\n"
    assert machines.drive({"one": machines.data(server)}, ["connect"]).connect_errors == {}
    wrong = machines.data(server, ssh_strict_host_key_checking="no")
    assert machines.drive({"one": wrong}, ["connect"]).connect_error("one")["reason"] == "settings"


def test_changed_host_key_also_when_new_ones_are_accepted(machines: Machines) -> None:
    server = machines.serve(known=False)
    machines.known_hosts.write_text("# a comment\n")
    machines.trust(server, machines.other_key)
    for strictness in ("yes", "accept-new"):
        data = machines.data(server, ssh_strict_host_key_checking=strictness)
        report = machines.drive({"one": data}, ["connect"])
        error = report.connect_error("one")
        assert error["reason"] == "changed_host_key"
        assert "HAS CHANGED" in error["message"]
        assert f"({machines.known_hosts} line 2)" in error["message"]
        assert f"ssh-keygen -R '[127.0.0.1]:{server.port}' -f {machines.known_hosts}" in error["cure"]
        assert report.sockets_left == 0


def test_the_users_own_known_hosts_counts_too(machines: Machines) -> None:
    server = machines.serve(known=False)
    home = machines.directory / ".ssh"
    home.mkdir()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key.public}\n")
    assert machines.drive({"one": machines.data(server)}, ["connect"]).connect_errors == {}


def test_server_that_says_nothing(machines: Machines) -> None:
    report = machines.drive({"one": machines.data(machines.serve("silent"))}, ["connect"], connect_seconds=2)
    assert report.connect_error("one")["reason"] == "timeout"
    assert "does not speak SSH within 2 s" in report.connect_error("one")["message"]
    assert 2 <= report.results[0] < 60
    assert report.sockets_left == 0


def test_server_that_ends_the_connection(machines: Machines) -> None:
    report = machines.drive({"one": machines.data(machines.serve("slams"))}, ["connect"])
    assert report.connect_error("one")["reason"] == "lost"
    assert report.sockets_left == 0


def test_server_of_another_kind(machines: Machines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(1024)
                connection.recv(1024)

        threading.Thread(target=talk, daemon=True).start()
        report = machines.drive({"one": machines.data(listener.getsockname()[1])}, ["connect"])
    assert report.connect_error("one")["reason"] == "not_ssh"


def test_refused(machines: Machines) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = machines.drive({"one": machines.data(port)}, ["connect"])
    assert report.connect_error("one")["reason"] == "refused"
    assert f"127.0.0.1 port {port}" in report.connect_error("one")["message"]


def test_unresolved(machines: Machines) -> None:
    data = machines.data(22, ssh_hostname="no-such-host.invalid")
    report = machines.drive({"one": data}, ["connect"])
    assert report.connect_error("one")["reason"] == "unresolved"
    assert "no-such-host.invalid" in report.connect_error("one")["message"]


def test_what_passes_is_tried_again_and_what_does_not_is_not(machines: Machines) -> None:
    again = {"ssh_connect_retries": 2, "ssh_connect_retry_min_delay": 0.5, "ssh_connect_retry_max_delay": 0.6}
    slammed = machines.drive({"one": machines.data(machines.serve("slams"), **again)}, ["connect"])
    assert slammed.results[0] >= 1
    unknown = machines.drive({"one": machines.data(machines.serve(known=False), **again)}, ["connect"])
    assert unknown.connect_error("one")["reason"] == "unknown_host_key"
    assert unknown.results[0] < slammed.results[0]


def test_jump_host_is_used_and_its_key_checked(machines: Machines) -> None:
    jump, inner = machines.serve(), machines.serve()
    machines.ssh_config.write_text(
        f"Host inner\n  HostName 127.0.0.1\n  Port {inner.port}\n  ProxyJump jump\n"
        f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n  User root\n  IdentityFile {machines.user_key.file}\n"
    )
    data = machines.data(inner, ssh_hostname="inner")
    del data["ssh_port"]
    report = machines.drive({"one": data}, ["connect"], ["command", "echo $SSH_TEST here"], ["disconnect"])
    assert report.results[1]["@lbctl/one"]["stdout"] == "here"
    assert report.sockets_left == 0

    machines.known_hosts.write_text("")
    machines.trust(inner)
    error = machines.drive({"one": data}, ["connect"]).connect_error("one")
    assert error["reason"] == "unknown_host_key"
    assert "jump host jump" in error["message"]


def test_plain_pyinfra_finds_the_connector(machines: Machines, tmp_path: Path) -> None:
    data = machines.data(machines.serve())
    (tmp_path / "inventory.py").write_text(f"hosts = [('@lbctl/one', {data!r})]\n")
    (tmp_path / "deploy.py").write_text(
        "from pyinfra.operations import server\nserver.shell(name='say it', commands=['echo it is $((40 + 2))'])\n"
    )
    pyinfra = Path(sys.executable).with_name("pyinfra")
    run = subprocess.run(
        [pyinfra, "-y", "-vvv", "inventory.py", "deploy.py"],
        check=False,
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert run.returncode == 0, run.stderr
    assert "it is 42" in run.stderr


def test_lab_that_is_not_up(machines: Machines) -> None:
    report = machines.drive({"@lab/lb1": {"lab_name": "nosuch"}}, ["connect"])
    error = report.connect_errors["@lab/lb1"]
    assert error["reason"] == "lab_down"
    assert "lab 'nosuch' is not up" in error["message"]
    assert "lbctl lab up" in error["cure"]
