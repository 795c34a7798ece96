"""The steps of a deploy, and that each prefix of them leaves no director sending where nobody listens."""

import itertools
from dataclasses import replace

import pytest

from cluster.difference import Action
from cluster.footprint import ALL_MODES, Blueprint
from cluster.guarded import NotReplaced
from cluster.observed import HostState
from cluster.plan import Plan, Work, plan
from cluster.vocabulary import Mode
from tests.cluster.states import as_declared, director, with_connections
from tests.variants import MATRIX, Variant

CONF = "/etc/keepalived/keepalived.conf"


def seen_in(blueprint: Blueprint, mode: Mode, dead: tuple[str, ...] = ()) -> dict[str, HostState | None]:
    """A cluster that works in `mode`."""
    first = next(iter(blueprint.declaration.director))
    directors = {n: director(blueprint, n, mode, active=n == first, dead=dead) for n in blueprint.declaration.director}
    servers = {name: as_declared(blueprint, name, {mode}) for name in blueprint.declaration.real_server}
    return {**directors, **servers}


@pytest.mark.parametrize("variant", MATRIX, ids=lambda variant: variant.name)
def test_a_cluster_as_declared_needs_no_step(variant: Variant) -> None:
    assert plan(variant.blueprint, seen_in(variant.blueprint, variant.mode)).is_empty


@pytest.mark.parametrize("variant", MATRIX, ids=lambda variant: variant.name)
def test_bare_machines_get_servers_first_then_directors(variant: Variant) -> None:
    blueprint = variant.blueprint
    steps = plan(blueprint, dict.fromkeys(blueprint.declaration.hosts(), HostState())).steps
    works = [step.work for step in steps]
    assert works == [Work.INSTALL, Work.PREPARE, *[Work.CONFIGURE] * len(blueprint.declaration.director)]


def replay(found: Plan, old: Mode, new: Mode, blueprint: Blueprint) -> None:
    """Every prefix: a server carries each method by which some director sends to it."""
    servers = {name: {old} for name in blueprint.declaration.real_server}
    directors = dict.fromkeys(blueprint.declaration.director, old)
    for step in found.steps:
        for host in step.changes:
            if step.work is Work.PREPARE:
                servers[host] = {old, new}
            elif step.work is Work.CONFIGURE:
                directors[host] = new
            elif host in servers:
                servers[host] = {new}
            # Also after each host within a step: somebody may pull the plug there.
            assert all(mode in carried for mode in directors.values() for carried in servers.values())
    assert set(directors.values()) == {new}
    assert all(carried == {new} for carried in servers.values())


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(Mode, 2)))
@pytest.mark.parametrize("directors", [1, 2])
def test_every_prefix_of_a_change_of_mode_serves(old: Mode, new: Mode, directors: int) -> None:
    blueprint = Variant(new, directors=directors).blueprint
    replay(plan(blueprint, seen_in(blueprint, old)), old, new, blueprint)


def test_nothing_is_removed_before_the_last_director_has_moved() -> None:
    blueprint = Variant(Mode.NAT).blueprint
    steps = plan(blueprint, seen_in(blueprint, Mode.DR)).steps
    actions = [{d.action for changes in step.changes.values() for d in changes} for step in steps]
    assert actions == [{Action.BUILD}] * 4 + [{Action.REMOVE}]  # software, servers, two directors; leftovers


def test_connections_that_still_use_the_old_mode_keep_its_footprint() -> None:
    blueprint = Variant(Mode.NAT).blueprint
    seen = seen_in(blueprint, Mode.DR)
    db1 = seen["db1"]
    assert db1 is not None
    seen["db1"] = with_connections(db1, ("10.0.0.10", "10.0.0.5"))
    assert Work.RETIRE not in [step.work for step in plan(blueprint, seen).steps]


@pytest.mark.parametrize("connected", [False, True])
def test_files_under_names_of_before_go_when_they_are_there_under_the_new_ones(*, connected: bool) -> None:
    """Also while connections hold nat's way back, which that takes nothing from: they may never end."""
    blueprint = Variant(Mode.NAT).blueprint
    seen = {
        name: replace(state, files={path.replace("/zz-", "/90-"): file for path, file in state.files.items()})
        for name, state in seen_in(blueprint, Mode.NAT).items()
        if state
    }
    if connected:
        seen["db1"] = with_connections(seen["db1"], ("10.0.0.1", "192.0.2.9"))
    steps = plan(blueprint, seen).steps
    whats = [{d.what.split()[0] for changes in step.changes.values() for d in changes} for step in steps]
    assert whats == [{"write"}, {"write"}, {"write"}, {"remove"}, {"remove"}]
    for work in (Work.CONFIGURE, Work.RETIRE):
        paths = {d.item.path for step in steps if step.work is work for d in step.changes.get("lb1", ())}
        number = "90" if work is Work.RETIRE else "zz"
        assert paths == {f"/etc/sysctl.d/{number}-lbctl-{name}.conf" for name in ("director", "forwarding")}


def test_a_host_that_cannot_be_asked_is_left_out_and_named() -> None:
    blueprint = Variant(Mode.DR).blueprint
    seen = {**dict.fromkeys(blueprint.declaration.hosts(), HostState()), "db2": None}
    found = plan(blueprint, seen, {"db2": "no route"})
    assert "db2" not in found.hosts
    assert found.unreachable == {"db2": "no route"}


@pytest.mark.parametrize(
    ("guard", "cluster", "named"),
    [
        ("kept", "", None),
        ("kept", "lab", None),
        ("edited", "lab", NotReplaced(f"{CONF} was edited by hand")),
        (None, "", NotReplaced(f"{CONF} was not written by lbctl")),
        ("kept", "shop", NotReplaced(f"{CONF} is of cluster shop, not of lab", of_another_cluster=True)),
    ],
)
def test_a_file_that_is_not_ours_is_named_before_it_is_replaced(
    guard: str | None, cluster: str, named: NotReplaced | None
) -> None:
    blueprint = Variant(Mode.TUN).blueprint
    seen = seen_in(blueprint, Mode.DR)
    lb1 = seen["lb1"]
    assert lb1 is not None
    file = replace(lb1.files[CONF], guard=guard, cluster=cluster)
    seen["lb1"] = replace(lb1, files={**lb1.files, CONF: file})
    assert plan(blueprint, seen).hand_edited == ({"lb1": named} if named else {})


def test_a_server_carries_any_union_of_modes() -> None:
    blueprint = Variant(Mode.DR).blueprint
    for size in (1, 2, 3):
        for modes in itertools.combinations(Mode, size):
            union = {part.thing for part in blueprint.footprint("db1", frozenset(modes))}
            single = {part.thing for mode in modes for part in blueprint.footprint("db1", {mode})}
            assert union == single <= {part.thing for part in blueprint.footprint("db1", ALL_MODES)}
