"""What this machine must have for a lab, looked at before anything is made. Nothing is ever installed here."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from cluster.errors import RequestError
from lab import places

_GIB = 1024**3
_FOR_AN_IMAGE = 4 * _GIB  # unpacked tree and image together, for a moment
_FOR_DISKS = _GIB // 5  # a machine
_FOR_MEMORY = _GIB // 5  # a machine

COMPILER = ("gcc", "libc6-dev")


def packages() -> list[str]:
    """The Debian packages that a lab needs here."""
    listed = (files("lab") / "packages.txt").read_text().split()
    return [*listed, *(COMPILER if has_tile_registers() else ())]


def has_tile_registers() -> bool:
    """CPUs with AMX need `xstate.c`, and so a compiler."""
    flags = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")), "")
    return "amx_tile" in flags.split()


def installed(names: Sequence[str]) -> set[str]:
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    return {words[0] for line in query.stdout.splitlines() if (words := line.split())[-1:] == ["installed"]}


def must_be_root() -> None:
    if os.geteuid() != 0:
        raise RequestError(
            "a lab makes network namespaces and Debian trees: it needs root", cure="run it as root, or with sudo"
        )


def check(machines: int, *, image_too: bool, look: Callable[[Sequence[str]], set[str]] = installed) -> None:
    """Raises unless a lab of so many machines more can be made."""
    must_be_root()
    if not shutil.which("dpkg-query"):
        raise RequestError(
            "a lab is built with Debian's tools, and this is no Debian", cure="use a Debian 12 machine or container"
        )
    if missing := absent(packages(), look):
        raise RequestError(
            f"the lab needs packages that are not installed here: {', '.join(missing)}",
            cure=f"apt-get install --no-install-recommends {' '.join(missing)}   (or: make system)",
        )
    if not Path("/dev/net/tun").exists():
        raise RequestError("there is no /dev/net/tun here", cure="modprobe tun; for a container: --device /dev/net/tun")
    disk = machines * _FOR_DISKS + (_FOR_AN_IMAGE if image_too else 0)
    _check_room(places.cache(), disk, "images and disks", cure="make room, or set LBCTL_LAB_CACHE to another disk")
    _check_room(
        places.memory(), machines * _FOR_MEMORY, "the machines' memory", cure="set LBCTL_LAB_MEMORY to a larger tmpfs"
    )


def absent(names: Sequence[str], look: Callable[[Sequence[str]], set[str]] = installed) -> list[str]:
    there = look(names)
    return [name for name in names if name not in there]


def _check_room(directory: Path, needed: int, purpose: str, *, cure: str) -> None:
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise RequestError(
            f"{existing} has {free / _GIB:.1f} GiB free, {needed / _GIB:.1f} GiB are needed for {purpose}",
            cure=cure,
        )
