"""TCP to a host: without delays, with an end, and with a reason when it does not come about."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

from transports.errors import Reason, UnreachableError
from transports.route import Route

SECONDS_IDLE_BEFORE_PROBE = 5
SECONDS_BETWEEN_PROBES = 5
PROBES = 3
MILLISECONDS_UNANSWERED = 15_000


def tune(connection: socket.socket) -> None:
    """Takes out the delay, and puts an end to silence.

    paramiko sends small packets one after the other; without NODELAY each waits 40 ms for the answer to the one before.
    A host that vanished is noticed within 15 to 20 s, while something is under way to it (USER_TIMEOUT) and while we
    wait for it to say something (KEEPALIVE).
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SECONDS_IDLE_BEFORE_PROBE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, SECONDS_BETWEEN_PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, MILLISECONDS_UNANSWERED)


class Line:
    """A socket as paramiko should see it.

    To Python the kernel's "no answer any more" (ETIMEDOUT) is the same exception as "nothing to read at the moment", so
    paramiko reads on, finds the socket at its end, and takes silence for a goodbye.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def recv(self, size: int) -> bytes:
        with _silence_told_apart():
            return self._connection.recv(size)

    def send(self, data: bytes) -> int:
        with _silence_told_apart():
            return self._connection.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@contextlib.contextmanager
def _silence_told_apart() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        if error.errno == errno.ETIMEDOUT:
            raise ConnectionAbortedError(errno.ECONNABORTED, "no answer any more") from error
        raise


def dial(route: Route) -> socket.socket:
    """A connection to the host, at the first of its addresses that answers."""
    try:
        found = socket.getaddrinfo(route.hostname, route.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UnreachableError(
            route.name,
            Reason.UNRESOLVED,
            f"the name {route.hostname!r} cannot be resolved: {getattr(error, 'strerror', None) or error}",
            cure="Name an address or another name (ssh_hostname); "
            f"`getent hosts {route.hostname}` shows what this machine knows.",
        ) from error
    problem = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for family, kind, protocol, _, address in found:
        try:
            return connected(socket.socket(family, kind, protocol), address, route)
        except OSError as error:
            problem = error
    raise no_connection(route, problem) from problem


def connected(connection: socket.socket, address: Any, route: Route) -> socket.socket:
    try:
        tune(connection)
        connection.settimeout(route.seconds)
        try:
            connection.connect(address)
        except TimeoutError:
            # Of many hosts at once: the time was up because we had no time to look, and the answer is there.
            if not _is_connected(connection):
                raise
    except BaseException:
        connection.close()
        raise
    return connection


def _is_connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def no_connection(route: Route, error: OSError) -> UnreachableError:
    if isinstance(error, ConnectionRefusedError):
        return UnreachableError(
            route.name,
            Reason.REFUSED,
            f"{route.address} refuses the connection: the machine is up, and no SSH server listens there",
            cure="Start sshd on the host, or name the right port ([ssh] port; plain pyinfra: ssh_port).",
        )
    if isinstance(error, TimeoutError):
        return UnreachableError(
            route.name,
            Reason.TIMEOUT,
            f"no answer from {route.address} within {route.seconds:g} s",
            cure=f"Is the host up, is the address right, does a firewall drop port {route.port}? "
            f"`ping {route.hostname}` and the host's console tell.",
        )
    return UnreachableError(
        route.name,
        Reason.NO_ROUTE,
        f"no way to {route.address}: {error.strerror or error}",
        cure=f"Is the host up and on this network? `ip route get {route.hostname}` shows the way that is tried.",
    )
