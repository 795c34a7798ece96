"""What the replay found, case by case: when a director must not go over to other terms, and what established connections need."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.observed import HostState
from cluster.order import not_ready, parted
from cluster.parts import Thing
from cluster.plan import Work, plan
from cluster.still_used import ends_with_its_place, way_back
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.states import as_declared, director, with_connections
from tests.variants import Variant

PLAN = Variant(Mode.DR).blueprint
DECLARED = PLAN.declaration
NEW, OLD = PLAN.contract, "old terms"


def running(*, active: bool, terms: str, name: str = "lb1") -> HostState:
    state = director(PLAN, name, Mode.DR, active=active)
    unit = replace(state.units["keepalived.service"], contract=terms)
    return replace(state, units={"keepalived.service": unit})


def why(lb2: HostState | None, lb1: HostState | None) -> str | None:
    """What keeps lb2 from the new terms."""
    return parted(DECLARED, "lb2", {"lb1": lb1, "lb2": lb2}, NEW)


def test_a_director_does_not_start_beside_one_that_holds_the_addresses_on_other_terms() -> None:
    """That one was to change first and did not: a server was not ready, say."""
    assert why(HostState(), running(active=True, terms=OLD)) == (
        "lb1 still holds the virtual addresses on other terms: both would hold them"
    )
    assert why(HostState(), running(active=True, terms=NEW)) is None


def test_the_active_one_waits_for_a_passive_one_that_did_not_stop() -> None:
    assert why(running(active=True, terms=OLD), running(active=False, terms=OLD)) == (
        "lb1 still runs on other terms: both would hold them"
    )
    assert why(running(active=True, terms=OLD), HostState()) is None


def test_terms_do_not_change_beside_a_director_that_cannot_be_asked() -> None:
    said = "lb1 cannot be asked; on other terms than it both would hold the virtual addresses"
    assert why(running(active=False, terms=OLD), None) == said
    assert why(running(active=False, terms=NEW), None) is None
    # Nothing is known of either: the first deploy of a pair of which one machine is dead.
    assert why(HostState(), None) is None


def test_two_that_both_hold_the_addresses_may_change() -> None:
    assert why(running(active=True, terms=OLD), running(active=True, terms=OLD)) is None


NAT = Variant(Mode.NAT, directors=1).blueprint
ALONE = director(NAT, "lb1", Mode.NAT, active=True)


def nat_by(way: ReturnPath) -> Variant:
    return Variant(Mode.NAT, directors=1, return_path=way)


@pytest.mark.parametrize(
    ("old", "new", "changes"), [("rule", "snat", True), ("snat", "rule", True), ("rule", "fwmark", False)]
)
def test_another_return_path_is_a_change_of_method(old: str, new: str, changes: bool) -> None:  # noqa: FBT001
    before = director(nat_by(ReturnPath(old)).blueprint, "lb1", Mode.NAT, active=True)
    declared = nat_by(ReturnPath(new)).declaration
    assert bool(not_ready(declared, before, {"db1": None}, {}, [])) is changes


def test_so_is_another_gateway() -> None:
    assert not_ready(Variant(Mode.NAT).declaration, ALONE, {"db1": None}, {}, []) is not None
    assert not_ready(NAT.declaration, ALONE, {"db1": None}, {}, []) is None


def test_for_one_that_joins_what_changes_is_what_the_others_do() -> None:
    serves = director(PLAN, "lb1", Mode.TUN, active=True)
    assert not_ready(DECLARED, HostState(), {"db1": None}, {}, [], others=[serves]) is not None
    assert not_ready(DECLARED, HostState(), {"db1": None}, {}, []) is None


# What established connections need, whatever is declared now.


def seen_by_snat(declared: Variant, *connections: tuple[str, str]) -> tuple[Variant, dict[str, HostState | None]]:
    """A cluster of another mode now; until then the director put itself in as client."""
    lb1 = director(declared.blueprint, "lb1", declared.mode, active=True)
    translating = replace(lb1, sysctls={**lb1.sysctls, "net/ipv4/vs/conntrack": "1"})
    servers = {
        name: as_declared(declared.blueprint, name, {declared.mode}) for name in declared.declaration.real_server
    }
    return declared, {"lb1": translating, **servers, "db1": with_connections(servers["db1"], *connections)}


def test_a_director_that_is_somebodys_client_goes_on_translating() -> None:
    declared, seen = seen_by_snat(Variant(Mode.DR, directors=1), ("10.0.0.1", "10.0.0.4"))
    assert way_back(declared.declaration, seen) == {Thing.KERNEL, Thing.FORWARDING, Thing.MASQUERADE}
    declared, seen = seen_by_snat(Variant(Mode.DR, directors=1))
    assert way_back(declared.declaration, seen) == frozenset()


def test_a_directors_check_is_no_client_where_nothing_translates() -> None:
    declared, seen = seen_by_snat(Variant(Mode.DR, directors=1), ("10.0.0.1", "10.0.0.4"))
    seen["lb1"] = director(declared.blueprint, "lb1", Mode.DR, active=True)
    assert way_back(declared.declaration, seen) == frozenset()


def test_a_rule_stays_while_answers_go_by_it_though_the_return_path_is_another_now() -> None:
    new = nat_by(ReturnPath.SNAT)
    old = as_declared(nat_by(ReturnPath.RULE).blueprint, "db1", {Mode.NAT})
    others = {name: as_declared(new.blueprint, name, {Mode.NAT}) for name in ("db2", "db3")}
    seen: dict[str, HostState | None] = {"lb1": director(new.blueprint, "lb1", Mode.NAT, active=True), **others}
    held = {**seen, "db1": with_connections(old, ("10.0.0.1", "10.0.0.5"))}
    now = plan(new.blueprint, held)
    assert now.is_empty
    assert "kept for now: nat's way back on db1: connections may still use it" in now.notes
    (step,) = plan(new.blueprint, {**seen, "db1": old}).steps
    assert (step.work, list(step.changes)) == (Work.RETIRE, ["db1"])


def test_a_rule_stays_while_a_director_that_was_not_changed_sends_by_it() -> None:
    declared = Variant(Mode.DR, directors=1, return_path=ReturnPath.SNAT).declaration
    rule = nat_by(ReturnPath.RULE).blueprint
    seen = {"lb1": director(rule, "lb1", Mode.NAT, active=True), **dict.fromkeys(declared.real_server, HostState())}
    assert Thing.RETURN_PATH in way_back(declared, seen)
    assert Thing.RETURN_PATH in way_back(declared, {**seen, "lb1": None})
    assert way_back(declared, seen, moved=True) == frozenset()


def test_who_is_connected_at_a_place_that_goes_is_counted() -> None:
    """Of a former port of nat that is waited for; of an address that is taken out of the declaration it is told before."""
    services = dict(DECLARED.service)
    moved = services["read"].model_copy(update={"vip": IPv4Address("10.0.0.20")})
    after = replace(PLAN, declaration=DECLARED.model_copy(update={"service": {**services, "read": moved}}))
    lb1, lb2 = (director(PLAN, name, Mode.DR, active=name == "lb1") for name in ("lb1", "lb2"))
    assert list(ends_with_its_place(after, {"lb1": lb1, "lb2": lb2})) == []
    read = next(s for s in lb1.services if str(s.endpoint.address) == "10.0.0.10")
    busy = replace(read, destinations=tuple(replace(d, active=2) for d in read.destinations))
    lb1 = replace(lb1, services=(busy, *(s for s in lb1.services if s is not read)))
    told = "10.0.0.10:3306 is declared no more: 6 connections there will be cut (lb1)"
    assert list(ends_with_its_place(after, {"lb1": lb1, "lb2": lb2})) == [told]
    assert list(ends_with_its_place(PLAN, {"lb1": lb1, "lb2": lb2})) == []
    assert told in plan(after, {"lb1": lb1, "lb2": lb2}).notes


def test_what_was_never_there_is_not_said_to_be_kept() -> None:
    """A monitor at a server's own address might come by nat, for all that can be seen; there is nothing of nat to keep."""
    directors = {name: director(PLAN, name, Mode.DR, active=name == "lb1") for name in DECLARED.director}
    servers = {name: as_declared(PLAN, name, {Mode.DR}) for name in DECLARED.real_server}
    monitored = {**servers, "db1": with_connections(servers["db1"], ("10.0.0.1", "10.0.0.200"))}
    assert plan(PLAN, {**directors, **monitored}).notes == ()
    both = as_declared(PLAN, "db1", {Mode.DR, Mode.NAT})
    left = {**servers, "db1": with_connections(both, ("10.0.0.1", "10.0.0.200"))}
    now = plan(PLAN, {**directors, **left})
    assert now.is_empty
    assert now.notes == ("kept for now: nat: established connections may still use it",)
