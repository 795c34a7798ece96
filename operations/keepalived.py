"""keepalived: the one thing on a host that carries clients while it is changed."""

import time
from collections.abc import Iterable
from dataclasses import replace

from pyinfra import host as current
from pyinfra.api import FunctionCommand, Host, State, StringCommand, deploy, operation

from cluster.difference import Action, Difference, by_things
from cluster.footprint import table
from cluster.keepalived import Left
from cluster.order import left_out
from cluster.parts import Thing
from cluster.table import drift
from cluster.vocabulary import Mode
from operations import observation
from operations.commands import check_script
from operations.thing import Commands, built, refuse_hand_edited, run, settled

RELOAD = 5
"""Seconds in which keepalived has done what a reload makes it do."""


@operation()
def configured(modes: Iterable[Mode]) -> Commands:
    """keepalived runs what is declared. Where the method changes while a server is dead, in two reloads (`left_out` says why)."""
    refuse_hand_edited(current, modes)
    missing = by_things(observation.found(current, modes), (Thing.KEEPALIVED,), Action.BUILD)
    if not missing:
        current.noop("as declared")
        return
    by_table = [d for d in missing if d.kind == "table"]
    if by_table != list(missing):
        yield from _reloaded([d for d in missing if d.kind != "table"])
        # Only now is it plain what keepalived leaves in the table, and it needs a moment for what it changes itself.
        yield FunctionCommand(_table_rests, (), {})
        missing = by_things(observation.found(current, modes), (Thing.KEEPALIVED,), Action.BUILD)
    # Always, if only as a proof.
    yield from built((Thing.KEEPALIVED,), modes, missing)


def _reloaded(missing: list[Difference]) -> Commands:
    plan, name = observation.blueprint(current), observation.name_of(current)
    dead = left_out(plan.declaration, name, observation.seen(current))
    if dead:
        yield from run(_without(current, missing, dead))
        yield FunctionCommand(settled, ("the method", _method_unchanged), {})
    yield from run(missing)


def _table_rests(state: State, host: Host) -> bool:
    """Waits until the table is as declared, or a while: what differs then is what keepalived does not see."""
    del state
    plan, name = observation.blueprint(host), observation.name_of(host)
    deadline = time.monotonic() + RELOAD
    while next(drift(table(plan.declaration, name), observation.seen(host)), None) and time.monotonic() < deadline:
        time.sleep(0.3)
        observation.forget(host)
    return True


def _without(where: Host, missing: Iterable[Difference], dead: Left) -> list[Difference]:
    conf = observation.blueprint(where).keepalived_conf(observation.name_of(where), dead)
    return [replace(d, item=conf) if d.kind == "file" and d.item.guarded else d for d in missing]


def _method_unchanged(where: Host) -> str | None:
    """The old method that the table still has, after a reload that should have replaced it; None when it has none."""
    old = observation.seen(where).modes - {observation.blueprint(where).declaration.mode}
    return f"the kernel's table still has {', '.join(sorted(old))}" if old else None


@operation()
def stopped() -> Commands:
    """keepalived does not run until it is configured."""
    try:
        yield StringCommand("timeout 30 systemctl stop keepalived.service")
    finally:
        observation.forget(current)


@operation()
def accepted() -> Commands:
    """keepalived --config-test of what this director would get; fails with its words if it is rejected."""
    conf = observation.blueprint(current).keepalived_conf(observation.name_of(current))
    yield StringCommand("timeout 60 sh -s", _stdin=check_script(conf))


@deploy("before any change")
def accepted_deploy() -> None:
    accepted(name="keepalived accepts it")
