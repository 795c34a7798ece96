"""A deploy: look, plan, do the plan step by step, look again."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from cluster.difference import Action
from cluster.errors import Exit, HostError, RefusedError
from cluster.observed import HostState
from cluster.plan import Plan, Step, Work, plan
from fleet.session import Result, Session
from operations import director, gate, keepalived, packages, real_server, trial
from operations.thing import hand_edited

Progress = Callable[[Step, Mapping[str, Result] | None], None]
"""Told of each step: when it begins (None) and with its results."""
Around = Callable[[Step], AbstractContextManager[object]]
"""What surrounds a step. Where it raises at its beginning the step is not taken, nor any after it."""


@dataclass
class Report:
    """What a deploy did."""

    changed: dict[str, list[str]] = field(default_factory=dict)
    """Host → names of the operations that changed something."""
    failed: dict[str, str] = field(default_factory=dict)
    """Host → why."""
    remaining: Plan | None = None
    """What is still to do, seen afterwards."""
    seen: Mapping[str, HostState | None] | None = None
    """Every host after the last step; None where nothing was done."""

    @property
    def exit_code(self) -> Exit:
        return Exit.FAILED


def look_and_plan(session: Session) -> Plan:
    """The plan from how things are now."""
    return _plan(session, session.observe())


def _plan(session: Session, seen: Mapping[str, HostState | None]) -> Plan:
    return plan(session.blueprint, seen, session.unreachable)


def _silent(step: Step, results: Mapping[str, Result] | None) -> None:
    """Nobody listens."""


def _nothing(step: Step) -> AbstractContextManager[object]:
    del step
    return nullcontext()


def carry_out(session: Session, wanted: Plan, progress: Progress = _silent, *, around: Around = _nothing) -> Report:
    """Does what the plan says. A host that fails is left out from then on; the others go on as far as is safe."""
    report = Report()
    for step in wanted.steps:
        names = [name for name in step.changes if name not in report.failed]
        if not names:
            continue
        with around(step):
            # What surrounds it may have taken its time: whoever listens has the last word before it.
            progress(step, None)
            with session.interrupts.after_this():
                results = session.run(names, _WORK[step.work])
                progress(step, results)
        for name, result in results.items():
            if result.changed:
                report.changed.setdefault(name, []).extend(result.done)
            if result.failed:
                report.failed[name] = result.failed
    report.remaining = wanted
    if wanted.steps:
        report.seen = session.observe()
        report.remaining = _plan(session, report.seen)
    return report


def _configure() -> None:
    gate.passed(name="gate: servers are ready")
    director.configure()


_WORK: Mapping[Work, Callable[[], object]] = {
    Work.CLEAR: trial.clear,
    Work.INSTALL: packages.install,
    Work.PREPARE: real_server.prepare,
    Work.RESTART: real_server.restart,
    Work.STAND_DOWN: director.stand_down,
    Work.LEAVE: director.leave,
    Work.CONFIGURE: _configure,
    Work.WITHDRAW: director.withdraw,
    # Leftovers are found by the footprint: the same operation for every host.
    Work.RETIRE: real_server.retire,
}


def texts(session: Session, wanted: Plan) -> dict[str, dict[str, str]]:
    """What stands now in the files that the plan would change, redacted: host → path → text."""
    paths: dict[str, list[str]] = {}
    for step in wanted.steps:
        for host, changes in step.changes.items():
            paths.setdefault(host, []).extend(c.item.path for c in changes if c.kind == "file")
    return session.texts({host: files for host, files in paths.items() if files})


def preflight(session: Session, wanted: Plan, *, overwrite: bool) -> None:
    """What must be known before any host is touched.

    Raises HandEditedError for a file that a person edited, HostError if no host can be reached or keepalived rejects what it
    would get.
    """
    if wanted.hand_edited and not overwrite:
        raise hand_edited(*next(iter(wanted.hand_edited.items())))
    refuse(wanted)
    rejected = {
        host: result.failed
        for host, result in session.run(_with_new_configuration(wanted), keepalived.accepted_deploy).items()
        if result.failed
    }
    if rejected:
        reasons = "\n  ".join(f"{host}: {why}" for host, why in rejected.items())
        raise HostError(f"keepalived rejects the new configuration; nothing was changed\n  {reasons}")


def refuse(wanted: Plan) -> None:
    """Raises RefusedError where the plan must not be carried out, HostError if no host can be reached."""
    if wanted.none_asked:
        reasons = "\n  ".join(f"{host}: {why}" for host, why in wanted.unreachable.items())
        raise HostError(f"no host can be reached; nothing was changed\n  {reasons}")
    if wanted.refused:
        reasons = "\n  ".join(f"{host} is not changed: {why}" for host, why in wanted.refused.items())
        raise RefusedError(f"nothing was changed\n  {reasons}", cure=wanted.cure)


def _with_new_configuration(wanted: Plan) -> list[str]:
    """Directors that get another keepalived.conf and have keepalived to ask about it."""
    without = {host for step in wanted.steps if step.work is Work.INSTALL for host in step.changes}
    return [
        host
        for step in wanted.steps
        for host, changes in step.changes.items()
        if any(c.kind == "file" and c.item.guarded and c.action is Action.BUILD for c in changes)
        and host not in without
    ]
