# ruff: noqa: INP001 (run as a file)
"""Draws docs/packet-paths.svg, the three ways of a packet: `python -m docs.make_packet_paths`.

The drawing of each is that of a report (`pages.packet_path`); the cluster is the lab's.
"""

import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

from cluster.declaration import Declaration
from cluster.reading import read
from cluster.scene import DEVICE, Look, Scene, Station, Step, steps
from cluster.vocabulary import Mode
from pages import packet_path

TARGET = Path(__file__).with_name("packet-paths.svg")
LAB = Path(__file__).parent.parent / "inventory/lab.toml"

TITLES = {
    Mode.DR: "DR: direct routing",
    Mode.TUN: "TUN: tunnelling",
    Mode.NAT: "NAT: address translation",
}

_WIDTH, _MARGIN = 364, 12
_TEXT, _LINE = 40, 18
"""Characters of a line below a drawing, and its height."""
_ABOVE = 40

_LIGHT = "--sheet: #ffffff; --panel: #f6f8fa; --faint: #d0d7de; --paper: #ffffff; --ink: #1f2328; --muted: #57606a; "
_LIGHT += "--edge: #7d8590; --good: #1a7f37; --bad: #cf222e; --request: #0969da; --answer: #bc4c00;"
_DARK = "--sheet: #0d1117; --panel: #161b22; --faint: #30363d; --paper: #0d1117; --ink: #e6edf3; --muted: #9da7b3; "
_DARK += "--edge: #7d8590; --good: #3fb950; --bad: #ff7b72; --request: #58a6ff; --answer: #f0883e;"
_STYLE = f"""\
svg {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ svg {{ {_DARK} }} }}
.sheet {{ fill: var(--sheet); }} .panel {{ fill: var(--panel); stroke: var(--faint); }}
.way .title {{ font-size: 17px; font-weight: 600; }}
{packet_path.STYLE}"""


def scene(declaration: Declaration, mode: Mode) -> Scene:
    """The cluster of that mode, all well."""
    servers = {name: f"{server.address}" for name, server in declaration.real_server.items()}
    first, second = declaration.director
    vip, device = declaration.vips[0], DEVICE.get(mode)
    addresses = {name: f"{director.address}" for name, director in declaration.director.items()}
    return Scene(
        mode=mode,
        client=Station("client", "", "10.0.0.5", Look.GOOD),
        directors=(
            Station(first, "active", f"{addresses[first]} holds {vip}, …", Look.GOOD),
            Station(second, "backup", addresses[second], Look.IDLE),
        ),
        forwards=True,
        servers=tuple(
            Station(name, "serving", f"{own}, VIPs on {device}" if device else f"{own}, no VIP", Look.GOOD)
            for name, own in servers.items()
        ),
        picked=next(iter(servers)),
        steps=tuple(steps(declaration, mode, first, next(iter(servers)))),
    )


def drawing() -> str:
    text = LAB.read_text(encoding="utf-8")
    declarations = {mode: read(text.replace('mode = "dr"', f'mode = "{mode}"'), LAB.name) for mode in Mode}
    panels = {
        mode: (found := scene(declaration, mode), list(_told(found.steps)))
        for mode, declaration in declarations.items()
    }
    below = max(packet_path.height(each) for each, _ in panels.values()) + _ABOVE + 24
    tall = below + max(len(lines) * _LINE for _, lines in panels.values()) + 8
    width, height = len(panels) * (_WIDTH + _MARGIN) + _MARGIN, tall + 2 * _MARGIN
    drawn = "\n".join(
        f'<g transform="translate({_MARGIN + number * (_WIDTH + _MARGIN)} {_MARGIN})">\n'
        f"{_panel(TITLES[mode], each, lines, tall, below)}\n</g>"
        for number, (mode, (each, lines)) in enumerate(panels.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">\n'
        "<title>The way of a packet in direct routing, tunnelling and NAT</title>\n"
        f"<style>\n{_STYLE}\n</style>\n"
        f'<rect class="sheet" width="{width}" height="{height}"/>\n<g class="way">\n{drawn}\n</g>\n</svg>\n'
    )


def _panel(title: str, each: Scene, lines: list[tuple[int, bool, str]], tall: int, below: int) -> str:
    parts = [
        f'<rect class="panel" width="{_WIDTH}" height="{tall}" rx="8"/>',
        f'<text class="title" x="16" y="30">{title}</text>',
        f'<g transform="translate({(_WIDTH - packet_path.WIDTH) // 2} {_ABOVE})">',
        *packet_path.parts(each),
        "</g>",
    ]
    for place, (number, answer, text) in enumerate(lines):
        y = below + place * _LINE
        if number:
            parts.append(packet_path.dot(number, "answer" if answer else "request", 27, y - 5))
        parts.append(f'<text x="48" y="{y}">{escape(text)}</text>')
    return "\n".join(parts)


def _told(told: tuple[Step, ...]) -> Iterator[tuple[int, bool, str]]:
    """Line by line; the first of a step has its number, and a line without text follows each."""
    for number, step in enumerate(told, start=1):
        for place, line in enumerate(textwrap.wrap(step.text, _TEXT)):
            yield (0 if place else number), step.answer, line
        yield 0, step.answer, ""


if __name__ == "__main__":
    TARGET.write_text(drawing(), encoding="utf-8")
