"""The cluster's lock, held on the directors for as long as one command of an operator's changes something.

Each host has a lock of its own for single scripts (`cluster.parts.LOCK`); this one keeps two operators from following two plans.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from os import getpid

import gevent
from gevent.event import Event

from cluster.errors import HostError, RefusedError
from cluster.history import SIGN_EVERY, Lock, Owner, SeenLock, locks, refusal, tidy
from cluster.observed import HostState
from facts import here
from fleet.line import Answer, Line, Lines, tell_all
from fleet.session import Session
from operations import keeping

Say = Callable[[str], None]
"""Told what an operator should know, and what stops nothing."""
Seen = Mapping[str, HostState | None]
"""Of each host what was seen; None where nothing was."""


def silent(note: str) -> None:
    """Nobody listens."""


@contextmanager
def held(session: Session, what: str, say: Say = silent) -> Iterator["Holding"]:
    """Holds the lock on all directors that can be asked. Raises RefusedError if somebody else does, HostError if none can.

    It is let go at the end, also after Ctrl-C and errors. Nothing that blocks the whole process (a question at the terminal) may
    happen meanwhile: it would give no signs of life.
    """
    unreachable = {
        name: why for name, why in session.unreachable.items() if name in session.blueprint.declaration.director
    }
    with held_on(session.lines(), what, unreachable, say) as holding:
        yield holding


@contextmanager
def held_on(lines: Lines, what: str, unreachable: Mapping[str, str], say: Say = silent) -> Iterator["Holding"]:
    """As `held`, for any lines to directors."""
    holding = Holding(lines, owner(what), say)
    try:
        holding.take(unreachable)
        signs = gevent.spawn(holding.keep_giving_signs)
        try:
            yield holding
        finally:
            signs.kill()
    finally:
        holding.release()


def owner(what: str) -> Owner:
    """This process."""
    return Owner(tidy(here.user()), tidy(here.name()), getpid(), datetime.now(UTC), tidy(what), here.machine())


class Holding:
    """The lock in the hands of this process."""

    def __init__(self, lines: Lines, owner: Owner, say: Say) -> None:
        self.owner = owner
        self.directors: list[str] = []
        """Where it is held."""
        self._lines, self._text, self._say = lines, owner.write(), say
        self._tried: list[str] = []
        self._lost = ""

    def take(self, unreachable: Mapping[str, str]) -> None:
        """One director after the other, all in the same order: of two operators one gets them all."""
        without = dict(unreachable)
        for name, line in self._lines.items():
            self._tried.append(name)
            answer = line.tell(keeping.take(self._text))
            if seen := _held_by_another(answer):
                answer = self._inherited(name, line, locks({name: seen})[0])
            if answer.lines[:1] == ("taken",):
                self.directors.append(name)
            else:
                without[name] = answer.failed or "its answer makes no sense"
        if not self.directors:
            reasons = "\n  ".join(f"{name}: {why}" for name, why in without.items())
            raise HostError(
                f"no director can hold the cluster's lock, which says who is at work; nothing was changed\n  {reasons}"
            )
        for name, why in without.items():
            self._say(f"{name} does not hold the cluster's lock: {why}")

    def _inherited(self, name: str, line: Line, left: Lock) -> Answer:
        """Takes the lock over from a command of this machine's that was killed: nobody else can be at work under it."""
        if not left.has_ended(here.machine(), here.runs):
            raise _refused(left)
        self._say(f"{name}: the lock of {left} is taken over: that process has ended")
        take_away({name: line}, left)
        answer = line.tell(keeping.take(self._text))
        if seen := _held_by_another(answer):
            raise _refused(locks({name: seen})[0])
        return answer

    def release(self) -> None:
        # Also where the answer to taking it was lost.
        answers = tell_all(self._lines, dict.fromkeys(self._tried, keeping.release(self._text)), insist=True)
        for name, answer in answers.items():
            if answer.failed and name in self.directors:
                self._say(f"{name} still has the cluster's lock ({answer.failed}); `lbctl unlock` takes it away")
        self._tried.clear()
        self.directors.clear()

    def keep_giving_signs(self) -> None:
        while True:
            gevent.sleep(SIGN_EVERY)
            self.give_sign()

    def give_sign(self) -> None:
        """A director that does not answer this time may the next."""
        answers = tell_all(self._lines, dict.fromkeys(self.directors, keeping.sign(self._text)))
        lost = [name for name, answer in answers.items() if answer.lines[:1] == ("lost",)]
        if lost:
            self._lost = ", ".join(lost)

    def check(self) -> None:
        """Before each step: raises RefusedError if somebody took the lock away."""
        if self._lost:
            raise RefusedError(
                f"somebody took the cluster's lock away from this command (on {self._lost}); it stopped where it was",
                cure="`lbctl history` and `lbctl plan` say how things stand",
            )


def _held_by_another(answer: Answer) -> SeenLock | None:
    word, _, rest = (answer.lines[0] if answer.lines else "").partition(" ")
    return SeenLock.read(rest) if word == "held" else None


def _refused(lock: Lock) -> RefusedError:
    message, cure = refusal(lock, why_stale(lock))
    return RefusedError(f"{message}; nothing was changed", cure=cure)


def why_stale(lock: Lock) -> str:
    """Why nobody is at work any more as far as this machine can tell, or ""."""
    return lock.why_stale(here.machine(), here.runs)


# Looking at it, and taking it away


def observe_unless_held(session: Session) -> Seen:
    """The first look at all hosts, before a plan is made and a question asked. It shows the lock as well.

    Raises RefusedError if that is held. To take it decides all the same.
    """
    doubt = Event()

    def told(state: HostState | None) -> None:
        if state is None or _at_work(locks({"": state.lock})):
            doubt.set()

    looking = gevent.spawn(session.observe, told=told)
    try:
        gevent.wait([looking, doubt], count=1)
        if doubt.is_set():
            # Hosts that another operator's command is at work on are not waited for, and all directors say what they have.
            _refuse(found_on(session.lines(), {}))
        seen: Seen = looking.get()
    finally:
        looking.kill()
    # Let go in between: what was seen is of a moment amid that change.
    return session.observe() if _at_work(_of_directors(session, seen)) else seen


def refuse_if_held(session: Session, seen: Seen) -> None:
    """Raises RefusedError if the lock was held when hosts were looked at, a moment ago."""
    _refuse(_of_directors(session, seen))


def _of_directors(session: Session, seen: Seen) -> tuple[Lock, ...]:
    return locks({name: state.lock for name in session.blueprint.declaration.director if (state := seen.get(name))})


def _refuse(found: Iterable[Lock]) -> None:
    if lock := _at_work(found):
        raise _refused(lock)


def _at_work(found: Iterable[Lock]) -> Lock | None:
    """The first of these whose owner is not known to be gone."""
    return next((lock for lock in found if not lock.has_ended(here.machine(), here.runs)), None)


def found(session: Session) -> tuple[Lock, ...]:
    """The locks that there are. A director that could not be asked is in `session.unreachable`."""
    return found_on(session.lines(), session.unreachable)


def found_on(lines: Lines, unreachable: dict[str, str]) -> tuple[Lock, ...]:
    """As `found`, for any lines; adds to `unreachable`."""
    answers = tell_all(lines, dict.fromkeys(lines, keeping.look()))
    unreachable.update({name: answer.failed for name, answer in answers.items() if answer.failed})
    return locks({name: SeenLock.read(a.lines[0]) if a.lines else None for name, a in answers.items()})


def take_away(lines: Lines, lock: Lock) -> dict[str, str]:
    """Takes away the lock that was found, and no other that may have come since. Director → why it could not be."""
    script = keeping.release(lock.owner.write()) if lock.owner else keeping.break_unreadable(lock.silent_for)
    answers = tell_all(lines, {name: script for name in lock.directors if name in lines})
    return {name: answer.failed for name, answer in answers.items() if answer.failed}
