"""A change of a cluster that runs: from one declaration to another. What it means for clients, and what must be waited for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cluster.declaration import Declaration
from cluster.errors import HostError, RefusedError
from cluster.footprint import ALL_MODES, Blueprint
from cluster.keepalived import endpoints
from cluster.observed import Connection, HostState
from cluster.parts import Thing
from cluster.plan import Plan, Step, Work, plan
from cluster.reading import read
from cluster.still_used import clung_to, in_use_by, translated
from cluster.undeclared import removal
from cluster.units import duration
from cluster.vocabulary import Role

Standing = frozenset[tuple[str, Connection]]
"""Established connections, each with its server."""

LAST = frozenset({Work.WITHDRAW, Work.RETIRE})
"""What waits until nobody uses any more what is taken away."""


@dataclass(frozen=True)
class Drain:
    """How old connections are waited for, before what they use is taken away."""

    seconds: float | None = 600
    """At most; None: for as long as it takes. When it runs out nothing breaks: what they use stays."""
    cut: bool = False
    """Take it away then, with the connections."""


@dataclass(frozen=True)
class Change:
    """One command of an operator's. `before` and `after` are texts of the declaration; equal where it only carries it out."""

    what: str
    file: Path
    """The declaration's."""
    before: str
    after: str
    blueprint: Blueprint
    drain: Drain = field(default_factory=Drain)
    idle: frozenset[str] = frozenset()
    """Servers that are to have no client's connection before it is done."""
    remembered: bool = True
    """Whether it is written down in the history. Not where directors are to remember nothing any more."""
    goes_on: str = ""
    """The change of the same command that came before, as the history says it: to go back means to before that one."""


def was_deployed(change: Change, seen: Mapping[str, HostState | None]) -> bool:
    """Whether hosts are as the declaration before the change says, whoever deployed it: plain pyinfra writes no history."""
    before = Blueprint(read(change.before, str(change.file)), change.blueprint.render, change.blueprint.password)
    states = {name: seen.get(name) for name in before.declaration.hosts()}
    found = plan(before, states)
    return not found.none_asked and not found.refused and all(step.work in LAST for step in found.steps)


def clients_must_move(before: Declaration, after: Declaration) -> tuple[str, ...]:
    """A line for each place where clients find a service now and will not: where they find it then."""

    def places(declaration: Declaration) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in declaration.service}
        for director in declaration.director:
            for endpoint in endpoints(declaration, director):
                found[endpoint.service].append(str(endpoint))
        return {name: list(dict.fromkeys(all_)) for name, all_ in found.items()}

    then = places(after)
    return tuple(
        f"clients of {place} ({service}) must change to {' or '.join(then.get(service, [])) or 'nothing: it is no more'}"
        for service, now in places(before).items()
        for place in now
        if place not in then.get(service, [])
    )


def afterwards(change: Change, wanted: Plan) -> tuple[str, ...]:
    """What no step of the plan says: what is not tried, and what follows once directors have changed."""
    return (*_untried(change, wanted), *_forgotten(change.blueprint), *_left_over(change, wanted))


def _untried(change: Change, wanted: Plan) -> tuple[str, ...]:
    """Where passive directors stand down the active one is the first on the new terms, and so on the new mode."""
    before, after = change.blueprint.former, change.blueprint.declaration
    if before is None or before.mode is after.mode or not any(step.work is Work.STAND_DOWN for step in wanted.steps):
        return ()
    return (
        f"directors must agree on something new as well, so no passive one tries {after.mode} first: better "
        f"`lbctl deploy` with mode {before.mode}, then this",
    )


def _left_over(change: Change, wanted: Plan) -> tuple[str, ...]:
    before, after = change.blueprint.former, change.blueprint.declaration
    if before is None or before.mode is after.mode or any(step.work in LAST for step in wanted.steps):
        return ()
    limit = "for as long as it takes" if change.drain.seconds is None else f"at most {duration(change.drain.seconds)}"
    return (f"then: waits until no connection goes by {before.mode} ({limit}), and takes away what only that needs",)


def _forgotten(blueprint: Blueprint) -> tuple[str, ...]:
    gone = sorted(blueprint.leaving & set(blueprint.group(Role.DIRECTOR)))
    staying = set(blueprint.declaration.real_server) - blueprint.leaving
    if not (gone and staying and blueprint.declaration.clustercheck_wanted):
        return ()
    return (f"then: clustercheck on real servers answers {', '.join(gone)} no more",)


@dataclass(frozen=True)
class Wait:
    """What stood when directors had changed, of which nothing may be left."""

    change: Change
    standing: Standing
    dead: frozenset[str] = frozenset()
    """Servers that were to be idle and could not be asked from the beginning."""

    def in_vain(self, seen: Mapping[str, HostState | None]) -> bool:
        """Whether nothing is waited for but dead servers: who was connected there is cut off already."""
        return bool(self.dead) and not self.left({name: state for name, state in seen.items() if name not in self.dead})

    def left(self, seen: Mapping[str, HostState | None]) -> tuple[str, ...]:
        """Why the wait is not over: one line for each server or port, empty when it is."""
        blueprint = self.change.blueprint
        servers = {name: seen.get(name) for name in blueprint.group(Role.REAL_SERVER)}
        directors = {name: seen.get(name) for name in blueprint.group(Role.DIRECTOR)}
        silent = [f"{name} cannot be asked" for name, state in seen.items() if state is None]
        left = self.standing & _standing(self.change, seen)
        by_server = {name: sum(server == name for server, _ in left) for name in servers}
        lines = [f"{name}: {count} connection{'s' * (count > 1)}" for name, count in by_server.items() if count]
        places = {place for each in clung_to(blueprint, directors, quiet=True).values() for place in each}
        return (*lines, *(f"{place} is still used" for place in sorted(map(str, places))), *silent)


def wait(change: Change, seen: Mapping[str, HostState | None]) -> Wait | None:
    """What must be waited for from now on; None when nothing is to be taken away, nor any server to be idle."""
    blueprint = change.blueprint
    rest = [step for step in plan(replace_drained(blueprint), seen).steps if step.work in LAST]
    if not change.idle and not rest:
        return None
    standing = _standing(change, seen, of_modes=_takes_a_mode_away(blueprint, rest))
    return Wait(change, standing, frozenset(name for name in change.idle if seen.get(name) is None))


def _takes_a_mode_away(blueprint: Blueprint, rest: Sequence[Step]) -> bool:
    """Whether what goes from a host that stays belongs to some modes only. A director that leaves has handed over before."""
    return any(
        change.thing not in _of_every_mode(blueprint, host)
        for step in rest
        for host, changes in step.changes.items()
        if host not in blueprint.leaving
        for change in changes
    )


def _of_every_mode(blueprint: Blueprint, host: str) -> frozenset[Thing]:
    things = (frozenset(part.thing for part in blueprint.footprint(host, frozenset({mode}))) for mode in ALL_MODES)
    return frozenset.intersection(*things)


def _standing(change: Change, seen: Mapping[str, HostState | None], *, of_modes: bool = True) -> Standing:
    """Connections that use what is to be taken away, or servers that are to be idle. `of_modes`: that is something of a mode."""
    declaration = change.blueprint.declaration
    servers = {name: seen.get(name) for name in change.blueprint.group(Role.REAL_SERVER)}
    by_old: Standing = frozenset()
    if of_modes:
        by_old = in_use_by(declaration, ALL_MODES - {declaration.mode}, servers) | translated(declaration, seen)
    leaving = {name: state for name, state in servers.items() if name in change.idle | change.blueprint.leaving}
    return by_old | in_use_by(declaration, ALL_MODES, leaving)


def replace_drained(blueprint: Blueprint) -> Blueprint:
    """The same, knowing that no connection uses any mode but the declared one."""
    return replace(blueprint, drained=ALL_MODES - {blueprint.declaration.mode})


def refuse(change: Change, wanted: Plan) -> None:
    """Raises RefusedError where the change must not begin."""
    if wanted.undeclared and change.remembered:
        raise RefusedError(
            f"{change.file} names {', '.join(wanted.undeclared)} no more, and nobody would stop or clean what runs there; "
            "nothing was changed",
            cure="\n  → ".join(f"{name}: {what}" for name, what in wanted.undeclared.items()),
        )
    gone = next((name for name in sorted(change.blueprint.leaving) if name in wanted.unreachable), None)
    if gone:
        raise RefusedError(
            f"{gone} cannot be reached, so it cannot hand over or be emptied: {wanted.unreachable[gone]}",
            cure=f"mend that; or, where it is gone for good, say so: {removal(change.blueprint.role(gone), gone)} --dead "
            "(or --dead with lbctl switch-mode --resume or --abort)",
        )
    known = set(change.blueprint.former.hosts()) if change.blueprint.former else set(wanted.unreachable)
    new = next((name for name in wanted.unreachable if name not in known), None)
    if new:
        raise HostError(
            f"{new} cannot be reached, so nothing was changed: {wanted.unreachable[new]}",
            cure="lbctl logs in to it by SSH: mend that, or say how with --ssh-host and --ssh-user",
        )


def refuse_last(blueprint: Blueprint, server: str, seen: Mapping[str, HostState | None]) -> None:
    """Raises RefusedError if a service would be left without any live server when this one gets no more connections."""
    address = blueprint.host(server).address
    others = {host.address for name, host in blueprint.declaration.real_server.items() if name != server and host.share}
    for name in blueprint.declaration.director:
        state = seen.get(name)
        for service in state.services if state else ():
            alive = {d.address for d in service.destinations if d.weight}
            if address in alive and not alive & others:
                raise RefusedError(
                    f"{server} is the only live server of {service.endpoint} (on {name}): it would be served by nobody",
                    cure="bring another one back first (lbctl verify says which answer); --force does it all the same",
                )
