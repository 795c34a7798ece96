"""clustercheck as a process, with a client program that says what the test wants.

No test is about speed: the limits are there to end those that fail.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from clustercheck import clustercheck
from tests.clustercheck.conftest import CLIENT, SYNCED, Program, Server, until

pytestmark = pytest.mark.process

Start = Callable[..., Program]


def test_serving(start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced\n"))
    status, body = program.get("/master")
    assert status == 200
    assert json.loads(body.split("\n")[1]) == SYNCED


def test_the_answer_follows_the_server(server: Server, start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced", "/master"))
    server.says(read_only="ON")
    until(lambda: program.says(503, "read_only is ON\n", "/writable"))
    assert program.says(200, "Synced")
    server.says(wsrep_local_state="2", wsrep_local_state_comment="Donor/Desynced")
    until(lambda: program.says(503, "not Synced: Donor/Desynced (wsrep_local_state 2)\n"))
    server.says(wsrep_local_index="2")
    until(lambda: program.says(200, "Synced"))
    assert program.says(503, "wsrep_local_index is 2, the master is index 0\n", "/master")


def test_donor_serves_with_the_option(server: Server, start: Start) -> None:
    server.says(wsrep_local_state="2", wsrep_local_state_comment="Donor/Desynced")
    program = start("--serve-donor")
    until(lambda: program.says(200, "Donor/Desynced, which serves by --serve-donor"))


def test_head_and_unknown_paths(start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    assert program.get("/", "HEAD") == (200, "")
    assert program.get("/", "POST")[0] == 405
    assert program.get("/slave")[0] == 404


def test_a_server_that_hangs_and_goes_on(server: Server, start: Start) -> None:
    program = start("--stale=1")
    until(lambda: program.says(200, "Synced"))
    server.freeze()
    until(lambda: program.says(503, "no answer from the server for "))
    server.thaw()
    until(lambda: program.says(200, "Synced"))


def test_no_question_waits_for_what_is_yet_to_be_applied(server: Server, start: Start) -> None:
    server.applies()
    program = start()
    until(lambda: program.says(200, "Synced"))


def test_a_server_that_does_not_know_wsrep_sync_wait_is_asked_all_the_same(server: Server, start: Start) -> None:
    server.is_plain()
    program = start()
    until(lambda: program.says(200, "Synced"))
    assert len(server.clients()) == 2
    server.kill()
    until(lambda: len(server.clients()) == 4)  # another server may have taken its place: it is told again
    until(lambda: program.says(200, "Synced"))


def test_a_connection_that_stays_silent_is_given_up(server: Server, start: Start) -> None:
    server.freeze()
    program = start("--stale=1")
    until(lambda: len(server.clients()) > 1)
    assert program.says(503, "no answer from the server for ")
    until(lambda: len(program.children()) == 1)


def test_a_connection_that_breaks(server: Server, start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    server.go()
    until(lambda: program.says(503, "no connection to the server: ERROR 2002 (HY000): Can't connect"))
    started = len(server.clients())
    until(lambda: len(server.clients()) > started)  # it tries again
    server.come_back()
    until(lambda: program.says(200, "Synced"))
    assert len(program.children()) == 1


def test_a_client_that_is_killed_is_replaced(server: Server, start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    server.kill()
    until(lambda: "not serving: no connection to the server: the client ended without a word" in program.journal)
    until(lambda: program.says(200, "Synced"))
    assert len(server.clients()) == 2
    assert program.children() == [server.clients()[-1][0]]


def test_a_client_that_does_not_start(server: Server, start: Start) -> None:
    server.program.write_bytes(b"\x7fELF, but no program")
    program = start()
    until(lambda: program.says(503, "no connection to the server: [Errno 8] Exec format error"))
    server.program.unlink()
    server.program.with_name("mysql").write_text(CLIENT)
    server.program.with_name("mariadb").write_text(CLIENT)
    server.program.with_name("mariadb").chmod(0o755)
    until(lambda: program.says(200, "Synced"))


def test_the_client_is_asked_for_nobody_elses_settings(server: Server, start: Start) -> None:
    program = start("--socket=/somewhere/mysqld.sock", HOME="/root", MYSQL_PWD="secret", NOTIFY_SOCKET="/nowhere")
    until(lambda: program.says(200, "Synced"))
    _, arguments, environment = server.clients()[0]
    assert arguments[0] == "--no-defaults"
    assert {"--user=clustercheck", "--socket=/somewhere/mysqld.sock", "--skip-reconnect"} <= set(arguments)
    assert environment.keys() - {"PATH", "LC_ALL"} <= {"LC_CTYPE"}  # Python sets this one itself


def test_a_request_in_pieces(start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    for line_end in (b"\r\n", b"\n"):
        with program.connect() as connection:
            for piece in (b"GE", b"T / HT", b"TP/1.0" + line_end, b"Host: db1" + line_end, line_end):
                connection.sendall(piece)
                time.sleep(0.02)
            assert b"".join(iter(lambda c=connection: c.recv(4096), b"")).startswith(b"HTTP/1.0 200 OK\r\n")  # type: ignore[misc]


def test_silent_visitors_hold_nobody_up(start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    silent = [program.connect() for _ in range(100)]
    try:
        assert program.says(200, "Synced")
        for connection in silent:
            assert connection.recv(1) == b""  # sent away after a second
    finally:
        for connection in silent:
            connection.close()


def test_no_visitor_is_answered_with_a_reset(start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    for _ in range(80):
        assert program.says(200, "Synced")
    for _ in range(80):
        with program.connect() as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: db1\r\n\r\n")
            assert b"".join(iter(lambda c=connection: c.recv(100), b"")).startswith(b"HTTP/1.0 200 OK\r\n")  # type: ignore[misc]


def test_a_request_that_is_too_long_is_told_so(start: Start) -> None:
    program = start()
    with program.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n" + 500 * b"X-Padding: 0123456789012345678901234567890\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.0 431 ")


def test_a_visitor_who_leaves_early_does_no_harm(start: Start) -> None:
    program = start()
    until(lambda: program.says(200, "Synced"))
    for _ in range(20):
        with program.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with RST
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert program.says(200, "Synced")


def test_only_those_allowed_are_answered(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "allow"

    def says(text: str) -> None:
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    says("10.0.0.4\n10.0.0.6\n")
    program = start("--stale=5", f"--allow={file}")

    def is_refused() -> bool:
        with program.connect() as connection, contextlib.suppress(ConnectionResetError):  # which is closed as well
            return connection.recv(100) == b""
        return True

    assert is_refused()
    says("10.0.0.4\n127.0.0.0/8\n")
    until(lambda: program.says(200, "Synced"))
    says("this is no address\n")
    assert program.says(200, "Synced")
    file.unlink()
    assert program.says(200, "Synced")
    says("10.0.0.4\n")
    assert is_refused()


def test_checks_wait_in_the_socket_that_systemd_has_kept(server: Server) -> None:
    """As over a restart: who has come before it is up is answered, and by what the first look saw."""
    with socket.create_server(("127.0.0.1", 0)) as kept:
        early = http.client.HTTPConnection("127.0.0.1", kept.getsockname()[1], timeout=30)
        early.request("GET", "/")
        command = [sys.executable, "-I", "-B", clustercheck.__file__, "--stale=5"]
        shell = f'exec 3<&{kept.fileno()}; LISTEN_PID=$$ exec "$@"'
        environment = {"PATH": f"{server.directory}:{os.defpath}", "LISTEN_FDS": "1"}
        with subprocess.Popen(
            ["bash", "-c", shell, "bash", *command], env=environment, pass_fds=[kept.fileno()]
        ) as process:
            try:
                answer = early.getresponse()
                assert (answer.status, answer.read().decode().splitlines()[0]) == (200, "Synced")
            finally:
                process.terminate()


def test_a_signal_ends_it_at_once_and_nothing_is_left(server: Server, start: Start) -> None:
    program = start("--stale=1")
    until(lambda: program.says(200, "Synced"))
    server.freeze()
    until(lambda: program.says(503, "no answer"))
    (child,) = program.children()
    assert program.stop() == 0
    assert not Path(f"/proc/{child}").exists()


def test_who_has_come_in_is_answered_before_the_end(start: Start) -> None:
    """One who is let in and not answered takes it for a failed check."""
    program = start()
    until(lambda: program.says(200, "Synced"))
    with program.connect() as visitor:
        visitor.sendall(b"GET / HTTP/1.0\r\n")
        until(lambda: program.says(200, "Synced"))  # who came later was answered: this one is in
        os.kill(program.process.pid, signal.SIGTERM)
        time.sleep(0.1)  # that it would have ended by now, and not more: it waits for a second
        visitor.sendall(b"\r\n")
        assert visitor.recv(100).startswith(b"HTTP/1.0 200 ")
    assert program.process.wait(10) == 0


def test_a_visitor_does_not_delay_the_end(start: Start) -> None:
    program = start()
    with program.connect():
        assert program.stop() == 0


def test_the_journal_has_changes_only(server: Server, start: Start) -> None:
    program = start()
    until(lambda: server.looks() > 10)
    server.says(wsrep_local_state="2", wsrep_local_state_comment="Donor/Desynced")
    until(lambda: program.says(503, "not Synced"))
    looks = server.looks()
    until(lambda: server.looks() > looks + 5)
    assert program.stop() == 0
    assert program.journal[1:] == [
        "not serving: the first look at the server is under way",
        "serving: Synced",
        "not serving: not Synced: Donor/Desynced (wsrep_local_state 2)",
    ]


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(server: Server, start: Start, abstract: bool, tmp_path: Path) -> None:  # noqa: FBT001
    name = f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name if abstract else name)
        systemd.settimeout(30)
        program = start("--stale=1", NOTIFY_SOCKET="@" + name if abstract else name, WATCHDOG_USEC="300000")
        assert systemd.recv(4096) == b"FDSTORE=1"
        assert systemd.recv(4096) == b"READY=1"
        program.connect().close()  # it says so when it listens, not before
        until(lambda: systemd.recv(4096) == b"STATUS=serving: Synced")
        server.freeze()
        until(lambda: re.match(rb"STATUS=not serving: no answer", systemd.recv(4096)))
        for _ in range(5):  # that the server hangs is no reason to restart clustercheck
            assert systemd.recv(4096) == b"WATCHDOG=1"


def test_no_watchdog_no_pings(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        program = start(NOTIFY_SOCKET=f"{tmp_path}/notify")
        until(lambda: program.says(200, "Synced"))
        assert program.stop() == 0
        systemd.settimeout(0)
        told = []
        with contextlib.suppress(BlockingIOError):
            while True:
                told.append(systemd.recv(4096))
    assert b"WATCHDOG=1" not in told
    assert told[1] == b"READY=1"


def by_hand(server: Server, *options: str) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-I", "-B", clustercheck.__file__, *options]
    environment = {"PATH": f"{server.directory}:{os.defpath}"}
    return subprocess.run(arguments, env=environment, text=True, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--every=1"], "0 < --every < --stale"),
        (["--every=0"], "0 < --every < --stale"),
        (["--stale=60"], "0 < --every < --stale"),
        (["--allow=/nowhere"], "--allow"),
        (["--port=http"], "--port"),
    ],
)
def test_options_that_are_wrong(server: Server, options: list[str], says: str) -> None:
    done = by_hand(server, *options)
    assert done.returncode == 2
    assert says in done.stderr


def test_help(server: Server) -> None:
    assert "--serve-donor" in by_hand(server, "--help").stdout


def test_ipv6(server: Server, tmp_path: Path) -> None:
    (tmp_path / "allow").write_text("::1\n")
    program = Program(server, "--stale=5", f"--allow={tmp_path}/allow", listen="::1")
    try:
        until(lambda: program.says(200, "Synced"))
    finally:
        assert program.stop() == 0
