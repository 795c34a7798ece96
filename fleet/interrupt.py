"""Ctrl-C while hosts are at work: the step under way is finished first, and it is the command that ends, not one greenlet.

Python calls a signal's handler in whichever greenlet happens to run. What it raised there would end that one, with a traceback,
and the others would go on.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Self

import gevent


class Interrupts:
    """What Ctrl-C does between `__enter__` and `__exit__`."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        self._told = told
        """Called when one is kept for the end of a step."""
        self._before: object = None
        self._in_step = False
        self._kept = False

    def __enter__(self) -> Self:
        # Whoever has a handler of his own, or ignores it, goes on to do so; and only the main thread may set one.
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._before = None

    @contextmanager
    def after_this(self) -> Iterator[None]:
        """A block that the first Ctrl-C leaves to its end, where it raises KeyboardInterrupt; the second one does at once."""
        self._in_step = True
        try:
            yield
        finally:
            self._in_step = False
        if self._kept:
            self._kept = False
            raise KeyboardInterrupt

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._in_step and not self._kept:
            self._kept = True
            self._told()
            return
        hub = gevent.get_hub()
        if gevent.getcurrent() is hub.parent:
            raise KeyboardInterrupt
        hub.loop.run_callback(hub.parent.throw, KeyboardInterrupt())
