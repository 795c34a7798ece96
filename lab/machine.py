"""One machine: a Linux kernel in user mode, with its own disk, kept on one CPU."""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from cluster.errors import HostError
from lab import doorbell, namespace, places
from lab.image import Image, compatibility_library
from lab.places import Places
from lab.process import Process, start
from lab.topology import NETWORK, Seat, cpu_for

_GIVEN_UP_AFTER = 2.0  # a machine whose process is gone for so long does not come by itself


@dataclass(frozen=True)
class Machine:
    name: str
    address: IPv4Address
    pid: int | None
    """Of its kernel, as a process here; None when it is switched off."""


def running(places_: Places, name: str) -> Process | None:
    process = Process.read(places_.pid_file(name))
    return process if process and process.alive() else None


def boot(places_: Places, seat: Seat, image: Image) -> None:
    """Starts it and returns at once."""
    if running(places_, seat.name):
        return
    environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "TMPDIR": str(places.memory())}
    if library := compatibility_library():
        environment["LD_PRELOAD"] = str(library)
    start(
        [*namespace.prefix(places_.namespace), *command(places_, seat, image, os.sched_getaffinity(0))],
        pid_file=places_.pid_file(seat.name),
        output=places_.console(seat.name),
        environment=environment,
    )


def command(places_: Places, seat: Seat, image: Image, cpus: Collection[int]) -> list[str]:
    return [
        *("taskset", "-c", str(cpu_for(seat.address, cpus))),
        "linux.uml",
        f"umid={seat.name}",
        f"uml_dir={places_.consoles}",
        f"mem={seat.memory}",
        # What it writes goes to the first file, what it never wrote is read from the second: a reboot keeps its disk.
        f"ubd0={places_.disk(seat.name)},{image.base}",
        *("root=/dev/ubda", "rw", "rootfstype=ext4"),
        # No waiting for this machine's own disk. A killed machine loses nothing that it wrote, only a crash here would.
        "rootflags=barrier=0",
        # Without gro the guest drops every large segment, and uploads over some 2 KB stall for minutes.
        f"vec0:transport=tap,ifname={seat.name},gro=1,mac={seat.mac}",
        *("con=null", "con0=null,fd:1", "con1=null", "ssl=null", "quiet", "loglevel=3"),
        *("lsm=capability", "random.trust_cpu=on", "systemd.show_status=0", "init=/usr/lib/lab/init"),
        f"LAB_NAME={seat.name}",
        f"LAB_ADDR={seat.address}/{NETWORK.prefixlen}",
        f"LAB_ID={hashlib.md5(seat.name.encode(), usedforsecurity=False).hexdigest()}",
    ]


def power_off(places_: Places, *names: str) -> None:
    """The cable is pulled: no machine gets to say anything."""
    found = {name: process for name in names if (process := Process.read(places_.pid_file(name)))}
    for process in found.values():
        process.kill()
    for name, process in found.items():
        if not process.gone():
            raise HostError(f"{name}: process {process.pid} does not end", cure=f"look at /proc/{process.pid}/stack")
        places_.pid_file(name).unlink(missing_ok=True)


def clear(space: str) -> None:
    """Ends whoever lives in there."""
    deadline = time.monotonic() + 10
    while (left := namespace.processes(space)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def wait(places_: Places, seats: Collection[Seat], *, seconds: float) -> None:
    """Until each one's sshd greets."""
    began = time.monotonic()

    def patience(seat: Seat) -> None:
        waited = time.monotonic() - began
        if waited > _GIVEN_UP_AFTER and not running(places_, seat.name):
            said = _last_of(places_.console(seat.name))
            raise HostError(
                f"{seat.name} is off. Its console said last:\n{said}", cure=f"lbctl lab power {seat.name} on"
            )
        if waited > seconds:
            said = _last_of(places_.console(seat.name))
            raise HostError(f"{seat.name}: no sshd within {seconds:.0f} s. Its console said last:\n{said}")

    doorbell.wait(places_.namespace, seats, patience)


def _last_of(console: Path) -> str:
    try:
        return "\n".join(console.read_text(errors="replace").splitlines()[-10:])
    except FileNotFoundError:
        return "(nothing)"


def until(condition: Callable[[], bool], *, seconds: float, else_say: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise HostError(else_say)
        time.sleep(0.2)
