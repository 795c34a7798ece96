"""What can be seen of a lab from outside, and a name for one that nobody else has."""

import itertools
import os
from pathlib import Path

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
