"""What `lbctl doctor` asks of a host beyond its state and its pulse, and how it is read from what the host printed."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface

from cluster.firewall import Chains
from cluster.iptables import iptables, reachable
from cluster.iptables import tables as iptables_tables
from cluster.nft import nft
from cluster.observed import UnreadableStateError


@dataclass(frozen=True)
class Advert:
    """An advertisement of VRRP with this cluster's id, as it was on the wire (RFC 5798, 5.1; RFC 3768, 5.1)."""

    source: IPv4Address
    version: int
    priority: int
    addresses: tuple[IPv4Address, ...]
    password: str = ""
    """Version 2: a mark that two passwords share only if they are equal."""


@dataclass(frozen=True)
class Examined:
    """A host at one moment. What could not be had is empty."""

    ahead: float | None = None
    """By how much the host's clock is ahead of the operator's, in seconds."""
    vague: float = 0
    """How far off `ahead` may be: half of the time that the answer took."""
    macs: frozenset[str] = frozenset()
    """Of the host's interface to the cluster."""
    all_macs: frozenset[str] = frozenset()
    """Of all its devices."""
    held: tuple[tuple[IPv4Interface, str], ...] = ()
    """All addresses, and the devices that have them."""
    mtu: int = 0
    """Of that interface, in bytes."""
    neighbours: Mapping[IPv4Address, str] = field(default_factory=dict)
    """Its neighbour cache: MAC by address."""
    tables: tuple[Chains, ...] = ()
    """Packet filters."""
    marks: tuple[str, ...] = ()
    """Rules that mark what the host itself sends and are not ours, as iptables-save prints them."""
    answered: Mapping[IPv4Address, frozenset[str]] = field(default_factory=dict)
    """Who answered ARP for what floats between directors: MACs by address."""
    adverts: tuple[Advert, ...] = ()
    denied: tuple[str, ...] = ()
    """What AppArmor or SELinux forbade programs of the cluster in the last hour."""


def parse(output: Iterable[str], *, asked_at: float = 0, answered_at: float = 0) -> Examined:
    """From what `facts.examination.script` prints; the operator's clock before and after. Raises UnreadableStateError."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in output:
        if line.startswith("#") and line[1:].isalpha():
            current = sections.setdefault(line[1:], [])
        else:
            current.append(line)
    if "end" not in sections:
        raise UnreadableStateError("its answer stopped half-way")
    try:
        return _examined(sections, asked_at, answered_at)
    except (ValueError, KeyError, IndexError) as error:
        raise UnreadableStateError(f"its answer cannot be read ({type(error).__name__}: {error})") from error


def _examined(sections: Mapping[str, list[str]], asked_at: float, answered_at: float) -> Examined:
    clock = next((float(line) for line in sections.get("clock", []) if line.strip()), None)
    link = {w[0]: w[1] for w in map(str.split, sections.get("link", [])) if len(w) == 2}  # noqa: PLR2004 (name and value)
    replies: dict[IPv4Address, set[str]] = {}
    for words in map(str.split, sections.get("arp", [])):
        if len(words) == 2:  # noqa: PLR2004 (address and MAC)
            replies.setdefault(IPv4Address(words[0]), set()).add(words[1])
    return Examined(
        # The host looks at its clock first of all.
        ahead=None if clock is None else clock - asked_at,
        vague=max(0.0, answered_at - asked_at),
        macs=frozenset({link["mac"]} if "mac" in link else ()),
        all_macs=frozenset(filter(_is_mac, map(str.strip, sections.get("devices", [])))),
        held=tuple(
            (IPv4Interface(w[3]), w[1]) for w in map(str.split, sections.get("addresses", [])) if w[2:3] == ["inet"]
        ),
        mtu=int(link.get("mtu", 0)),
        neighbours=dict(_neighbour(w) for w in map(str.split, sections.get("neighbours", [])) if "lladdr" in w),
        tables=_tables(sections),
        marks=tuple(_marks(sections)),
        answered={address: frozenset(macs) for address, macs in replies.items()},
        adverts=tuple(_advert(w) for w in map(str.split, sections.get("vrrp", [])) if len(w) >= 4),  # noqa: PLR2004
        denied=tuple(line.strip() for line in sections.get("denied", []) if line.strip()),
    )


def _tables(sections: Mapping[str, list[str]]) -> tuple[Chains, ...]:
    """Each packet filter once: what iptables made with nft's part of the kernel, nft would show, too."""
    rules = sections.get("iptables", [])
    without = frozenset(iptables_tables(rules))
    return (*iptables(rules), *iptables(sections.get("legacy", [])), *nft(sections.get("nft", []), without))


def _is_mac(text: str) -> bool:
    """A tunnel has an IP address in that place, lo nothing but zeros."""
    return bool(re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", text)) and text != "00:00:00:00:00:00"


def _marks(sections: Mapping[str, list[str]]) -> Iterator[str]:
    for variant in ("iptables", "legacy"):
        mangle = iptables_tables(sections.get(variant, [])).get("mangle", [])
        yield from (line for line in reachable(mangle, "OUTPUT") if " -j MARK " in line and "LBCTL-" not in line)


def _neighbour(words: list[str]) -> tuple[IPv4Address, str]:
    """From `ip -4 neigh`: "10.0.0.10 dev eth0 lladdr 02:00:0a:00:00:04 REACHABLE"."""
    return IPv4Address(words[0]), words[words.index("lladdr") + 1]


def _advert(words: list[str]) -> Advert:
    """From a line SOURCE VERSION PRIORITY ADDRESS,ADDRESS [MARK]."""
    addresses = tuple(IPv4Address(word) for word in words[3].split(",") if word != "-")
    return Advert(IPv4Address(words[0]), int(words[1]), int(words[2]), addresses, "".join(words[4:5]))
