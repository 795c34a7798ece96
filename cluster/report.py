"""All that a report says of a cluster, put together from what was looked at. Pure: `pages.report` makes a page of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cluster.course import Course, Rate, course
from cluster.declaration import Declaration
from cluster.findings import Check
from cluster.history import DONE, Entry, History, outcome, text_hash
from cluster.scene import Scene, scene
from cluster.status import EndpointView, Health, Part, Status
from cluster.watching import Tone, events

CHECKS = ("verify", "doctor")
"""Commands whose last result a report shows."""
CHANGES = 20
"""So many of the last changes are shown."""


@dataclass(frozen=True)
class Conditions:
    """How a report came about."""

    by: str
    version: str
    """lbctl's."""
    file: str
    """The declaration's."""
    text: str
    """Of the declaration."""


@dataclass(frozen=True)
class Happened:
    """Something that changed between two looks."""

    at: datetime
    tone: Tone
    text: str


@dataclass(frozen=True)
class Change:
    """A change of the cluster, as the history has it."""

    entry: Entry
    result: str
    tone: Tone

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.entry.ended - self.entry.began).total_seconds() if self.entry.ended else None


@dataclass(frozen=True)
class LastCheck:
    """What a command found when it was last run; `check` is None where it was not."""

    name: str
    check: Check | None
    age: float = 0
    """Seconds before the report."""
    before: Entry | None = None
    """The first change that came after it: what it says may not be so any more."""


@dataclass(frozen=True)
class Report:
    status: Status
    """The last look."""
    scene: Scene
    course: Course
    happened: tuple[Happened, ...]
    changes: tuple[Change, ...]
    """The newest first."""
    changes_before: int
    """So many older ones are left out."""
    history_gaps: Mapping[str, str]
    """Directors, or files there, whose part of the history could not be read, and why."""
    checks: tuple[LastCheck, ...]
    conditions: Conditions
    deployed: str
    """How the declaration stands to the last change."""

    @property
    def active(self) -> tuple[str, ...]:
        return tuple(d.name for d in self.status.directors if d.part in {Part.ACTIVE, Part.STRAY})

    @property
    def serving(self) -> tuple[int, int]:
        """(declared servers in rotation everywhere, all that are declared, not drained, and do not only stand by)."""
        healths: dict[str, set[Health]] = {}
        for endpoint in self.status.endpoints:
            for server in endpoint.servers:
                healths.setdefault(server.name, set()).add(server.health)
        # Who is not the writer has its place where it serves; who stands by everywhere has none.
        places = [seen - {Health.STANDBY} for seen in healths.values()]
        wanted = [seen for seen in places if seen and not seen & {Health.STRANGER, Health.DRAINED}]
        return sum(seen == {Health.SERVING} for seen in wanted), len(wanted)

    @property
    def established(self) -> int:
        """Connections through the director that serves."""
        return sum(server.active for endpoint in self.status.endpoints for server in endpoint.servers)

    @property
    def rate(self) -> Rate | None:
        """Of the whole cluster, on average over the period."""
        rates = self.course.by_server().values()
        averages = [self.course.average(each) for each in rates]
        known = [each for each in averages if each]
        if not known:
            return None
        return Rate(
            sum(each.connections for each in known),
            sum(each.bytes_in for each in known),
            sum(each.bytes_out for each in known),
        )

    @property
    def services(self) -> dict[str, list[EndpointView]]:
        """Endpoints of each service."""
        found: dict[str, list[EndpointView]] = {}
        for endpoint in self.status.endpoints:
            found.setdefault(endpoint.service, []).append(endpoint)
        return found


def report(
    declaration: Declaration,
    looks: Sequence[Status],
    past: History,
    checks: Mapping[str, Check | None],
    conditions: Conditions,
) -> Report:
    """`looks`: one at least, the oldest first. `checks`: what is remembered, by command."""
    status = looks[-1]
    return Report(
        status=status,
        scene=scene(declaration, status),
        course=course(looks),
        happened=tuple(_happened(looks)),
        changes=tuple(_change(entry, status) for entry in reversed(past.entries[-CHANGES:])),
        changes_before=max(0, len(past.entries) - CHANGES),
        history_gaps={**past.unreachable, **past.broken},
        checks=tuple(_last(name, checks.get(name), past, status.at) for name in CHECKS),
        conditions=conditions,
        deployed=_deployed(past, conditions.text),
    )


def _happened(looks: Sequence[Status]) -> Iterator[Happened]:
    for before, after in pairwise(looks):
        yield from (Happened(after.at, event.tone, event.text) for event in events(before, after))


def _change(entry: Entry, status: Status) -> Change:
    result = outcome(entry, status.locks)
    if not entry.is_finished:
        return Change(entry, result, Tone.NEWS if status.under_way else Tone.BAD)
    return Change(entry, result, Tone.GOOD if entry.result == DONE else Tone.BAD)


def _last(name: str, check: Check | None, past: History, at: datetime) -> LastCheck:
    if check is None:
        return LastCheck(name, None)
    later = next((entry for entry in past.entries if (entry.ended or entry.began) > check.at), None)
    return LastCheck(name, check, max(0.0, (at - check.at).total_seconds()), later)


def _deployed(past: History, text: str) -> str:
    if past.last is None:
        return "no change was written down yet"
    number = past.last.number
    same = past.last.after == text_hash(text)
    return f"the same as at change {number}, the last" if same else f"not the one of change {number}, the last"
