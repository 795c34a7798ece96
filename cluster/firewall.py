"""What a host's netfilter rules do to a packet, from what iptables-save and `nft list ruleset` print. Pure.

Only what is certain counts: a rule with a match that is not understood here is taken not to match. So a packet that is said to be
dropped is dropped, and one of which nothing is said may be.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, ip_network

TCP, UDP, IPIP, VRRP = 6, 17, 4, 112
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "ipencap": 4, "ipv4": 4, "ipip": 4, "vrrp": 112, "all": 0}


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
    targets: tuple[IPv4Network, ...] = ()
    out: str = ""

    def matches(self, packet: Packet) -> bool:
        state = "established" if packet.answer else "new"
        ports, others = (self.source_ports, self.ports) if packet.answer else (self.ports, self.source_ports)
        return (
            self.certain
            and (not self.protocols or packet.protocol in self.protocols)
            and (not ports or any(low <= packet.port <= high for low, high in ports))
            and not others
            and _among(packet.source, self.sources)
            and _among(packet.target, self.targets)
            and (not self.interface or self.interface == packet.interface)
            and (not self.out or self.out == packet.out)
            and (not self.states or state in self.states)
        )


def _among(address: IPv4Address | None, networks: tuple[IPv4Network, ...]) -> bool:
    return not networks or (address is not None and any(address in network for network in networks))


@dataclass
class Chain:
    policy: str = ""
    hook: str = ""
    rules: list[Rule] = field(default_factory=list)


Chains = Mapping[str, Chain]


def dropped_by(tables: Iterable[Chains], hook: str, packet: Packet) -> str | None:
    """The rule or policy that drops `packet` at `hook` ("input", "forward", "output"); None where none surely does."""
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
_HARMLESS = {"-m", "--comment", "--reject-with"}
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_READ: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "-p": ("protocols", lambda word: frozenset({_protocol(word)} - {0})),
    "-s": ("sources", lambda word: (IPv4Network(word, strict=False),)),
    "-d": ("targets", lambda word: (IPv4Network(word, strict=False),)),
    "-i": ("interface", str),
    "-o": ("out", str),
    "--dport": ("ports", lambda word: tuple(_ports(word))),
    "--dports": ("ports", lambda word: tuple(_ports(word))),
    "--sport": ("source_ports", lambda word: tuple(_ports(word))),
    "--sports": ("source_ports", lambda word: tuple(_ports(word))),
    "--ctstate": ("states", lambda word: frozenset(word.lower().split(","))),
    "--state": ("states", lambda word: frozenset(word.lower().split(","))),
    "-j": ("target", lambda word: _TARGETS.get(word, word)),
    "-g": ("target", lambda word: _TARGETS.get(word, word)),
}


def _iptables_rule(text: str, line: str) -> Rule:
    words, found, certain = iter(_WORDS.findall(text)), _Found(), True
    for word in words:
        if word in _HARMLESS:
            next(words, "")
        elif word in _READ:
            name, read = _READ[word]
            setattr(found, name, read(next(words, "")))
        else:
            certain = False
    return found.rule(line, certain=certain)


@dataclass
class _Found:
    protocols: frozenset[int] = frozenset()
    ports: tuple[tuple[int, int], ...] = ()
    source_ports: tuple[tuple[int, int], ...] = ()
    sources: tuple[IPv4Network, ...] = ()
    interface: str = ""
    states: frozenset[str] = frozenset()
    targets: tuple[IPv4Network, ...] = ()
    out: str = ""
    target: str = ""

    def rule(self, text: str, *, certain: bool) -> Rule:
        return Rule(
            text,
            self.target,
            certain,
            self.protocols,
            self.ports,
            self.source_ports,
            self.sources,
            self.interface,
            self.states,
            self.targets,
            self.out,
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
            hook = re.search(r" hook (input|forward|output) ", line)
            chain.hook = hook[1] if hook else ""
            policy = re.search(r"policy (\w+)", line)
            chain.policy = policy[1] if policy else "accept"
        elif line not in {"", "}"} and chain is not None:
            chain.rules.append(_nft_rule(line))
    return tuple(tables)


_NFT = (
    (re.compile(r'comment "[^"]*"|counter( packets \d+ bytes \d+)?|log( prefix "[^"]*")?'), ""),
    (re.compile(r"(tcp|udp) dport (\{[\d\s,-]+\}|[\d-]+)"), "ports"),
    (re.compile(r"(tcp|udp) sport (\{[\d\s,-]+\}|[\d-]+)"), "source_ports"),
    (re.compile(r"(?:ip protocol|meta l4proto) (\{[^}]*\}|\S+)"), "protocols"),
    (re.compile(r"ip saddr (\{[^}]*\}|[\d./]+)"), "sources"),
    (re.compile(r"ip daddr (\{[^}]*\}|[\d./]+)"), "targets"),
    (re.compile(r"oif(?:name)? \"?([\w.-]+)\"?"), "out"),
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
    found.target = next(filter(None, verdict.groups()), "") if verdict else ""
    rest = rest[: verdict.start()].strip() if verdict else rest
    return found.rule(line, certain=not rest)


def _nft_match(found: _Found, name: str, match: re.Match[str]) -> None:
    if name in {"ports", "source_ports"}:
        found.protocols = frozenset({_protocol(match[1])})
        setattr(found, name, tuple(_ports(match[2])))
    elif name == "protocols":
        found.protocols = frozenset(map(_protocol, _each(match[1])))
    elif name in {"sources", "targets"}:
        nets = (ip_network(word, strict=False) for word in _each(match[1]))
        setattr(found, name, tuple(net for net in nets if isinstance(net, IPv4Network)))
    elif name in {"interface", "out"}:
        setattr(found, name, match[1])
    elif name == "states":
        found.states = frozenset(_each(match[1]))


def _each(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,{}]+", text) if word]
