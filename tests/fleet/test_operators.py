"""Operators and directors with real SSH between them: each director is a server with a /var/lib of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.history import LOCK_FILE
from tests.transports.conftest import Program, make_key
from tests.variants import ROOT

pytestmark = pytest.mark.namespace

APART = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs lib /var/lib; exec "$@"', "sh"]
LBCTL = str(Path(sys.executable).with_name("lbctl"))

# Does what a command does that changes the cluster. Told "cut", it loses its connections first; told "done", it ends.
OPERATOR = """\
import fleet.green, sys
from fleet import history, lock, source, which
from fleet.session import Session
file = which.path_of()
def say(note): print("note:", note, flush=True)
with Session(source.blueprint(file), groups=("directors",)) as session:
    with lock.held(session, "trying", say), history.begin(session, "trying", None, source.text(file), say) as record:
        print("holds it", flush=True)
        if sys.stdin.readline() == "cut\\n":
            for host in session._hosts(session._state).values():
                host.connector.client.get_transport().sock.shutdown(2)
        record.end("done", [])
"""


@dataclass
class Directors:
    folder: Path
    file: Path
    servers: dict[str, Program] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LBCTL_CLUSTER": str(self.file), "NO_COLOR": "1", "HOME": str(self.folder)}

    def lbctl(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [LBCTL, *words],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def refused(self, *words: str) -> str:
        done = self.lbctl(*words)
        assert done.returncode == 5, done.stdout + done.stderr
        return done.stderr

    def changes(self) -> list[tuple[int, str]]:
        found: list[dict[str, Any]] = json.loads(self.lbctl("history", "--json").stdout)["changes"]
        return [(change["number"], change["result"]) for change in found]

    def locked(self) -> list[str]:
        there = [f"/proc/{server.process.pid}/root{LOCK_FILE}" for server in self.servers.values()]
        return [name for name, path in zip(self.servers, there, strict=True) if Path(path).exists()]

    @contextmanager
    def operator(self) -> Iterator["subprocess.Popen[str]"]:
        """One at work, and the lock is held."""
        process = subprocess.Popen(
            [sys.executable, "-c", OPERATOR],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        try:
            # After notes, if there are any.
            assert "holds it\n" in iter(process.stdout.readline, "")
            assert self.locked() == ["lb1", "lb2"]
            yield process
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def directors(tmp_path: Path) -> Iterator[Directors]:
    user = make_key(tmp_path / "user")
    file, known_hosts = tmp_path / "shop.toml", tmp_path / "known_hosts"
    text = f"""\
name = "shop"
mode = "dr"
network = "10.0.0.0/24"
[ssh]
user = "root"
key = "{user.file}"
known_hosts = "{known_hosts}"
[service.read]
vip = "10.0.0.10"
port = 3306
scheduler = "rr"
[nat]
gateway = "10.0.0.12"
[real_server.db1]
address = "10.0.0.1"
ssh = {{ host = "127.0.0.1", port = 1 }}
"""
    made = Directors(tmp_path, file)
    for number, name in ((4, "lb1"), (6, "lb2")):
        made.servers[name] = server = Program("server.py", *APART)
        host_key = make_key(tmp_path / name)
        wanted = {
            "host_keys": [str(host_key.file)],
            "allow": str(user.file),
            "environment": {"PATH": os.environ["PATH"]},
        }
        port = server.ask({"address": "127.0.0.1", "mood": "", **wanted})
        with known_hosts.open("a") as known:
            known.write(f"[127.0.0.1]:{port} {host_key.public}\n")
        text += f"""\
[director.{name}]
address = "10.0.0.{number}"
interface = "eth0"
priority = {110 - number}
ssh = {{ host = "127.0.0.1", port = {port} }}
"""
    file.write_text(text)
    yield made
    for server in made.servers.values():
        server.end()


def test_a_second_operator_waits_for_the_end_of_the_first(directors: Directors) -> None:
    nothing = directors.lbctl("history")
    assert nothing.stdout == "No change was written down yet.\n", nothing.stderr
    assert directors.lbctl("unlock").stdout == "Nobody holds the cluster's lock.\n"
    with directors.operator() as first:
        said = directors.refused("deploy", "--yes")
        assert "the cluster is locked (on lb1, lb2) by " in said
        assert f"(process {first.pid}) since " in said
        assert ": trying; last sign of life " in said
        assert "--force" in directors.refused("unlock", "--yes")
        assert directors.changes() == [(1, "under way")]
        first.communicate("done\n", timeout=60)
        assert first.returncode == 0
    assert directors.locked() == []
    assert directors.changes() == [(1, "done")]
    shown = directors.lbctl("history", "show", "1")
    assert shown.stdout == directors.file.read_text()
    missing = directors.lbctl("history", "show", "2")
    assert (missing.returncode, "known: 1 to 1" in missing.stderr) == (2, True)


def test_killed(directors: Directors) -> None:
    with directors.operator() as first:
        first.kill()
        first.wait(60)
    assert directors.changes() == [(1, "unfinished")]
    assert "nobody to ask" in directors.refused("unlock")
    assert directors.locked() == ["lb1", "lb2"]
    done = directors.lbctl("unlock", "--yes")
    assert (done.returncode, "The lock is gone from lb1, lb2." in done.stdout) == (0, True)
    assert directors.locked() == []
    with directors.operator() as second:
        second.communicate("done\n", timeout=60)
    assert directors.changes() == [(1, "unfinished"), (2, "done")]


def test_the_lock_of_one_that_was_killed_on_this_machine_is_taken_over(directors: Directors) -> None:
    with directors.operator() as first:
        first.kill()
        first.wait(60)
    assert directors.locked() == ["lb1", "lb2"]
    with directors.operator() as second:
        second.communicate("done\n", timeout=60)
    assert directors.locked() == []
    assert directors.changes() == [(1, "unfinished"), (2, "done")]


def test_ctrl_c(directors: Directors) -> None:
    with directors.operator() as first:
        first.send_signal(signal.SIGINT)
        first.wait(60)
        assert first.returncode != 0
    assert directors.locked() == []
    assert directors.changes() == [(1, "interrupted")]


def test_connections_that_break_leave_nothing_behind(directors: Directors) -> None:
    with directors.operator() as first:
        said, _ = first.communicate("cut\n", timeout=60)
        assert (first.returncode, said) == (0, "")
    assert directors.locked() == []
    assert directors.changes() == [(1, "done")]


def test_a_director_that_is_gone_is_named(directors: Directors) -> None:
    with directors.operator() as first:
        directors.servers["lb2"].end()
        said, _ = first.communicate("done\n", timeout=120)
        notes = said.splitlines()
        assert [note.split(":")[1].split(" (")[0] for note in notes] == [
            " lb2 does not know how this change ended",
            " lb2 still has the cluster's lock",
        ]
    listed = directors.lbctl("history", "--json")
    assert listed.returncode == 3
    told = json.loads(listed.stdout)
    assert (told["changes"][0]["result"], list(told["unreachable"])) == ("done", ["lb2"])
    unlocked = directors.lbctl("unlock")
    assert (unlocked.returncode, "lb2 could not be asked" in unlocked.stderr) == (3, True)
