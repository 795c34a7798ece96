"""Where things are kept. Everything else asks here."""

import os
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import RequestError
from lab.topology import check_lab_name

_LONGEST_SOCKET = 107  # a unix socket's path ends there, and both ssh and the user-mode kernel make some below `run`


def cache() -> Path:
    """Images, snapshots, disks."""
    return Path(os.environ.get("LBCTL_LAB_CACHE") or "/var/cache/lbctl-lab")


def run_root() -> Path:
    """Small files, one directory a lab."""
    return Path(os.environ.get("LBCTL_LAB_RUN") or "/run/lbctl-lab")


def memory() -> Path:
    """Where a user-mode kernel keeps its machine's memory. It must be a tmpfs: else every write goes to a disk."""
    return Path(os.environ.get("LBCTL_LAB_MEMORY") or "/dev/shm")  # noqa: S108 - it is the tmpfs, not a temporary file


def default_variant() -> str:
    return os.environ.get("LBCTL_LAB_VARIANT") or "ifupdown"


@dataclass(frozen=True)
class Places:
    """One lab's places. The names of its namespaces have dots, which a lab's name cannot have: two labs never meet."""

    name: str
    run: Path
    disks: Path

    @classmethod
    def of(cls, name: str) -> "Places":
        check_lab_name(name)
        run = run_root() / name
        if len(os.fsencode(run)) + len("/uml/machine-of-13/mconsole") + 17 > _LONGEST_SOCKET:
            raise RequestError(
                f"{run} is too long a path for the sockets in it", cure="set LBCTL_LAB_RUN to a shorter one"
            )
        return cls(name=name, run=run, disks=cache() / "labs" / name)

    @property
    def namespace(self) -> str:
        return f"lbctl.{self.name}"

    @property
    def client_namespace(self) -> str:
        return f"lbctl.{self.name}.client"

    @property
    def seats(self) -> Path:
        return self.run / "machines"

    @property
    def consoles(self) -> Path:
        return self.run / "uml"

    @property
    def multiplexing(self) -> Path:
        return self.run / "ssh"

    @property
    def image(self) -> Path:
        """Names the image that the disks build upon. Beside the disks, so that whoever shares the cache sees it."""
        return self.disks / "image"

    def pid_file(self, machine: str) -> Path:
        return self.run / f"{machine}.pid"

    def disk(self, machine: str) -> Path:
        return self.disks / f"{machine}.cow"

    def console(self, machine: str) -> Path:
        return self.disks / f"{machine}.console"
