"""A cluster for pure tests, and a deploy of it in single differences: what `fleet` and `operations` do, in their order.

As there, each operation looks for itself at what is to be done when its turn comes; the plan says whose turn it is. Hosts of one
step go on in any order among each other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from random import Random
from typing import Self

from cluster.declaration import Declaration
from cluster.difference import Action, Difference, by_things, differences
from cluster.flow import Connection, World
from cluster.footprint import Blueprint
from cluster.gateway import not_there_yet
from cluster.keepalived import Endpoint, Left, floating_addresses
from cluster.kernel import Machine
from cluster.observed import Connection as Seen
from cluster.observed import HostState
from cluster.order import is_active, left_out, must_be_ready, not_open, not_ready, parted, standing_down, unsettled
from cluster.parts import NETWORK, Thing, Unit
from cluster.plan import Plan, Step, Work, plan
from cluster.still_used import clung_to, modes_now, modes_to_keep, takes_over_early, way_back
from cluster.vocabulary import Mode, Role
from tests.cluster.simulated_directors import Directors, key_of
from tests.cluster.simulated_host import applied, bare, in_order

Place = tuple[IPv4Address, str]
"""A host's own address and its interface."""

ROUTER = IPv4Address("10.0.0.254")
"""It is there, whether a declaration knows it or not."""
CLUSTERCHECK = "lbctl-clustercheck.service"


@dataclass
class Cluster:
    """Hosts, whoever declares them, and what runs there."""

    places: Mapping[str, Place]
    states: dict[str, HostState]
    dead: frozenset[str] = frozenset()
    """Hosts whose database fails every check."""
    asks_clustercheck: bool = True
    directors: Directors = field(init=False)

    def __post_init__(self) -> None:
        self.directors = Directors(self.states, self.alive)

    @classmethod
    def of_bare_machines(cls, kind: HostState, *declarations: Declaration, dead: frozenset[str] = frozenset()) -> Self:
        """All hosts of these declarations before any deploy, their networks configured as in `kind`."""
        hosts = {name: d.host(name) for d in declarations for name in d.hosts()}
        places = {name: (host.address, host.interface) for name, host in hosts.items()}
        return cls(places, {name: bare(kind) for name in places}, dead)

    def copy(self) -> "Cluster":
        """The same at this moment: what becomes of one is nothing to the other."""
        other = Cluster(self.places, dict(self.states), self.dead, self.asks_clustercheck)
        own = self.directors
        other.directors.texts, other.directors.runs = dict(own.texts), dict(own.runs)
        other.directors.connections = own.connections
        other.directors.masters, other.directors.stuck = set(own.masters), set(own.stuck)
        return other

    def alive(self, server: str, endpoint: Endpoint) -> bool:
        del endpoint
        unit = self.states[server].units.get(CLUSTERCHECK)
        return server not in self.dead and (not self.asks_clustercheck or bool(unit and unit.active))

    def world(self) -> World:
        machines = {name: Machine(name, *self.places[name], state) for name, state in self.states.items()}
        return World(machines, ROUTER, self.dead)

    def establish(self, connections: Iterable[Connection]) -> None:
        """These and no other connections are established: servers show them."""
        ends: dict[IPv4Address, list[Seen]] = {}
        self.directors.connections = Counter()
        for c in connections:
            own = c.destination.address if c.destination.mode is Mode.NAT else c.endpoint.address
            ends.setdefault(c.destination.address, []).append(Seen(own, c.server_sees))
            self.directors.connections[key_of(c.endpoint), c.destination.address] += 1
        for name, (address, _) in self.places.items():
            self.states[name] = replace(self.states[name], established=tuple(ends.get(address, ())))
        self.directors.check()


@dataclass
class Operator:
    """Who deploys a declaration to a cluster. `unreachable` hosts go on as they are, unseen."""

    cluster: Cluster
    blueprint: Blueprint
    unreachable: frozenset[str] = frozenset()
    random: Random = field(default_factory=lambda: Random(1))  # noqa: S311 (no secret)
    failed: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    @property
    def declaration(self) -> Declaration:
        return self.blueprint.declaration

    def seen(self, names: Iterable[str] | None = None) -> dict[str, HostState | None]:
        return {
            name: None if name in self.unreachable else self.cluster.states[name]
            for name in names or [*self.group(Role.REAL_SERVER), *self.group(Role.DIRECTOR)]
        }

    def group(self, role: Role) -> tuple[str, ...]:
        """Those that leave are among them."""
        return self.blueprint.group(role)

    def plan(self) -> Plan:
        return plan(self.blueprint, self.seen(), dict.fromkeys(self.unreachable, "no route"))

    def deploy(self) -> Iterator[str]:
        """Does what the plan says, one difference after the other; says each after it was done."""
        found = self.plan()
        if found.refused or found.hand_edited:
            return
        for step in found.steps:
            works = {name: self.work(step, name) for name in step.changes if name not in self.failed}
            for name, what in self.side_by_side(works):
                self.done.append(f"{step.work} {name}: {what}")
                yield self.done[-1]

    def side_by_side(self, works: dict[str, Iterator[str]]) -> Iterator[tuple[str, str]]:
        """In any order among hosts."""
        while works:
            name = self.random.choice(sorted(works)) if len(works) > 1 else next(iter(works))
            what = next(works[name], None)
            if what is None:
                del works[name]
            else:
                yield name, what

    def work(self, step: Step, name: str) -> Iterator[str]:
        return {
            Work.INSTALL: self.install,
            Work.PREPARE: self.prepare,
            Work.STAND_DOWN: self.stand_down,
            Work.LEAVE: self.leave,
            Work.CONFIGURE: self.configure,
            Work.WITHDRAW: self.withdraw,
            Work.RETIRE: self.retire,
        }[step.work](name)

    # The works, as in operations/real_server.py and operations/director.py.

    def install(self, name: str) -> Iterator[str]:
        yield from self.script(name, [d for d in self.found(name, self.in_use()) if d.kind == "package"])

    def prepare(self, name: str) -> Iterator[str]:
        directors, servers = (self.seen(self.group(role)) for role in (Role.DIRECTOR, Role.REAL_SERVER))
        if why := not_there_yet(self.declaration, directors, servers, self.in_use()):
            self.failed[name] = why
            return
        yield from self.present(name, NETWORK)
        yield from self.present(name, (Thing.CLUSTERCHECK,))

    def stand_down(self, name: str) -> Iterator[str]:
        if name in standing_down(self.declaration, self.asked(self.group(Role.DIRECTOR)), self.blueprint.contract):
            self.cluster.directors.stop(name)
            yield "stop keepalived"

    def leave(self, name: str) -> Iterator[str]:
        self.cluster.directors.stop(name)
        yield "stop keepalived for good"
        staying = self.asked(self.declaration.director).values()
        if floating_addresses(self.declaration) and not any(is_active(self.declaration, state) for state in staying):
            self.failed[name] = "no other director holds the addresses"

    def configure(self, name: str) -> Iterator[str]:
        if why := self.gate(name):
            self.failed[name] = why
            return
        yield from self.present(name, NETWORK)
        self.cluster.directors.learn(self.blueprint, name, former=self.former(name))
        missing = by_things(self.found(name, self.in_use()), (Thing.KEEPALIVED,), Action.BUILD)
        if any(d.kind == "table" for d in missing):
            raise AssertionError(f"{name}: the table drifts: {missing[0].what}")
        if missing and (dead := left_out(self.declaration, name, self.cluster.states[name])):
            yield from self.script(name, self.without(name, missing, dead))
            missing = by_things(self.found(name, self.in_use()), (Thing.KEEPALIVED,), Action.BUILD)
        yield from self.script(name, missing)
        others = [state for other, state in self.asked(self.group(Role.DIRECTOR)).items() if other != name]
        if why := unsettled(self.declaration, name, self.cluster.states[name], others, self.former(name)):
            self.failed[name] = why

    def withdraw(self, name: str) -> Iterator[str]:
        stay = clung_to(self.blueprint, self.seen(self.group(Role.DIRECTOR))).get(name, ())
        if self.former(name) == stay:
            return
        self.cluster.directors.learn(self.blueprint, name, former=stay)
        conf = self.blueprint.keepalived_conf(name, former=stay)
        unit = Unit("keepalived.service", revision=conf.sha256, reload=True, ours=False)
        rewrite = Difference(Thing.KEEPALIVED, Action.BUILD, conf, "file", f"rewrite {conf.path}")
        reload = Difference(Thing.KEEPALIVED, Action.BUILD, unit, "unit", "reload keepalived")
        yield from self.script(name, [rewrite, reload])

    def former(self, name: str) -> tuple[Endpoint, ...]:
        return self.blueprint.former_places(name, self.cluster.states[name])

    def retire(self, name: str) -> Iterator[str]:
        servers, directors = self.seen(self.group(Role.REAL_SERVER)), self.seen(self.group(Role.DIRECTOR))
        modes, _ = modes_to_keep(self.declaration, directors.values(), servers.values(), self.blueprint.drained)
        leaves = name in self.blueprint.leaving
        held = () if leaves else way_back(self.declaration, {**servers, **directors}, drained=self.blueprint.drained)
        gone = (d for d in self.found(name, modes) if d.action is Action.REMOVE)
        leftovers = [d for d in gone if d.may_go(held)]
        yield from self.script(name, leftovers)

    # What they are made of.

    def asked(self, names: Iterable[str]) -> dict[str, HostState]:
        return {name: state for name, state in self.seen(names).items() if state}

    def in_use(self) -> frozenset[Mode]:
        return modes_now(self.blueprint, self.seen(self.group(Role.DIRECTOR)))

    def found(self, name: str, modes: frozenset[Mode]) -> tuple[Difference, ...]:
        state = self.cluster.states[name]
        return differences(self.blueprint.footprint(name, modes, state), self.blueprint.known(name), state)

    def present(self, name: str, things: Sequence[Thing]) -> Iterator[str]:
        yield from self.script(name, by_things(self.found(name, self.in_use()), things, Action.BUILD))

    def without(self, name: str, missing: Iterable[Difference], dead: Left) -> list[Difference]:
        self.cluster.directors.learn(self.blueprint, name, dead, self.former(name))
        conf = self.blueprint.keepalived_conf(name, dead, self.former(name))
        others = [d for d in missing if not (d.kind == "file" and d.item.guarded)]
        return [Difference(Thing.KEEPALIVED, Action.BUILD, conf, "file", f"rewrite {conf.path}"), *others]

    def gate(self, name: str) -> str | None:
        """As in operations/gate.py."""
        servers = self.seen(self.group(Role.REAL_SERVER))
        directors = self.seen(self.group(Role.DIRECTOR))
        needed = {n: must_be_ready(self.declaration, name, directors, n, state) for n, state in servers.items()}
        lacking = {n: what for n in servers if (what := self.lacking(n, needed[n]))}
        refusing = {n: what for n in servers if (what := self.lacking(n, {Thing.DATABASE}))}
        failed = [other for other in self.failed if self.blueprint.role(other) is Role.DIRECTOR]
        state = self.cluster.states[name]
        return (
            parted(self.declaration, name, directors, self.blueprint.contract)
            or not_ready(self.declaration, state, servers, lacking, failed, others=directors.values())
            or not_open(self.declaration, state, servers, refusing)
            or takes_over_early(self.declaration, name, directors, servers)
        )

    def lacking(self, name: str, things: AbstractSet[Thing]) -> str | None:
        if name in self.unreachable:
            return None
        found = self.found(name, frozenset({self.declaration.mode}))
        return next((d.what for d in found if d.action is not Action.REMOVE and d.thing in things), None)

    def script(self, name: str, found: Sequence[Difference]) -> Iterator[str]:
        for difference in in_order(found):
            self.do(name, difference)
            yield difference.what

    def do(self, name: str, difference: Difference) -> None:
        if difference.kind == "unit" and difference.item.name == "keepalived.service":
            self.cluster.directors.start_or_reload(name)
            return
        self.cluster.states[name] = applied(self.cluster.states[name], difference)
        self.cluster.directors.check()


Check = Callable[[str], None]
"""Looks whether all is well after what was just done."""
