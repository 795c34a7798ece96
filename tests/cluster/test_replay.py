"""The invariant of `cluster.plan`, held against every prefix of plans between any two states of a cluster."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from ipaddress import IPv4Address
from itertools import permutations
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cluster.declaration import Declaration
from cluster.flow import Connection, Fault, connections, path, paths
from cluster.footprint import Blueprint
from cluster.gateway import CURE, ONE_BY_ONE
from cluster.keepalived import Endpoint, endpoints, fading, floating_addresses
from cluster.observed import HostState
from cluster.plan import OUT_OF_ROTATION
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.shapes import Change, changes
from tests.cluster.simulation import Cluster, Operator
from tests.cluster.states import IFUPDOWN
from tests.variants import Variant

CLIENTS = (IPv4Address("10.0.0.5"), IPv4Address("172.16.0.5"))
"""One on the network, one beyond the router."""


def served_by(blueprint: Blueprint) -> set[Endpoint]:
    declaration = blueprint.declaration
    return {e for director in declaration.director for e in endpoints(declaration, director)}


class Watch:
    """Looks at the invariant after each difference."""

    def __init__(self, cluster: Cluster, kept: Iterable[Endpoint], addresses: Iterable[IPv4Address]) -> None:
        self.cluster, self.kept, self.addresses = cluster, sorted(kept, key=str), sorted(addresses)
        self.established: list[Connection] = []
        self.leaving: frozenset[str] = frozenset()

    def look(self, done: str) -> None:
        world = self.cluster.world()
        for endpoint in self.kept:
            for client in CLIENTS:
                for found in paths(world, client, endpoint):
                    bad = isinstance(found, Fault) and found.server not in self.leaving
                    assert not bad, f"after {done}: {endpoint} from {client}: {found}"
        for address in self.addresses:
            names = [machine.name for machine in world.answering(address)]
            assert len(names) <= 1, f"after {done}: {names} answer for {address}"
        for connection in self.established:
            still, destination = path(world, connection), connection.destination
            held = f"established, {destination.mode} to {destination.address} seen as {connection.server_sees}"
            assert not isinstance(still, Fault), f"after {done}: {held}: {still}"

    def at(self, cluster: Cluster) -> "Watch":
        """The same, looking at another cluster."""
        other = Watch(cluster, self.kept, self.addresses)
        other.established, other.leaving = self.established, self.leaving
        return other

    def follow(self, steps: Iterable[str]) -> None:
        for done in steps:
            self.look(done)


def comparable(cluster: Cluster) -> dict[str, HostState]:
    """What must be the same in the end, whichever director is active then."""
    return {
        name: replace(
            state,
            addresses=frozenset(a for a in state.addresses if a.device != "eth0"),
            rules=tuple(sorted(state.rules, key=str)),
            chains=tuple(sorted(state.chains, key=str)),
            services=tuple(
                replace(s, destinations=tuple(sorted(s.destinations, key=str)))
                for s in sorted(state.services, key=lambda s: str(s.endpoint))
            ),
        )
        for name, state in cluster.states.items()
    }


def what_serves(end: Mapping[str, HostState], declaration: Declaration) -> dict[str, HostState]:
    """Without what stays: on purpose software, the tunnel's device, the note of a setting's value before, and hosts that left.

    And, of a thing that is no longer wanted at all, what only an older declaration can have put there: the rule of a VIP that
    is not declared any more, routes in a table that no other rule leads to. A difference cannot tell those from other people's.
    """
    gone: dict[str, Any] = dict.fromkeys(("packages", "users", "modules", "database_users"), frozenset())
    declared = {None, *declaration.vips, *declaration.addresses().values()}

    def rest(state: HostState) -> HostState:
        settings = {key: value for key, value in state.sysctls.items() if "tunl0" not in key}
        rules = tuple(rule for rule in state.rules if rule.source in declared)
        routes = frozenset(route for route in state.routes if route.table in {rule.table for rule in rules})
        return replace(state, links={}, before={}, sysctls=settings, rules=rules, routes=routes, **gone)

    return {name: rest(end[name]) for name in declaration.hosts()}


def differing(one: Mapping[str, HostState], other: Mapping[str, HostState]) -> list[tuple[str, str, object, object]]:
    """Host, what it is that differs, and both values."""
    pairs = [(name, field.name) for name in one for field in fields(HostState)]
    values = [(name, what, getattr(one[name], what), getattr(other[name], what)) for name, what in pairs]
    return [value for value in values if value[2] != value[3]]


def deployed(change: Change) -> Cluster:
    """Where the first declaration's deploy leads, from bare machines. All hosts are reached then."""
    cluster = Cluster.of_bare_machines(change.kind, change.old, change.new, dead=change.dead)
    operator = Operator(cluster, change.blueprints[0])
    watch = Watch(cluster, (), floating_addresses(change.old))
    watch.follow(operator.deploy())
    assert operator.plan().is_empty, operator.plan().steps
    assert not operator.failed
    watch.kept = sorted(served_by(change.blueprints[0]), key=str)
    watch.look("the first deploy")
    return cluster


def fading_ones(change: Change) -> set[Endpoint]:
    old, new = change.blueprints
    return {e for name in new.declaration.director for e in fading(change.new, name, served_by(old))}


def connect(cluster: Cluster, change: Change, kept: Iterable[Endpoint]) -> list[Connection]:
    """One connection from each client to each server that stays, at each endpoint that stays or fades: ports of nat's own are
    served as long as somebody is connected there.
    """
    stay = {server.address for server in change.new.real_server.values()}
    ways = ((endpoint, client) for endpoint in sorted({*kept, *fading_ones(change)}, key=str) for client in CLIENTS)
    found = [each for endpoint, client in ways for each in connections(cluster.world(), client, endpoint)]
    established = [each for each in found if each.destination.address in stay]
    cluster.establish(established)
    return established


def replayed(change: Change, random: Random, stops: int) -> None:
    """The whole of a change under connections that stay, and again from `stops` of the places where it may be cut short."""
    cluster = deployed(change)
    old, new = change.blueprints
    kept = served_by(old) & served_by(new)
    watch = Watch(cluster, kept, {*floating_addresses(change.old), *floating_addresses(change.new)})
    watch.leaving = change.leaving
    watch.established = connect(cluster, change, kept) if change.connected else []
    watch.look("connecting")
    if moves_gateway(Operator(cluster, new, change.unreachable)):
        return  # and nothing happens: test_gateway.py says when that is so
    places = [cluster.copy()]
    for done in Operator(cluster, new, change.unreachable, random).deploy():
        watch.look(done)
        places.append(cluster.copy())
    end = finished(change, watch.at(cluster))
    straight = comparable(deployed(replace(change, old=change.new)))
    found = differing(what_serves(end, change.new), what_serves(straight, change.new))
    assert not found, found
    for place in random.sample(places, min(stops, len(places))):
        again = watch.at(place)
        again.follow(Operator(place, new, change.unreachable, random).deploy())
        found = differing(finished(change, again.at(place)), end)
        assert not found, found


def moves_gateway(operator: Operator) -> bool:
    """Whether the deploy is refused because nat's gateway would move under those who come by nat."""
    found = operator.plan()
    return bool(found.refused) and found.cure != OUT_OF_ROTATION


def first_by_the_cure(change: Change, cure: str) -> Declaration:
    """What is to be deployed before the new declaration."""
    as_it_was: dict[str, dict[str, Any]] = {
        CURE: {"gateway": change.old.nat.gateway},
        ONE_BY_ONE: {"return_path": ReturnPath.SNAT},
    }
    return change.new.model_copy(update={"nat": change.new.nat.model_copy(update=as_it_was[cure])})


def finished(change: Change, watch: Watch) -> dict[str, HostState]:
    """The end: all hosts are reached again, connections have ended, and after another deploy nothing is left to do.

    A director that could not be asked serves by nat still. That its gateway would move is known only now: then the cure is taken.
    """
    cluster, new = watch.cluster, replace(change.blueprints[1], departed=change.leaving)
    watch.established = []
    cluster.establish(())
    way = [new]
    if change.unreachable & change.old.director.keys() and moves_gateway(Operator(cluster, new)):
        way = [replace(new, declaration=first_by_the_cure(change, Operator(cluster, new).plan().cure)), new]
    # Twice: for a mode that is left, a run builds what is declared for it now, and does not plan to take that away again.
    for blueprint in (each for each in way for _ in range(2)):
        operator = Operator(cluster, blueprint)
        watch.follow(operator.deploy())
        assert not operator.failed, operator.failed
    left = Operator(cluster, new).plan()
    assert left.is_empty, (left.refused, [(step.title, step.changes) for step in left.steps])
    watch.kept = sorted(served_by(new), key=str)
    watch.look("everything")
    return comparable(cluster)


@pytest.mark.parametrize(("old", "new"), list(permutations(Mode, 2)))
@pytest.mark.parametrize("directors", [1, 2])
def test_every_prefix_of_a_change_of_mode_serves(old: Mode, new: Mode, directors: int) -> None:
    before, after = (Variant(mode, directors=directors).declaration for mode in (old, new))
    replayed(Change(before, after, IFUPDOWN), Random(1), stops=1)  # noqa: S311 (no secret)


def test_every_prefix_serves_while_nats_gateway_begins_to_float() -> None:
    """A second director joins one that serves by nat at its own address."""
    alone, pair = (Variant(Mode.NAT, directors=directors).declaration for directors in (1, 2))
    replayed(Change(alone, pair, IFUPDOWN), Random(1), stops=0)  # noqa: S311 (no secret)


_NO_HURRY = [HealthCheck.too_slow, HealthCheck.filter_too_much]
_AS_FOUND = (Phase.explicit, Phase.reuse, Phase.generate)
"""Without shrinking, which takes minutes here; a change is told in a few lines anyway."""


@settings(max_examples=10, suppress_health_check=_NO_HURRY, phases=_AS_FOUND)
@given(changes(), st.integers(0, 2**32))
def test_every_prefix_of_any_change_serves(change: Change, seed: int) -> None:
    replayed(change, Random(seed), stops=1)  # noqa: S311 (no secret)


@pytest.mark.soak
@settings(max_examples=1000, suppress_health_check=_NO_HURRY, phases=_AS_FOUND)
@given(changes(), st.integers(0, 2**32))
def test_the_same_in_many_shapes(change: Change, seed: int) -> None:
    replayed(change, Random(seed), stops=3)  # noqa: S311 (no secret)


@pytest.mark.soak
@settings(max_examples=10, suppress_health_check=_NO_HURRY, phases=_AS_FOUND)
@given(changes(), st.integers(0, 2**32))
def test_the_same_cut_short_at_every_place(change: Change, seed: int) -> None:
    replayed(change, Random(seed), stops=1000)  # noqa: S311 (no secret)
