"""keepalived: the one thing on a host that carries clients while it is changed."""

import time
from collections.abc import Iterable

from pyinfra import host as current
from pyinfra.api import FunctionCommand, Host, State, StringCommand, deploy, operation

from cluster.difference import Action, Difference, by_things
from cluster.footprint import table
from cluster.keepalived import Left, floating_addresses
from cluster.order import is_active, left_out, not_by_declared_method
from cluster.parts import File, Thing, Unit
from cluster.still_used import clung_to
from cluster.table import drift
from cluster.vocabulary import Mode
from operations import observation
from operations.commands import WAIT, check_script
from operations.inventory import directors, state_of, states
from operations.thing import Commands, built, fails_alone, refuse_hand_edited, run, settled

RELOAD = 5
"""Seconds in which keepalived has done what a reload makes it do."""


@operation()
@fails_alone
def configured(modes: Iterable[Mode]) -> Commands:
    """keepalived runs what is declared. Where the method changes while a server is dead, in two reloads (`left_out` says why)."""
    yield from _configured(frozenset(modes))


def _configured(modes: frozenset[Mode]) -> Commands:
    refuse_hand_edited(current, modes)
    missing = by_things(observation.found(current, modes), (Thing.KEEPALIVED,), Action.BUILD)
    if not missing:
        current.noop("as declared")
        return
    if by_reload := _by_reload(missing):
        yield from _reloaded(by_reload, modes)
        # Only now is it plain what keepalived leaves in the table, and it needs a moment for what it changes itself.
        yield FunctionCommand(_table_rests, (), {})
        missing = by_things(observation.found(current, modes), (Thing.KEEPALIVED,), Action.BUILD)
    # Always, if only as a proof.
    yield from built((Thing.KEEPALIVED,), modes, missing)


@operation()
@fails_alone
def withdrawn() -> Commands:
    """Former places of services are given up, but for those where clients are connected when this is executed."""
    plan, name = observation.blueprint(current), observation.name_of(current)
    there = plan.former_places(name, observation.seen(current))
    stay = clung_to(plan, states(current, "directors")).get(name, ())
    if there == stay:
        current.noop("none without clients")
        return
    conf = plan.keepalived_conf(name, former=stay)
    unit = Unit("keepalived.service", revision=conf.sha256, reload=True, ours=False)
    yield from run(
        [
            Difference(Thing.KEEPALIVED, Action.BUILD, conf, "file", f"rewrite {conf.path}"),
            Difference(Thing.KEEPALIVED, Action.BUILD, unit, "unit", "reload keepalived"),
        ]
    )

    def lacking(where: Host) -> str | None:
        left = set(plan.former_places(name, observation.seen(where))) - set(stay)
        return f"still serves {', '.join(sorted(map(str, left)))}" if left else None

    yield FunctionCommand(settled, ("ports given up", lacking), {})


def _by_reload(found: Iterable[Difference]) -> list[Difference]:
    """What keepalived mends itself when it reads its configuration: all but what has crept into the kernel's table."""
    return [d for d in by_things(found, (Thing.KEEPALIVED,), Action.BUILD) if d.kind != "table"]


def _reloaded(missing: list[Difference], modes: frozenset[Mode]) -> Commands:
    plan, name = observation.blueprint(current), observation.name_of(current)
    dead = left_out(plan.declaration, name, observation.seen(current))
    if dead:
        yield from run(_with(_conf(current, dead), missing))
        yield FunctionCommand(settled, ("the method", _method_unchanged), {})
        missing = _by_reload(observation.found(current, modes))
    yield from run(missing)


def _table_rests(state: State, host: Host) -> bool:
    """Waits until the table is as declared, or a while: what differs then is what keepalived does not see."""
    del state
    plan, name = observation.blueprint(host), observation.name_of(host)
    deadline = time.monotonic() + RELOAD
    wanted = table(plan.declaration, name, plan.former_places(name, observation.seen(host)))
    while next(drift(wanted, observation.seen(host)), None) and time.monotonic() < deadline:
        time.sleep(0.3)
        observation.forget(host)
    return True


def _with(conf: File, missing: Iterable[Difference]) -> list[Difference]:
    """What is missing, but with this keepalived.conf: also where another one is in place already, put there by a run that was
    cut short before the reload.
    """
    others = [d for d in missing if not (d.kind == "file" and d.item.guarded)]
    return [Difference(Thing.KEEPALIVED, Action.BUILD, conf, "file", f"rewrite {conf.path}"), *others]


def _method_unchanged(where: Host) -> str | None:
    """The old method that the table still has, after a reload that should have replaced it; None when it has none."""
    old = not_by_declared_method(
        observation.blueprint(where).declaration, observation.name_of(where), observation.seen(where)
    )
    return f"the kernel's table still has {', '.join(sorted(old))}" if old else None


def _conf(where: Host, without: Left = frozenset()) -> File:
    """What this director is to run, as long as former places of services are served."""
    plan, name = observation.blueprint(where), observation.name_of(where)
    return plan.keepalived_conf(name, without, plan.former_places(name, observation.seen(where)))


@operation()
def stopped() -> Commands:
    """keepalived does not run until it is configured."""
    try:
        # Disabled too: one that is started anew meanwhile would come back on the old terms, and both would hold the addresses.
        yield StringCommand("timeout -k 5 60 systemctl -q disable --now keepalived.service", _timeout=90)
    finally:
        observation.forget(current)


@operation()
@fails_alone
def handed_over() -> Commands:
    """One of the directors that stay holds what floats; nothing to wait for where none stays."""
    plan = observation.blueprint(current)
    staying = [other for other in directors(current) if observation.name_of(other) not in plan.leaving]

    def lacking(where: Host) -> str | None:
        del where
        for other in staying:
            observation.forget(other)
        holders = [other for other in staying if (state := state_of(other)) and is_active(plan.declaration, state)]
        return None if holders or not floating_addresses(plan.declaration) else "no other director holds the addresses"

    if staying:
        yield FunctionCommand(settled, ("hand-over", lacking), {})


@operation()
def accepted() -> Commands:
    """keepalived --config-test of what this director would get; fails with its words if it is rejected."""
    conf = _conf(current)
    yield StringCommand(f"timeout -k 5 {60 + WAIT} sh -s", _stdin=check_script(conf), _timeout=60 + WAIT + 30)


@deploy("before any change")
def accepted_deploy() -> None:
    accepted(name="keepalived accepts it")
