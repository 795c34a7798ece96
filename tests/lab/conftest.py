"""A lab of this test run's own, and what can be seen of any lab from outside."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.places import Places

_numbers = itertools.count(1)


def new_name() -> str:
    return f"test{os.getpid()}-{next(_numbers)}"


def traces(name: str) -> set[str]:
    """All that there is of a lab on this machine: processes, namespaces, interfaces, files."""
    found = {
        f"interface {entry.name}"
        for entry in Path("/sys/class/net").iterdir()
        if entry.name in {"br0", "db1", "client"}
    }
    if Path("/run/netns").exists():
        found |= {f"namespace {entry.name}" for entry in Path("/run/netns").iterdir() if name in entry.name}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/{name}/" in command:
            found.add(f"process {process.name} {command}")
    places = Places.of(name)
    return found | {f"file {path}" for path in (places.run, places.disks) if path.exists()}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """db1 and lb1, with their power on."""
    lab = Lab(new_name())
    lab.up(["db1", "lb1"])
    yield lab
    lab.down()
    assert traces(lab.name) == set()


@pytest.fixture
def another() -> Iterator[Lab]:
    """One that is not up yet."""
    lab = Lab(new_name())
    yield lab
    lab.down()
    assert traces(lab.name) == set()
