"""clustercheck beside a real Galera node, in its unit. Under a name of its own, so that a deployed one is not disturbed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from lab.lab import Lab
from templates import render

pytestmark = pytest.mark.lab

UNIT = "clustercheck-test.service"
PROGRAM = "/usr/local/lib/clustercheck-test"
PORT = 9201
DATABASE_USER = "clustercheck@localhost"

INSTALL = f"""\
test -x /usr/bin/python3 || {{
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3; }}
id clustercheck >/dev/null 2>&1 || useradd -r -d /nonexistent -s /usr/sbin/nologin clustercheck
systemctl daemon-reload && systemctl restart {UNIT}"""
REMOVE = f"""\
systemctl stop {UNIT}
rm -f {PROGRAM} {PROGRAM}.allow /etc/systemd/system/{UNIT} /run/lbctl/{UNIT}
systemctl daemon-reload"""
# What the test may have left: a server that is stopped or set apart.
RECOVER = """\
pkill -CONT -x mariadbd
mariadb -e 'SET GLOBAL wsrep_desync = 0, wsrep_reject_queries = NONE, read_only = 0'"""

# Checks as often as two directors do, until its input ends: how many, and the worst.
MANY = f"""\
import http.client, select, sys, time
seen, slowest = set(), 0
while not select.select([sys.stdin], [], [], 0.05)[0]:
    began = time.monotonic()
    connection = http.client.HTTPConnection("10.0.0.1", {PORT}, timeout=30)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        seen.add(f"{{answer.status}} {{answer.read().decode().splitlines()[0]}}")
    except OSError as error:
        seen.add(repr(error))
    slowest = max(slowest, time.monotonic() - began)
print(f"slowest {{slowest:.2f}} s", file=sys.stderr)
print("; ".join(sorted(seen)))
"""

# Prints the status and the reason; "0" when nothing comes.
GET = f"""\
import http.client, sys
connection = http.client.HTTPConnection("10.0.0.1", {PORT}, timeout=5)
try:
    connection.request("GET", sys.argv[1])
    answer = connection.getresponse()
    print(answer.status, answer.read().decode().splitlines()[0])
except OSError as error:
    print(0, error)
"""


class Node:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def run(self, command: str, stdin: str = "") -> str:
        return self.lab.exec("db1", command, stdin=stdin, timeout=180).stdout

    def sql(self, statement: str) -> str:
        return self.run("mariadb -BN", statement)

    def get(self, path: str = "/") -> str:
        return self.lab.client([sys.executable, "-c", GET, path]).stdout.strip()

    def says(self, answer: str, path: str = "/") -> Callable[[], bool]:
        return lambda: self.get(path).startswith(answer)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """The limit ends a test that fails; docs/clustercheck.md has the times that were measured."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.1)


@pytest.fixture
def node(galera: Lab) -> Iterator[Node]:
    node = Node(galera)
    unit = {"program": PROGRAM, "arguments": [f"--port={PORT}", f"--allow={PROGRAM}.allow"], "user": "clustercheck"}
    node.run(f"cat >{PROGRAM}", render("clustercheck.py", {}))
    node.run(f"echo 10.0.0.5 >{PROGRAM}.allow")
    node.run(f"cat >/etc/systemd/system/{UNIT}", render("clustercheck.service.j2", {**unit, "revision": "test"}))
    had_user = node.sql("SELECT User FROM mysql.user WHERE User = 'clustercheck'")
    node.sql(f"CREATE USER IF NOT EXISTS {DATABASE_USER} IDENTIFIED VIA unix_socket")
    try:
        node.run(INSTALL)
        wait_until(node.says("200 Synced"))
        yield node
    finally:
        galera.exec("db1", RECOVER, timeout=180, check=False)
        galera.exec("db1", REMOVE, check=False)
        if not had_user:
            node.sql(f"DROP USER {DATABASE_USER}")


def test_the_answer_follows_a_real_server(node: Node) -> None:
    """One test, because setting up takes as long as all of it. A server that dies takes a minute to rejoin: not here."""
    started = node.run(f"systemctl show -p MainPID {UNIT}")

    node.sql("SET GLOBAL wsrep_desync = 1")
    wait_until(node.says("503 not Synced: Donor/Desynced (wsrep_local_state 2)"))
    node.sql("SET GLOBAL wsrep_desync = 0")
    wait_until(node.says("200 Synced"))

    for reject in ("ALL", "ALL_KILL"):
        node.sql(f"SET GLOBAL wsrep_reject_queries = {reject}")
        wait_until(node.says(f"503 wsrep_reject_queries is {reject}"))
        node.sql("SET GLOBAL wsrep_reject_queries = NONE")
        wait_until(node.says("200 Synced"))

    node.sql("SET GLOBAL read_only = 1")
    wait_until(node.says("503 read_only is ON", "/writable"))
    assert node.get() == "200 Synced"
    node.sql("SET GLOBAL read_only = 0")
    wait_until(node.says("200 Synced", "/writable"))

    node.run("pkill -STOP -x mariadbd")
    wait_until(node.says("503 no answer from the server for "))
    node.run("pkill -CONT -x mariadbd")
    wait_until(node.says("200 Synced"))

    assert node.lab.operator([sys.executable, "-c", GET, "/"]).stdout.startswith("0 "), "only 10.0.0.5 is allowed"
    assert node.run(f"systemctl show -p MainPID {UNIT}") == started, "none of this was a reason to restart it"


def test_checks_wait_while_it_is_restarted(node: Node) -> None:
    """One that is refused takes the server out of rotation, and all its clients with it."""
    process = node.lab.client_process(
        [sys.executable, "-c", MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for _ in range(3):
        started = node.run(f"systemctl show -p MainPID {UNIT}")
        node.run(f"systemctl restart {UNIT}")
        assert node.run(f"systemctl show -p MainPID {UNIT}") != started
    answers = process.communicate("\n", timeout=60)[0].strip().split("; ")
    assert "200 Synced" in answers
    # None was refused. That the database itself let it wait is the truth on a busy machine.
    assert all(answer == "200 Synced" or answer.startswith("503 no answer from the server for ") for answer in answers)
