"""What `nft list ruleset` prints, read for `cluster.firewall`. Pure. Nothing that a rule may say is an error: it makes it vague.

Blocks are told by their braces: a set has a `type` of its own, and families other than ip and inet have chains that no packet of
the cluster's comes to.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, summarize_address_range

from cluster.firewall import (
    Chain,
    Chains,
    Criterion,
    Rule,
    enters_by,
    leaves_by,
    never,
    protocol,
    source,
    source_port,
    state,
    target,
    target_kind,
    target_port,
    translated,
    unlike,
)
from cluster.iptables import PROTOCOLS, ports, protocol_number

_QUOTED = re.compile(r'"[^"]*"')
_HOOK = re.compile(r"type \w+ hook (\w+)")
_POLICY = re.compile(r"policy (\w+)")
_TABLE, _IN_CHAIN = 1, 2


def nft(text: Iterable[str], without: AbstractSet[str] = frozenset()) -> tuple[Chains, ...]:
    """The tables of families ip and inet, one set of chains each. `without`: tables of family ip that iptables shows, which made
    them: with matches that only it can say.
    """
    tables: list[dict[str, Chain]] = []
    chains: dict[str, Chain] | None = None
    chain: Chain | None = None
    depth = 0
    for line in map(str.strip, text):
        words, bare = line.split(), _QUOTED.sub("", line).partition("#")[0]
        more = bare.count("{") - bare.count("}")
        if depth == 0 and words[:1] == ["table"] and len(words) > 2:  # noqa: PLR2004 (table FAMILY NAME)
            ours = words[1] == "inet" or (words[1] == "ip" and words[2] not in without)
            chains = {} if ours else None
            tables += [chains] if chains is not None else []
        elif depth == _TABLE:
            chain = None
            if words[:1] == ["chain"] and words[1:] and chains is not None:
                chain = chains[words[1]] = Chain()
            elif words[:1] == ["flags"] and "dormant" in line and chains is not None:
                tables.pop()
                chains = None
        elif depth == _IN_CHAIN and chain is not None and more >= 0 and words:
            _into(chain, line, whole=not more)
        depth += more
    return tuple(tables)


def _into(chain: Chain, line: str, *, whole: bool) -> None:
    if hook := _HOOK.match(line):
        policy = _POLICY.search(line)
        chain.hook, chain.policy = hook[1], policy[1] if policy else "accept"
    else:
        chain.rules += _rules(line) if whole else [Rule(line, _UNKNOWN, vague=True)]


_UNKNOWN = "?"
"""A verdict that is not understood: it may do anything."""
_TOKENS = re.compile(r'"[^"]*"|\{[^{}]*\}|#.*|[^\s{}]+')
_VERDICTS = {"accept": "accept", "drop": "drop", "reject": "drop", "return": "return", "continue": ""}
_TAKES = {"queue", "synproxy", "tproxy", "dnat", "redirect", "masquerade", "fwd", "xt"}
"""Statements that end a packet's way through a chain, or may."""
_LOG = {"prefix", "level", "group", "flags", "snaplen", "queue-threshold"}
_LIMIT = re.compile(r"rate$|over$|burst$|packets$|[km]?bytes$|\d")
_IPV6 = {"ip6", "icmpv6", "arp"}


@dataclass
class _Reading:
    """One line, as far as it was read."""

    line: str
    tokens: deque[str]
    criteria: list[Criterion] = field(default_factory=list)
    vague: bool = False
    lost: bool = False
    """What follows cannot be told from what was not understood; only the verdict counts."""
    taken: bool = False
    done: list[Rule] = field(default_factory=list)

    def next_is(self, *words: str) -> bool:
        return bool(self.tokens) and self.tokens[0] in words

    def take(self) -> str:
        return self.tokens.popleft() if self.tokens else ""

    def skip_pairs(self, *words: str) -> None:
        while self.next_is(*words):
            self.take()
            self.take()

    def rule(self, verdict: str, *, leaves: bool = False) -> Rule:
        return Rule(self.line, verdict, tuple(self.criteria), self.vague, leaves)


def _rules(line: str) -> list[Rule]:
    """One; of a verdict map one for each of its elements."""
    read = _Reading(line, deque(_TOKENS.findall(line)))
    while read.tokens and not read.done:
        _step(read)
    return read.done or [read.rule(_UNKNOWN if read.taken else "")]


def _step(read: _Reading) -> None:
    word = read.take()
    if word in _VERDICTS or word in {"jump", "goto"}:
        read.done.append(_end(read, word))
    elif word == "comment":
        read.take()
    elif word == "vmap":
        _map(read, None, read.take())
    elif word.startswith("#") or word in _TAKES:
        read.vague = read.lost = read.taken = True
    elif read.lost:
        pass
    elif word == "counter":
        read.skip_pairs("packets", "bytes", "name")
    elif word == "log":
        read.skip_pairs(*_LOG)
    elif word == "limit":
        read.vague = True
        while read.tokens and _LIMIT.match(read.tokens[0]):
            read.take()
    else:
        _match(read, word)


def _end(read: _Reading, word: str) -> Rule:
    return read.rule(_VERDICTS[word]) if word in _VERDICTS else read.rule(read.take(), leaves=word == "goto")


def _match(read: _Reading, word: str) -> None:
    """KEY [!=] VALUE, KEY vmap { VALUE : VERDICT, … }."""
    if word == "meta":
        word = read.take()
    if word in _IPV6:
        read.criteria.append(never)
    elif word in PROTOCOLS and word != "ipv6":
        read.criteria.append(protocol(frozenset({PROTOCOLS[word]})))
    key = word
    while key not in _KEYS and any(each.startswith(f"{key} ") for each in _KEYS) and read.tokens:
        key = f"{key} {read.take()}"
    if key not in _KEYS:
        read.vague = read.lost = True
        return
    opposite = read.next_is("!=")
    if opposite:
        read.take()
    if read.next_is("."):
        # Several at once: their values are looked for in a set of such.
        read.take()
        read.vague = True
    elif read.next_is("vmap"):
        read.take()
        _map(read, _KEYS[key], read.take())
    else:
        criterion = _criterion(_KEYS[key], read.take())
        read.vague |= criterion is None
        if criterion:
            read.criteria.append(unlike(criterion) if opposite else criterion)


_Read = Callable[[list[str]], Criterion]


def _criterion(read: _Read, text: str) -> Criterion | None:
    """None: not understood."""
    try:
        return read([word for word in (each.strip() for each in text.strip("{}").split(",")) if word])
    except ValueError:
        return None


def _map(read: _Reading, key: _Read | None, text: str) -> None:
    """A rule for each element, one after the other: at most one of them matches."""
    if not text.startswith("{"):
        read.vague = True
        read.done.append(read.rule(_UNKNOWN))
        return
    for element in text.strip("{}").split(","):
        value, _, verdict = element.rpartition(":")
        criterion = _criterion(key, value.strip()) if key else None
        word, *more = verdict.split() or [""]
        rest = _Reading(read.line, deque(more), [*read.criteria, *([criterion] if criterion else [])])
        rest.vague = read.vague or criterion is None
        known = word in _VERDICTS or word in {"jump", "goto"}
        read.done.append(_end(rest, word) if known else rest.rule(_UNKNOWN))


def _networks(words: list[str]) -> tuple[IPv4Network, ...]:
    return tuple(network for word in words for network in _network(word))


def _network(word: str) -> Iterable[IPv4Network]:
    first, dash, last = word.partition("-")
    if dash:
        return summarize_address_range(IPv4Address(first), IPv4Address(last))
    return (IPv4Network(word, strict=False),)


def _names(words: list[str]) -> tuple[str, ...]:
    """Always printed in quotes; a number is another network namespace's interface."""
    if not all(_QUOTED.fullmatch(word) for word in words):
        raise ValueError(words)
    return tuple(word.strip('"') for word in words)


def _known(words: list[str]) -> frozenset[str]:
    if not all(word.isalpha() for word in words):
        raise ValueError(words)
    return frozenset(words)


def _ports(words: list[str]) -> tuple[tuple[int, int], ...]:
    return ports(",".join(words))


def _protocols(words: list[str]) -> Criterion:
    return protocol(frozenset(map(protocol_number, words)))


def _families(words: list[str]) -> Criterion:
    """A packet of the cluster's is one of IPv4."""
    return (lambda _: True) if _known_family(words) & {"ipv4", "ip"} else never


def _known_family(words: list[str]) -> frozenset[str]:
    if not {"ipv4", "ipv6", "ip", "ip6", "arp"}.issuperset(words):
        raise ValueError(words)
    return frozenset(words)


def _link_kinds(words: list[str]) -> Criterion:
    """Of the frame: what is no multicast was for this host."""
    here = {"local", "unicast"}
    kinds = {"host": here, "unicast": here, "multicast": {"multicast"}, "broadcast": set[str]()}
    if not kinds.keys() >= set(words):
        raise ValueError(words)
    return target_kind(frozenset[str]().union(*(kinds[word] for word in words)))


_KEYS: Mapping[str, _Read] = {
    **{f"{name} dport": lambda words: target_port(_ports(words)) for name in ("tcp", "udp", "th")},
    **{f"{name} sport": lambda words: source_port(_ports(words)) for name in ("tcp", "udp", "th")},
    "ip protocol": _protocols,
    "l4proto": _protocols,
    "nfproto": _families,
    "protocol": _families,
    "ip saddr": lambda words: source(_networks(words)),
    "ip daddr": lambda words: target(_networks(words)),
    "iif": lambda words: enters_by(_names(words)),
    "iifname": lambda words: enters_by(_names(words)),
    "oif": lambda words: leaves_by(_names(words)),
    "oifname": lambda words: leaves_by(_names(words)),
    "ct state": lambda words: state(_known(words)),
    "ct status": lambda words: translated(_known(words)),
    "fib daddr type": lambda words: target_kind(_known(words)),
    "pkttype": _link_kinds,
}
"""What is asked of a packet, by how nft prints it (without `meta`)."""
