"""What stands in a host's own configuration of its network and kernel and clashes with ours: found and said, never edited.

The how-to attaches its steps to eth0's stanza in /etc/network/interfaces (post-up ip addr add … dev dummy0). Beside files of our
own each of them is done twice, and ifup stops at the first that finds its work done: eth0 counts as not configured.

Of kernel settings the file that is read last counts (`cluster.kit.LAST`), and somebody's may come after ours all the same.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from cluster.footprint import Blueprint
from cluster.keepalived import floating_addresses
from cluster.observed import ForeignLine, HostState
from cluster.parts import proc_path
from cluster.vocabulary import BootFiles

_OURS = r"\b(dummy0|tunl0|arp_ignore|arp_announce|fwmark|set-x?mark|ip_forward|MASQUERADE|table 1|table 100)\b"
_HOOK = re.compile(r"(?:(?:pre|post)-)?(?:up|down)\s")
_STANZA = re.compile(r"(?:auto|allow-\S+|iface)\s.*\b(?:dummy0|tunl0)\b")
_ALL_READ = "/etc/network/interfaces.d/"
_FORWARDING = dict.fromkeys(("net/ipv4/conf/all/forwarding", "net/ipv4/conf/*/forwarding"), "net/ipv4/ip_forward")
"""Other names of a setting of ours (ip-sysctl.rst, forwarding)."""
_SOURCE = re.compile(r"source(?:-directory)?\s+(?:/etc/network/)?interfaces\.d(?:/\*)?/?$")


@dataclass(frozen=True)
class Clash:
    """What spoils the next boot or the next ifup of a host, and what a person does about it."""

    host: str
    seen: tuple[str, ...]
    hence: str
    cure: str

    @property
    def what(self) -> str:
        return self.seen[0]


@dataclass(frozen=True)
class Doubled(Clash):
    """Lines by another hand that do what is ours."""

    aside: ClassVar[str] = "no ifdown is needed, and what the lines have set stays until the next boot"

    def __str__(self) -> str:
        first, *lines = self.seen
        shown = "\n".join(f"    {line}" for line in lines)
        return (
            f"{self.host}: {first}:\n{shown}\n  {self.hence}\n  → on {self.host}: {self.cure}\n"
            f"    (lbctl never edits that file; {self.aside})"
        )


class Overruled(Doubled):
    """Kernel settings by another hand, which are read after ours."""

    aside = "nothing else need be done before the next boot"


class Unread(Clash):
    """Files of ours for the next boot that nobody reads, or that somebody undoes."""

    def __str__(self) -> str:
        return f"{self.host}: {self.what}{self.hence}. {self.cure[0].upper()}{self.cure[1:]}"


def clashes(blueprint: Blueprint, host: str, seen: HostState) -> Iterator[Clash]:
    """What a person should know and do about this host."""
    declaration = blueprint.declaration
    choice, interface = blueprint.boot_files(host), blueprint.host(host).interface
    boot = seen.boot_files if choice is BootFiles.AUTO else choice
    devices = {link.name for part in blueprint.footprint(host, {declaration.mode}) for link in part.links}
    if seen.network_file and boot is BootFiles.IFUPDOWN:
        yield Unread(
            host,
            (f'systemd-networkd looks after {interface}, and boot_files = "ifupdown" is declared',),
            ": when networkd is restarted it deletes addresses, routes and rules that it did not set",
            "leave boot_files out",
        )
    if boot is None and devices:
        yield Unread(
            host,
            (f"neither ifupdown nor systemd-networkd looks after {interface}",),
            f". What was set up works until the next boot; {' and '.join(sorted(devices))} will not come back then",
            f"let one of the two have {interface}, or bring them up yourself",
        )
    if boot is BootFiles.IFUPDOWN and devices and not any(_SOURCE.match(line.text) for line in seen.interfaces):
        yield Unread(
            host,
            ("/etc/network/interfaces does not read interfaces.d",),
            f", so {' and '.join(sorted(devices))} will not come back after a boot",
            "add Debian's own line there:  source /etc/network/interfaces.d/*",
        )
    floating = {*floating_addresses(declaration), *declaration.vips}
    ours = re.compile("|".join([_OURS, *(rf"(?<![\d.]){re.escape(str(address))}(?![\d.])" for address in floating)]))
    doubled = [line for line in seen.interfaces if _does_ours(line, ours)]
    for path in dict.fromkeys(line.path for line in doubled):
        yield _doubled(host, path, [line for line in doubled if line.path == path])
    if seen.later:
        yield from _overruled(blueprint, host, seen.later)


def _does_ours(line: ForeignLine, ours: re.Pattern[str]) -> bool:
    return bool(_STANZA.match(line.text) or (_HOOK.match(line.text) and ours.search(line.text)))


def _doubled(host: str, path: str, lines: list[ForeignLine]) -> Doubled:
    delete = _without(lines)
    edit = f"sed -i.before-lbctl '{delete}' {path}"
    if path.startswith(_ALL_READ):
        # There a copy beside it would be read as well.
        name = path.removeprefix(_ALL_READ)
        edit = f"cp -p {path} /etc/network/{name}.before-lbctl && sed -i '{delete}' {path}"
    return Doubled(
        host,
        (f"{path} does by hand what lbctl does now", *(f"{line.number}: {line.text}" for line in lines)),
        "So it is done twice, and at the next boot ifup stops at the first line that finds its work done.",
        edit,
    )


def _overruled(blueprint: Blueprint, host: str, later: Iterable[ForeignLine]) -> Iterator[Overruled]:
    """A key with a wildcard is passed over as systemd-sysctl does it, wherever a file names the setting itself (measured)."""
    parts = blueprint.footprint(host, {blueprint.declaration.mode})
    wanted = {proc_path(key): str(value) for part in parts for key, value in part.sysctls.items()}
    last: dict[str, ForeignLine] = {}
    for line in sorted(later, key=lambda line: (line.path.rpartition("/")[2], line.number)):
        path = proc_path(line.text.partition("=")[0].lstrip("-").strip())
        last[_FORWARDING.get(path, path)] = line
    wrong = {
        line: f"{line.number}: {line.text} (lbctl needs {wanted[path]})"
        for path, line in last.items()
        if path in wanted and line.text.partition("=")[2].split() != wanted[path].split()
    }
    for path in dict.fromkeys(line.path for line in wrong):
        lines = sorted((line for line in wrong if line.path == path), key=lambda line: line.number)
        delete, name = _without(lines), path.rpartition("/")[2]
        # What a package or a program writes is not edited, but replaced by a file of the same name.
        edit = f"sed '{delete}' {path} >/etc/sysctl.d/{name}"
        if path.startswith("/etc/"):
            edit = f"sed -i.before-lbctl --follow-symlinks '{delete}' {path}"
        first = f"{path} is read after lbctl's kernel settings, and says otherwise"
        yield Overruled(host, (first, *map(wrong.__getitem__, lines)), "So that counts at the next boot.", edit)


def _without(lines: Iterable[ForeignLine]) -> str:
    """sed's words for a file without these lines."""
    return "".join(f"{_range(run)}d;" for run in _runs(line.number for line in lines)).rstrip(";")


def _runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each row of consecutive numbers."""
    first = last = 0
    for number in numbers:
        if number != last + 1 or not first:
            if first:
                yield first, last
            first = number
        last = number
    if first:
        yield first, last


def _range(run: tuple[int, int]) -> str:
    first, last = run
    return str(first) if first == last else f"{first},{last}"
