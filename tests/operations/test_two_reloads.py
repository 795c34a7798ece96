"""What the first of two reloads gets, when the method changes while a server is dead."""

from cluster.difference import Action, differences
from cluster.observed import HostState
from cluster.parts import Thing
from cluster.vocabulary import Mode
from operations.keepalived import _with
from tests.cluster.states import as_declared
from tests.variants import Variant

BLUEPRINT = Variant(Mode.TUN).blueprint
DEAD = frozenset({("read", "db3"), ("write", "db3")})


def first_reload(seen: HostState) -> tuple[str, list[str]]:
    """The text of keepalived.conf, and the kinds of all that is done."""
    wanted = BLUEPRINT.footprint("lb1", {Mode.TUN})
    missing = [d for d in differences(wanted, wanted, seen) if d.thing is Thing.KEEPALIVED]
    assert missing
    found = _with(BLUEPRINT.keepalived_conf("lb1", DEAD), missing)
    (conf,) = (d for d in found if d.kind == "file" and d.item.guarded)
    assert conf.action is Action.BUILD
    return conf.item.text, [d.kind for d in found]


def test_the_dead_are_left_out() -> None:
    text, kinds = first_reload(HostState())
    assert "10.0.0.2 3306" in text
    assert "10.0.0.3 3306" not in text
    assert kinds.index("file") < kinds.index("unit")


def test_also_where_a_run_that_was_cut_short_put_the_whole_file_in_place() -> None:
    """There is no difference in the file then: only that keepalived does not run it."""
    whole = as_declared(BLUEPRINT, "lb1", {Mode.TUN})
    old = as_declared(Variant(Mode.DR).blueprint, "lb1", {Mode.DR})
    text, kinds = first_reload(HostState(**{**vars(whole), "units": old.units}))
    assert "10.0.0.3 3306" not in text
    assert kinds == ["file", "unit"]
