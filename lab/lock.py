"""One at a time, and an end to long work that leaves nothing half done."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cluster.errors import RefusedError


@contextmanager
def locked(path: Path, *, what: str, seconds: float, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds `path` as a lock file. Its holder may remove it, so whoever gets the lock looks whether it is there."""
    deadline = time.monotonic() + seconds
    told = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # its holder has just removed the directory
            continue
        try:
            if _taken(descriptor) and _same(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)
        if waiting and not told:
            waiting()
            told = True
        if time.monotonic() > deadline:
            raise RefusedError(f"{what} is in use by another process", cure=f"wait for it; fuser {path} names it")
        time.sleep(0.1)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


@contextmanager
def termination_raises() -> Iterator[None]:
    """SIGTERM ends the work within as Ctrl-C does: by an exception, so that it is undone."""

    def raise_interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handler(raise_interrupt, signal.SIGTERM):
        yield


@contextmanager
def undisturbed() -> Iterator[None]:
    """For undoing: a second Ctrl-C must not leave half of it."""
    with _handler(signal.SIG_IGN, signal.SIGTERM, signal.SIGINT):
        yield


@contextmanager
def _handler(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers, *numbers: signal.Signals
) -> Iterator[None]:
    if (
        threading.current_thread() is not threading.main_thread()
    ):  # only there can handlers be set, only there do they run
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
