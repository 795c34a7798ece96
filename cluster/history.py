"""Who is changing the cluster now, and who changed it before: the lock and the history that directors keep.

Both are small files on each director, one JSON object each. They are read strictly: what is broken, or somebody else's, is said,
and never stops the reading of the rest. A director that was down meanwhile lacks some of it: what several keep is put together.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

FOLDER = "/var/lib/lbctl"
LOCK_FILE = f"{FOLDER}/lock"
"""Stands for as long as a command of an operator's is under way. Each sign of life renews its time."""
HISTORY = f"{FOLDER}/history"
"""A file NNNN.json for each change."""
DECLARATIONS = f"{FOLDER}/declarations"
"""The texts of declarations, as HASH.toml. No declaration holds a secret: it says where one is to be found."""
FORMER = f"{FOLDER}/former"
"""The history of a cluster that a director was of before it joined this one."""

SIGN_EVERY = 15
"""Seconds between two signs of life."""
STALE_AFTER = 60
"""Seconds without one after which nobody is thought to be at work any more."""
KEPT = 200
"""So many changes are remembered."""

DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"
"""How a change ended. A failure may name hosts: "failed: db1, db2"."""

_LONGEST = 500
"""Characters of any text in these files."""


class BrokenError(ValueError):
    """A text that is not what it should be; says why."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: a person, a process on a machine, since when (by that machine's clock), and what it does."""

    user: str
    host: str
    pid: int
    since: datetime
    what: str
    machine: str = ""
    """Tells that machine, as it was booted then, from others: where the process can be looked for."""

    @staticmethod
    def read(text: str) -> "Owner":
        """Raises BrokenError."""
        kinds = {"user": _line, "host": _line, "pid": _number, "since": _moment, "what": _line, "machine": _line}
        return Owner(**_object(text, kinds))

    def write(self) -> str:
        return _json(asdict(self))


@dataclass(frozen=True)
class SeenLock:
    """The lock's file as one director has it."""

    silent_for: int
    """Seconds since its last sign of life, by that director's clock."""
    text: str

    @staticmethod
    def read(line: str) -> "SeenLock | None":
        """From what `facts.kept.LOCK` prints; None where it is something else. Whether there is a lock is told by taking it."""
        seconds, _, text = line.strip().partition(" ")
        try:
            return SeenLock(int(seconds), text)
        except ValueError:
            return None

    @staticmethod
    def among(lines: "Iterable[str]") -> "SeenLock | None":
        """The first that is one."""
        return next(filter(None, map(SeenLock.read, lines)), None)


@dataclass(frozen=True)
class Lock:
    """A lock as it was found. Without an owner its file cannot be read: `broken` says why."""

    owner: Owner | None
    silent_for: int
    """Seconds since its last sign of life: the shortest that any director has seen."""
    directors: tuple[str, ...]
    broken: str = ""

    def has_ended(self, here: str, runs: Callable[[int], bool]) -> bool:
        """Whether its owner is known to be gone. `here` is this machine, and `runs` says whether a process of its lives."""
        return bool(self.owner and here and self.owner.machine == here and not runs(self.owner.pid))

    def why_stale(self, here: str, runs: Callable[[int], bool]) -> str:
        """Why nobody is at work any more, or "". Arguments as of `has_ended`."""
        if self.owner and self.has_ended(here, runs):
            return f"its process {self.owner.pid} on this machine has ended"
        return f"no sign of life for {span(self.silent_for)}" if self.silent_for > STALE_AFTER else ""

    def __str__(self) -> str:
        if self.owner is None:
            return f"a lock that cannot be read ({self.broken})"
        o = self.owner
        return f"{o.user} on {o.host} (process {o.pid}) since {moment(o.since)}: {o.what}"


def locks(seen: Mapping[str, SeenLock | None]) -> tuple[Lock, ...]:
    """The locks that directors have: one, if all is well. Two where operators did not reach the same directors."""
    by_text: dict[str, list[str]] = {}
    for director, found in seen.items():
        if found:
            by_text.setdefault(found.text, []).append(director)
    return tuple(
        _lock(text, [(name, there) for name in names if (there := seen[name])]) for text, names in by_text.items()
    )


def _lock(text: str, holders: list[tuple[str, SeenLock]]) -> Lock:
    silent_for = min(there.silent_for for _, there in holders)
    directors = tuple(name for name, _ in holders)
    try:
        return Lock(Owner.read(text), silent_for, directors)
    except BrokenError as error:
        return Lock(None, silent_for, directors, str(error))


def refusal(lock: Lock, stale: str) -> tuple[str, str]:
    """What somebody is told who meets the lock, and what to do. `stale` as by `Lock.why_stale`."""
    where = f"(on {', '.join(lock.directors)})"
    if stale:
        cure = (
            "the next command from that machine takes the lock over, from another one `lbctl unlock` takes it away; what was "
            "begun goes on by `lbctl switch-mode --resume`, or back by --abort (`lbctl history`)"
        )
        return f"the cluster is locked {where} by {lock}; but {stale}", cure
    cure = "wait until that is done" + (f", or ask {lock.owner.user}" if lock.owner else "")
    return f"the cluster is locked {where} by {lock}; last sign of life {span(lock.silent_for)} ago", cure


@dataclass(frozen=True)
class Entry:
    """A change of the cluster: numbered, by whom (`by` on machine `host`), from which declaration to which, and how it ended."""

    number: int
    what: str
    by: str
    host: str
    began: datetime
    ended: datetime | None = None
    result: str = ""
    before: str | None = None
    """Hash of the declaration's text before; None for the first change."""
    after: str | None = None
    changed: tuple[str, ...] = ()
    """Hosts on which something was changed."""

    @staticmethod
    def read(text: str) -> "Entry":
        """Raises BrokenError."""
        kinds = {
            "number": _number,
            "what": _line,
            "by": _line,
            "host": _line,
            "began": _moment,
            "ended": _maybe(_moment),
            "result": _line,
            "before": _maybe(_hash),
            "after": _maybe(_hash),
            "changed": _lines,
        }
        return Entry(**_object(text, kinds))

    def write(self) -> str:
        return _json(asdict(self))

    @property
    def file(self) -> str:
        return f"{self.number:04}.json"

    @property
    def is_finished(self) -> bool:
        return self.ended is not None

    @property
    def came_to_its_end(self) -> bool:
        """Also where something is still used, or a host could not be asked."""
        return self.is_finished and self.result.startswith(DONE)


@dataclass(frozen=True)
class History:
    """What the directors remember, put together."""

    entries: tuple[Entry, ...] = ()
    """The oldest first."""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Hash of a declaration → directors that have its text."""
    unreachable: Mapping[str, str] = field(default_factory=dict)
    """Directors that could not be asked, and why."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """"DIRECTOR:FILE" → what is wrong with it."""

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def last_to_another(self) -> Entry | None:
        """The last change that led from one declaration to another: a deploy that only finished something is none."""
        return next((entry for entry in reversed(self.entries) if entry.before not in {None, entry.after}), None)

    def numbered(self, number: int) -> Entry | None:
        """The change of that number; the later one, should two operators who did not reach the same directors have begun both."""
        return next((entry for entry in reversed(self.entries) if entry.number == number), None)


def history(told: Mapping[str, Iterable[str]], unreachable: Mapping[str, str]) -> History:
    """From the lines that `facts.kept.HISTORY_ALL` prints on each director."""
    copies: list[Entry] = []
    texts: dict[str, list[str]] = {}
    broken: dict[str, str] = {}
    for director, lines in told.items():
        files: dict[str, str] = {}
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "text":
                texts.setdefault(rest.removesuffix(".toml"), []).append(director)
            elif kind == "file":
                files.setdefault(rest, "")
            elif kind == "line":
                name, _, text = rest.partition(":")
                files[name] = files.get(name, "") + text
        for name, text in files.items():
            try:
                copies.append(_filed(name, text))
            except BrokenError as error:
                broken[f"{director}:{HISTORY}/{name}"] = str(error)
    return History(merged(copies), {h: tuple(d) for h, d in texts.items()}, dict(unreachable), broken)


def _filed(name: str, text: str) -> Entry:
    entry = Entry.read(text)
    if name != entry.file:
        raise BrokenError(f"it says that it is number {entry.number}")
    return entry


def merged(copies: Iterable[Entry]) -> tuple[Entry, ...]:
    """One of each. A director that went down meanwhile does not know how a change ended: a copy that does is believed."""
    found: dict[tuple[int, datetime], Entry] = {}
    for entry in copies:
        key = (entry.number, entry.began)
        if key not in found or (entry.is_finished and not found[key].is_finished):
            found[key] = entry
    return tuple(found[key] for key in sorted(found))


def next_number(entries: Iterable[Entry]) -> int:
    return max((entry.number for entry in entries), default=0) + 1


def unfinished(entries: Iterable[Entry]) -> Entry | None:
    """The last change, if nobody has said how it ended: its operator was killed, or is still at it."""
    last = next(reversed(tuple(entries)), None)
    return last if last and not last.is_finished else None


def outcome(entry: Entry, held: Iterable[tuple[Lock, str]]) -> str:
    """How a change ended; "under way" or "unfinished" where nobody has said so. `held`: locks, and why each is stale, or ""."""
    if entry.is_finished:
        return entry.result
    at_work = any(
        not stale
        and lock.owner
        and (lock.owner.user, lock.owner.host) == (entry.by, entry.host)
        and lock.owner.since <= entry.began
        for lock, stale in held
    )
    return "under way" if at_work else "unfinished"


def text_hash(text: str) -> str:
    """By what the text of a declaration is known."""
    return hashlib.sha256(text.encode()).hexdigest()


# How it is said


def tidy(text: str) -> str:
    """Fit to be written down: one line, not too long."""
    line = "".join(each if each.isprintable() else "?" for each in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def moment(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def span(seconds: float) -> str:
    """Roughly how long."""
    if seconds < 2 * _MINUTE:
        return f"{max(0, round(seconds))} s"
    if seconds < 2 * _HOUR:
        return f"{round(seconds / _MINUTE)} min"
    return f"{round(seconds / _HOUR)} h" if seconds < 2 * _DAY else f"{round(seconds / _DAY)} days"


# Reading and writing

_T = TypeVar("_T")


def _json(values: Mapping[str, Any]) -> str:
    """In one line, and in ASCII: shells carry it about."""
    return json.dumps(values, default=lambda when: when.astimezone(UTC).isoformat(timespec="microseconds"))


def _object(text: str, kinds: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """The values of a JSON object that has exactly these keys. Raises BrokenError."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise BrokenError("it is not JSON" if text.strip() else "it is empty") from None
    if not isinstance(values, dict):
        raise BrokenError("it is not a JSON object")
    if values.keys() != kinds.keys():
        odd = ", ".join(repr(str(key)[:40]) for key in sorted(values.keys() ^ kinds.keys()))
        raise BrokenError(f"keys that are missing, or that nobody knows: {odd}")
    found = {}
    for key, kind in kinds.items():
        try:
            found[key] = kind(values[key])
        except (ValueError, OverflowError) as error:
            raise BrokenError(f"{key} is {error}") from None
    return found


def _line(value: Any) -> str:
    # What cannot be printed could move the cursor of a terminal, and make a lock look like something else.
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise ValueError("no line of text")
    return value


def _lines(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")  # noqa: TRY004 (all of these become BrokenError)
    return tuple(_line(each) for each in value)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**31:
        raise ValueError("no positive number")
    return value


def _moment(value: Any) -> datetime:
    when = datetime.fromisoformat(_line(value))
    if when.tzinfo is None:
        raise ValueError("a time without its zone")
    return when


def _hash(value: Any) -> str:
    if len(_line(value)) != hashlib.sha256().digest_size * 2 or set(value) - set("0123456789abcdef"):
        raise ValueError("no hash")
    return str(value)


def _maybe(kind: Callable[[Any], _T]) -> Callable[[Any], _T | None]:
    return lambda value: None if value is None else kind(value)
