"""Draws the way of a packet through a cluster, as SVG: clients above, directors, servers below.

Requests go down on the left, answers up on the right: past the directors in direct routing and tunnelling, through the one that
forwards in address translation. Narrow, so that it can be read on a phone.
"""

from collections.abc import Iterator, Sequence
from html import escape

from cluster.scene import Look, Scene, Station

WIDTH = 340
_LEFT, _RIGHT = 44, 284
"""Of all boxes."""
_IN, _OUT = 20, 314
"""Where the lines run that lead down to servers, and up from them."""
_HEIGHT, _GAP = 46, 10
"""Of a box, and below it."""
_CLIENT, _DIRECTORS = 14, 118
"""Where they begin, from the top."""

STYLE = """\
.way { font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 14px; }
.way text { fill: var(--ink); } .way .small { font-size: 12px; fill: var(--muted); } .way .name { font-weight: 600; }
.way .end { text-anchor: end; } .way .middle { text-anchor: middle; }
.way .box { fill: var(--paper); stroke: var(--edge); stroke-width: 1.5; }
.way .idle { stroke-dasharray: 4 3; } .way .unknown { stroke-dasharray: 2 3; }
.way .box.good { stroke: var(--good); } .way .box.bad { stroke: var(--bad); stroke-width: 2; }
.way text.good { fill: var(--good); } .way text.bad { fill: var(--bad); font-weight: 600; }
.way .line { fill: none; stroke-width: 1.3; } .way .thick { stroke-width: 2.6; }
.way .request { stroke: var(--request); } .way .answer { stroke: var(--answer); stroke-dasharray: 7 4; }
.way .head, .way .dot { stroke: none; }
.way .head.request, .way .dot.request { fill: var(--request); } .way .head.answer, .way .dot.answer { fill: var(--answer); }
.way .number { fill: var(--paper); font-weight: 600; } .way .cross { stroke: var(--bad); stroke-width: 2; fill: none; }"""
"""Wants the colours ink, muted, paper, edge, good, bad, request and answer as variables."""


def drawing(scene: Scene, title: str) -> str:
    """For a page of HTML, or inside another picture. Everything that is named by others is escaped."""
    return (
        f'<svg class="way" viewBox="0 0 {WIDTH} {height(scene)}" width="{WIDTH}" height="{height(scene)}" role="img" '
        f'aria-label="{escape(title)}">\n' + "\n".join(parts(scene)) + "\n</svg>"
    )


def height(scene: Scene) -> int:
    return _row(scene, len(scene.servers)) + 4


def _row(scene: Scene, number: int) -> int:
    """Where a server's box begins, from the top."""
    above = _DIRECTORS + len(scene.directors) * (_HEIGHT + _GAP)
    return above + 34 + number * (_HEIGHT + _GAP)


def parts(scene: Scene) -> Iterator[str]:
    """Lines first, so that boxes lie over them."""
    yield from _requests(scene)
    yield from _answers(scene)
    yield _box(scene.client, _CLIENT)
    for number, station in enumerate(scene.directors):
        yield _box(station, _DIRECTORS + number * (_HEIGHT + _GAP))
    for number, station in enumerate(scene.servers):
        yield _box(station, _row(scene, number))
    yield from _numbers(scene)


def _in_rotation(scene: Scene) -> list[tuple[int, Station]]:
    """Servers that get packets, and where the middle of each is."""
    good = (Look.GOOD,)
    return [
        (_row(scene, number) + _HEIGHT // 2, station)
        for number, station in enumerate(scene.servers)
        if scene.forwards and (station.look in good or station.name == scene.picked)
    ]


def _requests(scene: Scene) -> Iterator[str]:
    middle = (_LEFT + _RIGHT) // 2
    if not scene.forwards:
        stop = _DIRECTORS - 26
        yield f'<path class="line thick request" d="M {middle} {_CLIENT + _HEIGHT} V {stop}"/>{_cross(middle, stop)}'
        return
    yield _arrow("request", "thick", (middle, _CLIENT + _HEIGHT), (middle, _DIRECTORS - 2))
    out = _DIRECTORS + _HEIGHT // 2
    for y, station in sorted(_in_rotation(scene), key=lambda each: each[1].name == scene.picked):
        weight = "thick" if station.name == scene.picked else ""
        yield _arrow("request", weight, (_LEFT, out), (_IN, out), (_IN, y), (_LEFT - 2, y))
    for number, station in enumerate(scene.servers):
        if station.look is Look.BAD and station.name != scene.picked:
            yield _cross(_IN + 13, _row(scene, number) + _HEIGHT // 2)


def _answers(scene: Scene) -> Iterator[str]:
    up = _DIRECTORS + _HEIGHT * 3 // 4 if scene.through_director else _CLIENT + _HEIGHT // 2
    for y, station in sorted(_in_rotation(scene), key=lambda each: each[1].name == scene.picked):
        if station.name == scene.picked:
            yield _arrow("answer", "thick", (_RIGHT, y), (_OUT, y), (_OUT, up), (_RIGHT + 2, up))
        else:
            yield _line("answer", "", (_RIGHT, y), (_OUT, y), (_OUT, up))
    if scene.through_director and scene.picked:
        back = _DIRECTORS + _HEIGHT // 4
        yield _arrow("answer", "thick", (_RIGHT, back), (_OUT, back), (_OUT, _CLIENT + 23), (_RIGHT + 2, _CLIENT + 23))


def _numbers(scene: Scene) -> Iterator[str]:
    """Each beside its line, in the order of the steps."""
    steps = len(scene.steps)
    if scene.forwards:
        yield dot(1, "request", (_LEFT + _RIGHT) // 2, (_CLIENT + _HEIGHT + _DIRECTORS) // 2 - 4)
    if not scene.picked:
        return
    below = _row(scene, 0) - 22
    yield dot(2, "request", _IN, below)
    yield dot(3, "answer", _OUT, below)
    if steps > 3:  # noqa: PLR2004 (the fourth is the way back from the director)
        yield dot(4, "answer", _OUT, (_CLIENT + _HEIGHT + _DIRECTORS) // 2 - 4)


_LONGEST = 34
"""So many characters of small type have room in a box."""


def _box(station: Station, y: int) -> str:
    sign = {Look.GOOD: "✓ ", Look.BAD: "✗ "}.get(station.look, "") if station.word else ""
    look = "" if not station.word else f" {station.look}"
    room = 25 - len(station.word)
    return (
        f"<g><title>{escape(f'{station.name} {station.word} {station.below}')}</title>"
        f'<rect class="box{look}" x="{_LEFT}" y="{y}" width="{_RIGHT - _LEFT}" height="{_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{_LEFT + 12}" y="{y + 20}">{escape(_cut(station.name, room))}</text>'
        f'<text class="end{look}" x="{_RIGHT - 12}" y="{y + 20}">{sign}{escape(station.word)}</text>'
        f'<text class="small" x="{_LEFT + 12}" y="{y + 37}">{escape(_cut(station.below, _LONGEST))}</text></g>'
    )


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


Point = tuple[int, int]


def _line(kind: str, weight: str, *points: Point) -> str:
    path = " L ".join(f"{x} {y}" for x, y in points)
    return f'<path class="{" ".join(filter(None, ("line", weight, kind)))}" d="M {path}"/>'


def _arrow(kind: str, weight: str, *points: Point) -> str:
    """A line with a head. It goes straight down or across."""
    return _line(kind, weight, *points) + _head(kind, points)


def _head(kind: str, points: Sequence[Point]) -> str:
    (x0, y0), (x1, y1) = points[-2:]
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    corners = ((x1, y1), (x1 - 9 * dx + 5 * dy, y1 - 9 * dy + 5 * dx), (x1 - 9 * dx - 5 * dy, y1 - 9 * dy - 5 * dx))
    return f'<polygon class="head {kind}" points="{" ".join(f"{x},{y}" for x, y in corners)}"/>'


def dot(number: int, kind: str, x: int, y: int) -> str:
    """The number of a step."""
    return (
        f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="11"/>'
        f'<text class="number middle" x="{x}" y="{y + 5}">{number}</text>'
    )


def _cross(x: int, y: int) -> str:
    return f'<path class="cross" d="M {x - 5} {y - 5} l 10 10 M {x - 5} {y + 5} l 10 -10"/>'
