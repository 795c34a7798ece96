"""Asks the whole network for virtual addresses, every 50 ms, and keeps who answers: so two owners at once are seen.

`Watch` runs it at the lab's client from `start` to `stop`. This module is also the program that runs there.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any, Protocol, Self

EVERY = 0.05
"""Seconds between two questions about one address."""

_ARP = 0x0806
_BROADCAST = b"\xff" * 6
_REQUEST, _REPLY = 1, 2


@dataclass(frozen=True)
class Round:
    """One question and all its answers."""

    address: str
    at: float
    """Monotonic seconds."""
    owners: tuple[str, ...]
    """MAC addresses."""


@dataclass(frozen=True)
class Watched:
    """All rounds of a watch."""

    rounds: tuple[Round, ...]

    @property
    def twice_owned(self) -> tuple[Round, ...]:
        """Rounds in which two answered: two directors hold the address, or a server that should be silent speaks."""
        return tuple(each for each in self.rounds if len(each.owners) > 1)

    def owners(self) -> Mapping[str, tuple[str, ...]]:
        """Who answered for each address, one after the other; somebody who came back is there twice."""
        found: dict[str, list[str]] = {}
        for each in self.rounds:
            so_far = found.setdefault(each.address, [])
            so_far += [owner for owner in each.owners if so_far[-1:] != [owner]]
        return {address: tuple(owners) for address, owners in found.items()}

    def longest_silence(self) -> float:
        """Longest time in seconds in which nobody answered for an address."""
        longest = 0.0
        for address in {each.address for each in self.rounds}:
            mine = [each for each in self.rounds if each.address == address]
            heard = mine[0].at
            for each in mine:
                longest = max(longest, each.at - heard)
                heard = each.at if each.owners else heard
        return longest


class Reach(Protocol):
    """What of a lab is needed here."""

    def client_process(self, argv: Sequence[str], **popen: Any) -> "subprocess.Popen[Any]": ...


class Watch:
    """From `start` to `stop`; as a context manager it ends with the block."""

    def __init__(self, lab: Reach, addresses: Iterable[IPv4Address]) -> None:
        self._lab, self._addresses = lab, [str(address) for address in addresses]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        argv = [sys.executable, "-m", "lab.arp_watch", "eth0", *self._addresses]
        self._process = self._lab.client_process(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout  # noqa: S101 (a pipe was asked for)
        if self._process.stdout.readline() != "ready\n":
            self._process.kill()
            self._process.wait()
            self._process = None
            raise RuntimeError("the watch did not start: see its traceback above")
        return self

    def stop(self) -> Watched:
        """Ends it and returns all that it saw."""
        assert self._process, "start it first"  # noqa: S101 (a slip of the caller's)
        said, _ = self._process.communicate("")
        self._process = None
        rounds = (Round(each["address"], each["at"], tuple(each["owners"])) for each in json.loads(said))
        return Watched(tuple(rounds))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


def _question(own: bytes, address: IPv4Address) -> bytes:
    """A probe (RFC 5227, 2.1.1): its sender has no address, so that no cache learns anything of it."""
    head = _BROADCAST + own + struct.pack("!H", _ARP)
    return head + struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST) + own + bytes(4) + bytes(6) + address.packed


def _answers(line: socket.socket, until: float) -> Iterable[tuple[IPv4Address, str]]:
    """Who says until then that an address is at which MAC."""
    while (left := until - time.monotonic()) > 0:
        if not select.select([line], [], [], left)[0]:
            return
        packet = line.recv(2048)
        if struct.unpack("!H", packet[20:22]) == (_REPLY,):
            yield IPv4Address(packet[28:32]), packet[22:28].hex(":")


def _main(interface: str, addresses: Sequence[IPv4Address]) -> None:
    line = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
    line.bind((interface, _ARP))
    own = line.getsockname()[4]
    print("ready", flush=True)
    rounds = []
    while not select.select([sys.stdin], [], [], 0)[0]:
        at = time.monotonic()
        for address in addresses:
            line.send(_question(own, address))
        owners: dict[IPv4Address, list[str]] = {address: [] for address in addresses}
        for address, owner in _answers(line, at + EVERY):
            if address in owners and owner not in owners[address]:
                owners[address].append(owner)
        rounds += [{"address": str(a), "at": at, "owners": found} for a, found in owners.items()]
    json.dump(rounds, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1], [IPv4Address(word) for word in sys.argv[2:]])
