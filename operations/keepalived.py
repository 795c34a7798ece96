"""keepalived: the one thing on a host that carries clients while it is changed."""

from collections.abc import Iterable

from pyinfra import host as current
from pyinfra.api import FunctionCommand, Host, StringCommand, deploy, operation

from cluster.difference import Action, Difference, by_things
from cluster.keepalived import Left
from cluster.order import left_out
from cluster.parts import Thing
from cluster.vocabulary import Mode
from operations import observation
from operations.commands import WAIT, check_script
from operations.thing import Commands, built, fails_alone, refuse_hand_edited, run, settled


@operation()
@fails_alone
def configured(modes: Iterable[Mode]) -> Commands:
    """keepalived runs what is declared. Where the method changes while a server is dead, in two reloads (`left_out` says why)."""
    refuse_hand_edited(current, modes)
    missing = by_things(observation.found(current, modes), (Thing.KEEPALIVED,), Action.BUILD)
    if not missing:
        current.noop("as declared")
        return
    plan, name = observation.blueprint(current), observation.name_of(current)
    dead = left_out(plan.declaration, name, observation.seen(current))
    if dead:
        yield from run(_without(current, missing, dead))
        yield FunctionCommand(settled, ("the method", _method_unchanged), {})
        missing = by_things(observation.found(current, modes), (Thing.KEEPALIVED,), Action.BUILD)
    yield from built((Thing.KEEPALIVED,), modes, missing)


def _without(where: Host, missing: Iterable[Difference], dead: Left) -> list[Difference]:
    """What is missing, but with a keepalived.conf that leaves the dead out: also where the whole one is in place already, put
    there by a run that was cut short before the reload.
    """
    conf = observation.blueprint(where).keepalived_conf(observation.name_of(where), dead)
    others = [d for d in missing if not (d.kind == "file" and d.item.guarded)]
    return [Difference(Thing.KEEPALIVED, Action.BUILD, conf, "file", f"rewrite {conf.path}"), *others]


def _method_unchanged(where: Host) -> str | None:
    """The old method that the table still has, after a reload that should have replaced it; None when it has none."""
    old = observation.seen(where).modes - {observation.blueprint(where).declaration.mode}
    return f"the kernel's table still has {', '.join(sorted(old))}" if old else None


@operation()
def stopped() -> Commands:
    """keepalived does not run until it is configured."""
    try:
        # Disabled too: one that is started anew meanwhile would come back on the old terms, and both would hold the addresses.
        yield StringCommand("timeout -k 5 60 systemctl -q disable --now keepalived.service", _timeout=90)
    finally:
        observation.forget(current)


@operation()
def accepted() -> Commands:
    """keepalived --config-test of what this director would get; fails with its words if it is rejected."""
    conf = observation.blueprint(current).keepalived_conf(observation.name_of(current))
    yield StringCommand(f"timeout -k 5 {60 + WAIT} sh -s", _stdin=check_script(conf), _timeout=60 + WAIT + 30)


@deploy("before any change")
def accepted_deploy() -> None:
    accepted(name="keepalived accepts it")
