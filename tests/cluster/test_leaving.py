"""Hosts that leave a cluster: nothing of ours is wanted there, and others have their work before they stop."""

from dataclasses import replace

from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.plan import Plan, Work, plan
from cluster.vocabulary import Mode, Role
from tests.cluster.states import as_declared, director
from tests.variants import Variant

PAIR = Variant(Mode.NAT).blueprint


def without(*names: str) -> Blueprint:
    """The same cluster when these have left it."""
    d = PAIR.declaration
    less = d.model_copy(
        update={
            "director": {name: host for name, host in d.director.items() if name not in names},
            "real_server": {name: host for name, host in d.real_server.items() if name not in names},
        }
    )
    return replace(PAIR, declaration=less, former=d, leaving=frozenset(names))


def running(active: str = "lb1") -> dict[str, HostState]:
    servers = {name: as_declared(PAIR, name, {Mode.NAT}) for name in PAIR.declaration.real_server}
    return servers | {name: director(PAIR, name, Mode.NAT, active=name == active) for name in PAIR.declaration.director}


def steps(found: Plan) -> list[tuple[Work, tuple[str, ...]]]:
    return [(step.work, tuple(step.changes)) for step in found.steps]


def test_a_host_that_leaves_is_still_asked_and_carries_nothing() -> None:
    blueprint = without("lb1")
    assert blueprint.group(Role.DIRECTOR) == ("lb2", "lb1")
    assert blueprint.footprint("lb1", {Mode.NAT}) == ()
    assert blueprint.known("lb1") == PAIR.known("lb1")


def test_a_director_stops_before_the_other_changes_and_is_emptied_last() -> None:
    found = steps(plan(without("lb1"), running()))
    assert found.index((Work.LEAVE, ("lb1",))) < found.index((Work.CONFIGURE, ("lb2",)))
    assert found[-1][0] is Work.RETIRE
    assert "lb1" in found[-1][1]


def test_the_active_one_stops_behind_a_gate_and_a_passive_one_at_once() -> None:
    def gates(found: Plan) -> list[str]:
        return [step.gate for step in found.steps if step.work is Work.LEAVE]

    assert gates(plan(without("lb1"), running())) == [
        "lb2 knows which client goes where, and every established connection of lb1"
    ]
    assert gates(plan(without("lb2"), running())) == [""]


def test_directors_forget_a_server_before_it_is_emptied() -> None:
    found = steps(plan(without("db3"), running()))
    works = [work for work, _ in found]
    (emptied,) = (n for n, (work, hosts) in enumerate(found) if work is Work.RETIRE and "db3" in hosts)
    assert max(n for n, work in enumerate(works) if work is Work.CONFIGURE) < emptied


def test_when_all_leave_the_active_one_stops_last() -> None:
    everything = replace(PAIR, former=PAIR.declaration, leaving=frozenset(PAIR.declaration.hosts()))
    found = steps(plan(everything, running(active="lb1")))
    assert [hosts for work, hosts in found if work is Work.LEAVE] == [("lb2",), ("lb1",)]
    assert {work for work, _ in found} == {Work.LEAVE, Work.RETIRE}
    assert not any(step.gate for step in plan(everything, running(active="lb1")).steps)
