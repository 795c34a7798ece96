"""Expected against seen: a pure comparison. Operations mend what it finds, plan and doctor show it.

What is missing or wrong is to be built; what is there of our own and no longer wanted is to be taken away, and only that: what
was never ours is never named.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cluster.observed import HostState, SeenUnit
from cluster.parts import File, Footprint, Link, Part, Route, Rule, Thing, Unit, proc_path


class Action(StrEnum):
    BUILD = "build"
    """Something is missing or not as declared."""
    REMOVE = "remove"
    """Something of ours is no longer wanted."""


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


def differences(wanted: Footprint, known: Footprint, seen: HostState) -> tuple[Difference, ...]:
    """All differences: what to build in the order of building, then what to remove in the opposite order.

    `known` is the footprint of all modes: what of it is there and not wanted goes.
    """
    build = [difference for part in wanted for difference in _missing(part, seen)]
    remove = [difference for part in reversed(known) for difference in _leftover(part, wanted, seen)]
    return (*build, *remove)


def _missing(part: Part, seen: HostState) -> Iterator[Difference]:
    def build(kind: str, item: object, what: str) -> Difference:
        return Difference(part.thing, Action.BUILD, item, kind, what)

    yield from (build("package", p, f"install {p}") for p in part.packages if p not in seen.packages)
    yield from (build("user", u, f"create system user {u}") for u in part.users if u not in seen.users)
    if seen.database == "up":
        for user in part.database_users:
            if user not in seen.database_users:
                yield build("database user", user, f"create database user {user}@localhost (unix_socket, no rights)")
    for file in part.files:
        if why := _file_differs(file, seen):
            yield build("file", file, f"{why} {file.path}")
    yield from (build("module", m, f"load module {m}") for m in part.modules if m not in seen.modules)
    for link in part.links:
        if link.name not in seen.links:
            yield build("link", link, f"create device {link.name}")
        elif not seen.links[link.name].up:
            yield build("link", link, f"set device {link.name} up")
    for key, value in part.sysctls.items():
        is_now = seen.sysctls.get(proc_path(key))
        if is_now != str(value):
            yield build("sysctl", (key, value), f"set {key} = {value} (is {is_now or 'not there yet'})")
    yield from (
        build("address", a, f"add {a.address}/32 to {a.device}") for a in part.addresses if a not in seen.addresses
    )
    yield from (build("route", r, f"add route {show_route(r)}") for r in part.routes if r not in seen.routes)
    # A doubled rule is not missing; `_leftover` takes away the second.
    yield from (build("rule", r, f"add rule {show_rule(r)}") for r in part.rules if r not in seen.rules)
    yield from (build("chain", c, f"replace chain {c.name} in {c.table}") for c in part.chains if c not in seen.chains)
    for unit in part.units:
        if why := unit_differs(unit, seen.units.get(unit.name)):
            yield build("unit", unit, f"{unit.name}: {why}")


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


def _leftover(part: Part, wanted: Footprint, seen: HostState) -> Iterator[Difference]:
    def remove(kind: str, item: object, what: str) -> Difference:
        return Difference(part.thing, Action.REMOVE, item, kind, what)

    keep = {p.thing: p for p in wanted}
    mine = keep.get(part.thing) or Part(part.thing)
    wanted_files = {file.path for p in wanted for file in p.files}
    wanted_units = {unit.name for p in wanted for unit in p.units}
    wanted_sysctls = {key for p in wanted for key in p.sysctls}
    for unit in part.units:
        there = seen.units.get(unit.name)
        if unit.ours and unit.name not in wanted_units and there and (there.active or there.enabled):
            yield remove("unit", unit, f"stop and disable {unit.name}")
    # After the unit, which would put it back; before the routes: without them a rule sends answers out directly.
    yield from (remove("rule", r, f"remove rule {show_rule(r)}") for r in _extra_rules(part, mine, seen))
    tables = {r.table for r in part.routes}
    for route in sorted(seen.routes - set(mine.routes), key=str):
        if route.table in tables:
            yield remove("route", route, f"remove route {show_route(route)}")
    for chain in seen.chains:
        if chain.name in {c.name for c in part.chains} - {c.name for c in mine.chains}:
            yield remove("chain", chain, f"remove chain {chain.name} from {chain.table}")
    devices = {a.device for a in part.addresses}
    for address in sorted(seen.addresses - set(mine.addresses), key=str):
        if address.device in devices:
            yield remove("address", address, f"remove {address.address}/32 from {address.device}")
    wanted_links = {link.name for p in wanted for link in p.links}
    for link in part.links:
        if link.name not in wanted_links and link.name in seen.links and _is_ours(link, seen):
            yield remove(
                "link", link, f"remove device {link.name}" if link.kind == "dummy" else f"set device {link.name} down"
            )
    for key in part.sysctls:
        if key not in wanted_sysctls and key in seen.before:
            yield remove("sysctl", key, f"set {key} back to {seen.before[key]}")
    for file in part.files:
        if file.path not in wanted_files and file.path in seen.files:
            yield remove("file", file, f"remove {file.path}")


def _is_ours(link: Link, seen: HostState) -> bool:
    """Whether there is something to take away: dummy0 only while our file for it stands, tunl0 only while it is up."""
    return f"/etc/network/interfaces.d/lbctl-{link.name}" in seen.files and (
        link.kind == "dummy" or seen.links[link.name].up
    )


def _extra_rules(part: Part, mine: Part, seen: HostState) -> Iterator[Rule]:
    tables = {rule.table for rule in part.rules}
    once = list(mine.rules)
    for rule in seen.rules:
        if rule in once:
            once.remove(rule)
        elif rule.table in tables:
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
    return " ".join([*words, f"table {route.table}"])


def by_thing(found: Iterable[Difference], thing: Thing, action: Action) -> tuple[Difference, ...]:
    return tuple(d for d in found if d.thing is thing and d.action is action)
