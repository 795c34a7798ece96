"""Carries out a change of a cluster that runs: by the plan, with the declaration written when it has come true, and what is no
longer needed taken away when nobody uses it.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace

from cluster.change import LAST, Change, Wait, replace_drained, wait
from cluster.errors import HostError, RefusedError, RequestError
from cluster.failover import Move, gate, handed_on
from cluster.observed import HostState
from cluster.plan import Plan, Step, Work, plan
from cluster.vocabulary import Role
from fleet import deployment, failover
from fleet.deployment import Progress, Report
from fleet.lock import Say, silent
from fleet.session import Result, Session
from operations.thing import SETTLE

LOOK_EVERY = 2
"""Seconds between two looks at connections that are waited for."""


@dataclass
class Outcome:
    """What became of a change."""

    report: Report = field(default_factory=Report)
    declared: bool = False
    """The declaration says it now: directors carry it."""
    left: tuple[str, ...] = ()
    """What still uses what would have been taken away."""


@dataclass(frozen=True)
class Listener:
    """Who is told how it goes."""

    step: Progress
    declared: Callable[[], None] = lambda: None
    waiting: Callable[[tuple[str, ...], float], None] = lambda _left, _seconds: None
    """What is left, and for how long it was waited for."""
    say: Say = silent


def carry_out(
    session: Session,
    change: Change,
    wanted: Plan,
    listener: Listener,
    seen: Mapping[str, HostState | None] | None = None,
) -> Outcome:
    """From what is there to what is declared after the change. Stopped anywhere, the same again goes on from there.

    `seen`: what the plan was made from, a moment ago. Raises RefusedError where the active director is to leave and nobody can
    take over without a loss.
    """
    done = Outcome()
    first = replace(wanted, steps=tuple(step for step in wanted.steps if step.work not in LAST))

    def around(step: Step) -> AbstractContextManager[None]:
        return _handing_over(session, step, listener.say)

    done.report = deployment.carry_out(session, first, _declaring(change, done, listener), around=around)
    unfit = [name for name in change.blueprint.group(Role.DIRECTOR) if name in done.report.failed]
    if unfit:
        return done
    _declare(change, done, listener)
    # They check no server any more, so nothing need answer them.
    departed = change.blueprint.leaving & frozenset(change.blueprint.group(Role.DIRECTOR))
    session.blueprint = replace(session.blueprint, departed=departed)
    seen = done.report.seen or seen or session.observe()
    waits = wait(change, seen)
    if waits:
        done.left, seen = _waited(session, waits, seen, listener)
        if not done.left or change.drain.cut:
            session.blueprint = replace_drained(session.blueprint)
    last = _finish(session, done, plan(session.blueprint, seen, session.unreachable), listener)
    if waits and done.left and last.seen:
        # A port where nobody was connected, but somebody had been a moment ago, is gone now all the same.
        done.left = waits.left(last.seen)
    return done


def _declaring(change: Change, done: Outcome, listener: Listener) -> Progress:
    """Before a director joins, the declaration names it: from then on it may hold the addresses, and a deploy by a declaration
    that does not know it would put the others on terms that it does not hear.
    """
    former = change.blueprint.former
    joining = set(change.blueprint.declaration.director) - set(former.director) if former else set()

    def told(step: Step, results: Mapping[str, Result] | None) -> None:
        listener.step(step, results)
        if results is None and step.work is Work.CONFIGURE and joining & step.changes.keys():
            _declare(change, done, listener)

    return told


def _declare(change: Change, done: Outcome, listener: Listener) -> None:
    if not done.declared:
        save(change)
        done.declared = True
        listener.declared()


@contextmanager
def _handing_over(session: Session, step: Step, say: Say) -> Iterator[None]:
    """A step in which the active director leaves costs clients as little as a failover."""
    found = _heir(session, next(iter(step.changes))) if step.work is Work.LEAVE else None
    if found is None:
        yield
        return
    wanted, seen = found
    before = session.blueprint.former or session.blueprint.declaration
    say(f"waits until {gate(wanted)}")
    try:
        with failover.prepared(session, before, wanted, seen, say):
            yield
    finally:
        # The tables are as before again; what the step has seen of them in between is not.
        session.forget(wanted.source, wanted.target)


def _heir(session: Session, leaver: str) -> tuple[Move, Mapping[str, HostState | None]] | None:
    """Who takes over from a director that leaves, and what was seen then; None where nothing is handed over. Waits until somebody
    can. Raises RefusedError.
    """
    directors, began = session.blueprint.group(Role.DIRECTOR), time.monotonic()
    while True:
        seen = session.observe(directors)
        try:
            wanted = handed_on(session.blueprint, leaver, seen)
        except RefusedError:
            # A step before may have restarted a server, and each director finds it alive again in its own time.
            if time.monotonic() - began > SETTLE:
                raise
            time.sleep(LOOK_EVERY)
        else:
            return (wanted, seen) if wanted else None


def _waited(
    session: Session, waits: Wait, seen: Mapping[str, HostState | None], listener: Listener
) -> tuple[tuple[str, ...], Mapping[str, HostState | None]]:
    """What is left when it is over or time is up, and what was seen then."""
    limit, began = waits.change.drain.seconds, time.monotonic()
    while left := waits.left(seen):
        passed = time.monotonic() - began
        listener.waiting(left, passed)
        if (limit is not None and passed >= limit) or waits.in_vain(seen):
            break
        time.sleep(min(LOOK_EVERY, limit - passed) if limit is not None else LOOK_EVERY)
        seen = session.observe()
    return left, seen


def _finish(session: Session, done: Outcome, rest: Plan, listener: Listener) -> Report:
    """The last steps, and whatever else shows only now. A host that failed before is not tried again."""
    steps = tuple(step for step in rest.steps if not set(step.changes) <= set(done.report.failed))
    last = deployment.carry_out(session, replace(rest, steps=steps), listener.step)
    for host, names in last.changed.items():
        done.report.changed.setdefault(host, []).extend(names)
    done.report.failed |= last.failed
    done.report.remaining = last.remaining
    return last


def save(change: Change) -> None:
    """The declaration's new text in place of the old, also where a link leads to it. Raises HostError when it cannot be written,
    or somebody has written another one meanwhile.
    """
    if change.before == change.after:
        return
    path = change.file.resolve()
    new = path.with_name(f".{path.name}.lbctl")
    try:
        now = path.read_text(encoding="utf-8")
        if now == change.after:
            return
        new.write_text(change.after, encoding="utf-8")
        if now == change.before:
            new.chmod(path.stat().st_mode & 0o7777)
            new.replace(path)
            return
    except OSError as error:
        raise HostError(
            f"{path} was not written: {error.strerror}; hosts are changed already",
            cure="make it writable, then lbctl switch-mode --resume (or --abort): a deploy by the file as it is would go back",
        ) from error
    raise HostError(
        f"{path} was changed meanwhile, so it was not written; hosts are as in {new}",
        cure=f"bring the two together, then lbctl deploy (diff {path} {new})",
    )


def refuse_unwritable(change: Change) -> None:
    """Raises RequestError where the declaration could not be written when hosts have changed."""
    path = change.file.resolve()
    if change.before != change.after and not os.access(path.parent, os.W_OK):
        raise RequestError(
            f"{path.parent} cannot be written to, and {path.name} there will have to say what is changed; nothing was changed",
            cure="as who may write there, or with --cluster FILE of a copy",
        )
