"""`lbctl doctor`: from what hosts answered to the faults of a cluster, each at the host where it is. Pure.

What follows from a fault is told with it and is no fault of its own: a server whose health service stopped is out of rotation,
two directors that do not hear each other both hold the addresses.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from statistics import median

from cluster.drift_faults import of_plan
from cluster.errors import CURE
from cluster.examined import Advert, Examined
from cluster.faults import Diagnosis, Fault
from cluster.firewall import TCP, Packet, dropped_by
from cluster.footprint import Blueprint
from cluster.keepalived import floating_addresses
from cluster.marks import to_directors
from cluster.needed import needed
from cluster.plan import plan
from cluster.pulse import Ask, asks, place
from cluster.status import BUSY, Answers, EndpointView, Health, Part, ServerView, Status
from cluster.vocabulary import CLUSTERCHECK_PORT
from cluster.why import LOOPBACK

CLOCKS = 2.0
"""Seconds by which clocks may differ: a lock's age and logs of several hosts are read side by side."""


@dataclass(frozen=True)
class Case:
    """All that is known."""

    blueprint: Blueprint
    answers: Answers
    status: Status
    examined: Mapping[str, Examined]

    def owner(self, mac: str) -> str | None:
        """The host that has this MAC: on its way to the cluster, or else on any device (bridges may all have the same)."""
        on_their_way = [name for name, seen in self.examined.items() if mac in seen.macs]
        anywhere = [name for name, seen in self.examined.items() if mac in seen.all_macs]
        return next(iter((*on_their_way, *anywhere)), None)


def diagnose(case: Case) -> tuple[Diagnosis, ...]:
    """All faults, causes before what is milder."""
    found = [d for look in _LOOKS for d in look(case)]
    order = list(Fault)
    return tuple(sorted(_without_consequences(_merged(found)), key=lambda d: (order.index(d.fault), d.host)))


def _merged(found: Iterable[Diagnosis]) -> list[Diagnosis]:
    """One for each host and fault."""
    by_place: dict[tuple[Fault, str], Diagnosis] = {}
    for each in found:
        key = (each.fault, each.host)
        known = by_place.get(key, each)
        evidence = dict.fromkeys((*known.evidence, *each.evidence))
        special = known.special if known.cure == each.cure else f"{known.cure}; {each.cure}"
        by_place[key] = replace(known, evidence=tuple(evidence), special=special)
    return list(by_place.values())


# Hosts


def _hosts(case: Case) -> Iterator[Diagnosis]:
    for host, why in case.answers.dead.items():
        # Whoever could not log in knows better than this page what mends that: a key, a port, a user's name.
        seen, _, cure = why.partition(CURE)
        yield Diagnosis(Fault.DEAD_HOST, host, (seen.splitlines()[0],), special=" ".join(cure.split()))
    for host, why in case.answers.unseen.items():
        if why != BUSY:
            yield Diagnosis(Fault.UNSEEN_HOST, host, (why.splitlines()[0],))


def _as_declared(case: Case) -> Iterator[Diagnosis]:
    """While somebody changes the cluster it differs from the declaration, and is to."""
    if not case.answers.states or case.status.under_way:
        return
    declaration = case.blueprint.declaration
    seen = {host: case.answers.states.get(host) for host in declaration.hosts()}
    wanted = plan(case.blueprint, seen, {**case.answers.dead, **case.answers.unseen})
    yield from of_plan(declaration, seen, wanted)


def _clocks(case: Case) -> Iterator[Diagnosis]:
    ahead = {name: seen.ahead for name, seen in case.examined.items() if seen.ahead is not None}
    if len(ahead) < 2:  # noqa: PLR2004 (nothing to compare with)
        return
    usual = median(ahead.values())
    for name, seconds in ahead.items():
        off = seconds - usual
        if abs(off) > CLOCKS + case.examined[name].vague:
            way = "ahead of" if off > 0 else "behind"
            yield Diagnosis(Fault.CLOCK, name, (f"about {abs(off):.0f} s {way} the others",))


def _denied(case: Case) -> Iterator[Diagnosis]:
    for name, seen in case.examined.items():
        if seen.denied:
            yield Diagnosis(Fault.DENIED, name, seen.denied)


def _left_behind(case: Case) -> Iterator[Diagnosis]:
    change = case.status.unfinished
    if change and not case.status.under_way:
        yield Diagnosis(Fault.UNFINISHED, "", (f"change {change.number}: {change.what}",))
    for lock, stale in case.status.locks:
        if stale:
            yield Diagnosis(Fault.LOCK, "", (f"{lock}: {stale}",))


# Packet filters


def _firewalls(case: Case) -> Iterator[Diagnosis]:
    for name, seen in case.examined.items():
        for each in needed(case.blueprint, name):
            if rule := dropped_by(seen.tables, each.hook, each.packet):
                yield Diagnosis(Fault.FIREWALL, name, (f"{each}: {rule}",))


# Addresses


def _arp(case: Case) -> Iterator[Diagnosis]:
    """Who answers for what floats between directors."""
    servers, hosts = case.blueprint.declaration.real_server, set(case.blueprint.declaration.hosts())
    for name, seen in case.examined.items():
        for address, macs in seen.answered.items():
            for mac in sorted(macs):
                owner = case.owner(mac)
                said = f"asked by {name}: {address} is at {mac}"
                if owner in servers:
                    yield _answers(case, str(owner), address, said)
                elif owner is None and hosts == case.examined.keys():
                    yield Diagnosis(Fault.ADDRESS_TAKEN, "", (said,))


def _answers(case: Case, server: str, address: IPv4Address, said: str) -> Diagnosis:
    """A deploy makes servers silent about what is on a device of ours, and takes nothing from others."""
    for held, device in case.examined[server].held:
        if held.ip == address and device not in {"lo", "dummy0", "tunl0"}:
            cure = f"ip addr del {held} dev {device}, there and where it is configured"
            return Diagnosis(Fault.ARP, server, (f"{said}; it is on {device}",), cure)
    return Diagnosis(Fault.ARP, server, (said,))


def _neighbours(case: Case) -> Iterator[Diagnosis]:
    declaration = case.blueprint.declaration
    for name, seen in case.examined.items():
        for address in floating_addresses(declaration):
            mac = seen.neighbours.get(address)
            owner = case.owner(mac) if mac else None
            if owner is None or owner == name:
                continue
            said = f"ip neigh: {address} is at {mac} ({owner})"
            if owner in declaration.real_server:
                yield Diagnosis(Fault.NEIGHBOUR, name, (said,), f"ip neigh flush to {address}, on {name}")
            elif name in declaration.real_server and _held_by_others(case, address, owner):
                yield Diagnosis(Fault.GATEWAY, name, (said,), f"ip neigh flush to {address}, on {name}")


def _held_by_others(case: Case, address: IPv4Address, director: str) -> bool:
    holders = {view.name for view in case.status.directors if address in view.holds}
    return bool(holders) and director not in holders


def _marks(case: Case) -> Iterator[Diagnosis]:
    """The how-to's mark, beside what is ours or without it: it sends answers that are not nat's to the director, too."""
    for name in case.blueprint.declaration.real_server:
        if name not in case.examined or name not in case.answers.states:
            continue
        for rule in to_directors(case.blueprint, name, case.examined[name].marks, case.answers.states[name]):
            cure = f"iptables -t mangle -D {rule.removeprefix('-A ')}"
            yield Diagnosis(Fault.RETURN_PATH_DOUBLED, name, (f"by another hand: {rule}",), cure)


def _packet_sizes(case: Case) -> Iterator[Diagnosis]:
    sizes = {name: seen.mtu for name, seen in case.examined.items() if seen.mtu}
    if case.blueprint.declaration.tun.mtu or not sizes:
        return
    (usual, hosts), *others = Counter(sizes.values()).most_common()
    if others and others[0][1] == hosts:
        # Which of them is meant, only the network's own size says.
        names = {
            mtu: ", ".join(name for name, size in sizes.items() if size == mtu) for mtu in sorted(set(sizes.values()))
        }
        yield Diagnosis(Fault.PACKET_SIZE, "", tuple(f"MTU {mtu}: {who}" for mtu, who in names.items()))
        return
    for name, mtu in sizes.items():
        if mtu != usual:
            interface = case.blueprint.declaration.host(name).interface
            cure = f"ip link set {interface} mtu {usual}, there and where it is configured"
            yield Diagnosis(Fault.PACKET_SIZE, name, (f"{interface} has MTU {mtu}, most hosts have {usual}",), cure)


# Directors


def _directors(case: Case) -> Iterator[Diagnosis]:
    views = case.status.directors
    for view in views:
        if view.part in {Part.STOPPED, Part.STRAY}:
            yield Diagnosis(Fault.STOPPED, view.name, (view.why,))
    asked = [view for view in views if view.part not in {Part.DEAD, Part.NOT_ASKED}]
    for address in floating_addresses(case.blueprint.declaration):
        holders = [view.name for view in asked if address in view.holds]
        if len(holders) > 1:
            yield Diagnosis(Fault.SPLIT_BRAIN, _BOTH.join(holders), (f"both hold {address}",))
        elif not holders and asked and (len(asked) == len(views) or _nobody_serves(case, address)):
            yield Diagnosis(Fault.NOBODY, "", (f"nobody holds {address}",))


def _nobody_serves(case: Case, address: IPv4Address) -> bool:
    """Whether one that cannot be asked (its sshd, a firewall) does not serve either: it would advertise, or answer by ARP."""
    seen = case.examined.values()
    heard = any(advert.priority for each in seen for advert in each.adverts)
    return bool(seen) and not heard and not any(each.answered.get(address) for each in seen)


def _adverts(case: Case) -> Iterator[Diagnosis]:
    """What is on the wire with our id."""
    declaration = case.blueprint.declaration
    seen_on = {name: case.examined[name].held for name in declaration.director if name in case.examined}
    names = {held.ip: name for name, all_held in seen_on.items() for held, _ in all_held}
    names |= {director.address: name for name, director in declaration.director.items()}
    heard = dict.fromkeys(advert for seen in case.examined.values() for advert in seen.adverts if advert.priority)
    identity = declaration.vrrp.virtual_router_id
    for advert in heard:
        if advert.source not in names:
            said = f"{advert.source} advertises id {identity}, version {advert.version}, priority {advert.priority}"
            yield Diagnosis(Fault.VRRP_STRANGER, "", (said,))
        elif why := _other_terms(case.blueprint, advert):
            yield Diagnosis(Fault.VRRP_TERMS, names[advert.source], (why,))
    marks = {advert.source: advert.password for advert in heard if advert.source in names and advert.version == 2}  # noqa: PLR2004
    if len(set(marks.values())) > 1:
        advertise = {names[source] for source in marks}
        changed = {d.host for d in _as_declared(case) if d.fault in {Fault.OTHERWISE, Fault.OLDER_FILE}} & advertise
        for who in changed or {" and ".join(sorted(advertise))}:
            yield Diagnosis(Fault.VRRP_TERMS, who, ("its password is not the other director's",))


def _other_terms(blueprint: Blueprint, advert: Advert) -> str:
    declaration = blueprint.declaration
    wanted = floating_addresses(declaration)[:1]
    if advert.version != declaration.vrrp.version:
        return f"it advertises by version {advert.version}, declared is {declaration.vrrp.version}"
    if set(advert.addresses) != set(wanted):
        return f"it advertises {', '.join(map(str, advert.addresses)) or 'nothing'}, not {', '.join(map(str, wanted))}"
    return ""


# Servers


def _servers(case: Case) -> Iterator[Diagnosis]:
    serving = case.status.serving
    if serving is None:
        return
    questions = {(e, name): ask for e, name, _, _, ask in asks(case.blueprint.declaration, serving)}
    by_place = {(place(e), name): ask for (e, name), ask in questions.items()}
    for endpoint in case.status.endpoints:
        if not endpoint.in_table:
            yield Diagnosis(Fault.TABLE, serving, (f"{endpoint} is not in the kernel's table",))
            continue
        for server in endpoint.servers:
            ask = by_place.get(((endpoint.protocol, endpoint.address, endpoint.port), server.name))
            yield from _server(case, endpoint, server, ask)


def _backups(case: Case) -> Iterator[Diagnosis]:
    for each in case.status.unready if not case.status.under_way else ():
        if each.server not in case.answers.dead:
            said = f"{_on_backup(each.director)} in {each.service} {each.endpoint}: {each.why}"
            yield Diagnosis(Fault.OUT, each.server, (said,), f"journalctl -u keepalived on {each.director}")


def _on_backup(director: str) -> str:
    return f"out of rotation on {director}, the backup,"


def _server(case: Case, endpoint: EndpointView, server: ServerView, ask: Ask | None) -> Iterator[Diagnosis]:
    if server.name in case.answers.dead or server.health not in {Health.OUT, Health.SERVING}:
        return
    if server.health is Health.SERVING and not server.why:
        return
    in_rotation = "in rotation all the same" if server.health is Health.SERVING else "out of rotation"
    said = f"{in_rotation} in {endpoint.service} {endpoint}: {server.why}"
    yield Diagnosis(_why_out(case, server, ask), server.name, (said,))


def _why_out(case: Case, server: ServerView, ask: Ask | None) -> Fault:
    own = case.answers.pulses.get(server.name)
    if own and own.listening is not None and server.port not in own.listening:
        return Fault.DATABASE_DOWN
    of_ours = ask and ask.port == CLUSTERCHECK_PORT and ask.path
    itself = own.answers.get(Ask(LOOPBACK, ask.port, ask.path), "") if own and ask and of_ours else ""
    if of_ours and itself.startswith("503"):
        return Fault.NOT_SYNCED
    if of_ours and own and not itself.startswith("200") and not _asks_itself_in_vain(case, server.name):
        return Fault.CLUSTERCHECK
    return Fault.OUT


def _asks_itself_in_vain(case: Case, server: str) -> bool:
    """A firewall that names no interface also drops what a server asks its own health service."""
    question = Packet(TCP, CLUSTERCHECK_PORT, LOOPBACK, "lo", target=LOOPBACK)
    seen = case.examined.get(server)
    return seen is not None and dropped_by(seen.tables, "input", question) is not None


_LOOKS: tuple[Callable[[Case], Iterator[Diagnosis]], ...] = (
    _hosts,
    _as_declared,
    _firewalls,
    _arp,
    _neighbours,
    _marks,
    _packet_sizes,
    _directors,
    _adverts,
    _servers,
    _backups,
    _clocks,
    _denied,
    _left_behind,
)

_BOTH = " and "

# What follows from what, on the same host; and what follows wherever it is.
_SAME_HOST = {
    Fault.TRIAL: {Fault.TABLE, Fault.STOPPED, Fault.OTHERWISE},
    Fault.MODULE: {Fault.TUNNEL, Fault.VIP_MISSING, Fault.RP_FILTER, Fault.PACKET_SIZE, Fault.OTHERWISE, Fault.TABLE},
    Fault.TUNNEL: {Fault.VIP_MISSING, Fault.RP_FILTER, Fault.PACKET_SIZE, Fault.OTHERWISE},
    Fault.FIREWALL: {Fault.OUT},
    Fault.BOUND: {Fault.DATABASE_DOWN, Fault.OUT},
    Fault.DATABASE_DOWN: {Fault.NOT_SYNCED, Fault.OUT},
    Fault.CLUSTERCHECK: {Fault.OUT},
    Fault.NOT_SYNCED: {Fault.OUT},
    Fault.GATEWAY: {Fault.RETURN_PATH},
    Fault.OLDER_FILE: {Fault.TABLE},
    Fault.STOPPED: {Fault.TABLE},
    Fault.VRRP_TERMS: {Fault.OTHERWISE, Fault.OLDER_FILE},
}
_ANYWHERE = {
    Fault.VRRP_STRANGER: {Fault.SPLIT_BRAIN, Fault.NOBODY},
    Fault.VRRP_TERMS: {Fault.SPLIT_BRAIN},
    Fault.OLDER_FILE: {Fault.SPLIT_BRAIN},
    Fault.STOPPED: {Fault.NOBODY},
    Fault.ARP: {Fault.NEIGHBOUR},
    Fault.TRIAL: {Fault.SPLIT_BRAIN, Fault.NOBODY},
}


def _without_consequences(found: list[Diagnosis]) -> Iterator[Diagnosis]:
    """Each fault with what follows from it, which is not told on its own."""
    follows: dict[int, list[str]] = {}
    cures: dict[int, str] = {}
    gone = set[int]()
    for number, each in enumerate(found):
        for cause_number, cause in enumerate(found):
            if _is_cause(cause, each) and cause_number != number and cause_number not in gone:
                gone.add(number)
                where = f"{each.host}: " if each.host and each.host != cause.host else ""
                follows.setdefault(cause_number, []).append(f"{where}{each.what}: {each.evidence[0]}")
                if cause.by_deploy and each.by_overwriting:
                    cures[cause_number] = each.cure
                break
    for number, each in enumerate(found):
        if number not in gone:
            special = cures.get(number, each.special)
            yield replace(each, hence=tuple(follows.get(number, ())), special=special)


def _is_cause(cause: Diagnosis, other: Diagnosis) -> bool:
    if cause.fault is Fault.FIREWALL and other.fault is Fault.SPLIT_BRAIN:
        return any("VRRP" in line for line in cause.evidence)
    if cause.fault is Fault.STOPPED and other.fault is Fault.SPLIT_BRAIN:
        # Addresses that nobody there looks after: somebody gave them by hand, or keepalived was killed.
        return cause.host in other.host.split(_BOTH)
    if cause.fault is Fault.FIREWALL and other.fault is Fault.OUT and cause.host != other.host:
        return all(line.startswith(_on_backup(cause.host)) for line in other.evidence)
    same = cause.host == other.host and other.fault in _SAME_HOST.get(cause.fault, ())
    return same or other.fault in _ANYWHERE.get(cause.fault, ())
