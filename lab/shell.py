"""Reaching into a lab: programs in its namespaces, commands on its machines by ssh."""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import HostError
from lab import namespace
from lab.topology import Seat


@dataclass(frozen=True)
class Result:
    stdout: str
    stderr: str
    returncode: int


def config(run: Path, seats: Iterable[Seat]) -> str:
    """An ssh_config, for this lab's own use and for any tool that runs as its operator."""
    hosts = "".join(f"Host {seat.name}\n  HostName {seat.address}\n" for seat in seats)
    return f"""\
{hosts}Host *
  User root
  IdentityFile {run}/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile {run}/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  ControlMaster auto
  ControlPath {run}/ssh/%h
  ControlPersist 300
  ServerAliveInterval 5
  ConnectTimeout 10
  LogLevel ERROR
"""


def known_hosts(host_key: str, seats: Iterable[Seat]) -> str:
    return "".join(f"{seat.name},{seat.address} {host_key}\n" for seat in seats)


def run_in(
    space: str, argv: Sequence[str], *, stdin: bytes | str = b"", timeout: float | None, check: bool, who: str
) -> Result:
    """`who` is what a failure is reported of."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        done = subprocess.run(
            [*namespace.prefix(space), *argv], input=data, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{who}: `{argv[-1]}` did not end within {timeout} s") from error
    result = Result(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode)
    if check and result.returncode:
        said = (result.stderr or result.stdout).strip()
        raise HostError(f"{who}: `{argv[-1]}` ended with {result.returncode}: {said}")
    return result


def hang_up(run: Path, space: str, seat: Seat) -> None:
    """Ends the multiplexing master of a machine that goes away: it would make the next command hang."""
    master = run / "ssh" / str(seat.address)
    if not master.exists():
        return
    ssh = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={master}", "-O", "exit", "gone"]
    if run_in(space, ssh, timeout=10, check=False, who=seat.name).returncode:
        master.unlink(missing_ok=True)
