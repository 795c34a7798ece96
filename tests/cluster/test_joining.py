"""A director that joins: the one that is active there learns of it first, or both would hold the virtual addresses."""

from dataclasses import replace

from cluster.observed import HostState
from cluster.order import standing_down, turns
from cluster.vocabulary import Mode
from tests.cluster.states import director
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
