"""Processes that outlive the program that started them.

A process is its id and its start time: an id alone comes round again.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_STATE, _GROUP, _START = 0, 2, 19  # fields of /proc/PID/stat, counted behind the program's name

# Those that this very process started: it must collect them, or they stay zombies for as long as it lives.
_children: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Process:
    pid: int
    start: int

    @classmethod
    def read(cls, pid_file: Path) -> "Process | None":
        """None: never started, or stopped before it could write."""
        try:
            return cls.parse(pid_file.read_text())
        except (FileNotFoundError, ValueError, IndexError):
            return None

    @classmethod
    def parse(cls, stat: str) -> "Process":
        """From a line of /proc/PID/stat. The program's name in it may hold anything: count from its closing bracket."""
        return cls(pid=int(stat.split(maxsplit=1)[0]), start=int(_fields(stat)[_START]))

    def alive(self) -> bool:
        """A zombie is gone: nothing of it is left but its number."""
        _collect()
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        return _fields(stat)[_STATE] not in "ZX" and self.parse(stat) == self

    def kill(self) -> None:
        """With its whole group, which `start` made it the leader of."""
        if self.alive():
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                os.kill(self.pid, signal.SIGKILL)

    def gone(self, *, seconds: float = 10) -> bool:
        """Waits for that: for it and for all of its group."""
        deadline = time.monotonic() + seconds
        while self.alive() or _members(self.pid):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True


def start(argv: Sequence[str], *, pid_file: Path, output: Path, environment: Mapping[str, str]) -> None:
    """A process of its own session, which leaves its mark in `pid_file` before it becomes `argv`.

    It writes that itself: if the parent is killed at the worst moment, the child can still be found.
    """
    mark = 'read -r stat </proc/$$/stat && echo "$stat" >"$0" && exec "$@"'
    with output.open("ab") as log:
        _children.append(
            subprocess.Popen(
                ["sh", "-c", mark, str(pid_file), *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=dict(environment),
            )
        )


def _members(group: int) -> list[int]:
    """Who is left of a process group, zombies not counted."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = _fields(stat.read_text())
            if fields[_STATE] not in "ZX" and int(fields[_GROUP]) == group:
                found.append(int(stat.parent.name))
    return found


def _collect() -> None:
    _children[:] = [child for child in _children if child.poll() is None]


def _fields(stat: str) -> list[str]:
    return stat.rpartition(")")[2].split()
