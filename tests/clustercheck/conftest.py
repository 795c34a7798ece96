"""A clustercheck that runs, and a client program in its PATH that says what a test wants."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clustercheck import clustercheck

# Speaks as `mariadb` does: rows and END for a question, an error and an end when the server is gone.
CLIENT = f"""\
#!{sys.executable} -IS
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
def there(name): return os.path.exists(os.path.join(here, name))
with open(os.path.join(here, "started"), "a") as file:
    file.write(json.dumps([os.getpid(), sys.argv[1:], dict(os.environ)]) + "\\n")
causal = True
for line in sys.stdin:
    if there("away"):
        print("ERROR 2002 (HY000): Can't connect to local server", file=sys.stderr)
        sys.exit(1)
    if "wsrep_sync_wait" in line:
        causal = False
        if there("plain"):
            print("ERROR 1193 (HY000) at line 1: Unknown system variable 'wsrep_sync_wait'", file=sys.stderr)
            sys.exit(1)
    if line == "SELECT 'END';\\n":
        while there("frozen") or (causal and there("applying")):
            time.sleep(0.02)
        with open(os.path.join(here, "values")) as file:
            values = json.load(file)
        for name, value in values.items():
            print(name + "\\t" + value)
        print("END", flush=True)
        with open(os.path.join(here, "answered"), "a") as file:
            file.write(".")
"""
SYNCED = {
    "wsrep_cluster_status": "Primary",
    "wsrep_local_index": "0",
    "wsrep_local_state": "4",
    "wsrep_local_state_comment": "Synced",
    "wsrep_ready": "ON",
    "read_only": "OFF",
    "wsrep_reject_queries": "NONE",
}


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


class Server:
    """The database, as far as clustercheck sees it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "started").touch()
        (directory / "answered").touch()
        self.says()
        self.program = directory / "mariadb"
        self.program.write_text(CLIENT)
        self.program.chmod(0o755)

    def says(self, **changes: str) -> None:
        beside = self.directory / "values.new"
        beside.write_text(json.dumps({**SYNCED, **changes}))
        beside.replace(self.directory / "values")

    def freeze(self) -> None:
        (self.directory / "frozen").touch()

    def thaw(self) -> None:
        (self.directory / "frozen").unlink()

    def go(self) -> None:
        (self.directory / "away").touch()

    def come_back(self) -> None:
        (self.directory / "away").unlink()

    def applies(self) -> None:
        """A long ALTER, with wsrep_sync_wait set for all: who asks causally waits for its end."""
        (self.directory / "applying").touch()

    def is_plain(self) -> None:
        """Without Galera."""
        (self.directory / "plain").touch()

    def clients(self) -> list[tuple[int, list[str], dict[str, str]]]:
        """Every client ever started: process, arguments, environment."""
        lines = (self.directory / "started").read_text().splitlines()
        return [(pid, arguments, environment) for pid, arguments, environment in map(json.loads, lines)]

    def kill(self) -> None:
        """As seen from the client, which dies of it."""
        os.kill(self.clients()[-1][0], signal.SIGKILL)

    def looks(self) -> int:
        return (self.directory / "answered").stat().st_size


class Program:
    """A clustercheck that runs."""

    def __init__(self, server: Server, *options: str, listen: str = "127.0.0.1", **environment: str) -> None:
        self.address = listen
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-B", clustercheck.__file__, f"--listen={listen}", "--port=0", *options],
            env={"PATH": f"{server.directory}:{os.defpath}", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.journal: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        until(lambda: self.journal or self.process.poll() is not None)
        assert self.journal[0].startswith(f"listening on {listen}, port "), self.journal
        self.port = int(self.journal[0].split()[-1])

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.journal.extend(line.rstrip("\n") for line in self.process.stderr)

    def get(self, path: str = "/", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=30)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def says(self, status: int, reason: str, path: str = "/") -> bool:
        got, body = self.get(path)
        return got == status and body.startswith(reason)

    def connect(self) -> socket.socket:
        return socket.create_connection((self.address, self.port), timeout=30)

    def children(self) -> list[int]:
        """Zombies too: they are what must not be left."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(after_name[1]) == self.process.pid:
                found.append(int(stat.parent.name))
        return found

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self._reader.join(30)
        return code


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def start(server: Server) -> Iterator[Callable[..., Program]]:
    """Starts clustercheck, by default patient enough for a machine that is busy with other tests."""
    running: list[Program] = []

    def start(*options: str, **environment: str) -> Program:
        running.append(Program(server, *(options or ("--stale=5",)), **environment))
        return running[-1]

    yield start
    for program in running:
        program.process.kill()
        program.process.wait()
    for pid, _, _ in server.clients():  # one that was frozen does not see that its clustercheck is gone
        try:
            if str(server.program).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue
