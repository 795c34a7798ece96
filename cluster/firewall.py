"""What a host's netfilter rules do to a packet. Pure. `cluster.iptables` and `cluster.nft` read them.

Only what is certain is told. A rule matches surely, surely not, or it may: it has a match that is not understood here, or asks
for something of the packet that is not known (a client's address). A packet is said to be dropped if on every way that it may
take through the rules it is: where one that may match accepts it, nothing is said.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

TCP, UDP, IPIP, VRRP = 6, 17, 4, 112
_ANYBODY = IPv4Network("0.0.0.0/0")
_CLIENTS_PORTS = (32768, 60999)
"""Linux: Documentation/networking/ip-sysctl.rst, ip_local_port_range. What lets in only some of them drops some connections."""


@dataclass(frozen=True)
class Packet:
    """The first one of its flow, or of what answers it, as a hook sees it."""

    protocol: int
    port: int = 0
    """Destination's; of an answer, the source's (`answer`)."""
    source: IPv4Address | None = None
    """None: anybody's."""
    interface: str = ""
    """That it comes in by."""
    answer: bool = False
    target: IPv4Address | None = None
    """None: anybody."""
    out: str = ""
    """The interface that it leaves by."""
    sent_on: bool = False
    """By IPVS, which does not have conntrack list its connections unless vs.conntrack is set (ip_vs_xmit.c, ip_vs_notrack)."""
    listed: str = ""
    """Of one that is sent on: what conntrack calls it. Empty: not known."""

    @property
    def state(self) -> str:
        """As conntrack calls it; empty: not known."""
        return self.listed if self.sent_on else "established" if self.answer else "new"

    @property
    def kind(self) -> str:
        """Of its target: a type of route (addrtype in iptables-extensions(8))."""
        if self.target and self.target.is_multicast:
            return "multicast"
        return "unicast" if self.out else "local"


Match = bool | None
"""None: it may."""
Criterion = Callable[[Packet], Match]


@dataclass(frozen=True)
class Rule:
    """One line, as far as it is understood."""

    text: str
    verdict: str
    """accept, drop, return; the name of a chain; empty: the next rule is looked at. Another word may do anything."""
    criteria: tuple[Criterion, ...] = ()
    vague: bool = False
    """There is more to it, which is not understood."""
    leaves: bool = False
    """It goes to a chain and does not come back (goto)."""

    def matches(self, packet: Packet) -> Match:
        met = [criterion(packet) for criterion in self.criteria]
        if False in met:
            return False
        return None if self.vague or None in met else True


@dataclass
class Chain:
    policy: str = ""
    hook: str = ""
    rules: list[Rule] = field(default_factory=list)


Chains = Mapping[str, Chain]


# What rules ask of a packet


def unlike(criterion: Criterion) -> Criterion:
    """The opposite; not known stays so."""

    def match(packet: Packet) -> Match:
        met = criterion(packet)
        return None if met is None else not met

    return match


def never(_: Packet) -> Match:
    """Of IPv6, for instance."""
    return False


def protocol(numbers: frozenset[int]) -> Criterion:
    return lambda packet: packet.protocol in numbers


def target_port(ranges: tuple[tuple[int, int], ...]) -> Criterion:
    return lambda packet: _port(packet, ranges, ours=not packet.answer)


def source_port(ranges: tuple[tuple[int, int], ...]) -> Criterion:
    return lambda packet: _port(packet, ranges, ours=packet.answer)


def _port(packet: Packet, ranges: tuple[tuple[int, int], ...], *, ours: bool) -> Match:
    if packet.protocol not in {TCP, UDP}:
        return None
    first, last = (packet.port, packet.port) if ours else _CLIENTS_PORTS
    if any(low <= first and last <= high for low, high in ranges):
        return True
    return None if any(low <= last and first <= high for low, high in ranges) else False


def source(networks: tuple[IPv4Network, ...]) -> Criterion:
    return lambda packet: _among(packet.source, networks)


def target(networks: tuple[IPv4Network, ...]) -> Criterion:
    return lambda packet: _among(packet.target, networks)


def _among(address: IPv4Address | None, networks: tuple[IPv4Network, ...]) -> Match:
    if address is None:
        return True if _ANYBODY in networks else None
    return any(address in network for network in networks)


def target_kind(words: frozenset[str]) -> Criterion:
    return lambda packet: packet.kind in words


def enters_by(names: tuple[str, ...]) -> Criterion:
    return lambda packet: _is_called(packet.interface, names)


def leaves_by(names: tuple[str, ...]) -> Criterion:
    return lambda packet: _is_called(packet.out, names)


def _is_called(interface: str, names: tuple[str, ...]) -> bool:
    """Whether it has one of the names; one that ends in * is the beginning of several."""
    return bool(interface) and any(
        interface == name or (name.endswith("*") and interface.startswith(name[:-1])) for name in names
    )


_TRANSLATED = frozenset({"dnat", "snat"})
"""By nf_nat, which IPVS is not: of what is for the host itself, or from it, nothing is."""
_STATES = frozenset({"new", "established", "related", "invalid", "untracked"}) | _TRANSLATED


def state(words: frozenset[str]) -> Criterion:
    def match(packet: Packet) -> Match:
        if packet.state in words:
            return True
        return False if packet.state and words <= _STATES else None

    return match


def translated(words: frozenset[str]) -> Criterion:
    return lambda packet: False if words <= _TRANSLATED and not packet.sent_on else None


def opens(packet: Packet) -> Match:
    """SYN without ACK."""
    return packet.protocol == TCP and not packet.answer


# What becomes of it

_ON, _BACK = "on", "back"
"""The next rule is looked at; the chain is left."""


def dropped_by(tables: Iterable[Chains], hook: str, packet: Packet) -> str | None:
    """The rule or policy that drops `packet` at `hook` ("input", "forward", "output"); None where none surely does."""
    for chains in tables:
        for name, chain in chains.items():
            if chain.hook != hook:
                continue
            fates, by = _through(chains, (name,), packet)
            if _BACK in fates:
                fates = fates - {_BACK} | {chain.policy or "accept"}
                by = f"policy {chain.policy} of {name}"
            if fates == {"drop"}:
                return by
    return None


def _through(chains: Chains, path: tuple[str, ...], packet: Packet) -> tuple[frozenset[str], str]:
    """All that may become of it in the last chain of `path`, and the last rule that may drop it."""
    fates, by = frozenset[str](), ""
    for rule in chains[path[-1]].rules:
        matches = rule.matches(packet)
        if matches is False:
            continue
        here, dropping = _fates(chains, path, rule, packet)
        fates |= here - {_ON}
        by = dropping or by
        if matches and _ON not in here:
            return fates, by
    return fates | {_BACK}, by


def _fates(chains: Chains, path: tuple[str, ...], rule: Rule, packet: Packet) -> tuple[frozenset[str], str]:
    """What may become of a packet that matches."""
    if rule.verdict in {"accept", "drop"}:
        return frozenset({rule.verdict}), rule.text if rule.verdict == "drop" else ""
    if rule.verdict in {"", "return"}:
        return frozenset({_BACK if rule.verdict else _ON}), ""
    if rule.verdict not in chains or rule.verdict in path:
        return frozenset({"accept", _ON}), ""
    fates, by = _through(chains, (*path, rule.verdict), packet)
    if _BACK in fates and not rule.leaves:
        fates = fates - {_BACK} | {_ON}
    return fates, by
