"""The gate of servers before they are prepared: it stops them where nat's gateway was to be taken first, and was not."""

from types import SimpleNamespace

import pytest

from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.vocabulary import Mode
from operations import gate, observation
from tests.cluster.shapes import Change
from tests.cluster.states import IFUPDOWN
from tests.cluster.test_gateway import DR, FIRST, NAT, declared
from tests.cluster.test_replay import deployed

CHANGE = Change(declared(NAT, 1, None), declared(NAT, 1, FIRST), IFUPDOWN)


def said(
    monkeypatch: pytest.MonkeyPatch,
    blueprint: Blueprint,
    director: HostState | None,
    *,
    executing: bool = True,
    change: Change = CHANGE,
) -> list[str]:
    """Why a server stops there."""
    seen: dict[str, HostState | None] = {**deployed(change).states, "lb1": director}
    groups = {
        "directors": {name: seen[name] for name in blueprint.declaration.director},
        "real_servers": {name: seen[name] for name in blueprint.declaration.real_server},
    }
    monkeypatch.setattr(gate, "current", SimpleNamespace(state=SimpleNamespace(is_executing=executing)))
    monkeypatch.setattr(gate, "states", lambda _, name: groups[name])
    monkeypatch.setattr(gate, "modes_in_use_now", lambda _: frozenset({Mode.NAT, blueprint.declaration.mode}))
    monkeypatch.setattr(observation, "blueprint", lambda _: blueprint)
    return [command.args[0] for command in gate.gateway_is_there._inner()]


def test_it_stops_where_the_gateway_was_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    before, (_, new) = deployed(CHANGE).states["lb1"], CHANGE.blueprints
    assert said(monkeypatch, new, before) == [
        "not changed: lb1 has not taken the gateway 10.0.0.12: answers would go to nobody"
    ]
    (why,) = said(monkeypatch, new, None)  # it cannot be asked any more
    assert "by 10.0.0.12 they would speak to nobody" in why
    # While pyinfra puts a run together nothing was done yet.
    assert said(monkeypatch, new, before, executing=False) == []


def test_else_it_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before, (old, new) = deployed(CHANGE).states["lb1"], CHANGE.blueprints
    there = deployed(Change(CHANGE.new, CHANGE.new, IFUPDOWN)).states["lb1"]
    assert said(monkeypatch, new, there) == []
    for director in (before, None):
        assert said(monkeypatch, old, director) == []
    other_mode = Change(CHANGE.old, declared(DR, 1, None), IFUPDOWN).blueprints[1]
    assert said(monkeypatch, other_mode, before) == []


def test_nor_where_one_of_a_pair_cannot_be_asked_and_all_answer_by_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one, which is passive, was taken for a director that is alone and must take the gateway."""
    pair = Change(declared(NAT, 2, FIRST), declared(NAT, 2, FIRST), IFUPDOWN)
    assert said(monkeypatch, pair.blueprints[1], None, change=pair) == []
