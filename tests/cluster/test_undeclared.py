"""Hosts that somebody took out of the declaration by hand."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.change import Change, refuse
from cluster.declaration import Declaration
from cluster.errors import RefusedError
from cluster.history import DONE, FAILED, Entry
from cluster.plan import Plan
from cluster.reading import read
from cluster.undeclared import LastChange, undeclared
from tests.variants import Variant

PAIR, ALONE = Variant().declaration, Variant(directors=1).declaration
LB2 = PAIR.director["lb2"].address
FEWER = Variant(servers=("db1", "db2")).declaration
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENDED = Entry(7, "deploy", "ann", "desk", NOON, NOON, DONE)
KILLED = Entry(8, "director remove lb2", "ann", "desk", NOON)


def renamed(address: str) -> Declaration:
    """lb2 is called lb9."""
    return read(Variant().text.replace("director.lb2", "director.lb9").replace("10.0.0.6", address), "renamed.toml")


def test_who_is_declared_is_not_among_them() -> None:
    assert undeclared(None, ALONE) == {}
    assert undeclared(LastChange(ENDED, PAIR), PAIR) == {}
    assert undeclared(LastChange(ENDED, ALONE), PAIR) == {}
    assert undeclared(LastChange(ENDED, None), PAIR) == {}


def test_a_host_with_another_name_is_not_gone() -> None:
    assert PAIR.gone_from(renamed("10.0.0.6")) == set()
    assert PAIR.gone_from(renamed("10.0.0.7")) == PAIR.gone_from(ALONE) == {"lb2"}
    server = ALONE.model_copy(
        update={
            "real_server": {**ALONE.real_server, "db4": ALONE.real_server["db1"].model_copy(update={"address": LB2})}
        }
    )
    assert PAIR.gone_from(server) == {"lb2"}, "a server at its address is not that director"
    assert PAIR.gone_from(None) == set(PAIR.hosts())


def test_how_to_take_them_out_is_said() -> None:
    (director,) = undeclared(LastChange(ENDED, PAIR), ALONE).items()
    assert director == (
        "lb2",
        "put [director.lb2] back, then lbctl director remove lb2 "
        "(or, where it is gone for good, lbctl director remove lb2 --dead)",
    )
    (server,) = undeclared(LastChange(ENDED, PAIR), FEWER).items()
    assert server[0] == "db3"
    assert "put [real_server.db3] back, then lbctl real-server remove db3 (" in server[1]


def test_a_command_that_takes_them_out_names_them_before() -> None:
    assert undeclared(LastChange(ENDED, PAIR), PAIR, ALONE) == {}


def test_one_that_has_another_name_is_still_declared() -> None:
    assert undeclared(LastChange(ENDED, PAIR), renamed("10.0.0.6")) == {}
    assert list(undeclared(LastChange(ENDED, PAIR), renamed("10.0.0.7"))) == ["lb2"]


@pytest.mark.parametrize("entry", [KILLED, replace(KILLED, ended=NOON, result=f"{FAILED}: db1")])
def test_a_change_that_was_stopped_goes_on_or_back(entry: Entry) -> None:
    """Whether it lets one come or go, whichever of its two texts the file has."""
    for before, after in ((PAIR, ALONE), (ALONE, PAIR)):
        (what,) = undeclared(LastChange(entry, after, before), ALONE).values()
        assert what.endswith("lbctl switch-mode --resume or --abort")
        assert "change 8 (director remove lb2)" in what


def test_taken_out_by_hand_after_a_change_that_was_stopped() -> None:
    """Going on with it would put the file's other edits back as well."""
    (what,) = undeclared(LastChange(KILLED, PAIR, PAIR), ALONE).values()
    assert what.startswith("put [director.lb2] back")


@pytest.mark.parametrize(
    "result", [DONE, f"{DONE}, but not on db3", f"{DONE}, but for what is still used: db1: 2 connections"]
)
def test_what_came_to_its_end(result: str) -> None:
    assert replace(KILLED, ended=NOON, result=result).came_to_its_end
    assert not KILLED.came_to_its_end
    assert not replace(KILLED, ended=NOON, result=f"{FAILED}: db1").came_to_its_end


def test_nothing_is_carried_out_without_them_but_uninstall() -> None:
    wanted = Plan((), undeclared=undeclared(LastChange(ENDED, PAIR), ALONE))
    change = Change("deploy", Path("shop.toml"), "", "", Variant(directors=1).blueprint)
    with pytest.raises(RefusedError, match=r"shop.toml names lb2 no more, .*; nothing was changed") as refused:
        refuse(change, wanted)
    assert refused.value.cure.startswith("lb2: put [director.lb2] back")
    refuse(replace(change, remembered=False), wanted)
