"""A change under the cluster's lock, and written down in its history."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from cluster.change import LAST, Change, was_deployed
from cluster.errors import RefusedError
from cluster.history import DONE, FAILED, History
from cluster.observed import HostState
from cluster.plan import Plan, Step, plan
from fleet import change as changes
from fleet import history, lock
from fleet.change import Listener, Outcome
from fleet.line import Lines
from fleet.lock import Say
from fleet.session import Result, Session


def carry_out(session: Session, change: Change, wanted: Plan, listener: Listener, say: Say) -> Outcome:
    """Does what the plan says. Raises RefusedError if another operator is or was at work."""
    with lock.held(session, change.what, say) as holding, ExitStack() as stack:
        seen = session.observe()
        wanted = _still(session, wanted, seen)
        record = None
        if change.remembered:
            history.begin_anew(_joining(session, change), say)
            past = history.read(session)
            before = _text_before(session, past, change, seen)
            record = stack.enter_context(history.begin(session, change.what, before, change.after, say, past=past))

        def told(step: Step, results: Mapping[str, Result] | None) -> None:
            if results is None:
                holding.check()
            if record:
                record.changed |= {name for name, result in (results or {}).items() if result.changed}
            listener.step(step, results)

        done = changes.carry_out(session, change, wanted, replace(listener, step=told))
        if record:
            record.end(_result(wanted, done), record.changed)
        return done


def _joining(session: Session, change: Change) -> Lines:
    """Lines to the directors that the change brings in; none where no other one would remember anything."""
    former = change.blueprint.former
    lines = session.lines()
    joining = {name: line for name, line in lines.items() if former and name not in former.director}
    return joining if joining.keys() != lines.keys() else {}


def _text_before(session: Session, past: History, change: Change, seen: Mapping[str, HostState | None]) -> str | None:
    """The declaration that a rollback of this change goes back to."""
    last = past.last
    if last and last.before and last.what == change.goes_on:
        # The command has made a change before this one: back is before that.
        return history.text_of(session, last.before)
    edits = change.after != change.before
    if edits and was_deployed(change, seen):
        return change.before
    # What was edited in the file by hand and never deployed is no place to go back to.
    known = history.last_text(session, past)
    return change.before if known is None and edits else known


@contextmanager
def noted(session: Session, what: str, text: str, say: Say) -> Iterator[None]:
    """For a command that changes no declaration: under the lock, and in the history."""
    with lock.held(session, what, say):
        past = history.read(session)
        # Not the text of the file: what was edited there by hand is not done hereby, and hosts that it names no more are
        # still known by the last one.
        last = history.last_text(session, past)
        with history.begin(session, what, last, text if last is None else last, say, past=past):
            yield


def _result(wanted: Plan, done: Outcome) -> str:
    if done.report.failed:
        return f"{FAILED}: {', '.join(sorted(done.report.failed))}"
    if done.left:
        return f"{DONE}, but for what is still used: {'; '.join(done.left)}"
    return f"{DONE}, but not on {', '.join(wanted.unreachable)}" if wanted.unreachable else DONE


def _still(session: Session, wanted: Plan, seen: Mapping[str, HostState | None]) -> Plan:
    """The plan as things are now, under the lock. Raises RefusedError if it does more than what was shown and agreed to: until
    the lock was taken somebody else may have been at work.
    """
    now = plan(session.blueprint, seen, session.unreachable)
    if _outline(now) - _outline(wanted):
        raise RefusedError(
            "the hosts have changed since the plan was made; nothing was changed now", cure="look at the plan again"
        )
    return replace(now, notes=wanted.notes)


def _outline(plan: Plan) -> set[tuple[object, ...]]:
    """What would be done where. Not what changes by itself: what health checks do to a table, and what is taken away once
    connections have ended.
    """
    return {
        (step.work, host, c.thing, c.action, c.kind)
        for step in plan.steps
        if step.work not in LAST
        for host, changes in step.changes.items()
        for c in changes
        if c.kind != "table"
    }
