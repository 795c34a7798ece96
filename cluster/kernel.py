"""What one host's kernel does with a packet, judged by what was seen there and by nothing that was declared.

Each rule with its source; "measured": tried in network namespaces (Linux 6.1).

* ARP is answered for any address of the host, on whatever device; arp_ignore 1: only for those of the device that was asked.
  Of `all` and the device the larger counts (Documentation/networking/ip-sysctl.rst, arp_ignore, arp_announce).
* A host's own questions name one of its addresses as the sender, and who hears them notes it: with an arp_announce below 2 that
  may be a virtual one, and clients go there from then on (measured).
* An address is the host's own whatever its device, and also while that is down (measured: a VIP on a dummy0 that is DOWN works).
* IPIP packets are unpacked while tunl0 is up, else refused. What comes out has a client's address, which is not reached through
  tunl0: rp_filter 1 drops it, 2 only where tunl0 has no address; the larger of `all` and tunl0 counts (measured).
* Rules are asked by preference; a table without a route for the target lets the next rule go on; of a table's routes the longest
  prefix counts, then the smallest metric (ip-rule(8), ip-route(8)).
* Packets of others are passed on with ip_forward 1 only; one whose source is an address of this host is dropped (measured: an
  answer from a VIP that is sent to its director).
* Masquerading meets packets of IPVS only with vs.conntrack 1 (Documentation/networking/ipvs-sysctl.rst, conntrack; measured).

Not here: the main table (it is taken to reach everybody directly or by the router), other people's netfilter rules, packet
sizes, and the routes that keepalived sets for each server (`cluster.keepalived`, static_routes).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from cluster.listening import ANYWHERE
from cluster.observed import HostState
from cluster.parts import Chain, Route, Rule
from cluster.vocabulary import MAIN_TABLE

_TUNNEL = "tunl0"
_LOCAL_TABLE = 255
_ONLY_THIS_DEVICE, _NEVER = 1, 8
"""Values of arp_ignore; 3 is like 0 for addresses as they are set here."""
_BEST_LOCAL = 2
"""arp_announce: the sender is always an address of the device that asks."""
_LOOSE = 2
"""rp_filter: any route back will do, if the device has an address."""


@dataclass(frozen=True)
class Packet:
    """What rules look at."""

    source: IPv4Address
    target: IPv4Address
    protocol: str
    source_port: int | None = None
    target_port: int | None = None


@dataclass(frozen=True)
class Way:
    """How a packet leaves. `via` None: its target is asked for on the network itself, or the router has it."""

    via: IPv4Address | None = None
    table: int = MAIN_TABLE
    unreachable: bool = False


@dataclass(frozen=True)
class Machine:
    """A host on the network, with what was seen there."""

    name: str
    address: IPv4Address
    """Its own, on `interface`."""
    interface: str
    state: HostState

    def devices_of(self, address: IPv4Address) -> frozenset[str]:
        """Those that have the address. None: the packet is not for this host."""
        found = {a.device for a in self.state.addresses if a.address == address}
        if address == self.address or (address in self.state.local and not found):
            found.add(self.interface)
        return frozenset(found)

    def owns(self, address: IPv4Address) -> bool:
        return bool(self.devices_of(address))

    def answers_arp(self, address: IPv4Address) -> bool:
        """Whether it answers who asks the network for this address."""
        devices, ignore = self.devices_of(address), self._of_interface("arp_ignore")
        if not devices or ignore == _NEVER:
            return False
        return self.interface in devices or not _ONLY_THIS_DEVICE <= ignore <= _ONLY_THIS_DEVICE + 1

    def gives_away(self, address: IPv4Address) -> bool:
        """Whether its own ARP questions may name this address, that it is to be silent about, as theirs."""
        devices = self.devices_of(address)
        return bool(devices) and self.interface not in devices and self._of_interface("arp_announce") < _BEST_LOCAL

    @property
    def forwards(self) -> bool:
        return self._setting("net/ipv4/ip_forward") == 1

    def tunnel_fault(self) -> str | None:
        """Why nothing comes out of the tunnel here; None when it does."""
        link = self.state.links.get(_TUNNEL)
        if link is None or not link.up:
            return f"{_TUNNEL} is {'down' if link else 'not there'}, and tunnelled packets are refused"
        strict = max(self._setting(f"net/ipv4/conf/{device}/rp_filter") for device in ("all", _TUNNEL))
        has_address = any(a.device == _TUNNEL for a in self.state.addresses)
        if strict and not (strict == _LOOSE and has_address):
            return f"rp_filter {strict} drops, silently, what comes out of {_TUNNEL}"
        return None

    def listens(self, address: IPv4Address, port: int, protocol: str) -> bool:
        """Whether a server takes connections there; yes where it was not asked, which for UDP it never is."""
        seen = self.state.listeners
        return (
            seen is None or protocol != "tcp" or any(s.port == port and s.address in {address, ANYWHERE} for s in seen)
        )

    def way(self, packet: Packet) -> Way:
        """How a packet that this host sends itself leaves."""
        mark = self._mark(packet)
        for rule in sorted(self.state.rules, key=lambda rule: rule.preference):
            if rule.table == _LOCAL_TABLE or not _applies(rule, packet, mark):
                continue
            if rule.table == MAIN_TABLE:
                break
            if route := _best(self.state.routes, rule.table, packet.target):
                return Way(route.via, rule.table, unreachable=route.kind != "unicast")
        return Way()

    def translates(self, packet: Packet) -> bool:
        """Whether a packet that IPVS here sends on leaves with this host's own address."""
        if self._setting("net/ipv4/vs/conntrack") != 1:
            return False
        return _verdict(self._chains("nat", "POSTROUTING"), packet) == ["MASQUERADE"]

    @property
    def keeps_translations(self) -> bool:
        """Whether connections that were translated once still are: a chain that goes takes the table with it."""
        return bool(self._chains("nat", "POSTROUTING"))

    def _mark(self, packet: Packet) -> int:
        target = _verdict(self._chains("mangle", "OUTPUT"), packet)
        return int(target[-1].split("/")[0], 0) if target[:1] == ["MARK"] else 0

    def _chains(self, table: str, hook: str) -> list[Chain]:
        return [chain for chain in self.state.chains if (chain.table, chain.hook) == (table, hook)]

    def _of_interface(self, setting: str) -> int:
        return max(self._setting(f"net/ipv4/conf/{device}/{setting}") for device in ("all", self.interface))

    def _setting(self, path: str) -> int:
        """0, the kernel's own, where it was not asked."""
        text = self.state.sysctls.get(path, "")
        return int(text) if text.isdigit() else 0


def _applies(rule: Rule, packet: Packet, mark: int) -> bool:
    return (
        rule.source in {None, packet.source}
        and rule.protocol in {None, packet.protocol}
        and rule.source_port in {None, packet.source_port}
        and rule.mark in {None, mark}
    )


def _best(routes: Iterable[Route], table: int, target: IPv4Address) -> Route | None:
    fitting = [route for route in routes if route.table == table and target in _network(route.destination)]
    return min(fitting, key=lambda route: (-_network(route.destination).prefixlen, route.metric or 0), default=None)


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network:
    return IPv4Network("0.0.0.0/0" if text == "default" else text)


def _verdict(chains: Iterable[Chain], packet: Packet) -> list[str]:
    """The words after -j of the first rule that fits, in a chain of ours; empty where none does."""
    for chain in chains:
        for rule in chain.rules:
            match, _, target = rule.partition("-j ")
            if _fits(match.split(), packet):
                return target.split()
    return []


def _fits(words: list[str], packet: Packet) -> bool:
    """Those of iptables' matches that our chains use; -m only loads what --sport and --dport belong to."""
    given = dict(zip(words[::2], words[1::2], strict=True))
    return (
        packet.source in _network(given.get("-s", "default"))
        and packet.target in _network(given.get("-d", "default"))
        and given.get("-p", packet.protocol) == packet.protocol
        and given.get("--sport", str(packet.source_port)) == str(packet.source_port)
        and given.get("--dport", str(packet.target_port)) == str(packet.target_port)
    )
