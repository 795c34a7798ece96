"""The plan: from what is declared and what was seen to the steps that lead there, in an order that keeps services served.

Software is installed first, everywhere: a daemon without its configuration does not start.

1. Real servers get what the declared mode needs, and keep what directors use now.
2. Where what directors must agree on changes, the passive ones stop.
   MySQL is restarted where that is all that a VIP needs, on one server after another, the writer last.
3. Directors change one at a time: passive ones first, the active one last. Nobody was cut off: servers carry both ways.
4. What no mode in use needs any more is taken away, from real servers first: nothing sends there any more.

After each of them, and after each host within them, every service is served by the old way or the new.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cluster import interfaces
from cluster.binding import silent_ports
from cluster.difference import Action, Difference, differences
from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.order import modes_in_use, modes_to_keep, not_open, only_choices, standing_down, telling, turns
from cluster.parts import Thing
from cluster.vocabulary import Mode


class Work(StrEnum):
    """What is done in a step: the names are those of the functions in `operations`."""

    INSTALL = "install"
    PREPARE = "prepare"
    RESTART = "restart"
    STAND_DOWN = "stand down"
    CONFIGURE = "configure"
    RETIRE = "retire"


@dataclass(frozen=True)
class Step:
    """A set of hosts that change side by side, and what changes on each. Hosts without changes are not named."""

    work: Work
    title: str
    changes: Mapping[str, tuple[Difference, ...]]


STOP = (
    Difference(
        Thing.KEEPALIVED,
        Action.REMOVE,
        None,
        "service",
        "stop keepalived until the active director is on the new terms",
    ),
)
"""What a passive director does while what peers must agree on changes."""


@dataclass(frozen=True)
class Plan:
    """All steps, with what should be known before they are taken."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Hosts that could not be asked, with the reason: they are left out."""
    hand_edited: Mapping[str, str] = field(default_factory=dict)
    """Hosts with a file that somebody edited and that would be replaced: "PATH was edited by hand"."""

    told: Mapping[str, str] = field(default_factory=dict)
    """Servers that refuse connections, and what a person must do: nothing that a step could mend."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Directors that must not be changed for that reason."""

    none_asked: bool = False
    """No host answered: nothing is known, and an empty plan says nothing."""

    @property
    def is_empty(self) -> bool:
        return not self.steps

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that would change."""
        return tuple(dict.fromkeys(host for step in self.steps for host in step.changes))


def plan(
    blueprint: Blueprint, seen: Mapping[str, HostState | None], unreachable: Mapping[str, str] | None = None
) -> Plan:
    """The steps from what was seen (None: could not be asked) to the declaration."""
    declaration = blueprint.declaration
    directors = {name: seen.get(name) for name in declaration.director}
    servers = {name: seen.get(name) for name in declaration.real_server}
    # When things are taken away every director that can be asked has moved to the declared mode: an empty table says as much.
    moved = [HostState() if state else None for state in directors.values()]
    keep, why = modes_to_keep(declaration, moved, servers.values())
    in_use = modes_in_use(declaration, telling(blueprint, directors))
    planner = _Planner(blueprint, in_use, keep)
    steps = tuple(planner.steps(directors, servers))
    none_asked = not any(seen.values())
    notes = (f"kept for now: {why}",) if why and not steps and not none_asked else ()
    remarks = (note for name, state in seen.items() if state for note in interfaces.notes(blueprint, name, state))
    return Plan(
        steps,
        (*notes, *remarks, *planner.silent(servers)),
        dict(unreachable or {}),
        dict(planner.hand_edited(steps, seen)),
        dict(planner.told(servers, in_use)),
        dict(planner.refused(steps, seen)),
        none_asked,
    )


def _belongs(difference: Difference, work: Work) -> bool:
    if difference.action is Action.REMOVE:
        return work is Work.RETIRE
    if difference.thing is Thing.DATABASE:
        return work is Work.RESTART
    return work is not Work.RESTART and (difference.kind == "package") is (work is Work.INSTALL)


@dataclass(frozen=True)
class _Planner:
    blueprint: Blueprint
    in_use: frozenset[Mode]
    keep: frozenset[Mode]

    def steps(
        self, directors: Mapping[str, HostState | None], servers: Mapping[str, HostState | None]
    ) -> Iterator[Step]:
        yield from self.step(Work.INSTALL, "install software", {**servers, **directors}, self.in_use)
        yield from self.step(Work.PREPARE, "prepare real servers", servers, self.in_use)
        asked = {name: state for name, state in directors.items() if state}
        declaration, contract = self.blueprint.declaration, self.blueprint.contract
        writers = only_choices(declaration, asked.values())
        for name in sorted(servers, key=lambda name: name in writers):
            yield from self.step(Work.RESTART, f"restart MySQL on {name}", {name: servers[name]}, self.in_use)
        passive = standing_down(declaration, asked, contract)
        if passive:
            yield Step(
                Work.STAND_DOWN,
                "passive directors stop (no redundancy until they are back)",
                dict.fromkeys(passive, STOP),
            )
        for name in turns(declaration, asked, contract):
            yield from self.step(Work.CONFIGURE, f"configure director {name}", {name: directors[name]}, self.in_use)
        yield from self.step(Work.RETIRE, "take away what real servers no longer need", servers, self.keep)
        yield from self.step(Work.RETIRE, "take away what directors no longer need", directors, self.keep)

    def step(
        self, work: Work, title: str, hosts: Mapping[str, HostState | None], modes: frozenset[Mode]
    ) -> Iterator[Step]:
        changes = {
            name: found for name, state in hosts.items() if state and (found := self.changes(work, name, state, modes))
        }
        if changes:
            yield Step(work, title, changes)

    def changes(self, work: Work, name: str, state: HostState, modes: frozenset[Mode]) -> tuple[Difference, ...]:
        found = differences(self.blueprint.footprint(name, modes, state), self.blueprint.known(name), state)
        action = Action.REMOVE if work is Work.RETIRE else Action.BUILD
        return tuple(d for d in found if d.action is action and _belongs(d, work))

    def told(self, servers: Mapping[str, HostState | None], modes: frozenset[Mode]) -> Iterator[tuple[str, str]]:
        """Servers that refuse what directors send by one of `modes`, or would, and what a person must do about it."""
        for name, state in servers.items():
            if state:
                for d in differences(self.blueprint.footprint(name, modes), (), state):
                    if d.action is Action.TELL:
                        yield name, d.what

    def silent(self, servers: Mapping[str, HostState | None]) -> Iterator[str]:
        """Servers at whose ports nothing listens."""
        for name, state in servers.items():
            for part in self.blueprint.footprint(name, self.in_use) if state else ():
                for port in silent_ports(part, state) if state else ():
                    yield f"{name}: nothing listens on port {port}, which directors send to"

    def refused(self, steps: tuple[Step, ...], seen: Mapping[str, HostState | None]) -> Iterator[tuple[str, str]]:
        """Directors that would begin to send clients to a server that refuses them."""
        declaration = self.blueprint.declaration
        servers = {name: seen.get(name) for name in declaration.real_server}
        refusing = dict(self.told(servers, frozenset({declaration.mode})))
        for name in (name for step in steps if step.work is Work.CONFIGURE for name in step.changes):
            director = seen.get(name)
            why = not_open(declaration, director, servers, refusing, starting=True) if director else None
            if why:
                yield name, why

    def hand_edited(self, steps: tuple[Step, ...], seen: Mapping[str, HostState | None]) -> Iterator[tuple[str, str]]:
        for step in steps:
            for name, changes in step.changes.items():
                for change in changes:
                    state = seen[name]
                    there = state.files.get(change.item.path) if state and change.kind == "file" else None
                    if there and change.item.guarded and there.guard != "kept":
                        what = "was edited by hand" if there.guard else "was not written by lbctl"
                        yield name, f"{change.item.path} {what}"
