"""Clients that do more than one query: large rows both ways, a connection that is held, many attempts to connect."""

import hashlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import IO, Any

from cluster.keepalived import Endpoint
from lab import galera
from lab.lab import Lab

CHUNK = 2**20
"""Bytes of one row; its statement is a third longer, and well below max_allowed_packet (16 MB)."""


def mariadb(endpoint: Endpoint, *options: str) -> list[str]:
    login = [f"-u{galera.USER}", f"-p{galera.PASSWORD}", "--connect-timeout=5"]
    return ["mariadb", f"-h{endpoint.address}", f"-P{endpoint.port}", *login, "-BNr", *options]


def _pipe(end: IO[Any] | None) -> IO[Any]:
    assert end is not None
    return end


# Large rows

_CREATE = "CREATE OR REPLACE TABLE lab.bulk (id INT PRIMARY KEY, body LONGBLOB NOT NULL) ENGINE=InnoDB;\n"


def write_bytes(lab: Lab, endpoint: Endpoint, count: int, seconds: float) -> str:
    """Writes `count` bytes that nobody can foresee into a table, in rows of a megabyte. Their SHA-256; "" if it took longer than
    `seconds` or the connection was cut.
    """
    sent = hashlib.sha256()
    with lab.client_process(mariadb(endpoint), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        deadline = time.monotonic() + seconds
        _feed(client, _CREATE.encode(), deadline)
        for number in range(0, count, CHUNK):
            body = os.urandom(min(CHUNK, count - number))
            sent.update(body)
            statement = b"INSERT INTO lab.bulk VALUES (%d, 0x%s);\n" % (number, body.hex().encode())
            if not _feed(client, statement, deadline):
                client.kill()
                return ""
        _pipe(client.stdin).close()
        try:
            ended = client.wait(max(1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            client.kill()
            return ""
        assert ended == 0
    return sent.hexdigest()


def _feed(client: "subprocess.Popen[bytes]", data: bytes, deadline: float) -> bool:
    """Whether the client took all of it in time: one whose connection is cut ends."""
    pipe = _pipe(client.stdin).fileno()
    os.set_blocking(pipe, False)
    left = memoryview(data)
    while left:
        _, ready, _ = select.select([], [pipe], [], max(0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            left = left[os.write(pipe, left[:65536]) :]
        except BrokenPipeError:
            return False
    return True


def read_bytes(lab: Lab, endpoint: Endpoint, count: int) -> str:
    """The SHA-256 of what is in that table: of the very bytes that the client got."""
    # Row by row, as many bytes as were written, so that nothing in them is taken for an end of line.
    got = hashlib.sha256()
    argv = mariadb(endpoint, "--quick", "-e", "SELECT body FROM lab.bulk ORDER BY id")
    with lab.client_process(argv, stdout=subprocess.PIPE) as client:
        rows = _pipe(client.stdout)
        for number in range(0, count, CHUNK):
            size = min(CHUNK, count - number)
            got.update(rows.read(size))
            assert rows.read(1) == b"\n"
        assert rows.read() == b""
        assert client.wait(60) == 0
    return got.hexdigest()


def remove_bytes(lab: Lab, endpoint: Endpoint) -> None:
    lab.client(mariadb(endpoint, "-e", "DROP TABLE lab.bulk"))


# A connection that is held


class Held:
    """One connection of a real client, which speaks when it is told to."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def ask(self, statement: str, seconds: float = 10) -> str:
        """The answer; "" when there is none within `seconds`, or the connection is gone."""
        try:
            said = _pipe(self._process.stdin)
            said.write(f"{statement};\n".encode())
            said.flush()
        except BrokenPipeError:
            return ""
        answer = _pipe(self._process.stdout)
        ready, _, _ = select.select([answer], [], [], seconds)
        return str(answer.readline().decode().strip()) if ready else ""


@contextmanager
def held(lab: Lab, endpoint: Endpoint) -> Iterator[Held]:
    argv = mariadb(endpoint, "-n", "--skip-reconnect")
    process = lab.client_process(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield Held(process)
    finally:
        process.kill()
        process.communicate()


# Attempts

_ATTEMPTS = """
import json, socket, sys
host, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
said = []
for _ in range(count):
    try:
        with socket.create_connection((host, port), timeout=seconds) as connection:
            said.append("greeting" if connection.recv(5) else "closed")
    except OSError as error:
        said.append(type(error).__name__)
print(json.dumps(said))
"""


Place = Callable[[Sequence[str]], list[str]]
"""Where a program runs: `lab.client_argv` or `lab.operator_argv`."""


def attempts(place: Place, address: IPv4Address, port: int, count: int = 1, seconds: float = 3) -> list[str]:
    """What became of so many connections: "greeting" of a database server, or the name of what went wrong."""
    argv = [sys.executable, "-c", _ATTEMPTS, str(address), str(port), str(count), str(seconds)]
    done = subprocess.run(place(argv), capture_output=True, text=True, check=True)
    found: list[str] = json.loads(done.stdout)
    return found
