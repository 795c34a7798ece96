"""Waiting for sshd, with one that is slow to greet."""

import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lab import doorbell, namespace
from lab.topology import Seat

HERE = Seat("here", IPv4Address("127.0.0.1"))


class Greeter(threading.Thread):
    """Greets everybody some time after they came."""

    def __init__(self, port: int, after: float) -> None:
        super().__init__(daemon=True)
        self.visitors = 0
        self._after = after
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.settimeout(0.05)
        self._closed = threading.Event()

    def run(self) -> None:
        while not self._closed.is_set():
            try:
                visitor, _ = self._server.accept()
            except TimeoutError:
                continue
            self.visitors += 1
            with visitor:
                time.sleep(self._after)
                visitor.sendall(b"SSH-2.0-slow\r\n")

    def close(self) -> None:
        self._closed.set()
        self.join()
        self._server.close()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = int(free.getsockname()[1])
    monkeypatch.setattr(doorbell, "_PORT", number)
    monkeypatch.setattr(namespace, "socket_in", lambda _: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    return number


@pytest.fixture
def slow(port: int) -> Iterator[Greeter]:
    greeter = Greeter(port, after=1.0)
    greeter.start()
    yield greeter
    greeter.close()


def test_a_slow_sshd_is_rung_once(slow: Greeter) -> None:
    doorbell.wait("any", [HERE], lambda _: None)
    assert slow.visitors == 1


def test_an_sshd_that_comes_up_later_is_found_soon(port: int) -> None:
    began = time.monotonic()
    started: list[Greeter] = []

    def start_later(_: Seat) -> None:
        if not started and time.monotonic() - began > 0.5:
            started.append(Greeter(port, after=0))
            started[0].start()

    doorbell.wait("any", [HERE], start_later)
    assert time.monotonic() - began < 1.5
    started[0].close()


def test_patience_ends_the_wait(port: int) -> None:
    assert port

    def patience(seat: Seat) -> None:
        raise TimeoutError(seat.name)

    with pytest.raises(TimeoutError, match="here"):
        doorbell.wait("any", [HERE], patience)
