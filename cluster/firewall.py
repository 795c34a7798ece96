"""What a host's netfilter rules do to a packet, from what iptables-save and `nft list ruleset` print. Pure.

Only what is certain counts: a rule with a match that is not understood here is taken not to match. So a packet that is said to be
dropped is dropped, and one of which nothing is said may be.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_network

TCP, UDP, IPIP, VRRP = 6, 17, 4, 112
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipencap": 4, "ipv4": 4, "ipip": 4, "vrrp": 112, "all": 0}


@dataclass(frozen=True)
class Packet:
    """The first one of its flow, as it comes in."""

    protocol: int
    port: int = 0
    """Destination's; of an answer, the source's (`answer`)."""
    source: IPv4Address | None = None
    """None: anybody's."""
    interface: str = ""
    answer: bool = False


@dataclass(frozen=True)
class Rule:
    """One line, as far as it is understood."""

    text: str
    target: str
    certain: bool = True
    protocols: frozenset[int] = frozenset()
    ports: tuple[tuple[int, int], ...] = ()
    source_ports: tuple[tuple[int, int], ...] = ()
    sources: tuple[IPv4Network, ...] = ()
    interface: str = ""
    states: frozenset[str] = frozenset()

    def matches(self, packet: Packet) -> bool:
        state = "established" if packet.answer else "new"
        ports, others = (self.source_ports, self.ports) if packet.answer else (self.ports, self.source_ports)
        return (
            self.certain
            and (not self.protocols or packet.protocol in self.protocols)
            and (not ports or any(low <= packet.port <= high for low, high in ports))
            and not others
            and (not self.sources or (packet.source is not None and any(packet.source in s for s in self.sources)))
            and (not self.interface or self.interface == packet.interface)
            and (not self.states or state in self.states)
        )


@dataclass
class Chain:
    policy: str = ""
    hook: str = ""
    rules: list[Rule] = field(default_factory=list)


Chains = Mapping[str, Chain]


def dropped_by(tables: Iterable[Chains], hook: str, packet: Packet) -> str | None:
    """The rule or policy that drops `packet` at `hook` ("input", "forward"), as it was printed; None where none surely does."""
    for chains in tables:
        for name, chain in chains.items():
            if chain.hook == hook and (why := _through(chains, name, packet)):
                verdict, text = why
                if verdict in {"drop", "reject"}:
                    return text
    return None


def _through(chains: Chains, name: str, packet: Packet, depth: int = 0) -> tuple[str, str] | None:
    chain = chains[name]
    for rule in chain.rules if depth < len(chains) + 1 else ():
        if not rule.matches(packet):
            continue
        if rule.target in {"accept", "drop", "reject"}:
            return rule.target, rule.text
        if rule.target == "return":
            break
        if rule.target in chains and (found := _through(chains, rule.target, packet, depth + 1)):
            return found
    return (chain.policy, f"policy {chain.policy} of {name}") if chain.policy else None


# iptables-save


def iptables(lines: Iterable[str]) -> tuple[Chains, ...]:
    """The filter table of iptables-save(8): one set of chains; empty where there is none."""
    chains: dict[str, Chain] = {}
    table = ""
    for line in lines:
        if line.startswith("*"):
            table = line[1:].strip()
        elif table != "filter":
            continue
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            hook = name.lower() if name in {"INPUT", "FORWARD", "OUTPUT"} else ""
            chains[name] = Chain("" if policy == "-" else policy.lower(), hook)
        elif line.startswith("-A "):
            _, name, rest = line.split(" ", 2)
            chains.setdefault(name, Chain()).rules.append(_iptables_rule(rest.strip(), line.strip()))
    return (chains,) if chains else ()


_WORDS = re.compile(r'"[^"]*"|\S+')
_HARMLESS = {"-m": 1, "--comment": 1, "--reject-with": 1}


def _iptables_rule(text: str, line: str) -> Rule:
    words, found, certain = iter(_WORDS.findall(text)), _Found(), True
    for word in words:
        if word in _HARMLESS:
            next(words, "")
        elif word == "-p":
            found.protocols = frozenset({_protocol(next(words, ""))} - {0})
        elif word == "-s":
            found.sources = (IPv4Network(next(words, "0.0.0.0/0"), strict=False),)
        elif word == "-i":
            found.interface = next(words, "")
        elif word in {"--dport", "--dports"}:
            found.ports = tuple(_ports(next(words, "")))
        elif word in {"--sport", "--sports"}:
            found.source_ports = tuple(_ports(next(words, "")))
        elif word in {"--ctstate", "--state"}:
            found.states = frozenset(next(words, "").lower().split(","))
        elif word in {"-j", "-g"}:
            found.target = next(words, "")
        else:
            certain = False
    known = {"ACCEPT", "DROP", "REJECT", "RETURN"}
    target = found.target.lower() if found.target in known else found.target
    return found.rule(line, target, certain=certain)


@dataclass
class _Found:
    protocols: frozenset[int] = frozenset()
    ports: tuple[tuple[int, int], ...] = ()
    source_ports: tuple[tuple[int, int], ...] = ()
    sources: tuple[IPv4Network, ...] = ()
    interface: str = ""
    states: frozenset[str] = frozenset()
    target: str = ""

    def rule(self, text: str, target: str, *, certain: bool) -> Rule:
        return Rule(
            text,
            target,
            certain,
            self.protocols,
            self.ports,
            self.source_ports,
            self.sources,
            self.interface,
            self.states,
        )


def _protocol(word: str) -> int:
    return int(word) if word.isdigit() else PROTOCOLS.get(word, -1)


def _ports(text: str) -> Iterator[tuple[int, int]]:
    for part in text.replace(" ", "").strip("{}").split(","):
        low, _, high = part.replace(":", "-").partition("-")
        if low.isdigit():
            yield int(low), int(high or low)


# nft


def nft(text: Iterable[str]) -> tuple[Chains, ...]:
    """Of `nft list ruleset` the tables of families ip and inet, one set of chains each.

    Those that iptables made are left out: its own program shows them.
    """
    tables: list[dict[str, Chain]] = []
    chains: dict[str, Chain] | None = None
    chain: Chain | None = None
    for line in (line.strip() for line in text):
        words = line.split()
        if words[:1] == ["table"]:
            chains = {} if words[1] in {"ip", "inet"} else None
            if chains is not None:
                tables.append(chains)
        elif words[:1] == ["chain"] and chains is not None:
            chain = Chain()
            if not words[1].isupper():
                chains[words[1]] = chain
        elif words[:1] == ["type"] and chain is not None:
            chain.hook = "input" if " hook input " in line else "forward" if " hook forward " in line else ""
            policy = re.search(r"policy (\w+)", line)
            chain.policy = policy[1] if policy else "accept"
        elif line not in {"", "}"} and chain is not None:
            chain.rules.append(_nft_rule(line))
    return tuple(tables)


_NFT = (
    (re.compile(r'comment "[^"]*"|counter( packets \d+ bytes \d+)?|log( prefix "[^"]*")?'), ""),
    (re.compile(r"(tcp|udp) dport (\{[^}]*\}|\S+)"), "ports"),
    (re.compile(r"(tcp|udp) sport (\{[^}]*\}|\S+)"), "source_ports"),
    (re.compile(r"(?:ip protocol|meta l4proto) (\{[^}]*\}|\S+)"), "protocols"),
    (re.compile(r"ip saddr (\{[^}]*\}|[\d./]+)"), "sources"),
    (re.compile(r"iif(?:name)? \"?([\w.-]+)\"?"), "interface"),
    (re.compile(r"ct state (\{[^}]*\}|\S+)"), "states"),
)
_VERDICT = re.compile(r"(?:(accept|drop|return)|(reject)(?: with .*)?|(?:jump|goto) (\S+))$")


def _nft_rule(line: str) -> Rule:
    found, rest = _Found(), line
    for pattern, name in _NFT:
        while match := pattern.search(rest):
            rest = (rest[: match.start()] + rest[match.end() :]).strip()
            _nft_match(found, name, match)
    verdict = _VERDICT.search(rest)
    target = next(filter(None, verdict.groups()), "") if verdict else ""
    rest = rest[: verdict.start()].strip() if verdict else rest
    return found.rule(line, target, certain=not rest)


def _nft_match(found: _Found, name: str, match: re.Match[str]) -> None:
    if name in {"ports", "source_ports"}:
        found.protocols = frozenset({_protocol(match[1])})
        setattr(found, name, tuple(_ports(match[2])))
    elif name == "protocols":
        found.protocols = frozenset(map(_protocol, _each(match[1])))
    elif name == "sources":
        found.sources = tuple(
            net for word in _each(match[1]) if isinstance(net := ip_network(word, strict=False), IPv4Network)
        )
    elif name == "interface":
        found.interface = match[1]
    elif name == "states":
        found.states = frozenset(_each(match[1]))


def _each(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,{}]+", text) if word]
