"""A lab: machines db1-db3, lb1 and lb2, a database client and an operator, on one switch that no packet leaves."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cluster.errors import HostError, RequestError
from lab import galera, host, image, machine, namespace, network, shell, snapshot
from lab.image import Image
from lab.lock import locked, termination_raises, undisturbed
from lab.machine import Machine
from lab.places import Places, default_variant
from lab.progress import Progress, Steps, to_stderr
from lab.shell import Result
from lab.topology import ALL, DATABASES, Seat, seats

_BOOT_MAY_TAKE = 180
_BUSY_FOR = 600
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"


class Lab:
    """Its name is all that identifies it: any number of objects, in any number of processes, may speak of the same."""

    usual = ALL
    """Who is in a lab when nobody is named."""

    def __init__(self, name: str = "lab", *, variant: str | None = None) -> None:
        self.name = name
        self.variant = variant or default_variant()
        self._places = Places.of(name)

    @property
    def run(self) -> Path:
        return self._places.run

    @property
    def namespace(self) -> str:
        """Where the machines' switch is, and the operator."""
        return self._places.namespace

    @property
    def client_namespace(self) -> str:
        return self._places.client_namespace

    @property
    def key(self) -> Path:
        return self.run / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self.run / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.run / "ssh_config"

    # What is there

    def machines(self) -> dict[str, Machine]:
        found = {}
        for seat in self._seats().values():
            process = machine.running(self._places, seat.name)
            found[seat.name] = Machine(seat.name, seat.address, process.pid if process else None)
        return found

    def is_up(self) -> bool:
        """It has a network and machines; some of them may be switched off."""
        return network.complete(self._places) and bool(self._seats())

    def image(self) -> Image:
        """What its disks build upon: the one it was started with, whatever has changed since."""
        try:
            return Image(image.directory() / self._places.image.read_text().strip())
        except FileNotFoundError:
            return image.current(self.variant)

    def databases(self) -> list[str]:
        """Those of the usual database servers that are here and switched on."""
        return [found.name for found in self.machines().values() if found.name in DATABASES and found.pid]

    def state(self) -> dict[str, Any]:
        """All that can be said of it, for programs."""
        is_up = self.is_up()
        plugged = network.plugged(self._places) if is_up else set()
        return {
            "name": self.name,
            "up": is_up,
            "image": self.image().name if is_up else None,
            "namespace": self.namespace,
            "client_namespace": self.client_namespace,
            "ssh_config": str(self.ssh_config),
            "machines": {
                name: {"address": str(found.address), "pid": found.pid, "plugged": name in plugged}
                for name, found in self.machines().items()
            },
        }

    # Coming and going

    def up(self, names: Sequence[str] = ALL, *, progress: Progress = to_stderr) -> None:
        """Network, machines, boot; returns when every sshd answers.

        Adds to a lab that is up, and boots those of its machines that are switched off.

        If it fails or is interrupted, nothing is left of what this call made.
        """
        self._up(names, progress, snapshot=None)

    def up_from(self, snapshot_name: str, *, names: Sequence[str] = (), progress: Progress = to_stderr) -> None:
        """As `up`, with the disks of a snapshot: all of its machines, or those named."""
        if self.is_up():
            raise RequestError(f"lab {self.name!r} is up", cure=f"lbctl lab down --name {self.name}")
        saved = snapshot.find(image.current(self.variant), snapshot_name)
        self._up(saved.words(names), progress, snapshot=saved)

    def down(self) -> None:
        """Nothing is left: no process, namespace, interface or file."""
        places = self._places
        if not any((places.run.exists(), places.disks.exists(), namespace.exists(self.namespace))):
            return
        with locked(self._lock, what=f"lab {self.name!r}", seconds=_BUSY_FOR), undisturbed():
            self._remove()

    @property
    def _lock(self) -> Path:
        return self.run / ".lock"

    def _up(self, names: Sequence[str], progress: Progress, snapshot: snapshot.Snapshot | None) -> None:
        steps = Steps(progress, f"lab {self.name}")
        wanted = seats(names, self._addresses())
        if self.is_up() and all(machine.running(self._places, seat.name) for seat in wanted):
            self._wait(wanted)
            return
        with termination_raises():
            host.check(len(wanted), image_too=False)
            base = self.image() if self.is_up() else image.obtain(self.variant, progress)
            with locked(self._lock, what=f"lab {self.name!r}", seconds=_BUSY_FOR):
                self._up_or_nothing(seats(names, self._addresses()), base, snapshot, steps)

    def _up_or_nothing(self, wanted: list[Seat], base: Image, saved: snapshot.Snapshot | None, steps: Steps) -> None:
        was_up, had = self.is_up(), self.machines()
        try:
            if not was_up:
                steps("network")
                self._remove(keep_run=True)  # of a lab whose `up` was killed
                self._lay_out(base)
                network.create(self._places)
            self._seat_all(wanted, base, saved)
            off = [seat for seat in wanted if not machine.running(self._places, seat.name)]
            steps(f"boot {', '.join(seat.name for seat in off)}")
            for seat in off:
                machine.boot(self._places, seat, base)
            self._wait(wanted)
            steps("every sshd answers")
        except BaseException:
            with undisturbed():
                if was_up:
                    self._take_back(wanted, had)
                else:
                    self._remove()
            raise

    def _lay_out(self, base: Image) -> None:
        places = self._places
        for directory in (places.run, places.seats, places.consoles, places.multiplexing, places.disks):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        places.image.write_text(base.name)
        shutil.copyfile(base.login_key, self.key)
        self.key.chmod(0o600)

    def _seat_all(self, wanted: Iterable[Seat], base: Image, saved: snapshot.Snapshot | None) -> None:
        for seat in wanted:
            (self._places.seats / seat.name).write_text(str(seat.address))
            network.add_port(self._places, seat.name)
            if saved:
                saved.restore(seat.name, self._places.disk(seat.name))
        self._write_ssh_files(base)

    def _write_ssh_files(self, base: Image) -> None:
        known = self._seats().values()
        self.known_hosts.write_text(shell.known_hosts(base.host_key, known))
        self.ssh_config.write_text(shell.config(self.run, known))

    def _take_back(self, wanted: Iterable[Seat], had: dict[str, Machine]) -> None:
        """What an `up` did to a lab that was up before it."""
        for seat in wanted:
            before = had.get(seat.name)
            if before and before.pid:
                continue
            self._cut(seat)
            if not before:
                network.remove_port(self._places, seat.name)
                for left in (
                    self._places.seats / seat.name,
                    self._places.disk(seat.name),
                    self._places.console(seat.name),
                ):
                    left.unlink(missing_ok=True)
                shutil.rmtree(self._places.consoles / seat.name, ignore_errors=True)
        self._write_ssh_files(self.image())

    def _remove(self, *, keep_run: bool = False) -> None:
        machine.power_off(self._places, *(file.stem for file in self.run.glob("*.pid")))
        # Who is left in the lab's own namespaces belongs to it: multiplexing masters, clients.
        machine.clear(self.namespace)
        machine.clear(self.client_namespace)
        network.remove(self._places)
        shutil.rmtree(self._places.disks, ignore_errors=True)
        if keep_run:  # the lock in it is held
            for directory in (self._places.seats, self._places.consoles, self._places.multiplexing):
                shutil.rmtree(directory, ignore_errors=True)
            return
        shutil.rmtree(self.run, ignore_errors=True)
        for parent in (self.run.parent, self._places.disks.parent):
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()

    # One machine

    def power_off(self, host: str) -> None:
        """As if its cable were pulled. What it wrote to its disk stays."""
        self._cut(self._seat(host))

    def power_on(self, host: str) -> None:
        """Boots it from its disk, and waits for its sshd."""
        seat = self._seat(host)
        with locked(self._lock, what=f"lab {self.name!r}", seconds=_BUSY_FOR):
            machine.boot(self._places, seat, self.image())
        self._wait([seat])

    def reboot(self, host: str) -> None:
        """In an orderly way, as an administrator does."""
        seat = self._seat(host)
        before = self.exec(host, _BOOT_ID).stdout
        self.exec(host, "systemctl --no-block reboot", check=False)
        shell.hang_up(self.run, self.namespace, seat)
        once = ["ssh", "-F", str(self.ssh_config), "-o", "ControlPath=none", "-o", "ConnectTimeout=2", host, _BOOT_ID]

        def is_back() -> bool:
            now = self.operator(once, check=False)
            return now.returncode == 0 and now.stdout != before

        machine.until(is_back, seconds=_BOOT_MAY_TAKE, else_say=f"{host} did not come back from its reboot")

    def wait(self, *hosts: str) -> None:
        """Until their sshd answers; of all when none is named."""
        self._wait([self._seat(name) for name in hosts or self._seats()])

    def link(self, host: str, *, up: bool) -> None:
        """Its cable, at the switch's end: the machine itself keeps its carrier."""
        seat = self._seat(host)
        (network.plug if up else network.unplug)(self._places, seat.name)

    def _cut(self, seat: Seat) -> None:
        shell.hang_up(self.run, self.namespace, seat)
        machine.power_off(self._places, seat.name)

    def _wait(self, wanted: Sequence[Seat]) -> None:
        machine.wait(self._places, wanted, seconds=_BOOT_MAY_TAKE)

    # Inside

    def exec(
        self, host: str, command: str, *, stdin: bytes | str = b"", timeout: float = 120, check: bool = True
    ) -> Result:
        """A shell command on a machine, as root, over a connection that is kept open."""
        argv = self._ssh(self._seat(host), command)
        return shell.run_in(self.namespace, argv, stdin=stdin, timeout=timeout, check=check, who=host)

    def client(
        self, argv: Sequence[str], *, stdin: bytes | str = b"", timeout: float | None = 120, check: bool = True
    ) -> Result:
        """A program of this machine, run at 10.0.0.5."""
        self._must_be_up()
        return shell.run_in(self.client_namespace, argv, stdin=stdin, timeout=timeout, check=check, who="client")

    def client_process(self, argv: Sequence[str], **popen: Any) -> "subprocess.Popen[Any]":
        """The same, left running. It ends with the lab, if not before."""
        return subprocess.Popen(self.client_argv(argv), **popen)

    def operator(
        self, argv: Sequence[str], *, stdin: bytes | str = b"", timeout: float | None = 120, check: bool = True
    ) -> Result:
        """A program of this machine, run at 10.0.0.254."""
        self._must_be_up()
        return shell.run_in(self.namespace, argv, stdin=stdin, timeout=timeout, check=check, who="operator")

    def ssh_argv(self, host: str, command: Sequence[str] = ()) -> list[str]:
        """What to run for a terminal on a machine; with words of a command, as ssh takes them."""
        return self.operator_argv(self._ssh(self._seat(host), *command))

    def client_argv(self, argv: Sequence[str]) -> list[str]:
        self._must_be_up()
        return [*namespace.prefix(self.client_namespace), *argv]

    def operator_argv(self, argv: Sequence[str]) -> list[str]:
        self._must_be_up()
        return [*namespace.prefix(self.namespace), *argv]

    def _ssh(self, seat: Seat, *command: str) -> list[str]:
        return ["ssh", "-F", str(self.ssh_config), seat.name, *(("--", *command) if command else ())]

    def galera_start(self, hosts: Sequence[str] = DATABASES) -> None:
        """The database cluster, also after a power cut of all; returns when all are members."""
        if not hosts:
            raise RequestError(f"no database server of lab {self.name!r} is on", cure="lbctl lab up db1 db2 db3")
        galera.start(self, [self._seat(name) for name in hosts])

    # Snapshots

    def snapshot(self, name: str) -> None:
        """Keeps the disks of all machines as they are at one moment. They stand still meanwhile, for a second or so."""
        self._must_be_up()
        for found in self.machines().values():
            if found.pid:
                self.exec(found.name, "sync")
        with locked(self._lock, what=f"lab {self.name!r}", seconds=_BUSY_FOR):
            snapshot.take(self._places, self.image(), name, self._seats().values())

    @classmethod
    def has_snapshot(cls, name: str, *, variant: str | None = None) -> bool:
        return snapshot.exists(image.current(variant or default_variant()), name)

    @classmethod
    def remove_snapshot(cls, name: str, *, variant: str | None = None) -> None:
        snapshot.remove(image.current(variant or default_variant()), name)

    # Names

    def _seats(self) -> dict[str, Seat]:
        if not self._places.seats.is_dir():
            return {}
        files = sorted(self._places.seats.iterdir())
        return {file.name: Seat(file.name, IPv4Address(file.read_text())) for file in files}

    def _addresses(self) -> dict[str, IPv4Address]:
        return {seat.name: seat.address for seat in self._seats().values()}

    def _seat(self, name: str) -> Seat:
        self._must_be_up()
        known = self._seats()
        if name not in known:
            raise RequestError(
                f"lab {self.name!r} has no machine {name!r}",
                cure=f"it has {', '.join(known)}; to add one: lbctl lab up {name} --name {self.name}",
            )
        return known[name]

    def _must_be_up(self) -> None:
        if not self.is_up():
            raise RequestError(f"lab {self.name!r} is not up", cure=f"lbctl lab up --name {self.name}")


__all__ = ["ALL", "HostError", "Lab", "Machine", "Result"]
