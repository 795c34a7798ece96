# ruff: noqa: INP001 (run as a file)
"""Draws docs/packet-paths.svg, the three ways of a packet: `python docs/make_packet_paths.py`."""

from dataclasses import dataclass
from pathlib import Path

TARGET = Path(__file__).with_name("packet-paths.svg")

_WIDTH, _HEIGHT, _MARGIN = 330, 520, 12

_STYLE = """\
svg { font: 14px system-ui, "DejaVu Sans", sans-serif; }
.sheet { fill: #ffffff; } .panel { fill: #f6f8fa; stroke: #d0d7de; }
.box { fill: #ffffff; stroke: #57606a; stroke-width: 1.5; } .faint { stroke: #afb8c1; }
text { fill: #1f2328; } .small { font-size: 12px; fill: #57606a; } .title { font-size: 17px; font-weight: 600; }
.middle { text-anchor: middle; }
.line { fill: none; stroke-width: 2.5; } .request { stroke: #0969da; } .answer { stroke: #bc4c00; stroke-dasharray: 8 5; }
.head { stroke: none; } .head.request { fill: #0969da; } .head.answer { fill: #bc4c00; }
.other { fill: none; stroke: #afb8c1; stroke-width: 1.2; }
.dot.request { fill: #0969da; } .dot.answer { fill: #bc4c00; stroke-dasharray: none; }
.number { fill: #ffffff; font-weight: 600; }
@media (prefers-color-scheme: dark) {
.sheet { fill: #0d1117; } .panel { fill: #161b22; stroke: #30363d; }
.box { fill: #0d1117; stroke: #8d96a0; } .faint { stroke: #484f58; }
text { fill: #e6edf3; } .small { fill: #9da7b3; }
.request { stroke: #4493f8; } .answer { stroke: #f0883e; }
.head.request, .dot.request { fill: #4493f8; } .head.answer, .dot.answer { fill: #f0883e; }
.other { stroke: #484f58; } .number { fill: #0d1117; }
}"""


@dataclass(frozen=True)
class Way:
    """One panel."""

    title: str
    director_has: str
    server_has: str
    steps: tuple[tuple[str, str], ...]
    """What is said of each arrow, in two lines."""
    through_director: bool = False


WAYS = (
    Way(
        "DR: direct routing",
        "VIP on eth0",
        "VIP on dummy0",
        (
            ("The client calls 10.0.0.10:3306.", "The director answers ARP for it."),
            ("The same packet goes to db1's MAC", "address. Nothing in it is changed."),
            ("db1 answers the client itself,", "from 10.0.0.10."),
        ),
    ),
    Way(
        "TUN: tunnelling",
        "VIP on eth0",
        "VIP on tunl0",
        (
            ("The client calls 10.0.0.10:3306.", "The director answers ARP for it."),
            ("The same packet goes inside another", "one to 10.0.0.1 (IPIP). db1 unpacks it."),
            ("db1 answers the client itself,", "from 10.0.0.10."),
        ),
    ),
    Way(
        "NAT: address translation",
        "VIP or own port",
        "no VIP",
        (
            ("The client calls 10.0.0.10:3306, or", "10.0.0.12:5506."),
            ("The packet's target is rewritten", "to 10.0.0.1:3306."),
            ("db1 answers from 10.0.0.1; a rule", "sends that to the director."),
            ("The answer's source is rewritten", "to the address that was called."),
        ),
        through_director=True,
    ),
)


def drawing() -> str:
    width = len(WAYS) * (_WIDTH + _MARGIN) + _MARGIN
    height = _HEIGHT + 2 * _MARGIN
    panels = "\n".join(
        f'<g transform="translate({_MARGIN + number * (_WIDTH + _MARGIN)} {_MARGIN})">\n{_panel(way)}\n</g>'
        for number, way in enumerate(WAYS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">\n'
        "<title>The way of a packet in direct routing, tunnelling and NAT</title>\n"
        f"<style>\n{_STYLE}\n</style>\n"
        f'<rect class="sheet" width="{width}" height="{height}"/>\n{panels}\n</svg>\n'
    )


def _panel(way: Way) -> str:
    parts = [
        f'<rect class="panel" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>',
        f'<text class="title" x="16" y="30">{way.title}</text>',
        _box(16, 50, 110, "client", "10.0.0.5"),
        _box(190, 135, 124, "director", "10.0.0.4", way.director_has),
        _box(12, 250, 112, "db1", "10.0.0.1", way.server_has),
        _box(134, 250, 86, "db2", "10.0.0.2", faint=True),
        _box(230, 250, 86, "db3", "10.0.0.3", faint=True),
        '<path class="other" d="M 218 200 L 180 247 M 262 200 L 266 247"/>',
    ]
    parts.append(_arrow(1, "request", (126, 74), (228, 74), (228, 132)))
    if way.through_director:
        parts.append(_arrow(2, "request", (187, 156), (96, 156), (96, 247)))
        parts.append(_arrow(3, "answer", (60, 250), (60, 186), (187, 186)))
        parts.append(_arrow(4, "answer", (284, 135), (284, 58), (129, 58)))
    else:
        parts.append(_arrow(2, "request", (187, 168), (88, 168), (88, 247)))
        parts.append(_arrow(3, "answer", (44, 250), (44, 96)))
    for number, (first, second) in enumerate(way.steps, start=1):
        kind = "answer" if number > 2 else "request"  # noqa: PLR2004 (two arrows lead to the server)
        y = 352 + 42 * (number - 1)
        parts.append(_dot(number, kind, 26, y))
        parts.append(f'<text x="46" y="{y - 1}">{first}</text><text x="46" y="{y + 17}">{second}</text>')
    return "\n".join(parts)


def _box(x: int, y: int, width: int, name: str, *below: str, faint: bool = False) -> str:
    height = 26 + 17 * len(below)
    middle = x + width // 2
    lines = "".join(
        f'<text class="small middle" x="{middle}" y="{y + 36 + 16 * line}">{text}</text>'
        for line, text in enumerate(below)
    )
    box = f'<rect class="box{" faint" if faint else ""}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'
    return f'{box}<text class="middle" x="{middle}" y="{y + 19}">{name}</text>{lines}'


def _arrow(number: int, kind: str, *points: tuple[int, int]) -> str:
    """A line with a head, and its number in the middle of the first stretch."""
    path = " L ".join(f"{x} {y}" for x, y in points)
    (x0, y0), (x1, y1) = points[-2:]
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    head = [(x1, y1), (x1 - 10 * dx + 5 * dy, y1 - 10 * dy + 5 * dx), (x1 - 10 * dx - 5 * dy, y1 - 10 * dy - 5 * dx)]
    corners = " ".join(f"{x},{y}" for x, y in head)
    (ax, ay), (bx, by) = points[:2]
    return (
        f'<path class="line {kind}" d="M {path}"/><polygon class="head {kind}" points="{corners}"/>'
        f"{_dot(number, kind, (ax + bx) // 2, (ay + by) // 2)}"
    )


def _dot(number: int, kind: str, x: int, y: int) -> str:
    return (
        f'<circle class="dot {kind}" stroke="none" cx="{x}" cy="{y}" r="11"/>'
        f'<text class="number middle" x="{x}" y="{y + 5}">{number}</text>'
    )


if __name__ == "__main__":
    TARGET.write_text(drawing(), encoding="utf-8")
