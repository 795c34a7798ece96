"""A change under the cluster's lock, and written down in its history."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from cluster.change import LAST, Change, refuse, was_deployed
from cluster.errors import RefusedError
from cluster.history import DONE, FAILED, Entry, History, text_hash
from cluster.history import history as remembered
from cluster.observed import HostState
from cluster.plan import Plan, Step, plan
from fleet import change as changes
from fleet import deployment, history, lock, source
from fleet.change import Listener, Outcome
from fleet.line import Lines
from fleet.lock import Say
from fleet.session import Result, Session

Seen = Mapping[str, HostState | None]


@dataclass(frozen=True)
class Agreed:
    """What was agreed to, and what it was made from."""

    plan: Plan
    seen: Seen
    judge: Callable[[Seen], None] = lambda _: None
    """Raises an LbctlError where it must not be done as hosts are."""


def carry_out(session: Session, change: Change, agreed: Agreed, listener: Listener, say: Say) -> Outcome:
    """Does what the plan says. Raises RefusedError if another operator is at work, or was since the plan was made."""
    with lock.held(session, change.what, say) as holding, ExitStack() as stack:
        past = history.read(session) if change.remembered else History()
        _refuse_if_overtaken(change, agreed.seen, past)
        seen = session.observe()
        wanted = _still(session, change, agreed.plan, seen)
        agreed.judge(seen)
        record = None
        if change.remembered:
            if joining := _joining(session, change):
                history.begin_anew(joining, say)
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


def _refuse_if_overtaken(change: Change, first: Seen, past: History) -> None:
    """Raises RefusedError where somebody has made a change, or edited the declaration, since hosts were looked at first."""
    known = last_seen(first)
    last = past.last
    if last and change.remembered and (known is None or (known.number, known.began) != (last.number, last.began)):
        raise RefusedError(
            f"change {last.number} ({last.what}, by {last.by} on {last.host}) was made meanwhile; nothing was changed now",
            cure="look at the plan again",
        )
    if source.text(change.file) != change.before:
        raise RefusedError(
            f"{change.file} was changed meanwhile; nothing was changed now", cure="look at the plan again"
        )


def last_seen(seen: Seen) -> Entry | None:
    """The last change, as a look at the hosts shows it."""
    return remembered({name: state.history for name, state in seen.items() if state}, {}).last


def _takes_back(session: Session, past: History, last: Entry, change: Change) -> bool:
    """Whether this leads to before the last change. Not where that one brought hosts in: should this one be stopped as well, they
    are known by both of its declarations only.
    """
    if text_hash(change.after) != last.before:
        return False
    led_to = history.declaration_of(session, past, last.after, last)
    return led_to is not None and set(led_to.hosts()) <= set(change.blueprint.declaration.hosts())


def _joining(session: Session, change: Change) -> Lines:
    """Lines to the directors that the change brings in; none where no other one would remember anything."""
    former = change.blueprint.former
    lines = session.lines()
    joining = {name: line for name, line in lines.items() if former and name not in former.director}
    return joining if joining.keys() != lines.keys() else {}


def _text_before(session: Session, past: History, change: Change, seen: Seen) -> str | None:
    """The declaration that a rollback of this change goes back to."""
    last = past.last
    edits = change.after != change.before
    if last and last.before and last.what == change.goes_on:
        # The command has made a change before this one: back is before that.
        return history.text_of(session, last.before)
    if last and last.before and not last.came_to_its_end:
        # Where it would have led is no place to go back to: it was never there.
        if text_hash(change.after) == last.after or _takes_back(session, past, last, change):
            return history.text_of(session, last.before)
        if edits and text_hash(change.before) in {last.before, last.after}:
            return change.before
    if edits and was_deployed(change, seen):
        return change.before
    # What was edited in the file by hand and never deployed is no place to go back to.
    known = history.last_text(session, past)
    return change.before if known is None and edits else known


@contextmanager
def noted(session: Session, what: str, text: str, say: Say, still: Callable[[], None] = lambda: None) -> Iterator[None]:
    """For a command that changes no declaration: under the lock, and in the history.

    Not on top of a change that did not come to its end: that one must stay the last, to be gone on with or taken back. `still`
    raises an LbctlError where it must not be done as things are under the lock.
    """
    with lock.held(session, what, say):
        still()
        past = history.read(session)
        if past.last and not past.last.came_to_its_end and past.last.before != past.last.after:
            say(
                f"change {past.last.number} ({past.last.what}) did not come to its end (lbctl switch-mode --resume or --abort), "
                "so this one is not written down"
            )
            yield
            return
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


def _still(session: Session, change: Change, wanted: Plan, seen: Seen) -> Plan:
    """The plan as things are now, under the lock. Raises RefusedError if it does more than what was shown and agreed to, or must
    not be carried out any more: until the lock was taken somebody else may have been at work, and hosts may have died.
    """
    now = plan(session.blueprint, seen, session.unreachable)
    deployment.refuse(now)
    refuse(change, now)
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
