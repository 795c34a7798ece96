"""nat's gateway is moved only while nobody comes by nat."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from random import Random

import pytest

from cluster.declaration import Declaration
from cluster.gateway import CURE, ONE_BY_ONE, PATH_FIRST, moves_in_use
from cluster.observed import HostState
from cluster.order import first_to_float, must_be_ready
from cluster.parts import Address, Thing
from cluster.plan import Plan
from cluster.reading import read
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.shapes import Change
from tests.cluster.simulation import Cluster, Operator
from tests.cluster.states import IFUPDOWN
from tests.cluster.test_replay import Watch, connect, deployed, first_by_the_cure, replayed, served_by
from tests.variants import Variant

DR, NAT, SNAT = Mode.DR, Mode.NAT, ReturnPath.SNAT
FIRST, SECOND = 12, 13
"""The last octets of two gateways."""


def declared(mode: Mode, directors: int, gateway: int | None, way: ReturnPath = ReturnPath.RULE) -> Declaration:
    text = Variant(mode, directors=directors, return_path=way).text.replace('gateway = "10.0.0.12"\n', "")
    own = f'gateway = "10.0.0.{gateway}"\n' if gateway else ""
    return read(text.replace("[nat]\n", f"[nat]\n{own}"), "gateway.toml")


def planned(change: Change, cluster: Cluster) -> Plan:
    return Operator(cluster, change.blueprints[1], change.unreachable).plan()


MOVES = [
    pytest.param(declared(NAT, 2, FIRST), declared(NAT, 2, SECOND), id="a pair"),
    pytest.param(declared(NAT, 1, FIRST), declared(NAT, 1, SECOND), id="one director"),
    pytest.param(declared(NAT, 1, FIRST), declared(NAT, 2, SECOND), id="a second one joins"),
    pytest.param(declared(NAT, 2, FIRST), declared(NAT, 1, SECOND), id="one leaves"),
    pytest.param(declared(NAT, 2, FIRST), declared(DR, 2, SECOND), id="the mode changes as well"),
    pytest.param(declared(NAT, 1, None), declared(DR, 1, FIRST), id="it begins to float as the mode changes"),
    pytest.param(declared(NAT, 2, FIRST, ReturnPath.FWMARK), declared(NAT, 2, SECOND, SNAT), id="another return path"),
    # What is connected answers by the old way, which stays beside the new one for so long.
    pytest.param(declared(NAT, 1, FIRST, ReturnPath.FWMARK), declared(Mode.TUN, 1, None), id="a way of another kind"),
]


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(("old", "new"), MOVES)
def test_while_clients_come_by_nat_it_is_refused(old: Declaration, new: Declaration, connected: bool) -> None:  # noqa: FBT001
    change = Change(old, new, IFUPDOWN)
    cluster = deployed(change)
    if connected:
        connect(cluster, change, served_by(change.blueprints[0]))
    found = planned(change, cluster)
    assert set(found.refused) == set(new.director)
    assert "nat is in use, and db1, db2, db3 answer by 10.0.0." in found.refused["lb1"]
    assert found.cure == CURE


@pytest.mark.parametrize(("before", "directors"), [(None, 1), (None, 2), (FIRST, 2)])
def test_also_where_directors_cease_to_translate_as_well(before: int | None, directors: int) -> None:
    """The return path alone, and the gateway alone, may change."""
    old, new = declared(NAT, 1 if before is None else 2, before, SNAT), declared(NAT, directors, SECOND)
    change = Change(old, new, IFUPDOWN)
    found = planned(change, deployed(change))
    assert "which none has yet" in found.refused["lb1"]
    assert found.cure == ONE_BY_ONE
    between = declared(NAT, directors, SECOND, SNAT)
    for one, other in ((old, between), (between, new)):
        replayed(Change(one, other, IFUPDOWN, connected=False), Random(1), stops=1)  # noqa: S311 (no secret)


def test_and_where_one_that_joins_takes_over_before_the_old_way_back_is_gone() -> None:
    """It preempts the director whose own address that way leads to (found by the replay)."""

    def eager(directors: int, gateway: int | None, return_path: ReturnPath) -> Declaration:
        found = declared(NAT, directors, gateway, return_path)
        ranked = {
            name: one.model_copy(update={"priority": 100 + int(name[2:])}) for name, one in found.director.items()
        }
        return found.model_copy(update={"director": ranked, "vrrp": found.vrrp.model_copy(update={"preempt": True})})

    old, new = eager(1, None, ReturnPath.FWMARK), eager(2, FIRST, ReturnPath.RULE)
    found = planned(change := Change(old, new, IFUPDOWN), deployed(change))
    assert "lb1 may lose its turn" in found.refused["lb1"]
    assert found.cure == PATH_FIRST
    for one, other in pairwise((old, eager(1, None, ReturnPath.RULE), new)):
        replayed(Change(one, other, IFUPDOWN, connected=False), Random(1), stops=1)  # noqa: S311 (no secret)


@pytest.mark.parametrize("silent", ["lb1", "lb2", "db1"])
def test_also_where_a_host_cannot_be_asked(silent: str) -> None:
    change = Change(declared(NAT, 2, FIRST), declared(NAT, 2, SECOND), IFUPDOWN, unreachable=frozenset({silent}))
    assert planned(change, deployed(change)).refused


HARMLESS = [
    pytest.param(declared(DR, 2, FIRST), declared(DR, 2, SECOND), id="another mode"),
    pytest.param(declared(DR, 2, FIRST), declared(NAT, 2, SECOND), id="nat comes"),
    pytest.param(declared(NAT, 1, None), declared(NAT, 1, FIRST), id="it begins to float"),
    pytest.param(declared(NAT, 1, FIRST), declared(NAT, 1, None), id="it ends to float"),
    pytest.param(declared(NAT, 2, FIRST), declared(NAT, 1, None), id="the passive one leaves"),
    *(
        pytest.param(declared(NAT, 2, FIRST, SNAT), declared(NAT, n, SECOND, SNAT), id=f"translated, {n} directors")
        for n in (1, 2)
    ),
    pytest.param(declared(NAT, 1, None, SNAT), declared(NAT, 2, FIRST, SNAT), id="translated, begins to float"),
    pytest.param(declared(NAT, 2, FIRST, SNAT), declared(DR, 2, SECOND, SNAT), id="translated, another mode"),
    pytest.param(declared(NAT, 2, FIRST, SNAT), declared(NAT, 1, None), id="translated no more, at its own address"),
]


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_where_it_is_harmless_it_moves(old: Declaration, new: Declaration, connected: bool) -> None:  # noqa: FBT001
    change = Change(old, new, IFUPDOWN, connected=connected)
    assert not planned(change, deployed(change)).refused
    replayed(change, Random(1), stops=1)  # noqa: S311 (no secret)


@pytest.mark.parametrize("directors", [1, 2])
def test_the_advice_leads_there(directors: int) -> None:
    """By another mode: nobody is cut off, and connections by nat keep the gateway until they have ended."""
    path = [declared(mode, directors, gateway) for mode, gateway in ((NAT, 12), (DR, 12), (DR, 13), (NAT, 13))]
    steps = [Change(old, new, IFUPDOWN) for old, new in pairwise(path)]
    cluster = deployed(steps[0])
    kept = served_by(steps[0].blueprints[0]) & served_by(steps[1].blueprints[0])
    watch = Watch(cluster, kept, [])
    watch.established = connect(cluster, steps[0], kept)
    follow(watch, cluster, steps[0])
    assert planned(steps[1], cluster).cure == CURE, "connections by nat are still there"
    watch.established = []
    cluster.establish(())
    for _ in range(2):
        follow(watch, cluster, steps[0])
    for change in steps[1:]:
        assert not planned(change, cluster).refused
        follow(watch, cluster, change)
        assert planned(change, cluster).is_empty
    assert gateways(cluster.states.values()) == {"10.0.0.13"}


def follow(watch: Watch, cluster: Cluster, change: Change) -> None:
    operator = Operator(cluster, change.blueprints[1])
    watch.follow(operator.deploy())
    assert not operator.failed


def gateways(states: Iterable[HostState]) -> set[str]:
    return {
        str(route.via) for state in states for route in state.routes if route.via and route.destination == "default"
    }


def test_it_begins_to_float_only_when_all_servers_can_be_asked() -> None:
    """The director that is to take it first would not change, and servers would be sent there all the same."""
    change = Change(declared(NAT, 1, None), declared(NAT, 1, FIRST), IFUPDOWN, unreachable=frozenset({"db1"}))
    found = planned(change, deployed(change))
    assert found.refused
    assert found.cure == "mend db1, which cannot be asked, or drain it, first"


def test_what_nobody_holds_may_change() -> None:
    """Then nobody is served by it, and the change may be the cure."""
    change = Change(declared(NAT, 1, FIRST), declared(NAT, 1, SECOND), IFUPDOWN)
    cluster = deployed(change)
    without = frozenset(a for a in cluster.states["lb1"].addresses if str(a.address) != "10.0.0.12")
    cluster.states["lb1"] = replace(cluster.states["lb1"], addresses=without)
    assert not planned(change, cluster).refused


def test_the_active_one_cannot_give_it_to_the_others_own_address() -> None:
    """Servers would answer by one that does not serve."""
    change = Change(declared(NAT, 2, FIRST), declared(NAT, 1, None), IFUPDOWN)
    cluster = deployed(change)
    states = cluster.states
    floating = {a for a in states["lb1"].addresses if a.device == "eth0"}
    states["lb1"] = replace(states["lb1"], addresses=states["lb1"].addresses - floating)
    states["lb2"] = replace(states["lb2"], addresses=states["lb2"].addresses | floating)
    found = planned(change, cluster)
    assert found.refused
    assert found.cure == "lbctl failover first, so that lb1 serves"


def test_one_takes_the_gateway_first_only_where_it_serves_alone_by_its_own_address() -> None:
    alone = Change(declared(NAT, 1, None), declared(NAT, 2, FIRST), IFUPDOWN)
    assert first_to_float(alone.new, deployed(alone).states) == "lb1"
    translated = Change(declared(NAT, 1, None, SNAT), declared(NAT, 2, FIRST), IFUPDOWN)
    assert first_to_float(translated.new, deployed(translated).states) is None
    beside = Change(declared(NAT, 2, FIRST, SNAT), declared(NAT, 1, SECOND), IFUPDOWN)
    assert first_to_float(beside.new, deployed(beside).states) is None


def asking_clients(declaration: Declaration, every: int) -> Declaration:
    """Something of servers that has nothing to do with nat."""
    return declaration.model_copy(
        update={"connections": declaration.connections.model_copy(update={"keepalive": every})}
    )


@pytest.mark.parametrize("directors", [1, 2])
@pytest.mark.parametrize("dead", [(), ("db2",)])
def test_it_begins_to_float_also_where_servers_lack_something_else(directors: int, dead: tuple[str, ...]) -> None:
    """They get that after the director has the gateway. It was refused for it, and servers were sent there all the same (found
    by the replay with a server that was dead, and not reached at first).
    """
    old, new = asking_clients(declared(NAT, 1, None), 0), asking_clients(declared(NAT, directors, SECOND), 300)
    gone = frozenset(dead)
    change = Change(old, new, IFUPDOWN, dead=gone, unreachable=gone)
    operator = Operator(deployed(change), change.blueprints[1], gone)
    assert [*operator.deploy()]
    assert not operator.failed
    replayed(change, Random(1), stops=1)  # noqa: S311 (no secret)


class Failing(Operator):
    """Directors fail, whatever the reason; lost: they cannot be asked any more, either."""

    lost = False

    def gate(self, name: str) -> str | None:
        if self.lost:
            self.unreachable |= {name}
        return "it failed"


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("directors", [1, 2])
def test_servers_are_not_sent_to_a_gateway_that_was_not_taken(directors: int, lost: bool) -> None:  # noqa: FBT001
    change = Change(declared(NAT, 1, None), declared(NAT, directors, FIRST), IFUPDOWN)
    cluster = deployed(change)
    watch = Watch(cluster, served_by(change.blueprints[0]), [])
    watch.established = connect(cluster, change, watch.kept)
    operator = Failing(cluster, change.blueprints[1])
    operator.lost = lost
    watch.follow(operator.deploy())
    watch.look("a deploy that failed")
    assert gateways(cluster.states[name] for name in change.new.real_server) == {"10.0.0.4"}
    expected = (
        "they would speak to nobody" if lost else "lb1 has not taken the gateway 10.0.0.12: answers would go to nobody"
    )
    assert {name for name, why in operator.failed.items() if expected in why} == {"db1", "db2", "db3"}
    # The same again, when the reason is gone.
    follow(watch, cluster, change)
    assert gateways(cluster.states.values()) == {"10.0.0.12"}


def test_a_server_without_a_way_back_is_not_sent_to_before_it_has_one() -> None:
    """One that joins, say, where it is not the health service that says which serve."""
    old, new = declared(NAT, 1, None), declared(NAT, 1, FIRST)
    states = deployed(Change(old, new, IFUPDOWN)).states
    others = [
        replace(service, destinations=tuple(d for d in service.destinations if d.address != IPv4Address("10.0.0.1")))
        for service in states["lb1"].services
    ]
    none_sent = {**states, "lb1": replace(states["lb1"], services=tuple(others))}
    assert must_be_ready(new, "lb1", none_sent, "db1", states["db1"]) == frozenset()
    assert must_be_ready(new, "lb1", none_sent, "db1", IFUPDOWN) == {Thing.RETURN_PATH}
    # It cannot get worse where it is sent to already, and is mended when the director has the gateway.
    assert must_be_ready(new, "lb1", states, "db1", IFUPDOWN) == frozenset()
    assert Thing.KEEPALIVE in must_be_ready(old, "lb1", states, "db1", states["db1"])


def test_a_server_that_cannot_be_asked_may_answer_by_a_gateway_that_goes() -> None:
    """Back to one director: the others are prepared for its own address, and this one is not."""
    change = Change(declared(NAT, 2, FIRST), declared(NAT, 1, None), IFUPDOWN, unreachable=frozenset({"db1"}))
    found = planned(change, deployed(change))
    assert found.refused["lb1"] == "db1 cannot be asked, and may answer by 10.0.0.12, which lb1 gives up"
    assert "drain it" in found.cure
    replayed(change, Random(1), stops=0)  # noqa: S311 (no secret)


@pytest.mark.parametrize(
    ("device", "address", "goes"),
    [("eth0", "10.0.0.77", True), ("eth0", "192.0.2.7", False), ("lo", "10.0.0.77", False), ("lo", "192.0.2.7", False)],
)
def test_what_can_be_no_servers_way_does_not_go(device: str, address: str, *, goes: bool) -> None:
    """Somebody has it on a director for himself. In the network, where servers look for it, it may have been a gateway."""
    change = Change(declared(NAT, 2, FIRST), declared(NAT, 2, FIRST), IFUPDOWN)
    states = deployed(change).states
    own = Address(device, IPv4Address(address))
    directors = {**states, "lb1": replace(states["lb1"], addresses=states["lb1"].addresses | {own})}
    assert (moves_in_use(change.new, directors, {"db1": None}, frozenset()) is not None) is goes


@pytest.mark.parametrize(
    ("before", "after", "cure"),
    [
        (ReturnPath.FWMARK, ReturnPath.FWMARK, CURE),  # as the replay found it
        (ReturnPath.RULE, SNAT, CURE),
        (SNAT, ReturnPath.RULE, ONE_BY_ONE),
        (SNAT, SNAT, ""),  # nothing moves
    ],
)
def test_the_advice_leads_there_where_the_director_could_not_be_asked(
    before: ReturnPath, after: ReturnPath, cure: str
) -> None:
    """Servers are ready for the new mode. When it is back it still serves by nat at its own address: only then is it refused."""
    old, new = declared(NAT, 1, None, before), declared(DR, 1, SECOND, after)
    change = Change(old, new, IFUPDOWN, unreachable=frozenset({"lb1"}))
    cluster = deployed(change)
    assert not planned(change, cluster).refused
    watch = Watch(cluster, served_by(change.blueprints[0]) & served_by(change.blueprints[1]), [])
    watch.established = connect(cluster, change, watch.kept)
    watch.follow(Operator(cluster, change.blueprints[1], change.unreachable).deploy())
    assert Operator(cluster, change.blueprints[1]).plan().cure == cure
    # Those who came by nat meanwhile are not cut by what is advised.
    follow(watch, cluster, Change(old, first_by_the_cure(change, cure) if cure else new, IFUPDOWN))
    replayed(change, Random(1), stops=0)  # noqa: S311 (no secret)
