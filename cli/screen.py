"""How a cluster's state looks: (style, line) for each line of the screen, and the same for programs."""

import textwrap
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from cli.output import columns
from cluster.history import moment
from cluster.status import DirectorView, EndpointView, Health, Part, ServerView, Status
from cluster.units import short

Spark = Callable[[EndpointView, ServerView], str]
Line = tuple[str, str]
"""A style of rich's, and the text."""

SHOWN = 8
"""So many differences; the rest is counted."""

_GOOD, _BAD, _QUIET, _NEWS = "green", "red", "dim", "cyan"
_OF_PART = {Part.ACTIVE: _GOOD, Part.BACKUP: "", Part.NOT_ASKED: _QUIET}
_OF_HEALTH = {Health.SERVING: "", Health.DRAINED: _NEWS, Health.STANDBY: _QUIET, Health.UNKNOWN: _QUIET}


def lines(status: Status, spark: Spark | None = None, *, verdict_first: bool = False) -> Iterator[Line]:
    """The whole screen. `spark`: how a server's traffic went, for whoever watches.

    The verdict is last, next to the prompt; or first, where a low terminal shows the top only.
    """
    yield "bold", f"Cluster {status.cluster}, mode {status.mode}, {moment(status.at)}"
    if verdict_first:
        yield from _verdict(status)
        yield "", ""
    yield from _directors(status)
    told: set[tuple[str, str]] = set()
    for service in dict.fromkeys(endpoint.service for endpoint in status.endpoints):
        yield "", ""
        for endpoint in status.endpoints:
            if endpoint.service == service:
                yield from _endpoint(endpoint, status, spark, told)
    yield "", ""
    yield from _drift(status)
    yield from _changes(status)
    if not verdict_first:
        yield from _verdict(status)


def is_row(line: str) -> bool:
    """Of a table; all others are sentences."""
    return line[:2] == "  " and line[2:3] not in {" ", "✗"}


def folded(line: str, width: int, indent: int | None = None) -> str:
    """A line for a terminal of that width. A sentence goes on below its beginning, or so far from the left; a row stays."""
    if is_row(line) or len(line) <= width:
        return line
    indent = len(line) - len(line.lstrip(" ✗")) if indent is None else indent
    return "\n".join(textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False))


def _directors(status: Status) -> Iterator[Line]:
    names = ("director", "state", "priority", "connections", "holds")
    head, *rest = columns([names, *(_director(each) for each in status.directors)], figures={3})
    yield _QUIET, head
    for view, line in zip(status.directors, rest, strict=True):
        yield _OF_PART.get(view.part, _BAD), line
        if view.why:
            yield _BAD, f"    {view.why.splitlines()[0]}"


def _director(view: DirectorView) -> tuple[str, ...]:
    seen = view.part not in {Part.DEAD, Part.SILENT, Part.NOT_ASKED}
    priority = f"{view.priority}" if view.priority is not None else f"({view.declared_priority})"
    connections = str(view.connections) if seen else "-"
    return view.name, view.part, priority, connections, " ".join(map(str, view.holds)) or "-"


def _endpoint(
    endpoint: EndpointView, status: Status, spark: Spark | None, told: set[tuple[str, str]]
) -> Iterator[Line]:
    """`told`: servers with what was said of them already. Most are out of all services at once, for one reason."""
    kernel = "+".join(endpoint.modes) or "nothing"
    good = endpoint.in_table and endpoint.modes == (endpoint.declared_mode,)
    modes = (
        f"mode {endpoint.declared_mode}, in the kernel {kernel}" if status.serving else f"mode {endpoint.declared_mode}"
    )
    style = "bold" if good or not status.serving else "bold red"
    protocol = "" if endpoint.protocol == "tcp" else f" {endpoint.protocol}"
    yield style, f"{endpoint.service} {endpoint}{protocol}  {endpoint.scheduler}, {modes}"
    head: tuple[str, ...] = ("server", "weight", "health", "active", "inact", "conn/s", "in B/s", "out B/s")
    rows = [(*head, "") if spark else head]
    rows += [(*_server(each), spark(endpoint, each)) if spark else _server(each) for each in endpoint.servers]
    first, *rest = columns(rows, figures=range(3, 8))
    yield _QUIET, first
    for view, line in zip(endpoint.servers, rest, strict=True):
        yield _OF_HEALTH.get(view.health, _BAD), line
        if view.why and (view.name, view.why) not in told:
            told.add((view.name, view.why))
            yield _OF_HEALTH.get(view.health) or _BAD, f"    {view.why}"


def _server(view: ServerView) -> tuple[str, ...]:
    weight = "-" if view.weight is None else str(view.weight)
    if view.weight != view.declared and view.health is not Health.UNKNOWN:
        weight += f" ({view.declared})"
    if view.weight is None:
        return view.name, weight, view.health, "-", "-", "-", "-", "-"
    rate = view.rate
    figures = (str(view.active), str(view.inactive), str(rate.connections), short(rate.bytes_in), short(rate.bytes_out))
    return view.name, weight, view.health, *figures


def _drift(status: Status) -> Iterator[Line]:
    for host, what in status.drift[:SHOWN]:
        yield "yellow", f"differs  {host}: {what}"
    if len(status.drift) > SHOWN:
        yield "yellow", f"differs  and {len(status.drift) - SHOWN} more (lbctl plan)"
    for host, why in status.drift_unknown.items():
        yield _NEWS, f"not compared  {host}: {why.splitlines()[0]}"


def _changes(status: Status) -> Iterator[Line]:
    for lock, stale in status.locks:
        yield (_BAD, f"locked by {lock}; {stale}") if stale else (_NEWS, f"locked by {lock}")
    if entry := status.unfinished:
        style, word = (_NEWS, "under way") if status.under_way else (_BAD, "unfinished")
        yield style, f"{word}  change {entry.number}: {entry.what}, by {entry.by}@{entry.host}, {moment(entry.began)}"


def _verdict(status: Status) -> Iterator[Line]:
    if status.healthy:
        yield _GOOD, "Nothing is wrong."
        return
    count = len(status.troubles)
    yield "bold red", "1 thing is wrong:" if count == 1 else f"{count} things are wrong:"
    yield from ((_BAD, f"  ✗ {trouble}") for trouble in status.troubles)


def as_json(status: Status) -> dict[str, Any]:
    """All of it, for programs."""
    found = asdict(status)
    found["healthy"] = status.healthy
    found["at"] = status.at.isoformat()
    found["drift"] = [{"host": host, "what": what} for host, what in status.drift]
    found["locks"] = [
        {
            "owner": lock.owner and {**asdict(lock.owner), "since": lock.owner.since.isoformat()},
            "silent_for": lock.silent_for,
            "directors": lock.directors,
            "stale": stale or None,
            "broken": lock.broken or None,
        }
        for lock, stale in status.locks
    ]
    if entry := status.unfinished:
        found["unfinished"] = {**asdict(entry), "began": entry.began.isoformat()}
    return found
