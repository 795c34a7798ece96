"""Looks at all hosts at once, again and again. Each host connects by itself: a dead one is named, and holds nobody up.

Programs that use it import `fleet.green` before everything else.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from types import TracebackType
from typing import Any, Self

import gevent

from cluster.errors import HostError
from cluster.examined import Examined
from cluster.examined import parse as examined_of
from cluster.footprint import Blueprint
from cluster.history import History
from cluster.observed import BusyError, HostState, parse
from cluster.pulse import Pulse
from cluster.pulse import parse as pulse_of
from cluster.status import BUSY, Answers
from facts import examination, pulse, state
from fleet.history import read_on
from fleet.line import Answer, Line
from fleet.session import Session
from operations.observation import asked_of

PATIENCE = 1.5
"""Seconds for a host to take a connection: TCP asks a second time after one."""
LOGIN_LIMIT = 5
"""Seconds for each stage of the login of a host that has taken it, and is slow."""
ANSWER_LIMIT = 10
"""Seconds for what such a host is asked."""
EXAMINATION_LIMIT = 30
"""Seconds for what `examine` asks of a host, beside the time for which a director listens: it reads logs."""
AT_MOST_PATIENT = 4
"""Seconds for that of many hosts: TCP has asked three times by then. A host takes a connection without a processor of ours, so
that more of them are no reason to wait longer for a dead one.
"""
HOSTS_A_SECOND = 20
"""So many logins one processor does at least: of many hosts the last must not seem dead for waiting for its turn."""


@dataclass(frozen=True)
class _Asking:
    """A question that is not answered yet."""

    greenlet: Any
    since: float
    whole: bool


class Onlooker:
    """Use as a context manager: connections are closed at its end."""

    def __init__(self, blueprint: Blueprint, patience: float | None = None) -> None:
        self.blueprint = blueprint
        hosts = len(list(blueprint.declaration.hosts()))
        crowd = hosts / HOSTS_A_SECOND
        patience = patience or max(PATIENCE, min(AT_MOST_PATIENT, crowd))
        self._session = Session(blueprint, connect_limit=max(patience, LOGIN_LIMIT + crowd), patience=patience)
        self._limit = patience + LOGIN_LIMIT + crowd + ANSWER_LIMIT
        self._pulses: dict[str, Pulse] = {}
        self._heard: dict[str, float] = {}
        """When each pulse came."""
        self._states: dict[str, HostState] = {}
        self._dead: dict[str, str] = {}
        self._unseen: dict[str, str] = {}
        self._asking: dict[str, _Asking] = {}
        """Who has not answered yet."""

    def __enter__(self) -> Self:
        self._session.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gevent.killall([asking.greenlet for asking in self._asking.values()], timeout=1)
        self._session.close()

    def look(self, *, whole: bool = True, within: float | None = None) -> Answers:
        """What hosts answer; `whole`: also all that is compared with the declaration.

        `within`: after so many seconds what is known of a host that has not answered is what it said before, until it has been
        silent for too long.
        """
        began = time.monotonic()
        for name in self.blueprint.declaration.hosts():
            pending = self._asking.get(name)
            if pending is None:
                self._asking[name] = _Asking(gevent.spawn(self._one, name, whole=whole), time.monotonic(), whole)
            elif whole and not pending.whole:
                # It has been asked for its pulse alone, before: that does not answer what is asked now.
                then = gevent.spawn(self._whole_after, pending.greenlet, name)
                self._asking[name] = _Asking(then, time.monotonic(), whole)
        waited_for = [asking.greenlet for asking in self._asking.values()]
        gevent.joinall(waited_for, timeout=self._limit if within is None else within)
        for name, asking in list(self._asking.items()):
            if asking.greenlet.ready():
                del self._asking[name]
                asking.greenlet.get()  # a fault of ours is not silence
            elif within is None or time.monotonic() - asking.since >= self._limit:
                # Without `within` the whole limit has been waited for: gevent's clock may be a hair ahead of ours.
                asking.greenlet.kill(block=False)
                del self._asking[name]
                self._lost(name, f"no answer within {self._limit:.0f} s")
        return Answers(
            datetime.now(UTC),
            dict(self._pulses),
            dict(self._states),
            dict(self._dead),
            dict(self._unseen),
            {
                name: time.monotonic() - heard
                for name, heard in self._heard.items()
                if heard < began and name in self._asking
            },
        )

    def examine(self) -> dict[str, Examined]:
        """What `lbctl doctor` asks more, of the hosts that answered at the last look; not of one that gives no answer now."""
        salt, found = examination.salt(), dict[str, Examined]()
        # Two minutes where advertisements are 40 s apart, as far as VRRP lets them be.
        limit = EXAMINATION_LIMIT + ceil(examination.listens(self.blueprint.declaration))

        def one(name: str) -> None:
            try:
                line = self._session.connect(name)
                asked = time.time()
                answer = line.tell(examination.script(self.blueprint, name, salt), limit)
                found[name] = examined_of(answer.whole(), asked_at=asked, answered_at=time.time())
            except HostError as error:
                self._unseen[name] = error.message

        names = [name for name in self.blueprint.declaration.hosts() if name in self._pulses]
        gevent.joinall([gevent.spawn(one, name) for name in names], timeout=limit + LOGIN_LIMIT)
        return found

    def history(self) -> History:
        """What the directors remember. Those that were dead at the last look are not asked again."""
        lines: dict[str, Line] = {}
        unreachable: dict[str, str] = {}
        for name in self.blueprint.declaration.director:
            if name in self._dead:
                unreachable[name] = self._dead[name]
                continue
            try:
                lines[name] = self._session.connect(name)
            except HostError as error:
                unreachable[name] = error.message
        try:
            return read_on(lines, unreachable)
        except HostError:  # none of them; why is in `unreachable`
            return History(unreachable=unreachable)

    def _whole_after(self, pending: Any, name: str) -> None:
        """Asks for all, on the same connection, when an earlier question is answered."""
        try:
            pending.get()
        finally:
            pending.kill(block=False)  # where we are no longer waited for, nor is it
        self._one(name, whole=True)

    def _one(self, name: str, *, whole: bool) -> None:
        try:
            # What is asked is worked out afterwards: no host that is still to be called, or is dead, waits for it.
            line = self._session.connect(name)
            answer = line.tell(self._question(name, whole=whole))
            # What it said until it failed is good. Without an end it is not, and that is said by `whole`, or by what reads it.
            end = answer.lines.index(pulse.END) + 1 if pulse.END in answer.lines else len(answer.whole())
            self._pulses[name] = pulse_of(answer.lines[:end])
            self._heard[name] = time.monotonic()
            self._dead.pop(name, None)
            if whole:
                self._state(name, answer.lines[end:], answer.failed)
        except HostError as error:
            self._lost(name, error.message)

    def _question(self, name: str, *, whole: bool) -> str:
        """All in one: asked for by itself, the state is a further shell to start on each of two hundred hosts."""
        asked = pulse.script(self.blueprint.declaration, name)
        return asked + state.script(asked_of(self.blueprint, name)) if whole else asked

    def _state(self, name: str, said: tuple[str, ...], failed: str) -> None:
        """The whole state. One that cannot be had is no reason to call the host dead."""
        try:
            self._states[name] = parse("\n".join(Answer(said, failed).whole()))
        except (BusyError, HostError) as error:
            self._states.pop(name, None)
            self._unseen[name] = BUSY if isinstance(error, BusyError) else error.message
        else:
            self._unseen.pop(name, None)

    def _lost(self, name: str, why: str) -> None:
        self._dead[name] = why
        self._pulses.pop(name, None)
        self._heard.pop(name, None)
        self._states.pop(name, None)
        self._unseen.pop(name, None)
        self._session.hang_up(name)
