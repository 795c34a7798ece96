"""What happened between two looks at a cluster, and how figures went: for whoever watches. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.status import EndpointView, Health, Part, ServerView, Status

Key = tuple[str, str, str]
"""Service, endpoint, server."""


class Tone(StrEnum):
    GOOD = "good"
    BAD = "bad"
    NEWS = "news"


@dataclass(frozen=True)
class Event:
    tone: Tone
    text: str


def events(before: Status, after: Status) -> Iterator[Event]:
    """What is different, the most important first."""
    yield from _directors(before, after)
    yield from _hosts(before, after)
    known = {endpoint.place: endpoint for endpoint in before.endpoints}
    for endpoint in after.endpoints:
        # What is shown of another director's table is no news of the servers.
        if (old := known.get(endpoint.place)) and before.serving and after.serving:
            yield from _servers(old, endpoint)
    yield from _changes(before, after)


def _active(status: Status) -> tuple[str, ...]:
    return tuple(d.name for d in status.directors if d.part in {Part.ACTIVE, Part.STRAY})


def _directors(before: Status, after: Status) -> Iterator[Event]:
    old, new = _active(before), _active(after)
    if old != new:
        tone = Tone.NEWS if len(new) == 1 else Tone.BAD
        yield Event(tone, f"failover: {' and '.join(old) or 'nobody'} → {' and '.join(new) or 'nobody'} active")
    parts = {d.name: d.part for d in before.directors}
    for director in after.directors:
        was = parts.get(director.name)
        # Who became active, or was, is in the failover.
        told = {was, director.part} <= {Part.ACTIVE, Part.BACKUP}
        if was != director.part and not told:
            tone = Tone.GOOD if director.part in {Part.ACTIVE, Part.BACKUP} else Tone.BAD
            why = f" ({director.why.splitlines()[0]})" if director.why else ""
            yield Event(tone, f"{director.name}: {was} → {director.part}{why}")


def _hosts(before: Status, after: Status) -> Iterator[Event]:
    directors = {d.name for d in after.directors}
    for host in after.dead:
        if host not in before.dead and host not in directors:
            yield Event(Tone.BAD, f"{host} cannot be asked: {after.dead[host].splitlines()[0]}")
    for host in before.dead:
        if host not in after.dead and host not in directors:
            yield Event(Tone.GOOD, f"{host} answers again")


def _servers(before: EndpointView, after: EndpointView) -> Iterator[Event]:
    old = {server.name: server for server in before.servers}
    where = f"{after.service} {after.place}"
    for server in after.servers:
        was = old.get(server.name)
        if was is None or (was.health, was.weight, was.mode) == (server.health, server.weight, server.mode):
            continue
        yield from (Event(tone, f"{where}: {server.name} {text}") for tone, text in _server(was, server))


def _server(was: ServerView, now: ServerView) -> Iterator[tuple[Tone, str]]:
    if was.health is not now.health:
        tone = {Health.SERVING: Tone.GOOD, Health.DRAINED: Tone.NEWS, Health.STANDBY: Tone.NEWS}.get(
            now.health, Tone.BAD
        )
        yield tone, f"{was.health} → {now.health}" + (f": {now.why}" if now.why else "")
    if was.weight != now.weight and was.weight is not None and now.weight is not None:
        yield Tone.NEWS, f"weight {was.weight} → {now.weight}"
    if was.mode != now.mode and was.mode and now.mode:
        yield Tone.NEWS, f"mode {was.mode} → {now.mode}"


def _changes(before: Status, after: Status) -> Iterator[Event]:
    held = {str(lock) for lock, _ in before.locks}
    for lock, _ in after.locks:
        if str(lock) not in held:
            yield Event(Tone.NEWS, f"a change began: {lock}")
    still = {str(lock) for lock, _ in after.locks}
    for lock, _ in before.locks:
        if str(lock) not in still:
            yield Event(Tone.NEWS, f"the lock is free: {lock.owner.what if lock.owner else lock}")


@dataclass
class Course:
    """How each server's bytes a second went, for as many looks as fit on a line."""

    length: int = 12
    _kept: dict[Key, deque[int]] = field(default_factory=dict)

    def add(self, status: Status) -> None:
        for endpoint in status.endpoints:
            for server in endpoint.servers:
                rates = self._kept.setdefault(_key(endpoint, server), deque(maxlen=self.length))
                rates.append(server.rate.bytes_in + server.rate.bytes_out)

    def of(self, endpoint: EndpointView, server: ServerView) -> str:
        return sparkline(self._kept.get(_key(endpoint, server), ()))


def _key(endpoint: EndpointView, server: ServerView) -> Key:
    return endpoint.service, endpoint.place, server.name


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Iterable[int]) -> str:
    """A bar for each, the highest is the highest of them; nothing at all is the lowest."""
    figures = list(values)
    top = max(figures, default=0)
    return "".join(_BARS[0 if not top else min(7, -(-value * 7 // top))] for value in figures)
