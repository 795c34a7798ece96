"""Draws figures over time, as SVG: a plot with a line for each server, and a small one for a cell of a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 400, 190
_LEFT, _RIGHT, _ABOVE, _BELOW = 46, 388, 10, 160

COLOURS = 6
"""So many lines can be told apart. Beyond, there is one line for all."""

Figures = Sequence[float | None]
"""None: not known then, and the line has a gap."""


def plot(
    lines: Mapping[str, Figures], seconds: Sequence[float], title: str, said: Callable[[float], str], least: float = 1
) -> str:
    """`seconds`: when each figure was taken. `said`: how a figure is written beside the scale. `least`: the scale ends there, or
    higher.
    """
    top = _round_up(max((figure for line in lines.values() for figure in line if figure), default=0), least)
    length = max(seconds, default=0) or 1

    def at(when: float, figure: float) -> tuple[float, float]:
        return _LEFT + (_RIGHT - _LEFT) * when / length, _BELOW - (_BELOW - _ABOVE) * figure / top

    drawn = "".join(
        f'<g class="line line-{number}"><title>{escape(name)}</title>{"".join(_stretches(line, seconds, at))}</g>'
        for number, (name, line) in enumerate(lines.items())
    )
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(_grid(top, length, said))}{drawn}</svg>"
    )


def _grid(top: float, length: float, said: Callable[[float], str]) -> Iterator[str]:
    for part in (0, 0.5, 1):
        y = _BELOW - (_BELOW - _ABOVE) * part
        yield f'<path class="grid" d="M {_LEFT} {y:g} H {_RIGHT}"/>'
        yield f'<text class="end" x="{_LEFT - 6}" y="{y + 4:g}">{said(top * part)}</text>'
    for part in (0, 0.5, 1):
        x = _LEFT + (_RIGHT - _LEFT) * part
        anchor = ("start", "middle", "end")[round(part * 2)]
        yield f'<text class="{anchor}" x="{x:g}" y="{_BELOW + 20}">{length * part:.0f} s</text>'


def _stretches(
    line: Figures, seconds: Sequence[float], at: Callable[[float, float], tuple[float, float]]
) -> Iterator[str]:
    """What lies between two gaps."""
    points: list[str] = []
    for when, figure in [*zip(seconds, line, strict=False), (0.0, None)]:
        if figure is not None:
            x, y = at(when, figure)
            points.append(f"{x:.1f},{y:.1f}")
            continue
        if len(points) == 1:
            left, _, above = points[0].partition(",")
            yield f'<circle class="point" cx="{left}" cy="{above}" r="2.5"/>'
        elif points:
            yield f'<polyline points="{" ".join(points)}"/>'
        points = []


_STEPS = (1, 2, 3, 4, 5, 6, 8, 10)


def _round_up(figure: float, least: float) -> float:
    """A scale's end: a round number that is not less than either."""
    figure = max(figure, least)
    power = 1.0
    while power * _STEPS[-1] < figure:
        power *= 10
    return next(step * power for step in _STEPS if step * power >= figure)


def sparkline(line: Figures, title: str, top: float) -> str:
    """`top`: what the full height is, so that the lines of one table can be compared."""
    width, height = 84, 22
    step = width / max(len(line) - 1, 1)

    def at(when: float, figure: float) -> tuple[float, float]:
        return 1 + when * step * (width - 2) / width, height - 2 - (height - 4) * figure / (top or 1)

    drawn = "".join(_stretches(line, list(range(len(line))), at))
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">{drawn}</svg>'
    )
