"""The cluster's history, written on every director that can be asked, and read from all of them."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from cluster import reading
from cluster.declaration import Declaration
from cluster.errors import HostError, RequestError
from cluster.history import DONE, FAILED, FORMER, INTERRUPTED, Entry, History, history, next_number, text_hash, tidy
from facts import here, kept
from fleet.line import Lines, tell_all
from fleet.lock import Say, silent
from fleet.session import Session
from operations import keeping


class Record:
    """A change that is under way. As a context manager it ends what nobody ended: an error has failed, Ctrl-C interrupted it."""

    def __init__(self, lines: Lines, entry: Entry, say: Say) -> None:
        self.entry = entry
        self.changed: set[str] = set()
        """Hosts on which something was changed: for an end that nobody foresaw."""
        self._lines, self._say = lines, say

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.entry.is_finished:
            unforeseen = FAILED if isinstance(error, Exception) else INTERRUPTED
            self.end(unforeseen if error else DONE, self.changed)

    def end(self, result: str, changed: Iterable[str]) -> None:
        """`result` is one line, and no place for what a host said: that may hold anything."""
        self.entry = replace(self.entry, ended=datetime.now(UTC), result=tidy(result), changed=tuple(sorted(changed)))
        for name, why in self._write({}, insist=True).items():
            self._say(f"{name} does not know how this change ended: {why}")

    def begin(self, declarations: dict[str, str]) -> None:
        """Raises HostError if no director can write it down."""
        failed = self._write(declarations)
        self._lines = {name: line for name, line in self._lines.items() if name not in failed}
        if not self._lines:
            reasons = "\n  ".join(f"{name}: {why}" for name, why in failed.items())
            raise HostError(f"no director can keep the history; nothing was changed\n  {reasons}")
        for name, why in failed.items():
            self._say(f"{name} does not keep this change in its history: {why}")

    def _write(self, declarations: dict[str, str], *, insist: bool = False) -> dict[str, str]:
        script = keeping.remember(self.entry.file, self.entry.write(), declarations)
        answers = tell_all(self._lines, dict.fromkeys(self._lines, script), insist=insist)
        return {name: answer.failed for name, answer in answers.items() if answer.failed}


def begin(
    session: Session,
    what: str,
    before_text: str | None,
    after_text: str | None,
    say: Say = silent,
    *,
    past: History | None = None,
) -> Record:
    """Writes down that a change begins. Under the lock: its number is the next one. `past` is what was just read, if it was."""
    return begin_on(session.lines(), what, before_text, after_text, say, past=past or read(session))


def begin_on(
    lines: Lines, what: str, before_text: str | None, after_text: str | None, say: Say = silent, *, past: History
) -> Record:
    """As `begin`, for any lines to directors."""
    texts = {text_hash(text): text for text in (before_text, after_text) if text is not None}
    entry = Entry(
        number=next_number(past.entries),
        what=tidy(what),
        by=tidy(here.user()),
        host=tidy(here.name()),
        began=datetime.now(UTC),
        before=None if before_text is None else text_hash(before_text),
        after=None if after_text is None else text_hash(after_text),
    )
    record = Record(lines, entry, say)
    record.begin(texts)
    return record


def begin_anew(lines: Lines, say: Say = silent) -> None:
    """For directors that join: what they remember is of another cluster, or of an earlier time. Its numbers may be higher than
    ours, and a rollback would go back there.
    """
    for name, answer in tell_all(lines, dict.fromkeys(lines, keeping.set_aside())).items():
        if answer.failed:
            raise HostError(f"{name}: its former history cannot be set aside: {answer.failed}; nothing was changed")
        if answer.lines:
            say(f"{name} has a history from before it joined: it is in {FORMER} there")


def read(session: Session) -> History:
    """What the directors remember. Raises HostError if none could be asked."""
    directors = session.blueprint.declaration.director
    return read_on(session.lines(), {name: why for name, why in session.unreachable.items() if name in directors})


def read_on(lines: Lines, unreachable: dict[str, str]) -> History:
    """As `read`, for any lines to directors."""
    answers = tell_all(lines, dict.fromkeys(lines, f"{kept.HISTORY_ALL}\n"))
    told = {}
    for name, answer in answers.items():
        if answer.failed or answer.lines[-1:] != ("end",):
            unreachable[name] = answer.failed or "its answer stopped half-way"
        else:
            told[name] = answer.lines[:-1]
    if not told:
        reasons = "\n  ".join(f"{name}: {why}" for name, why in unreachable.items())
        raise HostError(f"no director can be asked for the history\n  {reasons}")
    return history(told, unreachable)


def declaration_of(session: Session, past: History, name: str | None, change: Entry) -> Declaration | None:
    """What a change led from or to, by the hash that it notes; None where that is of another version of lbctl, or is lost."""
    try:
        return reading.read(text_of(session, name), f"change {change.number}") if name and name in past.texts else None
    except (HostError, RequestError):
        return None


def text_of(session: Session, name: str) -> str:
    """The text of the declaration with that hash. Raises HostError if no director has it whole."""
    return text_on(session.lines(), name)


def text_on(lines: Lines, name: str) -> str:
    """As `text_of`, for any lines to directors."""
    for line in lines.values():
        answer = line.tell(f"{kept.text(name)}\n")
        try:
            text = base64.b64decode("".join(answer.lines), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if not answer.failed and text_hash(text) == name:
            return text
    raise HostError(
        f"no director that could be asked has the declaration {name[:12]}",
        cure="`lbctl history --json` says what there is",
    )


def last_text(session: Session, past: History) -> str | None:
    """The declaration after the last change, if a director still has it."""
    name = past.last.after if past.last else None
    return text_of(session, name) if name and name in past.texts else None
