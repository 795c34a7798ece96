"""What `lbctl init` asks a person at a terminal. Nothing is decided or written here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from cluster.proposal import Wish


def hosts(words: Sequence[str] | None) -> dict[str, str]:
    """From NAME=ADDRESS each. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415 (as below: `lbctl --help` stays quick)

    found: dict[str, str] = {}
    for word in words or ():
        name, separator, address = (part.strip() for part in word.partition("="))
        if not (name and separator and address):
            raise RequestError(f'"{word}" is not NAME=ADDRESS', cure="write it as lb1=10.0.0.4")
        if name in found:
            raise RequestError(f"{name} is given twice", cure="give each host a name of its own")
        found[name] = address
    return found


def asked(wish: "Wish") -> "Wish":
    """The wish with what was missing, from the person at the terminal. What they answer is checked as it is typed."""
    questions: Mapping[str, tuple[str, Callable[[str], Any], str | None]] = {
        "name": ("Name of the cluster", _name, "galera"),
        "mode": ("Mode (dr, tun or nat)", _mode, "dr"),
        "network": ("Network of directors and virtual addresses", _network, "10.0.0.0/24"),
        "directors": ("Directors, as lb1=10.0.0.4 lb2=10.0.0.6", _typed_hosts, None),
        "real_servers": ("Real servers, as db1=10.0.0.1 db2=10.0.0.2", _typed_hosts, None),
        "read_vip": ("Virtual address for reads", _address, None),
        "gateway": ("Gateway address that floats between the directors", _address, None),
    }
    complete = not wish.missing
    while wish.missing:
        field = wish.missing[0]
        words, parse, default = questions[field]
        wish = replace(wish, **{field: typer.prompt(words, default=default, value_proc=parse, err=True)})
        if field == "read_vip":
            write = typer.prompt("Virtual address for writes (empty: none)", default="", show_default=False, err=True)
            wish = replace(wish, write_vip=write.strip())
    if complete or wish.interface:
        return wish
    device = "Network device on every host (ip -br addr shows it)"
    return replace(wish, interface=typer.prompt(device, default="eth0", value_proc=_interface, err=True))


def _typed_hosts(answer: str) -> dict[str, str]:
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        return hosts(answer.replace(",", " ").split())
    except RequestError as error:
        raise typer.BadParameter(error.message) from error


def _mode(answer: str) -> str:
    if answer.strip().lower() not in {"dr", "tun", "nat"}:
        raise typer.BadParameter("one of dr, tun, nat")
    return answer.strip().lower()


def _name(answer: str) -> str:
    from cluster.units import host_name  # noqa: PLC0415

    return _valid(host_name, answer)


def _interface(answer: str) -> str:
    from cluster.units import interface_name  # noqa: PLC0415

    return _valid(interface_name, answer)


def _network(answer: str) -> str:
    from cluster.units import sized_network  # noqa: PLC0415

    return _valid(sized_network, answer)


def _valid(check: Callable[[str], str], answer: str) -> str:
    try:
        return check(answer.strip())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _address(answer: str) -> str:
    from ipaddress import IPv4Address  # noqa: PLC0415

    try:
        return str(IPv4Address(answer.strip()))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
