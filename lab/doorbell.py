"""Waiting for sshd.

Ringing again and again keeps a small machine busy with opening doors, and it never gets round to a greeting: ring once,
and wait there.
"""

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from lab import namespace
from lab.topology import Seat

if TYPE_CHECKING:
    import socket

_PORT = 22
_LOOK_EVERY = 0.02
_PAUSE = 0.1
_NOBODY_ANSWERS = (
    0.5  # a packet to a machine without a network is lost; the next try of TCP itself comes after a second
)
_NOTHING_SAID = 10.0  # a machine that boots with four others on one CPU takes its time, but not so long


class Doorbell:
    def __init__(self, space: str, seat: Seat) -> None:
        self.seat = seat
        self._space = space
        self._door: socket.socket | None = None
        self._rung = 0.0
        self._not_before = 0.0

    def answered(self) -> bool:
        """Whether sshd has greeted by now. Never waits."""
        now = time.monotonic()
        if self._door is None:
            if now >= self._not_before:
                self._ring(now)
            return False
        try:
            if self._door.recv(4) == b"SSH-":
                self.leave()
                return True
        except BlockingIOError:
            patience = _NOTHING_SAID if self._connected() else _NOBODY_ANSWERS
            if now - self._rung < patience:
                return False
        except OSError:
            pass  # refused: there is a network and no sshd yet
        self.leave()
        self._not_before = now + _PAUSE
        return False

    def leave(self) -> None:
        if self._door:
            self._door.close()
            self._door = None

    def _ring(self, now: float) -> None:
        self._door = namespace.socket_in(self._space)
        self._door.setblocking(False)  # noqa: FBT003 - the parameter has no name
        self._door.connect_ex((str(self.seat.address), _PORT))
        self._rung = now

    def _connected(self) -> bool:
        if self._door is None:
            return False
        try:
            self._door.getpeername()
        except OSError:
            return False
        return True


def wait(space: str, seats: Collection[Seat], meanwhile: Callable[[Seat], None]) -> None:
    """Until each one's sshd has greeted. `meanwhile` is told who has not, and raises when that has lasted enough."""
    bells = [Doorbell(space, seat) for seat in seats]
    try:
        waiting = bells
        while waiting := [bell for bell in waiting if not bell.answered()]:
            for bell in waiting:
                meanwhile(bell.seat)
            time.sleep(_LOOK_EVERY)
    finally:
        for bell in bells:
            bell.leave()
