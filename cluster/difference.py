"""Expected against seen: a pure comparison. Operations mend what it finds, plan and doctor show it.

What is missing or wrong is to be built; what is there of our own and no longer wanted is to be taken away, and only that: what
was never ours is never named.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from cluster import boot
from cluster.binding import refusals
from cluster.observed import HostState, SeenUnit
from cluster.parts import RECORDS, File, Footprint, Link, Part, Route, Rule, Thing, Unit, proc_path, staged_path
from cluster.routing import route_like_ours, rule_like_ours
from cluster.table import drift

Found = tuple[str, Any, str]
"""Kind of item, the item, and what is to be done with it, for people."""


class Action(StrEnum):
    BUILD = "build"
    """Something is missing or not as declared."""
    REMOVE = "remove"
    """Something of ours is no longer wanted."""
    TELL = "tell"
    """Something is not as it should be, and not ours to mend: a person is told how."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it should be."""

    thing: Thing
    action: Action
    item: Any
    """What of `cluster.parts` it is about: File, Link, Address, Route, Rule, Chain, Unit, or a name (see `kind`)."""
    kind: str
    what: str
    """For people: one line."""

    @property
    def is_software(self) -> bool:
        """It belongs to the installation of software, which goes before everything else."""
        early = self.kind == "file" and self.action is Action.BUILD and self.item.early
        return self.kind == "package" or early

    @property
    def is_rename(self) -> bool:
        """What the file says goes on under another name: nothing is taken from anybody."""
        return self.kind == "file" and self.action is Action.REMOVE and bool(self.item.successor)

    def may_go(self, held: Collection[Thing]) -> bool:
        """Whether it may be carried out while these things stay as they are."""
        return self.is_rename or self.thing not in held


def differences(wanted: Footprint, known: Footprint, seen: HostState) -> tuple[Difference, ...]:
    """All differences: what to build in the order of building, then what to remove in the opposite order.

    Of files for the next boot those are wanted that this host reads. `known` is all that could have been left there
    (`Blueprint.known`): what of it is there and not wanted goes.
    """
    wanted = boot.on_host(wanted, seen)
    build = [
        Difference(p.thing, Action.BUILD, item, kind, what)
        for p in wanted
        for kind, item, what in _Reasons(p, seen).all()
    ]
    build += [
        Difference(p.thing, Action.BUILD if refusal.unit else Action.TELL, refusal.unit, "listener", refusal.what)
        for p in wanted
        for refusal in refusals(p, seen)
    ]
    remove = [
        Difference(p.thing, Action.REMOVE, item, kind, what)
        for p in reversed(known)
        for kind, item, what in _Leftovers(p, wanted, seen).all()
    ]
    if not wanted and seen.records:
        # A host that leaves. Last: what was to be put back was put back from there.
        remove.append(Difference(Thing.KERNEL, Action.REMOVE, RECORDS, "records", f"remove {' and '.join(RECORDS)}"))
    return (*build, *remove)


@dataclass(frozen=True)
class _Reasons:
    """What one part lacks, kind by kind, in the order in which it is built: (kind, item, what)."""

    part: Part
    seen: HostState

    def all(self) -> Iterator[Found]:
        yield from self.software()
        for file in self.part.files:
            if why := _file_differs(file, self.seen):
                yield "file", file, f"{why} {file.path}"
        yield from (("module", m, f"load module {m}") for m in self.part.modules if m not in self.seen.modules)
        yield from self.devices()
        yield from self.sysctls()
        yield from self.packet_paths()
        for unit in self.part.units:
            if why := unit_differs(unit, self.seen.units.get(unit.name)):
                yield "unit", unit, f"{unit.name}: {why}"
        yield from self.table()

    def table(self) -> Iterator[Found]:
        runs = not any(unit_differs(unit, self.seen.units.get(unit.name)) for unit in self.part.units)
        if self.part.table and runs:
            yield from (("table", mend, what) for mend, what in drift(self.part.table, self.seen))

    def software(self) -> Iterator[Found]:
        yield from (("package", p, f"install {p}") for p in self.part.packages if p not in self.seen.packages)
        yield from (("user", u, f"create system user {u}") for u in self.part.users if u not in self.seen.users)
        for user in self.part.database_users:
            # A server that is down cannot be asked; Galera brings the user from the others.
            if (
                self.seen.database == "up"
                and self.seen.database_users is not None
                and user not in self.seen.database_users
            ):
                yield "database user", user, f"create database user {user}@localhost (unix_socket, no rights)"

    def devices(self) -> Iterator[Found]:
        for link in self.part.links:
            if link.name not in self.seen.links:
                yield "link", link, f"create device {link.name}"
            elif not self.seen.links[link.name].up:
                yield "link", link, f"set device {link.name} up"

    def sysctls(self) -> Iterator[Found]:
        for key, value in self.part.sysctls.items():
            is_now = self.seen.sysctls.get(proc_path(key))
            # Some have several numbers, which the kernel shows with tabs between them.
            if is_now is None or is_now.split() != str(value).split():
                so_far = " ".join(is_now.split()) if is_now else "not there yet"
                yield "sysctl", (key, value), f"set {key} = {value} (is {so_far})"

    def packet_paths(self) -> Iterator[Found]:
        part, seen = self.part, self.seen
        yield from (
            ("address", a, f"add {a.address}/32 to {a.device}") for a in part.addresses if a not in seen.addresses
        )
        yield from (("route", r, f"add route {show_route(r)}") for r in part.routes if r not in seen.routes)
        # A doubled rule is not missing; the second one is a leftover.
        yield from (("rule", r, f"add rule {show_rule(r)}") for r in part.rules if r not in seen.rules)
        yield from (("chain", c, f"replace chain {c.name} in {c.table}") for c in part.chains if c not in seen.chains)


def _file_differs(file: File, seen: HostState) -> str | None:
    there = seen.files.get(file.path)
    if there is None:
        return "write"
    if there.sha256 != file.sha256:
        return "rewrite"
    if there.mode != file.mode or there.owner != "root:root":
        return "set owner and mode of"
    return None


def unit_differs(unit: Unit, there: SeenUnit | None) -> str | None:
    """Why a unit does not run what it should, in a few words; None if it does."""
    if there is None or not there.active:
        return "start and enable"
    if not there.enabled:
        return "enable"
    if unit.revision is not None and there.revision != unit.revision:
        return "reload (runs an older configuration)" if unit.reload else "restart (runs an older version)"
    if there.stale:
        return "let systemd read its file again"
    return None


def _without_size(route: Route) -> Route:
    # A copy only where there is a difference: in nat each of a hundred servers knows a route to all others.
    return route if route.advmss is None else replace(route, advmss=None)


class _Leftovers:
    """What is there of one part and no longer wanted, kind by kind, in the order in which it is taken away."""

    def __init__(self, part: Part, wanted: Footprint, seen: HostState) -> None:
        self.part, self.wanted, self.seen = part, wanted, seen
        self.mine = next((p for p in wanted if p.thing is part.thing), Part(part.thing))

    def all(self) -> Iterator[Found]:
        yield from self.units()
        # After the unit, which would put it back; before the routes: without them a rule sends answers out directly.
        yield from (("rule", r, f"remove rule {show_rule(r)}") for r in _extra_rules(self.part, self.mine, self.seen))
        yield from self.packet_paths()
        yield from self.devices()
        for key in self.part.sysctls:
            if key in self.seen.before and not self._wanted("sysctls", key):
                yield "sysctl", key, f"set {key} back to {self.seen.before[key]}"
        wanted = {f.path for p in self.wanted for f in p.files}
        for file in self.part.files:
            for there in boot.places(file, self.seen):
                if there.path not in wanted:
                    now = there.successor if there.successor in wanted else ""
                    yield "file", replace(there, successor=now), f"remove {there.path}{f' (now {now})' if now else ''}"
            for half in sorted(self.seen.half_written):
                if fnmatchcase(half, staged_path(file.path)):
                    yield "half-written file", half, f"remove {half} (half-written)"
        yield from self.users()

    def users(self) -> Iterator[Found]:
        """After the service that runs as one of them."""
        for user in self.part.database_users:
            if user in (self.seen.database_users or ()) and not self._wanted("database_users", user):
                yield "database user", user, f"remove database user {user}@localhost"
        for user in self.part.users:
            if user in self.seen.users and not self._wanted("users", user):
                yield "user", user, f"remove system user {user}"

    def _wanted(self, kind: str, item: object) -> bool:
        return any(item in getattr(part, kind) for part in self.wanted)

    def units(self) -> Iterator[Found]:
        wanted = {unit.name for part in self.wanted for unit in part.units}
        for unit in self.part.units:
            there = self.seen.units.get(unit.name)
            ours = unit.ours or unit.lent_by in self.seen.files
            if ours and unit.name not in wanted and there and (there.active or there.enabled):
                yield "unit", unit, f"stop and disable {unit.name}"

    def packet_paths(self) -> Iterator[Found]:
        part, mine, seen = self.part, self.mine, self.seen
        # In a table that we use now all that we may have put there; in one that we may have used, only what we would put there.
        extra = seen.routes.difference(mine.routes)
        tables = {route.table for route in mine.routes} if extra else set()
        known = {_without_size(route) for route in part.routes} if extra else set()
        devices = {route.device for route in part.routes}
        for route in sorted(extra, key=str):
            like_ours = route_like_ours(route) and route.device in devices
            if like_ours and (route.table in tables or _without_size(route) in known):
                yield "route", route, f"remove route {show_route(route)}"
        unwanted = {chain.name for chain in part.chains} - {chain.name for chain in mine.chains}
        for chain in seen.chains:
            if chain.name in unwanted:
                yield "chain", chain, f"remove chain {chain.name} from {chain.table}"
        own = {address.device for address in part.addresses}
        for address in sorted(seen.addresses - set(mine.addresses), key=str):
            if address.device in own:
                yield "address", address, f"remove {address.address}/32 from {address.device}"

    def devices(self) -> Iterator[Found]:
        for link in self.part.links:
            if not self._wanted("links", link) and link.name in self.seen.links and _is_ours(link, self.seen):
                yield (
                    "link",
                    link,
                    f"remove device {link.name}" if link.kind == "dummy" else f"set device {link.name} down",
                )


def _is_ours(link: Link, seen: HostState) -> bool:
    """Whether there is something to take away: dummy0 only while a file of ours for it stands, tunl0 only while it is up."""
    return not seen.files.keys().isdisjoint(boot.device_paths(link)) and (
        link.kind == "dummy" or seen.links[link.name].up
    )


def _extra_rules(part: Part, mine: Part, seen: HostState) -> Iterator[Rule]:
    tables = {rule.table for rule in mine.rules}
    sources = {rule.source for rule in mine.rules if rule.source}
    once = list(mine.rules)
    for rule in seen.rules:
        if rule in once:
            once.remove(rule)
        elif rule in part.rules:
            yield rule
        elif rule.table in tables and (rule_like_ours(rule) or (rule.mark is None and rule.source in sources)):
            # One by hand for all that our source sends would lead more than answers through the director.
            yield rule


def show_rule(rule: Rule) -> str:
    """As `ip rule` writes it."""
    words = [f"pref {rule.preference}"]
    words += [f"from {rule.source}"] if rule.source else []
    words += [f"fwmark {rule.mark}"] if rule.mark else []
    words += [f"ipproto {rule.protocol}"] if rule.protocol else []
    words += [f"sport {rule.source_port}"] if rule.source_port else []
    return " ".join([*words, f"lookup {rule.table}"])


def show_route(route: Route) -> str:
    """As `ip route` takes it."""
    words = [route.kind] if route.kind != "unicast" else []
    words += [route.destination]
    words += [f"via {route.via}"] if route.via else []
    words += [f"dev {route.device}"] if route.device else []
    words += ["onlink"] if route.via else []
    words += [f"metric {route.metric}"] if route.metric else []
    words += [f"advmss {route.advmss}"] if route.advmss else []
    return " ".join([*words, f"table {route.table}"])


def by_things(found: Iterable[Difference], things: Iterable[Thing], action: Action) -> tuple[Difference, ...]:
    wanted = frozenset(things)
    return tuple(d for d in found if d.thing in wanted and d.action is action)
