"""Gates: operations that change nothing and let the run go on only when what must hold is observed.

All hosts pass each gate, which is also what keeps pyinfra's order: it sorts operations by each host's own sequence only, and
would otherwise change directors before servers are ready.
"""

from collections.abc import Generator

from pyinfra import host as current
from pyinfra.api import FunctionCommand, Host, operation

from cluster.difference import Action
from cluster.order import not_open, not_ready, parted
from cluster.parts import Thing
from cluster.vocabulary import Role
from operations import observation
from operations.inventory import failed, states
from operations.thing import Commands, fails_alone, refused


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
def reached() -> Generator[FunctionCommand, None, None]:
    """Everybody is here: what comes later in deploy.py starts after what came before it, on all hosts."""
    yield from ()


def _reason(host: Host) -> str | None:
    plan = observation.blueprint(host)
    if plan.role(observation.name_of(host)) is not Role.DIRECTOR:
        return None
    servers = states(host, "real_servers")
    lacking = {name: what for name in servers if (what := _lacking(host, name))}
    directors = [name for name in failed(host) if plan.role(name) is Role.DIRECTOR]
    refusing = {name: what for name in servers if (what := _lacking(host, name, database=True))}
    seen, others = observation.seen(host), states(host, "directors").values()
    return not_ready(plan.declaration, seen, servers, lacking, directors, others=others) or not_open(
        plan.declaration, seen, servers, refusing
    )


def _lacking(host: Host, name: str, *, database: bool = False) -> str | None:
    """What a server's network, or its database server, still lacks for the declared mode."""
    plan = observation.blueprint(host)
    server = next(other for other in host.state.inventory if observation.name_of(other) == name)
    if states(host, "real_servers")[name] is None:
        return None
    found = observation.found(server, {plan.declaration.mode})
    things = {Thing.DATABASE} if database else {*Thing} - {Thing.CLUSTERCHECK, Thing.DATABASE}
    return next((d.what for d in found if d.action is not Action.REMOVE and d.thing in things), None)
