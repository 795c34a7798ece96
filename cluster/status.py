"""How a cluster is: from the declaration, and what its hosts answered, to a view of all that an operator asks at night. Pure.

What is not as it should be is said once more, in a line each, in `Status.troubles`: none means healthy. A server that was
drained or stands by, and a change that is under way, are no trouble.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from ipaddress import IPv4Address

from cluster.footprint import Blueprint
from cluster.history import Lock, history, locks, unfinished
from cluster.keepalived import Destination, Endpoint, VirtualServer, configuration, floating_addresses
from cluster.observed import HostState, SeenDestination, SeenService
from cluster.plan import plan
from cluster.pulse import Ask, Pulse, Traffic, place
from cluster.pulse import asks as asked_by
from cluster.views import DirectorView, EndpointView, Health, Part, ServerView, Status, Unready
from cluster.why import PASSES, contradicted, stands_by, why_out

__all__ = ["BUSY", "Answers", "DirectorView", "EndpointView", "Health", "Part", "ServerView", "Status", "status"]
# Who asks how a cluster is has the words of the answer from here, too.

BUSY = "a change is under way there"
NOT_YET = "it has not said yet all that is compared"
"""Of a host that answered again after a look at everything."""
NO_TROUBLE = frozenset({BUSY, NOT_YET})
"""Why a host's state could not be had that is no trouble."""


@dataclass(frozen=True)
class Answers:
    """What the hosts said. A host that is in none of these was not asked."""

    at: datetime
    pulses: Mapping[str, Pulse]
    states: Mapping[str, HostState] = field(default_factory=dict)
    """All that is compared with the declaration, as last seen."""
    dead: Mapping[str, str] = field(default_factory=dict)
    """Hosts that cannot be asked, and why."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """Hosts that answer, but whose state could not be had, and why: `BUSY`, or something that is wrong."""
    late: Mapping[str, float] = field(default_factory=dict)
    """Hosts whose pulse is of an earlier look, and how many seconds old it is: this time they have not answered yet."""


def _never_stale_here(lock: Lock) -> str:
    return lock.why_stale("", lambda _: True)


def status(blueprint: Blueprint, answers: Answers, stale: Callable[[Lock], str] = _never_stale_here) -> Status:
    """`stale` says why nobody is at work any more who holds a lock, or ""."""
    declaration = blueprint.declaration
    directors = tuple(_director(blueprint, name, answers) for name in declaration.director)
    serving = _serving(directors)
    endpoints = tuple(_endpoints(blueprint, serving, answers))
    drift = tuple(_drift(blueprint, answers)) if answers.states else ()
    held = locks({name: pulse.lock for name, pulse in answers.pulses.items()})
    told = {name: pulse.history for name, pulse in answers.pulses.items() if name in declaration.director}
    found = Status(
        cluster=declaration.name,
        mode=declaration.mode,
        at=answers.at,
        serving=serving,
        directors=directors,
        endpoints=endpoints,
        unready=tuple(_unready(blueprint, directors, endpoints, answers)),
        dead={name: answers.dead[name] for name in declaration.hosts() if name in answers.dead},
        drift=drift,
        drift_unknown=_not_compared(answers),
        locks=tuple((lock, stale(lock)) for lock in held),
        unfinished=unfinished(history(told, {}).entries),
        troubles=(),
    )
    return replace(found, troubles=tuple(_troubles(blueprint, found)))


# Directors


def _director(blueprint: Blueprint, name: str, answers: Answers) -> DirectorView:
    declared = blueprint.declaration.director[name]
    pulse = answers.pulses.get(name)
    floating = floating_addresses(blueprint.declaration)
    holds = tuple(address for address in floating if pulse and pulse.holds(address))
    if pulse is None:
        part = Part.DEAD if name in answers.dead else Part.NOT_ASKED
        return DirectorView(name, declared.address, part, None, declared.priority, (), 0, answers.dead.get(name, ""))
    # One that takes its leave (in a failover, for a second or two) still serves what it holds.
    runs = pulse.keepalived in {"active", "reloading", "deactivating"}
    if holds:
        part = Part.ACTIVE if runs else Part.STRAY
    elif runs:
        # One director that serves on its own address: nothing floats.
        part = Part.BACKUP if floating else Part.ACTIVE
    else:
        part = Part.STOPPED
    if rivals := _taken_over(name, holds, answers):
        part, holds = Part.SILENT, ()
        silent = f"no answer for {answers.late[name]:.0f} s, and {' and '.join(rivals)} took over"
        return DirectorView(name, declared.address, part, pulse.priority, declared.priority, holds, 0, silent)
    connections = sum(d.active for service in pulse.services for d in service.destinations)
    why = "" if runs else f"keepalived is {pulse.keepalived or 'not there'}"
    return DirectorView(name, declared.address, part, pulse.priority, declared.priority, holds, connections, why)


def _taken_over(name: str, holds: tuple[IPv4Address, ...], answers: Answers) -> tuple[str, ...]:
    """Who holds now what this one held when it last answered: of a director that lost its power the old answer stays a while."""
    if name not in answers.late:
        return ()
    newer = {host: pulse for host, pulse in answers.pulses.items() if host not in answers.late}
    return tuple(host for host, pulse in newer.items() if any(pulse.holds(address) for address in holds))


def _serving(directors: tuple[DirectorView, ...]) -> str | None:
    """Whose table is shown: that of one that holds the addresses, else of one that runs."""
    for part in (Part.ACTIVE, Part.STRAY, Part.BACKUP):
        for director in directors:
            if director.part is part:
                return director.name
    return None


# Services


def _endpoints(blueprint: Blueprint, serving: str | None, answers: Answers) -> Iterator[EndpointView]:
    declaration = blueprint.declaration
    director = serving or next(iter(declaration.director))
    pulse = answers.pulses.get(director)
    table = {place(service.endpoint): service for service in pulse.services} if pulse else {}
    asks = {(endpoint, name): ask for endpoint, name, _, _, ask in asked_by(declaration, director)}
    for server in configuration(declaration, director).virtual_servers:
        service = table.get(place(server.endpoint))
        rows = _Rows(server, service, pulse, answers, asks)
        yield EndpointView(
            server.endpoint.service,
            server.endpoint.address,
            server.endpoint.port,
            server.endpoint.protocol,
            server.scheduler,
            declaration.mode,
            tuple(sorted({d.mode for d in service.destinations})) if service else (),
            service is not None,
            (*(rows.declared(destination) for destination in server.destinations), *rows.strangers()),
        )


def _unready(
    blueprint: Blueprint, directors: tuple[DirectorView, ...], active: tuple[EndpointView, ...], answers: Answers
) -> Iterator[Unready]:
    """Each director checks the servers by itself, by ways of its own: what a backup does not reach is lost at the next failover.

    Where its own question passes, keepalived has just started, or the server has just come back: its next check takes it in.
    """
    if not any(director.part in {Part.ACTIVE, Part.STRAY} for director in directors):
        return
    serving = {(e.place, s.name) for e in active for s in e.servers if s.health is Health.SERVING}
    for director in directors:
        if director.part is not Part.BACKUP:
            continue
        for endpoint in _endpoints(blueprint, director.name, answers):
            for server in endpoint.servers:
                missed = server.weight is None and (endpoint.place, server.name) in serving
                if missed and server.why != PASSES:
                    yield Unready(director.name, server.name, endpoint.service, endpoint.place, server.why)


@dataclass(frozen=True)
class _Rows:
    """The servers of one endpoint."""

    server: VirtualServer
    service: SeenService | None
    pulse: Pulse | None
    """The director's whose table it is."""
    answers: Answers
    asks: Mapping[tuple[Endpoint, str], Ask]

    def declared(self, wanted: Destination) -> ServerView:
        there = self._there(wanted.address, wanted.port)
        return self._row(wanted, there, *self._health(wanted, there))

    def strangers(self) -> Iterator[ServerView]:
        known = {(d.address, d.port) for d in self.server.destinations}
        for there in self.service.destinations if self.service else ():
            if (there.address, there.port) not in known:
                stranger = Destination(str(there.address), there.address, there.port, 0, None)
                yield self._row(stranger, there, Health.STRANGER, "it is not declared")

    def _there(self, address: IPv4Address, port: int) -> SeenDestination | None:
        found = self.service.destinations if self.service else ()
        return next((d for d in found if (d.address, d.port) == (address, port)), None)

    def _health(self, wanted: Destination, there: SeenDestination | None) -> tuple[Health, str]:
        ask = self.asks.get((self.server.endpoint, wanted.name))
        own = self.answers.pulses.get(wanted.name)
        if self.pulse is None:
            return Health.UNKNOWN, ""
        if there is not None:
            health = Health.DRAINED if wanted.weight == 0 else Health.SERVING if there.weight else Health.OUT
            if health is Health.OUT:
                return health, "its weight in the kernel is 0"
            return health, contradicted(ask, own) if health is Health.SERVING else ""
        state = self.answers.states.get(wanted.name)
        dead = wanted.name in self.answers.dead
        why = why_out(wanted, ask, director=self.pulse, own=own, state=state, dead=dead)
        if wanted.weight == 0:
            return Health.DRAINED, why
        by_design = self._another_serves() and stands_by(wanted, ask, director=self.pulse, own=own, state=state)
        return Health.STANDBY if by_design else Health.OUT, why

    def _another_serves(self) -> bool:
        """A declared one: of several that all stand by nobody is the writer."""
        return any(there.weight for d in self.server.destinations if (there := self._there(d.address, d.port)))

    def _row(self, wanted: Destination, there: SeenDestination | None, health: Health, why: str) -> ServerView:
        key = (place(self.server.endpoint), wanted.address, wanted.port)
        return ServerView(
            name=wanted.name,
            address=wanted.address,
            port=wanted.port,
            declared=wanted.weight,
            weight=there.weight if there else None,
            mode=there.mode if there else None,
            health=health,
            why=why,
            active=there.active if there else 0,
            inactive=there.inactive if there else 0,
            total=self.pulse.totals.get(key, Traffic()) if self.pulse else Traffic(),
            rate=self.pulse.rates.get(key, Traffic()) if self.pulse else Traffic(),
        )


# What is wrong


def _not_compared(answers: Answers) -> dict[str, str]:
    """Of whom nothing was compared, though others were: that must not be taken for "as declared"."""
    known = answers.states.keys() | answers.unseen.keys()
    late = [name for name in answers.pulses if name not in known] if answers.states else []
    return {**answers.unseen, **dict.fromkeys(late, NOT_YET)}


def _drift(blueprint: Blueprint, answers: Answers) -> Iterator[tuple[str, str]]:
    """What a deploy would do, and what only a person can."""
    seen = {host: answers.states.get(host) for host in blueprint.declaration.hosts()}
    found = plan(blueprint, seen, {**answers.dead, **answers.unseen})
    for step in found.steps:
        for host, changes in step.changes.items():
            yield from ((host, change.what) for change in changes)
    yield from found.told.items()
    yield from ((clash.host, clash.what) for clash in found.clashes)


def _troubles(blueprint: Blueprint, found: Status) -> Iterator[str]:
    """While somebody changes the cluster it differs from the declaration: that is no trouble then."""
    yield from (f"{host} cannot be asked: {why.splitlines()[0]}" for host, why in found.dead.items())
    yield from _of_directors(blueprint, found)
    for endpoint in found.endpoints:
        yield from _of_endpoint(endpoint, found)
    yield from _told_once(_of_servers(found))
    if not found.under_way:
        yield from _told_once(_of_backups(found))
    unseen = {host: why for host, why in found.drift_unknown.items() if why not in NO_TROUBLE}
    yield from (f"{host} could not be compared: {why.splitlines()[0]}" for host, why in unseen.items())
    if found.drift and not found.under_way:
        hosts = ", ".join(dict.fromkeys(host for host, _ in found.drift))
        count = len(found.drift)
        what = "1 difference" if count == 1 else f"{count} differences"
        yield f"{what} from the declaration on {hosts} (lbctl plan)"
    if found.unfinished and not found.under_way:
        change = found.unfinished
        both = "lbctl switch-mode --resume goes on, --abort goes back"
        cure = "lbctl deploy" if change.before in {None, change.after} else both
        yield f"change {change.number} ({change.what}) was never finished ({cure})"
    yield from (f"a lock was left behind by {lock}: {stale} (lbctl unlock)" for lock, stale in found.locks if stale)


def _of_directors(blueprint: Blueprint, found: Status) -> Iterator[str]:
    floating = floating_addresses(blueprint.declaration)
    for director in found.directors:
        if director.part in {Part.STOPPED, Part.STRAY, Part.SILENT}:
            holds = " and it holds addresses all the same" if director.part is Part.STRAY else ""
            yield f"{director.name}: {director.why}{holds}"
        if director.priority not in {None, director.declared_priority} and not found.under_way:
            yield f"{director.name}: its priority is {director.priority}, declared is {director.declared_priority}"
    asked = [d for d in found.directors if d.part not in {Part.DEAD, Part.SILENT, Part.NOT_ASKED}]
    holders = {address: tuple(d.name for d in asked if address in d.holds) for address in floating}
    for several in dict.fromkeys(names for names in holders.values() if len(names) > 1):
        held = ", ".join(str(address) for address, names in holders.items() if names == several)
        yield f"split brain: {' and '.join(several)} hold {held}"
    missing = [str(address) for address, names in holders.items() if not names]
    if missing and len(asked) == len(found.directors):
        yield f"no director holds {', '.join(missing)}"
    elif missing and not any(d.part is Part.NOT_ASKED for d in found.directors):
        yield f"no director that could be asked holds {', '.join(missing)}"


def _of_endpoint(endpoint: EndpointView, found: Status) -> Iterator[str]:
    where = f"{endpoint.service} {endpoint.place}"
    if found.serving is None:
        return
    if not endpoint.in_table:
        yield f"{where} is not in the kernel's table of {found.serving}"
        return
    for server in endpoint.servers if not found.under_way else ():
        yield from (f"{where}: {what}" for what in _otherwise(server, endpoint))
    if not any(server.weight for server in endpoint.servers):
        yield f"{where}: nobody serves it"


def _of_servers(found: Status) -> Iterator[tuple[str, str]]:
    for endpoint in found.endpoints:
        for server in endpoint.servers if endpoint.in_table else ():
            what = ""
            if server.health is Health.OUT:
                what = f"{server.name} is out of {{}}: {server.why}"
            elif server.health is Health.SERVING and server.why:
                what = f"{server.name} is in rotation in {{}}, but {server.why}"
            if what:
                yield what, f"{endpoint.service} {endpoint.place}"


def _of_backups(found: Status) -> Iterator[tuple[str, str]]:
    for each in found.unready:
        what = f"{each.director}, the backup, would send clients of {{}} not to {each.server}: {each.why}"
        yield what, f"{each.service} {each.endpoint}"


def _told_once(said: Iterable[tuple[str, str]]) -> Iterator[str]:
    """What is said of a server in several places is one trouble. `said`: what, with {} for where, and where."""
    places: dict[str, list[str]] = {}
    for what, where in said:
        places.setdefault(what, []).append(where)
    yield from (what.replace("{}", ", ".join(all_of_them), 1) for what, all_of_them in places.items())


def _otherwise(server: ServerView, endpoint: EndpointView) -> Iterator[str]:
    """What differs from the declaration in the kernel's table."""
    if server.health is Health.STRANGER:
        yield f"{server.name} gets connections and is not declared"
    elif server.health is not Health.OUT and server.weight not in {None, server.declared}:
        yield f"{server.name} has weight {server.weight}, declared is {server.declared}"
    if server.mode not in {None, endpoint.declared_mode}:
        yield f"{server.name} is served by {server.mode}, declared is {endpoint.declared_mode}"
