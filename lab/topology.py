"""Who is in a lab, and at which address. No I/O."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from cluster.errors import RequestError

NETWORK = IPv4Network("10.0.0.0/24")
CLIENT = IPv4Address("10.0.0.5")
OPERATOR = IPv4Address("10.0.0.254")
ADDRESSES: Mapping[str, IPv4Address] = {
    "db1": IPv4Address("10.0.0.1"),
    "db2": IPv4Address("10.0.0.2"),
    "db3": IPv4Address("10.0.0.3"),
    "lb1": IPv4Address("10.0.0.4"),
    "lb2": IPv4Address("10.0.0.6"),
}
ALL = tuple(ADDRESSES)
DATABASES = ("db1", "db2", "db3")

BRIDGE = "br0"
CLIENT_PORT = "client"

_LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_MACHINE_NAME = re.compile(r"[a-z][a-z0-9]{0,12}")  # it names a network interface too, which ends at 15 characters


@dataclass(frozen=True)
class Seat:
    """A machine's place on the network, whether it runs or not."""

    name: str
    address: IPv4Address

    @property
    def mac(self) -> str:
        return mac_of(self.address)

    @property
    def memory(self) -> str:
        # A ceiling: what a machine never touches costs nothing. A director takes 75 MB, a Galera node 170 MB.
        return "384M" if self.name.startswith("db") else "192M"


def mac_of(address: IPv4Address) -> str:
    """Without one of its own every machine draws the same "random" one, and the bridge flaps between them."""
    return "02:00:" + ":".join(f"{octet:02x}" for octet in address.packed)


def check_lab_name(name: str) -> str:
    if not _LAB_NAME.fullmatch(name):
        raise RequestError(f"{name!r} cannot name a lab", cure="use 1 to 24 of a-z, 0-9 and -, not starting with -")
    return name


def seats(words: Iterable[str], known: Mapping[str, IPv4Address] | None = None) -> list[Seat]:
    """NAME, or NAME=ADDRESS for a machine beyond the usual five. `known`: those that the lab has already."""
    known = known or {}
    found: dict[str, Seat] = {}
    for word in words:
        name, _, address = word.partition("=")
        seat = Seat(name, _address(name, address, known))
        others = {**known, **{taken.name: taken.address for taken in found.values()}}
        holder = next((other for other, held in others.items() if held == seat.address and other != name), None)
        if holder:
            raise RequestError(
                f"{name}: {seat.address} belongs to {holder}", cure="choose another address in 10.0.0.0/24"
            )
        found[name] = seat
    if not found:
        raise RequestError("no machine was named", cure=f"name some of {', '.join(ALL)}, or NAME=10.0.0.N")
    return list(found.values())


def _address(name: str, text: str, known: Mapping[str, IPv4Address]) -> IPv4Address:
    if not _MACHINE_NAME.fullmatch(name) or name in {CLIENT_PORT, BRIDGE, "lo", "operator"}:
        raise RequestError(f"{name!r} cannot name a machine", cure="use a letter and up to 12 of a-z and 0-9")
    usual = known.get(name) or ADDRESSES.get(name)
    if not text:
        if usual is None:
            raise RequestError(
                f"no address is known for {name!r}", cure=f"say {name}=10.0.0.N, or use {', '.join(ALL)}"
            )
        return usual
    try:
        address = IPv4Address(text)
    except AddressValueError as error:
        raise RequestError(f"{name}: {text!r} is no IPv4 address", cure=f"say {name}=10.0.0.N") from error
    taken = {CLIENT, OPERATOR, NETWORK.network_address, NETWORK.broadcast_address}
    if address not in NETWORK or address in taken:
        raise RequestError(f"{name}: {address} is not free in the lab's network", cure=f"say {name}=10.0.0.N")
    if name in known and known[name] != address:
        raise RequestError(f"{name} has {known[name]} already", cure=f"leave the address out: {name}")
    return address


def cpu_for(address: IPv4Address, allowed: Iterable[int]) -> int:
    """The CPU that a machine keeps to, the same at every boot.

    Its kernel and its processes take turns, they never run at once, and a wake-up on another CPU costs 20 times what it
    costs on the same one: keeping to one makes a machine 2 to 10 times faster.
    """
    cpus = sorted(allowed)
    return cpus[address.packed[-1] % len(cpus)]
