"""Expected against seen."""

import itertools
from dataclasses import replace

import pytest

from cluster import boot
from cluster.difference import Action, differences
from cluster.observed import HostState, SeenUnit
from cluster.parts import Route, Rule, Thing
from cluster.vocabulary import SEED_ROUTING_TABLE, Mode, ReturnPath
from tests.cluster.states import as_declared
from tests.variants import MATRIX, SPECIAL, Variant

VARIANTS = [*MATRIX, *SPECIAL]
PAIR = Variant(Mode.NAT)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_host_that_carries_its_footprint_has_no_difference(variant: Variant) -> None:
    plan = variant.blueprint
    for host in plan.declaration.hosts():
        state = as_declared(plan, host, {variant.mode})
        assert differences(plan.footprint(host, {variant.mode}), plan.known(host), state) == ()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_bare_host_needs_everything_and_loses_nothing(variant: Variant) -> None:
    plan = variant.blueprint
    for host in plan.declaration.hosts():
        found = differences(plan.footprint(host, {variant.mode}), plan.known(host), HostState())
        wanted = boot.on_host(plan.footprint(host, {variant.mode}), HostState())
        files = {file.path for part in wanted for file in part.files}
        assert {d.item.path for d in found if d.kind == "file"} == files
        assert {d.action for d in found} == {Action.BUILD}


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(Mode, 2)))
def test_what_another_mode_left_is_taken_away_and_nothing_else(old: Mode, new: Mode) -> None:
    plan = PAIR.blueprint
    for host in plan.declaration.hosts():
        known = plan.known(host)
        both = as_declared(plan, host, {old, new})
        left = [d for d in differences(plan.footprint(host, {new}), known, both) if d.action is Action.REMOVE]
        kept = {file.path for part in plan.footprint(host, {new}) for file in part.files}
        was = boot.on_host(plan.footprint(host, {old}), both)
        only_old = {file.path for part in was for file in part.files} - kept
        assert {d.item.path for d in left if d.kind == "file"} == only_old
        assert differences(plan.footprint(host, {old, new}), known, both) == ()


def test_an_address_of_an_earlier_declaration_goes_from_our_device_only() -> None:
    plan = Variant(Mode.DR).blueprint
    state = as_declared(plan, "db1", {Mode.DR})
    old = replace(next(iter(state.addresses)), address=plan.declaration.director["lb1"].address)
    foreign = replace(old, device="eth0")
    state = replace(state, addresses=state.addresses | {old, foreign})
    found = differences(plan.footprint("db1", {Mode.DR}), plan.known("db1"), state)
    assert [(d.kind, d.item) for d in found] == [("address", old)]


def test_a_doubled_rule_is_taken_away_once() -> None:
    plan = PAIR.blueprint
    state = as_declared(plan, "db1", {Mode.NAT})
    state = replace(state, rules=(*state.rules, *state.rules, Rule(32766, 254)))
    found = differences(plan.footprint("db1", {Mode.NAT}), plan.known("db1"), state)
    assert [(d.action, d.kind) for d in found] == [(Action.REMOVE, "rule")]


def test_the_unit_that_would_put_a_rule_back_goes_before_the_rule_and_the_rule_before_its_routes() -> None:
    plan = PAIR.blueprint
    state = as_declared(plan, "db1", {Mode.NAT, Mode.DR})
    found = differences(plan.footprint("db1", {Mode.DR}), plan.known("db1"), state)
    kinds = [kind for kind, _ in itertools.groupby(d.kind for d in found if d.thing is Thing.RETURN_PATH)]
    assert kinds == ["unit", "rule", "route", "file"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"active": False}, "start"),
        ({"enabled": False}, "enable"),
        ({"revision": "older"}, "reload"),
        ({"revision": None}, "reload"),
        ({"stale": True}, "read its file again"),
    ],
)
def test_a_daemon_is_judged_by_what_it_runs(change: dict[str, object], said: str) -> None:
    plan = PAIR.blueprint
    state = as_declared(plan, "lb1", {Mode.NAT})
    unit: SeenUnit = replace(state.units["keepalived.service"], **change)  # type: ignore[arg-type]
    state = replace(state, units={**state.units, "keepalived.service": unit})
    found = differences(plan.footprint("lb1", {Mode.NAT}), plan.known("lb1"), state)
    assert len(found) == 1
    assert said in found[0].what


def test_a_database_that_is_down_is_not_asked_for_its_users() -> None:
    plan = Variant(Mode.DR).blueprint
    state = replace(as_declared(plan, "db1", {Mode.DR}), database="down", database_users=frozenset())
    assert differences(plan.footprint("db1", {Mode.DR}), plan.known("db1"), state) == ()


def test_a_setting_goes_back_to_what_it_was_before_us() -> None:
    plan = PAIR.blueprint
    state = as_declared(plan, "lb1", {Mode.NAT})
    found = differences(plan.footprint("lb1", {Mode.DR}), plan.known("lb1"), state)
    assert "set net.ipv4.ip_forward back to 7" in [d.what for d in found]


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(ReturnPath, 2)))
def test_another_return_path_leaves_nothing_of_the_old_one(old: ReturnPath, new: ReturnPath) -> None:
    before, after = Variant(Mode.NAT, return_path=old).blueprint, Variant(Mode.NAT, return_path=new).blueprint
    for host in after.declaration.hosts():
        was = before.footprint(host, {Mode.NAT})
        found = differences(after.footprint(host, {Mode.NAT}), after.known(host), as_declared(before, host, {Mode.NAT}))
        gone = {d.item for d in found if d.action is Action.REMOVE and d.kind in {"rule", "route"}}
        wanted = after.footprint(host, {Mode.NAT})
        for kind in ("rules", "routes"):
            there = {item for part in was for item in getattr(part, kind)}
            assert gone >= there - {item for part in wanted for item in getattr(part, kind)}


def test_a_foreign_route_in_a_table_that_we_may_have_used_stays() -> None:
    plan = PAIR.blueprint
    foreign = Route(SEED_ROUTING_TABLE, "192.0.2.1", device="eth1")
    state = as_declared(plan, "db1", {Mode.NAT})
    state = replace(state, routes=state.routes | {foreign})
    assert differences(plan.footprint("db1", {Mode.NAT}), plan.known("db1"), state) == ()
