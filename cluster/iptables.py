"""What iptables-save(8) prints, read for `cluster.firewall`. Pure. Nothing that a rule may say is an error: it makes it vague."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv4Network

from cluster.firewall import (
    Chain,
    Chains,
    Criterion,
    Rule,
    enters_by,
    leaves_by,
    opens,
    protocol,
    source,
    source_port,
    state,
    target,
    target_kind,
    target_port,
    unlike,
)

_NAMES = "icmp 1 igmp 2 ipencap 4 ipv4 4 ipip 4 tcp 6 udp 17 dccp 33 ipv6 41 gre 47 esp 50 ah 51 icmpv6 58 ipv6-icmp 58 ospf 89"
PROTOCOLS = {
    name: int(number) for name, number in re.findall(r"(\S+) (\d+)", f"{_NAMES} vrrp 112 sctp 132 udplite 136")
}
"""By their names in /etc/protocols, which both programs print."""


def tables(lines: Iterable[str]) -> dict[str, list[str]]:
    """The lines of each table, by its name."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in map(str.strip, lines):
        if line.startswith("*"):
            current = found.setdefault(line[1:].strip(), [])
        else:
            current.append(line)
    return found


def iptables(lines: Iterable[str]) -> tuple[Chains, ...]:
    """The filter table: one set of chains; empty where there is none."""
    chains: dict[str, Chain] = {}
    for line in tables(lines).get("filter", []):
        words = line.split()
        if line.startswith(":"):
            name, policy = words[0][1:], "".join(words[1:2])
            hook = name.lower() if name in {"INPUT", "FORWARD", "OUTPUT"} else ""
            chains[name] = Chain("" if policy == "-" else policy.lower(), hook)
        elif words[:1] == ["-A"] and len(words) > 1:
            chains.setdefault(words[1], Chain()).rules.append(rule(line))
    return (chains,) if chains else ()


_WORDS = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
_GOES_ON = re.compile(
    r"AUDIT|CHECKSUM|CLASSIFY|CONNMARK|CONNSECMARK|CT|DSCP|ECN|HL|IDLETIMER|LED|LOG|MARK|NFLOG|NOTRACK|RATEEST|SECMARK|SET|TCPMSS|"
    r"TCPOPTSTRIP|TEE|TOS|TRACE|TTL|ULOG|"
)
"""Targets after which the next rule is looked at (iptables-extensions(8))."""
_MODULES = {"tcp", "udp", "icmp", "comment", "multiport", "conntrack", "state", "addrtype"}
"""Those that match nothing by themselves, without an option."""


def rule(line: str) -> Rule:
    """From -A CHAIN and so on."""
    words = _WORDS.findall(line)[2:]
    criteria: list[Criterion] = []
    vague, opposite, verdict, leaves = False, False, "", False
    while words:
        word = words.pop(0)
        if word in {"-j", "-g"}:
            # Its target is the last that it says; what follows is for that.
            name, leaves = "".join(words[:1]), word == "-g"
            verdict = _VERDICTS.get(name, "" if _GOES_ON.fullmatch(name) else name)
            break
        if word == "!":
            opposite = True
            continue
        if word == "-m":
            vague |= "".join(words[:1]) not in _MODULES
            words = words[1:]
        elif word == "--comment":
            words = words[1:]
        elif word in _READ and words:
            count, read = _READ[word]
            values, words = words[:count], words[count:]
            try:
                criterion = read(*values)
            except (ValueError, TypeError):
                vague = True
            else:
                criteria.append(unlike(criterion) if opposite else criterion)
        else:
            vague = True
        opposite = False
    return Rule(line, verdict, tuple(criteria), vague, leaves)


def ports(text: str) -> tuple[tuple[int, int], ...]:
    """From 22,9000:9300, or with - for a range. Raises ValueError."""
    return tuple(map(_range, text.split(",")))


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.strip().replace(":", "-").partition("-")
    return int(low), int(high or low)


def protocol_number(word: str) -> int:
    """Raises ValueError."""
    return PROTOCOLS[word] if word in PROTOCOLS else int(word)


def _protocol(word: str) -> Criterion:
    return protocol(frozenset(range(256) if word in {"all", "0"} else {protocol_number(word)}))


def _networks(text: str) -> tuple[IPv4Network, ...]:
    return (IPv4Network(text, strict=False),)


def _names(text: str) -> tuple[str, ...]:
    return (text.removesuffix("+") + "*" * text.endswith("+"),)


def _flags(of: str, there: str) -> Criterion:
    if (of, there) != ("FIN,SYN,RST,ACK", "SYN"):
        raise ValueError(there)
    return opens


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().split(","))


_READ: Mapping[str, tuple[int, Callable[..., Criterion]]] = {
    "-p": (1, _protocol),
    "-s": (1, lambda text: source(_networks(text))),
    "-d": (1, lambda text: target(_networks(text))),
    "-i": (1, lambda text: enters_by(_names(text))),
    "-o": (1, lambda text: leaves_by(_names(text))),
    "--dport": (1, lambda text: target_port(ports(text))),
    "--dports": (1, lambda text: target_port(ports(text))),
    "--sport": (1, lambda text: source_port(ports(text))),
    "--sports": (1, lambda text: source_port(ports(text))),
    "--ctstate": (1, lambda text: state(_words(text))),
    "--state": (1, lambda text: state(_words(text))),
    "--dst-type": (1, lambda text: target_kind(_words(text))),
    "--tcp-flags": (2, _flags),
}
"""How many words follow, and what they ask."""


def reachable(rules: Iterable[str], hook: str) -> Iterator[str]:
    """Those rules of a table's that a packet at `hook` can come to: of that chain, and of those that it is sent to from there."""
    by_chain: dict[str, list[str]] = {}
    for line in rules:
        if line.startswith("-A "):
            by_chain.setdefault(line.split()[1], []).append(line)
    waiting, seen = [hook], {hook}
    while waiting:
        for line in by_chain.get(waiting.pop(), []):
            yield line
            verdict = rule(line).verdict
            if verdict in by_chain and verdict not in seen:
                seen.add(verdict)
                waiting.append(verdict)
