"""Gates: operations that change nothing and let the run go on only when what must hold is observed.

All hosts pass each gate, which is also what keeps pyinfra's order: it sorts operations by each host's own sequence only, and
would otherwise change directors before servers are ready.
"""

from collections.abc import Generator
from collections.abc import Set as AbstractSet

from pyinfra import host as current
from pyinfra.api import FunctionCommand, Host, operation

from cluster.difference import Action
from cluster.failover import lacks
from cluster.gateway import not_there_yet
from cluster.observed import HostState
from cluster.order import (
    is_active,
    must_be_ready,
    not_by_declared_method,
    not_open,
    not_ready,
    parted,
    runs_keepalived,
)
from cluster.parts import Thing
from cluster.still_used import takes_over_early
from cluster.trial import against, can_try, tried
from cluster.vocabulary import Role
from facts.trial import attempt
from operations import observation
from operations.inventory import directors, failed, modes_in_use_now, state_of, states
from operations.thing import SETTLE, Commands, fails_alone, refused, watched

TRIAL = 15
"""Seconds in which a trial of the new method must have gone well."""


@operation()
@fails_alone
def passed() -> Commands:
    """Directors: stop here if changing this one could send clients to a server that is not ready for it."""
    if current.state.is_executing and (reason := _reason(current)):
        yield FunctionCommand(refused, (f"not changed: {reason}",), {})


@operation()
@fails_alone
def agreed() -> Commands:
    """A director whose turn it is: stop here if it would go over to terms on which a peer and it would not hear each other."""
    plan = observation.blueprint(current)
    if current.state.is_executing and (
        reason := parted(plan.declaration, observation.name_of(current), states(current, "directors"), plan.contract)
    ):
        yield FunctionCommand(refused, (f"not changed: {reason}",), {})


@operation()
@fails_alone
def gateway_is_there() -> Commands:
    """Servers: stop here if the director that was to take nat's gateway before has not: answers would be sent to nobody."""
    seen = states(current, "directors"), states(current, "real_servers")
    if current.state.is_executing and (
        reason := not_there_yet(observation.blueprint(current).declaration, *seen, modes_in_use_now(current))
    ):
        yield FunctionCommand(refused, (f"not changed: {reason}",), {})


@operation()
def reached() -> Generator[FunctionCommand, None, None]:
    """Everybody is here: what comes later in deploy.py starts after what came before it, on all hosts."""
    yield from ()


@operation()
@fails_alone
def heir_is_ready() -> Commands:
    """A director that leaves stops only when one that stays would serve as it does; where none stays, at once."""
    plan = observation.blueprint(current)
    staying = [other for other in directors(current) if observation.name_of(other) not in plan.leaving]
    if not (staying and current.state.is_executing and is_active(plan.declaration, observation.seen(current))):
        return

    def unfit(where: Host) -> str | None:
        source, reasons = observation.seen(where), []
        for other in staying:
            observation.forget(other)
            state = state_of(other)
            why = (
                lacks(state.services, source.services)
                if state and runs_keepalived(state)
                else "its keepalived does not run"
            )
            reasons += [f"{observation.name_of(other)}: {why}"] if why else []
        return None if len(reasons) < len(staying) else "; ".join(reasons)

    if reason := watched(current, unfit, SETTLE):
        yield FunctionCommand(refused, (f"not stopped, nobody could take over: {reason}",), {})


def _reason(host: Host) -> str | None:
    plan = observation.blueprint(host)
    if plan.role(observation.name_of(host)) is not Role.DIRECTOR:
        return None
    me, all_, servers = observation.name_of(host), states(host, "directors"), states(host, "real_servers")
    needed = {name: must_be_ready(plan.declaration, me, all_, name, state) for name, state in servers.items()}
    lacking = {name: what for name in servers if (what := _lacking(host, name, needed[name]))}
    failed_before = [name for name in failed(host) if plan.role(name) is Role.DIRECTOR]
    refusing = {name: what for name in servers if (what := _lacking(host, name, {Thing.DATABASE}))}
    seen, others = observation.seen(host), all_.values()
    return (
        not_ready(plan.declaration, seen, servers, lacking, failed_before, others=others)
        or not_open(plan.declaration, seen, servers, refusing)
        or takes_over_early(plan.declaration, me, all_, servers)
        or _trial(host, seen)
    )


def _trial(host: Host, seen: HostState) -> str | None:
    """When the method changes here, a director that no client uses and that has changed shows first that servers answer by it."""
    declaration = observation.blueprint(host).declaration
    if not not_by_declared_method(declaration, observation.name_of(host), seen):
        return None
    for other in directors(host):
        name, state = observation.name_of(other), state_of(other)
        if other is not host and state and can_try(declaration, name, state):
            return watched(other, _fails, TRIAL)
    return None


def _fails(host: Host) -> str | None:
    """Health checks have the first word: a server that has just come under the new method waits for its first one."""
    declaration, name = observation.blueprint(host).declaration, observation.name_of(host)
    wanted = tried(declaration, name, observation.seen(host))
    return against(declaration, name, wanted, attempt(host, wanted)) if wanted else f"{name} finds no server alive"


def _lacking(host: Host, name: str, things: AbstractSet[Thing]) -> str | None:
    """What of `things` a server still lacks for the declared mode."""
    plan = observation.blueprint(host)
    server = next(other for other in host.state.inventory if observation.name_of(other) == name)
    if states(host, "real_servers")[name] is None:
        return None
    found = observation.found(server, {plan.declaration.mode})
    return next((d.what for d in found if d.action is not Action.REMOVE and d.thing in things), None)
