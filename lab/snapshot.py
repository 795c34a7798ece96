"""Disks of a whole lab, kept to start another one from. A snapshot belongs to the image that its disks build upon."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import HostError, RequestError
from lab import machine, places
from lab.image import Image
from lab.places import Places
from lab.topology import Seat

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_INDEX = "machines.json"


@dataclass(frozen=True)
class Snapshot:
    path: Path

    def words(self, names: Sequence[str] = ()) -> list[str]:
        """As `lab up` takes them: NAME=ADDRESS, of all machines or of those named."""
        known: dict[str, str] = json.loads((self.path / _INDEX).read_text())
        if unknown := [name for name in names if name not in known]:
            raise RequestError(
                f"snapshot {self.path.name!r} has no {', '.join(unknown)}", cure=f"it has {', '.join(known)}"
            )
        return [f"{name}={address}" for name, address in known.items() if not names or name in names]

    def restore(self, name: str, disk: Path) -> None:
        _copy(self.path / disk.name, disk)
        if not disk.exists():
            raise HostError(f"{name}: no disk in {self.path}")


def find(image: Image, name: str) -> Snapshot:
    if not exists(image, name):
        raise RequestError(
            f"there is no snapshot {name!r} for today's image",
            cure="lbctl lab up, prepare it, then lbctl lab snapshot " + name,
        )
    return Snapshot(_directory(image) / name)


def exists(image: Image, name: str) -> bool:
    return image.exists() and (_directory(image) / _checked(name) / _INDEX).exists()


def remove(image: Image, name: str) -> None:
    shutil.rmtree(_directory(image) / _checked(name), ignore_errors=True)


def take(places_: Places, image: Image, name: str, seats: Collection[Seat]) -> Snapshot:
    """Whole or not at all. One of the same name is replaced."""
    target = _directory(image) / _checked(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".taking.", dir=target.parent))
    try:
        with _standing_still(places_, seats):
            for seat in seats:
                _copy(places_.disk(seat.name), work / places_.disk(seat.name).name)
        (work / _INDEX).write_text(json.dumps({seat.name: str(seat.address) for seat in seats}))
        work.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return Snapshot(target)


@contextmanager
def _standing_still(places_: Places, seats: Collection[Seat]) -> Iterator[None]:
    """All at the same moment, so that no disk knows of what another has not yet written.

    Only the kernel of each is stopped: it traces its processes, and a stop of theirs would look like a fault to it.
    """
    stopped = [process for seat in seats if (process := machine.running(places_, seat.name))]
    try:
        for process in stopped:
            os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.1)  # the disk's own helper process finishes what it has been given
        yield
    finally:
        for process in stopped:
            if process.alive():
                os.kill(process.pid, signal.SIGCONT)


def _copy(source: Path, target: Path) -> None:
    """Holes stay holes: a disk of 3 GB has some 100 MB in it."""
    command = ["cp", "--sparse=always", "--reflink=auto", str(source), str(target)]
    copied = subprocess.run(command, capture_output=True, text=True, check=False)
    if copied.returncode:
        raise HostError(f"cannot copy a disk: {copied.stderr.strip()}")


def _directory(image: Image) -> Path:
    return places.cache() / "snapshots" / image.name


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RequestError(f"{name!r} cannot name a snapshot", cure="use a-z, 0-9, '.', '_' and '-'")
    return name
