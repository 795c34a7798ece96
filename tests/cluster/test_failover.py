"""A planned failover: who hands over to whom, and when it must not begin."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.errors import LbctlError
from cluster.failover import (
    Move,
    clients_by_server,
    gate_of_leaving,
    handed_on,
    known,
    move,
    of_clients,
    remembered_otherwise,
    stuck,
)
from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.vocabulary import Mode
from tests.cluster.states import director
from tests.variants import Variant

PAIR = Variant(Mode.DR).blueprint
D = PAIR.declaration


def pair(active: str) -> dict[str, HostState | None]:
    return {name: director(PAIR, name, Mode.DR, active=name == active) for name in D.director}


def test_from_the_active_one_to_the_other() -> None:
    assert move(D, pair("lb1"), None) == Move("lb1", "lb2")
    assert move(D, pair("lb2"), "lb1") == Move("lb2", "lb1")


def stopped(name: str) -> dict[str, HostState | None]:
    seen = pair("lb1")
    state = seen[name]
    assert state
    unit = replace(state.units["keepalived.service"], active=False)
    return {**seen, name: replace(state, units={"keepalived.service": unit})}


BOTH = {name: director(PAIR, name, Mode.DR, active=True) for name in D.director}
WAITING = {
    **pair("lb1"),
    "lb2": director(PAIR, "lb2", Mode.DR, active=False, dead=("db3",)),
}
"""The heir has just started: a server waits for its first check."""
EMPTY = {**pair("lb1"), "lb2": replace(director(PAIR, "lb2", Mode.DR, active=False), services=())}


@pytest.mark.parametrize(
    ("seen", "to", "why"),
    [
        (pair("lb1"), "lb1", "active director already"),
        (pair("lb1"), "lb9", "no director that runs"),
        (pair("none"), None, "no director that can be asked holds"),
        (BOTH, None, "several directors hold"),
        (stopped("lb2"), None, "nobody to hand over to"),
        ({**pair("lb1"), "lb2": None}, None, "nobody to hand over to"),
        (EMPTY, None, "lb2 cannot serve yet"),
        (WAITING, None, "lb2 cannot serve yet: it does not send connections for 10.0.0.10:3306 to 10.0.0.3:3306 yet"),
    ],
)
def test_it_does_not_begin(seen: dict[str, HostState | None], to: str | None, why: str) -> None:
    with pytest.raises(LbctlError, match=why):
        move(D, seen, to)


TABLE = """\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A000005 9C40 0A00000A 0CEA 0A000001 0CEA ESTABLISHED     899
TCP 0A000005 9C41 0A00000A 0CEA 0A000002 0CEA FIN_WAIT        119
TCP 0A000006 9C42 0A00000A 0CEA 0A000003 0CEA ESTABLISHED     899
TCP 0A000005 0000 0A00000A 0CEA 0A000002 0CEA NONE            58
"""


def test_connections_of_clients_are_compared() -> None:
    found = known(TABLE.splitlines())
    assert len(found) == 2
    assert {connection[0] for connection in of_clients(found, D)} == {"0A000005"}


def test_who_is_to_be_asked_whether_a_connection_stands() -> None:
    found = clients_by_server(of_clients(known(TABLE.splitlines()), D))
    assert found == {IPv4Address("10.0.0.1"): frozenset({"10.0.0.5:40000"})}


def test_which_client_goes_where() -> None:
    assert stuck(TABLE.splitlines()) == {("0A000005", "0000", "0A00000A", "0CEA", "0A000002", "0CEA")}


NAMES = tuple(D.director)


def leaving(*names: str) -> Blueprint:
    """The pair when these have left it; all of them: it is uninstalled."""
    staying = {name: host for name, host in D.director.items() if name not in names}
    after = D.model_copy(update={"director": staying}) if staying else D
    return replace(PAIR, declaration=after, former=D, leaving=frozenset(names))


def test_one_that_leaves_hands_over_to_one_that_stays() -> None:
    assert handed_on(leaving("lb1"), "lb1", pair("lb1")) == Move("lb1", "lb2")
    known_to_both = "lb2 knows which client goes where, and every established connection of lb1"
    assert gate_of_leaving(leaving("lb1"), "lb1", pair("lb1")) == known_to_both


def uncopied(blueprint: Blueprint) -> Blueprint:
    vrrp = D.vrrp.model_copy(update={"synchronise_connections": False})
    return replace(blueprint, former=D.model_copy(update={"vrrp": vrrp}))


@pytest.mark.parametrize(
    ("blueprint", "seen"),
    [
        pytest.param(leaving("lb1"), pair("lb2"), id="passive"),
        pytest.param(leaving("lb1"), BOTH, id="both hold the addresses"),
        pytest.param(leaving("lb1"), {**pair("lb1"), "lb1": None}, id="cannot be asked"),
        pytest.param(leaving(*NAMES), pair("lb1"), id="nobody stays"),
        pytest.param(uncopied(leaving("lb1")), pair("lb1"), id="connections are not copied"),
    ],
)
def test_nothing_is_handed_over(blueprint: Blueprint, seen: dict[str, HostState | None]) -> None:
    assert handed_on(blueprint, "lb1", seen) is None
    assert gate_of_leaving(blueprint, "lb1", seen) == ""


@pytest.mark.parametrize(
    ("seen", "why"),
    [(stopped("lb2"), "nobody to hand over to"), (WAITING, "lb2 cannot serve yet"), (EMPTY, "lb2 cannot serve yet")],
)
def test_one_that_leaves_waits_for_its_heir_by_the_rules_of_failover(
    seen: dict[str, HostState | None], why: str
) -> None:
    with pytest.raises(LbctlError, match=why):
        handed_on(leaving("lb1"), "lb1", seen)
    assert gate_of_leaving(leaving("lb1"), "lb1", seen).startswith("does not hold now: ")


def test_the_heir_is_one_that_stays_even_if_another_has_the_higher_priority() -> None:
    third = D.director["lb2"].model_copy(update={"address": IPv4Address("10.0.0.7"), "priority": 1})
    three = replace(PAIR, declaration=D.model_copy(update={"director": {**D.director, "lb3": third}}))
    seen = {name: director(three, name, Mode.DR, active=name == "lb1") for name in three.declaration.director}
    assert move(three.declaration, seen, None) == Move("lb1", "lb2")
    after = D.model_copy(update={"director": {"lb3": third}})
    both_leave = replace(PAIR, declaration=after, former=three.declaration, leaving=frozenset({"lb1", "lb2"}))
    assert handed_on(both_leave, "lb1", seen) == Move("lb1", "lb3")


def test_what_a_killed_command_left_of_its_sticking_does_not_stop_the_next() -> None:
    seen = pair("lb1")
    heir = seen["lb2"]
    assert heir
    spread = {s.endpoint for s in heir.services if not s.persistence}
    assert spread
    sticky = (
        replace(s, persistence=60, granularity=IPv4Address("255.255.255.255")) if s.endpoint in spread else s
        for s in heir.services
    )
    seen["lb2"] = replace(heir, services=tuple(sticky))
    assert move(D, seen, None) == Move("lb1", "lb2")


TEMPLATE = "TCP 00000000 0000 0A00000B 0CEA 0A000001 0CEA NONE        299"
CONNECTION = "TCP 0A000314 9C40 0A00000B 0CEA 0A000001 0CEA ESTABLISHED     899"
ANOTHERS = (
    "TCP [fe80:0000:0000:0000:0000:0000:0000:0001] 9C40 [fe80:0000:0000:0000:0000:0000:0000:0002] 0CEA {} 0CEA {} 9"
)


def test_what_is_none_of_ours_in_the_kernels_table() -> None:
    """Of IPv6, or a template that was given up."""
    lines = [
        TEMPLATE,
        CONNECTION,
        ANOTHERS.format("[fe80:0000:0000:0000:0000:0000:0000:0003]", "ESTABLISHED"),
        TEMPLATE.replace("0CEA 0A000001 0CEA", "FFFF 00000000 0000"),
    ]
    assert known(lines) == {("0A000314", "9C40", "0A00000B", "0CEA", "0A000001", "0CEA")}
    assert stuck(lines) == {("00000000", "0000", "0A00000B", "0CEA", "0A000001", "0CEA")}


def test_a_place_that_is_remembered_otherwise() -> None:
    here = stuck([TEMPLATE, TEMPLATE.replace("0A00000B", "0A00000C")])
    there = stuck([TEMPLATE.replace("0A000001", "0A000003")])
    assert remembered_otherwise(here - there, there) == stuck([TEMPLATE])
