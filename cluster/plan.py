"""The plan: from what is declared and what was seen to the steps that lead there, in an order that keeps services served.

What a trial left on directors (`cluster.manual`) goes before everything else: two of them would hold its addresses else.
Software is installed first, everywhere: a daemon without its configuration does not start.

1. Real servers get what the declared mode needs, and keep what directors use now.
2. Where what directors must agree on changes, the passive ones stop.
   MySQL is restarted where that is all that a VIP needs, on one server after another, the writer last.
3. A director that leaves the cluster stops; another one has what it held before it lets go.
4. Directors change one at a time: passive ones first, the active one last. Nobody was cut off: servers carry both ways.
   Former places of services (nat's own ports) are served as long as clients are connected there.
5. What no mode in use needs any more is taken away, from real servers first: nothing sends there any more.

THE INVARIANT. After each of them, after each host within them, and after each single difference on a host, whichever of the hosts
of one step are ahead of others:

* every endpoint that is declared before and after is served, and every server in rotation there answers clients, by the old way
  or the new;
* at most one host answers for an address: never do two directors hold it, never does a real server give it away;
* established connections find their way as before, by the method and the return path under which they began;
* a plan made anew from there, because this one was cut short, leads to the same end, where nothing is left to do.

`cluster.flow` says what that means for a packet; tests/cluster/test_replay.py replays plans between any two states against it,
with a dead server or a host that cannot be reached.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from cluster.binding import named_no_more, silent_ports
from cluster.difference import Action, Difference, differences
from cluster.failover import gate_of_leaving
from cluster.footprint import Blueprint
from cluster.gateway import moves_in_use
from cluster.guarded import NotReplaced, not_replaced
from cluster.interfaces import Clash, clashes
from cluster.keepalived import Endpoint
from cluster.leases import CURE as LEASE
from cluster.leases import lost_lease
from cluster.manual import Leftovers, cleared, leftovers
from cluster.observed import HostState
from cluster.order import (
    first_to_float,
    is_active,
    not_open,
    only_choices,
    reads_another_file,
    runs_keepalived,
    standing_down,
    turns,
)
from cluster.parts import DAEMON_ARGS, KEEPALIVED_CONF, Thing
from cluster.still_used import clung_to, ends_with_its_place, modes_now, modes_to_keep, takes_over_early, way_back
from cluster.taken import CURE as TAKEN
from cluster.taken import taken_tables
from cluster.vocabulary import Mode, Role


class Work(StrEnum):
    """What is done in a step: the names are those of the functions in `operations`."""

    CLEAR = "clear"
    INSTALL = "install"
    PREPARE = "prepare"
    RESTART = "restart"
    STAND_DOWN = "stand down"
    LEAVE = "leave"
    CONFIGURE = "configure"
    WITHDRAW = "withdraw"
    RETIRE = "retire"


@dataclass(frozen=True)
class Step:
    """A set of hosts that change side by side, and what changes on each. Hosts without changes are not named."""

    work: Work
    title: str
    changes: Mapping[str, tuple[Difference, ...]]
    gate: str = ""
    """What is waited for before it, where that is not seen to by what is done in it."""


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

OWN_FILE = (
    f"put what that file says into {KEEPALIVED_CONF}, name no file in {DAEMON_ARGS}, and restart keepalived there: on the "
    "passive director first, and on the active one when its connections may end"
)

OUT_OF_ROTATION = "a server that would refuse may be taken out of rotation first: weight = 0 in the declaration"

LEAVE = (replace(STOP[0], what="stop keepalived for good; what it holds goes to another director first"),)
"""What a director does that leaves the cluster."""


@dataclass(frozen=True)
class Plan:
    """All steps, with what should be known before they are taken."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Hosts that could not be asked, with the reason: they are left out."""
    hand_edited: Mapping[str, NotReplaced] = field(default_factory=dict)
    """Hosts with a file that somebody edited, or that is somebody else's, and that would be replaced."""

    told: Mapping[str, str] = field(default_factory=dict)
    """Servers that refuse connections, and what a person must do: nothing that a step could mend."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Hosts that must not be changed, and why: so none is."""
    cure: str = ""
    """What to do where something is refused."""
    clashes: tuple[Clash, ...] = ()
    """What spoils a host's next boot, and only a person can mend."""

    none_asked: bool = False
    """No host answered: nothing is known, and an empty plan says nothing."""

    undeclared: Mapping[str, str] = field(default_factory=dict)
    """Hosts that the last change knew and the declaration does not, and what to do about each (`cluster.undeclared`)."""

    @property
    def leaves_work(self) -> bool:
        """Whether a person must do something that no step does."""
        return bool(self.told or self.clashes or self.undeclared)

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
    trials = _trials(blueprint, seen)
    seen = {n: cleared(state, trials[n]) if state and n in trials else state for n, state in seen.items()}
    directors = {name: seen.get(name) for name in blueprint.group(Role.DIRECTOR)}
    servers = {name: seen.get(name) for name in blueprint.group(Role.REAL_SERVER)}
    staying = {name: state for name, state in directors.items() if name not in blueprint.leaving}
    # When things are taken away every director that can be asked has moved to the declared mode: an empty table says as much.
    moved = [HostState() if state else None for state in staying.values()]
    used = [state for name, state in servers.items() if name not in blueprint.leaving]
    keep, why = modes_to_keep(declaration, moved, used, blueprint.drained)
    clung = clung_to(blueprint, directors)
    if ports := sorted({str(place) for places in clung.values() for place in places}):
        keep, why = keep | {Mode.NAT}, f"{why}; clients are connected to {', '.join(ports)} (nat)".removeprefix("; ")
    held = way_back(declaration, seen, moved=True, drained=blueprint.drained)
    in_use = modes_now(blueprint, directors)
    planner = _Planner(blueprint, in_use, keep, clung, held)
    steps = (*_clearing(trials), *planner.steps(directors, servers))
    if why and not steps:
        without = _Planner(blueprint, in_use, frozenset({declaration.mode}), dict.fromkeys(clung, ()), frozenset())
        why = why if any(without.steps(directors, servers)) else ""  # what might be used is not there
    if planner.held_back:
        on = ", ".join(sorted(planner.held_back))
        why = "; ".join(filter(None, (why, f"nat's way back on {on}: connections may still use it")))
    none_asked = not any(seen.values())
    refused, cure = planner.refused(steps, seen)
    notes = (f"kept for now: {why}",) if why and not steps and not none_asked else ()
    clashing = [clash for name, state in seen.items() if state for clash in clashes(blueprint, name, state)]
    return Plan(
        steps,
        (
            *notes,
            *ends_with_its_place(blueprint, directors),
            *map(str, clashing),
            *planner.silent(servers),
            *planner.named(steps, servers),
        ),
        dict(unreachable or {}),
        dict(planner.hand_edited(steps, seen)),
        dict(planner.told(servers, planner.in_use)),
        refused,
        cure,
        tuple(clashing),
        none_asked,
    )


def _trials(blueprint: Blueprint, seen: Mapping[str, HostState | None]) -> dict[str, Leftovers]:
    """What trials left, by director."""
    before = blueprint.former or blueprint.declaration
    found = {
        name: leftovers(before if name in blueprint.leaving else blueprint.declaration, name, state)
        for name in blueprint.group(Role.DIRECTOR)
        if (state := seen.get(name))
    }
    return {name: left for name, left in found.items() if left}


def _clearing(trials: Mapping[str, Leftovers]) -> Iterator[Step]:
    if trials:
        changes = {
            name: tuple(Difference(Thing.KEEPALIVED, Action.REMOVE, left, "trial", what) for what in left.what)
            for name, left in trials.items()
        }
        yield Step(Work.CLEAR, "take away what a trial left", changes)


def _belongs(difference: Difference, work: Work) -> bool:
    if difference.action is Action.REMOVE:
        return work is Work.RETIRE
    if difference.thing is Thing.DATABASE:
        return work is Work.RESTART
    return work is not Work.RESTART and difference.is_software is (work is Work.INSTALL)


@dataclass(frozen=True)
class _Planner:
    blueprint: Blueprint
    in_use: frozenset[Mode]
    keep: frozenset[Mode]
    clung: Mapping[str, tuple[Endpoint, ...]]
    """Former places of services where clients are connected, by director."""
    held: frozenset[Thing]
    """Nothing of these is taken away now."""
    held_back: set[str] = field(default_factory=set)
    """Hosts where something of them would be, else."""

    def steps(
        self, directors: Mapping[str, HostState | None], servers: Mapping[str, HostState | None]
    ) -> Iterator[Step]:
        yield from self.step(Work.INSTALL, "install software", {**servers, **directors}, self.in_use)
        first = first_to_float(self.blueprint.declaration, directors)
        if first:
            title = f"director {first} takes the gateway {self.blueprint.declaration.nat.gateway}"
            yield from self.step(Work.CONFIGURE, title, {first: directors[first]}, self.in_use)
        yield from self.step(Work.PREPARE, "prepare real servers", servers, self.in_use)
        asked = {name: state for name, state in directors.items() if state and name not in self.blueprint.leaving}
        declaration, contract = self.blueprint.declaration, self.blueprint.contract
        writers = only_choices(declaration, asked.values())
        for name in sorted(servers, key=lambda name: name in writers):
            yield from self.step(Work.RESTART, f"restart MySQL on {name}", {name: servers[name]}, self.in_use)
        yield from self.leaving(directors)
        passive = standing_down(declaration, asked, contract)
        if passive:
            yield Step(
                Work.STAND_DOWN,
                "passive directors stop (no redundancy until they are back)",
                dict.fromkeys(passive, STOP),
            )
        for name in turns(declaration, asked, contract):
            if name in asked and name != first:
                yield from self.step(Work.CONFIGURE, f"configure director {name}", {name: asked[name]}, self.in_use)
        yield from self.withdrawing(asked)
        yield from self.step(Work.RETIRE, "take away what real servers no longer need", servers, self.keep)
        yield from self.step(Work.RETIRE, "take away what directors no longer need", directors, self.keep)

    def leaving(self, directors: Mapping[str, HostState | None]) -> Iterator[Step]:
        """Passive ones first: what is active hands over to one that stays, or to nobody, when all leave."""
        runs = {
            name: state
            for name, state in directors.items()
            if state and name in self.blueprint.leaving and runs_keepalived(state)
        }
        before = self.blueprint.former or self.blueprint.declaration
        for name in sorted(runs, key=lambda name: is_active(before, runs[name])):
            gate = gate_of_leaving(self.blueprint, name, directors)
            yield Step(Work.LEAVE, f"director {name} stops for good", {name: LEAVE}, gate)

    def withdrawing(self, asked: Mapping[str, HostState]) -> Iterator[Step]:
        """Former places of services are given up, unless clients are connected there."""
        changes = {}
        for name, state in asked.items():
            places = [place for place in self.blueprint.former_places(name, state) if place not in self.clung[name]]
            if places:
                conf = self.blueprint.keepalived_conf(name, former=self.clung[name])
                what = f"rewrite {conf.path}: {', '.join(map(str, places))} no longer served"
                changes[name] = (Difference(Thing.KEEPALIVED, Action.BUILD, conf, "file", what),)
        if changes:
            yield Step(Work.WITHDRAW, "give up former ports", changes)

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
        mine = tuple(d for d in found if d.action is action and _belongs(d, work))
        stays = work is Work.RETIRE and name not in self.blueprint.leaving
        free = tuple(d for d in mine if d.may_go(self.held))
        if not stays or free == mine:
            return mine
        self.held_back.add(name)
        return free

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

    def named(self, steps: tuple[Step, ...], servers: Mapping[str, HostState | None]) -> Iterator[str]:
        """Servers whose MySQL is told to listen at an address that is taken from them."""
        for step in steps:
            for name, changes in step.changes.items() if step.work is Work.RETIRE else ():
                if state := servers.get(name):
                    taken = {change.item for change in changes if change.kind == "address"}
                    wanted = {a for part in self.blueprint.footprint(name, self.keep, state) for a in part.addresses}
                    # Another device may have it as well: from tun to dr it moves.
                    stays = {each.address for each in (state.addresses | state.wider | wanted) - taken}
                    if said := named_no_more({each.address for each in taken} - stays, state):
                        yield f"{name}: {said}"

    def refused(self, steps: tuple[Step, ...], seen: Mapping[str, HostState | None]) -> tuple[dict[str, str], str]:
        """Hosts that must not be changed, each with the reason; and what to do."""
        if steps and (taken := taken_tables(self.blueprint, seen, self.in_use)):
            return taken, TAKEN
        changes = ((name, found, seen.get(name)) for step in steps for name, found in step.changes.items())
        lost = {n: why for n, found, state in changes if state and (why := lost_lease(self.blueprint, n, state, found))}
        if lost:
            return lost, LEASE
        directors, servers = ({n: seen.get(n) for n in self.blueprint.group(role)} for role in Role)
        if steps and (moves := moves_in_use(self.blueprint.declaration, directors, servers, self.in_use)):
            return dict.fromkeys(self.blueprint.declaration.director, moves[0]), moves[1]
        changed = {name for step in steps if step.work is Work.CONFIGURE for name in step.changes}
        told = {n: why for n in changed if (state := seen.get(n)) and (why := reads_another_file(state))}
        if told:
            return told, OWN_FILE
        found = dict(self.unfit(steps, seen))
        return found, OUT_OF_ROTATION if found else ""

    def unfit(self, steps: tuple[Step, ...], seen: Mapping[str, HostState | None]) -> Iterator[tuple[str, str]]:
        """Directors that would begin to send clients to a server that refuses them, or would cut connections."""
        declaration = self.blueprint.declaration
        servers = {name: seen.get(name) for name in declaration.real_server}
        refusing = dict(self.told(servers, frozenset({declaration.mode})))
        for name in (name for step in steps if step.work is Work.CONFIGURE for name in step.changes):
            director = seen.get(name)
            if director is None:
                continue
            why = not_open(declaration, director, servers, refusing, starting=True)
            if why := why or takes_over_early(declaration, name, seen, servers):
                yield name, why

    def hand_edited(
        self, steps: tuple[Step, ...], seen: Mapping[str, HostState | None]
    ) -> Iterator[tuple[str, NotReplaced]]:
        for step in steps:
            for name, changes in step.changes.items():
                for change in changes:
                    if found := not_replaced(change, seen[name], self.blueprint.declaration.name):
                        yield name, found
