"""What a change means for clients, what must be waited for, and when it must not begin."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cluster.change import Change, afterwards, clients_must_move, refuse, refuse_last, wait, was_deployed
from cluster.errors import HostError, RefusedError
from cluster.footprint import ALL_MODES, Blueprint
from cluster.observed import Connection, HostState
from cluster.plan import Plan, Step, Work
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.states import as_declared, director
from tests.variants import Variant

DR, TUN, NAT = (Variant(mode).blueprint for mode in Mode)
CLIENT = IPv4Address("10.0.0.5")


def change(blueprint: Blueprint, *idle: str) -> Change:
    return Change("a test", Path("none"), "", "", blueprint, idle=frozenset(idle))


def switched(blueprint: Blueprint) -> dict[str, HostState | None]:
    """Directors have changed; servers carry all modes."""
    mode = blueprint.declaration.mode
    servers = {name: as_declared(blueprint, name, ALL_MODES) for name in blueprint.declaration.real_server}
    return {**servers, **{n: director(blueprint, n, mode, active=n == "lb1") for n in blueprint.declaration.director}}


def with_clients(
    seen: dict[str, HostState | None], server: str, local: str, *ports: int
) -> dict[str, HostState | None]:
    state = seen[server]
    assert state
    found = tuple(Connection(IPv4Address(local), CLIENT, port) for port in ports)
    return {**seen, server: replace(state, established=found)}


def test_clients_are_told_what_they_must_change() -> None:
    assert clients_must_move(DR.declaration, TUN.declaration) == ()
    assert clients_must_move(DR.declaration, NAT.declaration) == ()
    assert clients_must_move(NAT.declaration, DR.declaration) == (
        "clients of 10.0.0.12:5506 (read) must change to 10.0.0.10:3306",
        "clients of 10.0.0.12:5507 (write) must change to 10.0.0.11:3306",
    )


@pytest.mark.parametrize(("there", "named"), [(DR, True), (TUN, False), (NAT, False)], ids=["dr", "tun", "nat"])
def test_what_was_there_before_is_what_hosts_carry(there: Blueprint, named: bool) -> None:  # noqa: FBT001
    """Not what was edited in the file and never deployed."""
    before, after = Variant(Mode.DR).text, Variant(Mode.NAT).text
    switch = Change("a test", Path("none"), before, after, replace(NAT, former=DR.declaration))
    assert was_deployed(switch, switched(there)) is named
    assert not was_deployed(switch, dict.fromkeys(switched(there)))


def test_what_follows_when_a_director_has_left_is_told_before() -> None:
    told = ("then: clustercheck on real servers answers lb2 no more",)
    nothing = Plan(())
    assert afterwards(change(replace(DR, leaving=frozenset({"lb2"}))), nothing) == told
    assert afterwards(change(replace(DR, leaving=frozenset({"db2"}))), nothing) == ()
    assert afterwards(change(replace(DR, leaving=frozenset(DR.declaration.hosts()))), nothing) == ()


def test_a_mode_that_nobody_tries_first_is_told_before() -> None:
    terms = Step(Work.STAND_DOWN, "passive directors stop", {})
    (said, _) = afterwards(change(replace(NAT, former=DR.declaration)), Plan((terms,)))
    assert said.startswith("directors must agree on something new as well, so no passive one tries nat first")
    assert afterwards(change(NAT), Plan((terms,))) == ()


def test_what_goes_only_when_nobody_uses_it_is_told_before() -> None:
    switch = change(replace(NAT, former=DR.declaration))
    told = ("then: waits until no connection goes by dr (at most 10m), and takes away what only that needs",)
    assert afterwards(switch, Plan(())) == told
    assert afterwards(switch, Plan((Step(Work.WITHDRAW, "take away", {}),))) == ()
    assert afterwards(change(NAT), Plan(())) == ()


def test_only_what_stood_at_the_switch_is_waited_for() -> None:
    seen = with_clients(switched(TUN), "db1", "10.0.0.10", 40001, 40002)
    waits = wait(change(TUN), seen)
    assert waits
    assert waits.left(seen) == ("db1: 2 connections",)
    assert waits.left(with_clients(seen, "db1", "10.0.0.10", 40002, 40003)) == ("db1: 1 connection",)
    assert waits.left(with_clients(seen, "db1", "10.0.0.10", 40003)) == ()


@pytest.mark.parametrize("mode", list(Mode))
def test_a_director_that_leaves_keeps_no_connection_waiting(mode: Mode) -> None:
    """It has handed over, and what servers carry stays. (tun's connections look like dr's: both end at a VIP.)"""
    both, one = Variant(mode), Variant(mode, directors=1)
    blueprint = replace(one.blueprint, former=both.declaration, leaving=frozenset({"lb2"}))
    seen: dict[str, HostState | None] = {
        name: as_declared(both.blueprint, name, {mode}) for name in both.declaration.real_server
    }
    seen |= {n: director(both.blueprint, n, mode, active=n == "lb1") for n in both.declaration.director}
    seen = with_clients(seen, "db1", "10.0.0.1" if mode is Mode.NAT else "10.0.0.10", 40001)
    waits = wait(change(blueprint), seen)
    assert waits
    assert [line for line in waits.left(seen) if line.startswith("db")] == []


def test_a_server_that_cannot_be_asked_may_have_some() -> None:
    seen = switched(TUN)
    waits = wait(change(TUN), seen)
    assert waits
    assert waits.left({**seen, "db2": None}) == ("db2 cannot be asked",)


def test_where_nothing_is_to_go_nothing_is_waited_for() -> None:
    there = {name: as_declared(DR, name, {Mode.DR}) for name in DR.declaration.real_server}
    seen = {**there, **{n: director(DR, n, Mode.DR, active=n == "lb1") for n in DR.declaration.director}}
    assert wait(change(DR), seen) is None
    assert wait(change(DR, "db1"), seen) is not None


def test_a_server_that_is_to_be_idle_is_waited_for() -> None:
    seen = with_clients(switched(DR), "db1", "10.0.0.10", 40001)
    waits = wait(change(DR, "db1"), seen)
    assert waits
    assert waits.left(seen) == ("db1: 1 connection",)


def test_a_dead_server_is_not_waited_for_until_it_is_idle() -> None:
    alive = switched(DR)
    seen = {**alive, "db1": None}
    waits = wait(change(DR, "db1"), seen)
    assert waits
    assert waits.in_vain(seen)
    assert waits.left(seen) == ("db1 cannot be asked",)
    assert not waits.in_vain({**seen, "db2": None})
    fell_silent = wait(change(DR, "db1"), alive)
    assert fell_silent
    assert not fell_silent.in_vain(seen)


def test_the_last_live_server_of_a_service_is_not_drained() -> None:
    alone = {"lb1": director(DR, "lb1", Mode.DR, active=True, dead=("db2", "db3"))}
    with pytest.raises(RefusedError, match="only live server"):
        refuse_last(DR, "db1", alone)
    refuse_last(DR, "db2", alone)
    refuse_last(DR, "db1", {"lb1": director(DR, "lb1", Mode.DR, active=True, dead=("db3",))})


def test_who_leaves_or_comes_must_be_there() -> None:
    leaving = replace(DR, former=DR.declaration, leaving=frozenset({"lb2"}))
    with pytest.raises(RefusedError, match="say so: lbctl director remove lb2 --dead"):
        refuse(change(leaving), Plan((), unreachable={"lb2": "no answer"}))
    database = replace(DR, former=DR.declaration, leaving=frozenset({"db2"}))
    with pytest.raises(RefusedError, match="say so: lbctl real-server remove db2 --dead"):
        refuse(change(database), Plan((), unreachable={"db2": "no answer"}))
    before = Variant(Mode.DR, directors=1).declaration
    joining = replace(DR, former=before)
    with pytest.raises(HostError, match="lb2 cannot be reached, so nothing was changed"):
        refuse(change(joining), Plan((), unreachable={"lb2": "no answer"}))
    refuse(change(joining), Plan((), unreachable={"db1": "no answer"}))


def test_who_came_by_a_director_that_translates_is_waited_for() -> None:
    """Also where that is declared no more: its own address stands in the client's place, and is cut when it ends to."""
    before = Variant(Mode.NAT, return_path=ReturnPath.SNAT).blueprint
    seen = {name: as_declared(before, name, ALL_MODES) for name in before.declaration.real_server}
    seen |= {name: director(before, name, Mode.NAT, active=name == "lb1") for name in before.declaration.director}
    client = Connection(IPv4Address("10.0.0.1"), IPv4Address("10.0.0.4"), 40001)
    seen["db1"] = replace(seen["db1"], established=(client,))
    for name in before.declaration.director:
        # They have changed to dr, and go on translating.
        seen[name] = replace(seen[name], services=director(DR, name, Mode.DR, active=name == "lb1").services)
    found = wait(change(replace(DR, former=before.declaration)), seen)
    assert found
    assert found.left(seen) == ("db1: 1 connection",)
    seen["db1"] = replace(seen["db1"], established=())
    assert found.left(seen) == ()
