"""What a long piece of work says while it runs: one line a step, with the time since it began."""

import sys
import time
from collections.abc import Callable

Progress = Callable[[str], None]


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def silent(_: str) -> None:
    """For those who do not want to hear."""


class Steps:
    def __init__(self, progress: Progress, subject: str) -> None:
        self._progress = progress
        self._subject = subject
        self._began = time.monotonic()

    def __call__(self, what: str) -> None:
        self._progress(f"{self._subject} {self.elapsed:5.1f} s  {what}")

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began
