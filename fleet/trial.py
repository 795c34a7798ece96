"""Drives `lbctl trial`: servers are prepared as for a deploy, then one director serves without keepalived."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cluster.errors import HostError, RefusedError
from cluster.keepalived import Endpoint
from cluster.leases import CURE as LEASE
from cluster.manual import Leftovers, addresses, leftovers, places, table_lines
from cluster.observed import HostState
from cluster.plan import Plan, Work, plan
from cluster.taken import CURE as TAKEN
from fleet import deployment
from fleet.deployment import Progress
from fleet.session import Session
from operations import trial

_NEEDED = frozenset({Work.INSTALL, Work.PREPARE, Work.RESTART})


def preparation(session: Session, seen: Mapping[str, HostState | None], director: str, servers: Sequence[str]) -> Plan:
    """Of a deploy's steps those that a trial needs, on the hosts that it needs. Raises HostError if one cannot be asked,
    RefusedError where what it has of its own would be overridden.
    """
    hosts = {director, *servers}
    if silent := sorted(hosts & set(session.unreachable)):
        reasons = "\n  ".join(f"{name}: {session.unreachable[name]}" for name in silent)
        raise HostError(f"hosts that the trial needs cannot be reached; nothing was changed\n  {reasons}")
    whole = plan(session.blueprint, seen, session.unreachable)
    refused = {name: why for name, why in whole.refused.items() if name in hosts and whole.cure in {TAKEN, LEASE}}
    if refused:
        reasons = "\n  ".join(f"{name}: {why}" for name, why in refused.items())
        raise RefusedError(f"nothing was changed\n  {reasons}", cure=whole.cure)
    steps = (
        replace(step, changes={name: found for name, found in step.changes.items() if name in hosts})
        for step in whole.steps
        if step.work in _NEEDED
    )
    told = {name: what for name, what in whole.told.items() if name in hosts}
    return replace(whole, steps=tuple(step for step in steps if step.changes), notes=(), told=told, clashes=())


def start(session: Session, wanted: Plan, director: str, servers: Sequence[str], progress: Progress) -> None:
    """Raises HostError where something failed: the director does not serve then."""
    report = deployment.carry_out(session, wanted, progress)
    _refuse_failed(report.failed)
    done = session.run([director], trial.network)
    _refuse_failed({name: result.failed for name, result in done.items() if result.failed})
    declaration = session.blueprint.declaration
    script = trial.start_script(
        table_lines(declaration, director, servers),
        places(declaration, director),
        addresses(declaration),
        declaration.director[director].interface,
    )
    tell(session, director, script)


def _refuse_failed(failed: Mapping[str, str | None]) -> None:
    if failed:
        reasons = "\n  ".join(f"{name}: {why}" for name, why in failed.items())
        raise HostError(f"the trial was not started\n  {reasons}", cure="lbctl trial start again, or lbctl trial clear")


def tell(session: Session, director: str, script: str) -> tuple[str, ...]:
    """What the director said. Raises HostError."""
    lines = session.lines()
    if director not in lines:
        raise HostError(f"{director} cannot be reached: {session.unreachable.get(director, 'no answer')}")
    answer = lines[director].tell(script)
    if answer.failed:
        raise HostError(f"{director}: {answer.failed}")
    return answer.lines


def found(session: Session, seen: Mapping[str, HostState | None]) -> dict[str, Leftovers]:
    """Directors with a trial on them."""
    declaration = session.blueprint.declaration
    all_ = {name: leftovers(declaration, name, state) for name in declaration.director if (state := seen.get(name))}
    return {name: left for name, left in all_.items() if left}


def clear(session: Session, trials: Mapping[str, Leftovers], say: Callable[[str], None]) -> None:
    """Raises HostError."""
    done = session.run(trials, trial.clear)
    failed = {name: result.failed for name, result in done.items() if result.failed}
    for name, left in trials.items():
        if name not in failed:
            for what in left.what:
                say(f"{name}: {what.removesuffix(', which a trial left')}")
    if failed:
        reasons = "\n  ".join(f"{name}: {why}" for name, why in failed.items())
        raise HostError(f"the trial was not taken away everywhere\n  {reasons}")


def ours(session: Session, director: str) -> tuple[Endpoint, ...]:
    return places(session.blueprint.declaration, director)
