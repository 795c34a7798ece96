"""A director that joins: the one that is active there learns of it first, or both would hold the virtual addresses."""

from dataclasses import replace

from cluster.observed import HostState
from cluster.order import standing_down, turns
from cluster.plan import plan
from cluster.still_used import takes_over_early
from cluster.vocabulary import Mode
from tests.cluster.states import as_declared, director, with_connections
from tests.variants import Variant

ALONE = Variant(Mode.DR, directors=1).blueprint
PAIR = Variant(Mode.DR, directors=2).blueprint
"""With a gateway, which is what directors announce: other terms than those of one that is alone."""


def test_on_other_terms_the_active_one_changes_first() -> None:
    seen = {"lb1": director(ALONE, "lb1", Mode.DR, active=True), "lb2": HostState()}
    assert ALONE.contract != PAIR.contract
    assert standing_down(PAIR.declaration, seen, PAIR.contract) == ()
    assert turns(PAIR.declaration, seen, PAIR.contract) == ("lb1", "lb2")


def test_on_the_same_terms_the_new_one_still_comes_last() -> None:
    """With unicast the active one does not speak to it before it has changed."""
    seen = {"lb1": director(PAIR, "lb1", Mode.TUN, active=True), "lb2": HostState()}
    assert turns(PAIR.declaration, seen, PAIR.contract) == ("lb1", "lb2")


def test_one_that_does_not_run_has_no_terms() -> None:
    """Addresses without a keepalived, as after a crash: nobody announces them, and whoever starts next does no harm."""
    there = director(ALONE, "lb1", Mode.DR, active=True)
    stopped = replace(there.units["keepalived.service"], active=False)
    seen = {"lb1": replace(there, units={"keepalived.service": stopped}), "lb2": HostState()}
    assert turns(PAIR.declaration, seen, PAIR.contract) == ("lb2", "lb1")


def test_one_that_would_take_over_at_once_does_not_join_while_clients_are_connected_by_nat() -> None:
    vrrp = PAIR.declaration.vrrp.model_copy(update={"preempt": True})
    favoured = PAIR.declaration.director["lb2"].model_copy(update={"priority": 110})
    directors = {**PAIR.declaration.director, "lb2": favoured}
    eager = PAIR.declaration.model_copy(update={"vrrp": vrrp, "director": directors})
    seen = {"lb1": director(PAIR, "lb1", Mode.NAT, active=True), "lb2": HostState()}
    idle = {name: as_declared(PAIR, name, {Mode.NAT, Mode.DR}) for name in eager.real_server}
    busy = {**idle, "db1": with_connections(idle["db1"], ("10.0.0.1", "10.0.0.5"))}
    why = takes_over_early(eager, "lb2", seen, busy)
    assert why is not None
    assert "take over from lb1" in why
    assert takes_over_early(eager, "lb2", seen, idle) is None
    assert takes_over_early(eager, "lb1", seen, busy) is None, "it runs"
    assert takes_over_early(PAIR.declaration, "lb2", seen, busy) is None, "it joins as the passive one"
    by_nat = eager.model_copy(update={"mode": Mode.NAT})
    assert takes_over_early(by_nat, "lb2", seen, busy) is None, "it serves them"
    assert plan(replace(PAIR, declaration=eager), {**seen, **busy}).refused.keys() == {"lb2"}
    assert not plan(replace(PAIR, declaration=eager), {**seen, **idle}).refused
