"""A connection that came about while nobody had time to look is one."""

import socket
from collections.abc import Iterator

import pytest

from transports.route import Route
from transports.sockets import connected


class Late(socket.socket):
    """Its time is up when it is asked next."""

    def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
        super().connect(address)
        raise TimeoutError("timed out")


class Silent(socket.socket):
    """Nobody has answered."""

    def connect(self, _: tuple[str, int]) -> None:  # type: ignore[override]
        raise TimeoutError("timed out")


def to(address: tuple[str, int]) -> Route:
    host, port = address
    return Route(name="db1", hostname=host, port=port, user="root", known_hosts=())


@pytest.fixture
def listening() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        yield host, port


def test_the_answer_is_there_though_the_time_is_up(listening: tuple[str, int]) -> None:
    with connected(Late(), listening, to(listening)) as connection:
        assert connection.getpeername() == listening


def test_no_answer_is_none(listening: tuple[str, int]) -> None:
    late = Silent()
    with pytest.raises(TimeoutError):
        connected(late, listening, to(listening))
    assert late.fileno() == -1
