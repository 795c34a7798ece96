"""A routing table that somebody else uses is not taken over, and nothing of his goes; what is ours is no reason to refuse."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.difference import Action, differences
from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.parts import Route, Rule
from cluster.plan import plan
from cluster.reading import read
from cluster.taken import taken_tables
from cluster.vocabulary import ROUTING_TABLE, SEED_ROUTING_TABLE, SEGMENT_TABLE, Mode, ReturnPath
from templates import render
from tests.cluster.simulated_host import bare
from tests.cluster.states import IFUPDOWN, as_declared
from tests.variants import Variant

NAT = Variant(Mode.NAT).blueprint
FWMARK = Variant(Mode.NAT, return_path=ReturnPath.FWMARK).blueprint
TUN = Variant(Mode.TUN).blueprint

ELSEWHERE = IPv4Address("192.168.1.5")
BY_THE_OTHER_CARD = (
    Rule(32765, ROUTING_TABLE, source=ELSEWHERE),
    Route(ROUTING_TABLE, "default", "eth1", IPv4Address("192.168.1.1")),
    Route(ROUTING_TABLE, "192.168.1.0/24", "eth1"),
)
"""The usual recipe for a second network card."""
BY_THE_ROUTER = (
    Rule(32765, SEGMENT_TABLE, source=IPv4Address("10.0.0.1")),
    Route(SEGMENT_TABLE, "10.0.0.0/24", "eth0"),
    Route(SEGMENT_TABLE, "default", "eth0", IPv4Address("10.0.0.254")),
)
"""The same for the first one."""
HOWTO = (
    Rule(32765, SEED_ROUTING_TABLE, mark=SEED_ROUTING_TABLE),
    Route(SEED_ROUTING_TABLE, "10.0.0.4", "eth0"),
    Route(SEED_ROUTING_TABLE, "default", "eth0", IPv4Address("10.0.0.9")),
)
"""By hand, of a director that had another address."""


def having(state: HostState, items: Iterable[Rule | Route]) -> HostState:
    rules = tuple(item for item in items if isinstance(item, Rule))
    routes = {item for item in items if isinstance(item, Route)}
    return replace(state, rules=(*state.rules, *rules), routes=state.routes | routes)


def with_router(blueprint: Blueprint, text: str) -> Blueprint:
    return Blueprint(read(f'router = "10.0.0.254"\n{text}', "x.toml"), render, blueprint.password)


def seen(blueprint: Blueprint, **states: HostState) -> Mapping[str, HostState]:
    return dict.fromkeys(blueprint.declaration.hosts(), bare(IFUPDOWN)) | states


@pytest.mark.parametrize(
    ("blueprint", "items", "said"),
    [
        (
            NAT,
            BY_THE_OTHER_CARD,
            "routing table 100, which lbctl needs for its return path, is somebody else's there: "
            "192.168.1.0/24 dev eth1 table 100; default via 192.168.1.1 dev eth1 onlink table 100; "
            "pref 32765 from 192.168.1.5 lookup 100",
        ),
        (NAT, BY_THE_OTHER_CARD[:1], "pref 32765 from 192.168.1.5 lookup 100"),
        (NAT, (Rule(1000, ROUTING_TABLE),), "pref 1000 lookup 100"),
        (NAT, (Route(ROUTING_TABLE, "default", "eth0", IPv4Address("10.0.0.254")),), "default via 10.0.0.254 dev eth0"),
        (NAT, (Route(ROUTING_TABLE, "default", kind="blackhole"),), "blackhole default table 100"),
        (TUN, BY_THE_ROUTER, "default via 10.0.0.254 dev eth0 onlink table 101"),
        (FWMARK, (*HOWTO, Rule(32764, 1, source=ELSEWHERE)), "pref 32764 from 192.168.1.5 lookup 1"),
        (
            FWMARK,
            (Route(1, "default", "eth1", IPv4Address("10.0.0.4")),),
            "default via 10.0.0.4 dev eth1 onlink table 1",
        ),
    ],
)
def test_a_table_of_somebody_elses_is_refused_before_anything_is_touched(
    blueprint: Blueprint, items: tuple[Rule | Route, ...], said: str
) -> None:
    found = plan(blueprint, seen(blueprint, db1=having(bare(IFUPDOWN), items)))
    assert list(found.refused) == ["db1"]
    assert said in found.refused["db1"]
    assert "give what uses it a table with another number there" in found.cure


def test_a_table_with_a_name_is_somebodys_and_cannot_be_looked_at() -> None:
    named = replace(bare(IFUPDOWN), table_names={ROUTING_TABLE: "isp2"})
    found = plan(NAT, seen(NAT, db2=named))
    assert found.refused["db2"].endswith("is somebody else's there: it has a name (isp2, in /etc/iproute2)")
    assert plan(TUN, seen(TUN, db2=named)).refused == {}


@pytest.mark.parametrize("items", [BY_THE_OTHER_CARD, BY_THE_ROUTER])
def test_where_the_table_is_not_needed_all_of_it_stays(items: tuple[Rule | Route, ...]) -> None:
    text = Variant(Mode.DR).text
    blueprint = with_router(Variant(Mode.DR).blueprint, text)
    state = having(as_declared(blueprint, "db1", {Mode.DR}), items)
    assert taken_tables(blueprint, {"db1": state}, frozenset({Mode.DR})) == {}
    assert differences(blueprint.footprint("db1", {Mode.DR}), blueprint.known("db1"), state) == ()


def test_what_comes_into_a_table_of_ours_later_stays_and_is_no_reason_to_refuse() -> None:
    foreign = (*BY_THE_OTHER_CARD[:1], BY_THE_OTHER_CARD[2])
    state = having(as_declared(NAT, "db1", {Mode.NAT}), foreign)
    assert taken_tables(NAT, {"db1": state}, frozenset({Mode.NAT})) == {}
    assert differences(NAT.footprint("db1", {Mode.NAT}), NAT.known("db1"), state) == ()


@pytest.mark.parametrize("blueprint", [NAT, FWMARK, TUN], ids=["rule", "fwmark", "tun"])
def test_what_is_ours_is_no_reason(blueprint: Blueprint) -> None:
    """Whatever was declared before: gateways, VIPs, ports, an address of the server's."""
    modes = frozenset(Mode)
    state = as_declared(blueprint, "db1", modes)
    other = IPv4Address("10.0.0.99")
    routes = {replace(route, via=other) if route.via else route for route in state.routes}
    rules = tuple(replace(rule, source=other, source_port=3307) if rule.source else rule for rule in state.rules)
    for former in (state, replace(state, routes=frozenset(routes)), replace(state, rules=rules)):
        assert taken_tables(blueprint, {"db1": former}, modes) == {}
    # It goes as before.
    gone = differences(blueprint.footprint("db1", modes), blueprint.known("db1"), replace(state, rules=rules))
    assert {d.item for d in gone if d.action is Action.REMOVE} == {rule for rule in rules if rule.source}


def test_the_howtos_table_is_taken_over_and_so_is_a_way_back_by_hand() -> None:
    state = having(bare(IFUPDOWN), HOWTO)
    assert taken_tables(FWMARK, {"db1": state}, frozenset({Mode.NAT})) == {}
    found = differences(FWMARK.footprint("db1", {Mode.NAT}), FWMARK.known("db1"), state)
    assert {d.item for d in found if d.action is Action.REMOVE} == {HOWTO[0], HOWTO[2]}
    by_hand = (
        Rule(32765, ROUTING_TABLE, source=IPv4Address("10.0.0.1")),
        Route(ROUTING_TABLE, "default", "eth0", IPv4Address("10.0.0.12")),
    )
    assert taken_tables(NAT, {"db1": having(bare(IFUPDOWN), by_hand)}, frozenset({Mode.NAT})) == {}
    # It goes: all that db1 sends from its own address would leave through the director, not its answers alone.
    found = differences(NAT.footprint("db1", {Mode.NAT}), NAT.known("db1"), having(bare(IFUPDOWN), by_hand))
    assert {d.item for d in found if d.action is Action.REMOVE} == {by_hand[0]}


def test_a_rule_of_ours_that_is_there_twice_goes_whatever_its_preference() -> None:
    state = as_declared(NAT, "db1", {Mode.NAT})
    twice = tuple(replace(rule, preference=101) for rule in state.rules if rule.table == ROUTING_TABLE and rule.source)
    assert twice
    found = differences(NAT.footprint("db1", {Mode.NAT}), NAT.known("db1"), having(state, twice))
    assert {d.item for d in found if d.action is Action.REMOVE} == set(twice)
