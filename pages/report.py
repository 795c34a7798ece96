"""A report as one page of HTML. Nothing outside is needed to read it, no script is in it, and nothing that is named by others is
taken for markup: the template escapes, and so do the pictures.
"""

from collections.abc import Mapping
from typing import Any

from cluster.findings import Outcome
from cluster.history import moment, span
from cluster.report import Report
from cluster.status import EndpointView, Health, Part, ServerView
from cluster.units import short
from cluster.watching import Tone
from pages import packet_path, plot
from templates import render

_PARTS = {Part.ACTIVE: "good", Part.BACKUP: "idle", Part.NOT_ASKED: "idle"}
_HEALTHS = {Health.SERVING: "good", Health.DRAINED: "news", Health.STANDBY: "idle", Health.UNKNOWN: "idle"}
_OUTCOMES = {
    Outcome.OK: ("good", "✓"),
    Outcome.BAD: ("bad", "✗"),
    Outcome.UNKNOWN: ("news", "?"),
    Outcome.NOTE: ("idle", "–"),
}
_TONES = {Tone.GOOD: "good", Tone.BAD: "bad", Tone.NEWS: "news"}
_MODES = {"dr": "direct routing", "tun": "tunnelling", "nat": "address translation"}


def page(report: Report) -> str:
    """The whole text of the page."""
    return render(
        "report.html.j2",
        {
            "report": report,
            "status": report.status,
            "mode_name": _MODES[report.scene.mode],
            "way": packet_path.drawing(report.scene, f"The way of a packet through {report.status.cluster}"),
            "way_style": packet_path.STYLE,
            "plots": plots(report),
            "rows": {endpoint.place: _rows(report, endpoint) for endpoint in report.status.endpoints},
            "part_class": lambda part: _PARTS.get(part, "bad"),
            "outcome": _OUTCOMES.get,
            "tone_class": _TONES.get,
            "moment": moment,
            "span": span,
            "short": short,
            "figure": _figure,
        },
    )


def plots(report: Report) -> list[dict[str, Any]]:
    """Title, names in the order of their colours, and picture; none if there was only one look."""
    if report.course.looks < 2:  # noqa: PLR2004 (a line has two ends)
        return []
    rates = report.course.by_server()
    came = report.course.seconds[1:]
    new = {name: [rate.connections if rate else None for rate in line] for name, line in rates.items()}
    towards = {name: [rate.bytes_in if rate else None for rate in line] for name, line in rates.items()}
    found = [_plot("New connections a second", new, came), _plot("Bytes a second towards servers", towards, came)]
    if report.scene.through_director:
        back = {name: [rate.bytes_out if rate else None for rate in line] for name, line in rates.items()}
        found.append(_plot("Bytes a second back to clients", back, came))
    established = report.course.established_by_server()
    return [*found, _plot("Established connections", established, report.course.seconds, least=2)]


def _plot(
    title: str, figures: Mapping[str, plot.Figures], seconds: tuple[float, ...], least: float = 1
) -> dict[str, Any]:
    lines = dict(figures) if len(figures) <= plot.COLOURS else {"all servers": _together(figures)}
    return {"title": title, "names": list(lines), "svg": plot.plot(lines, seconds, title, _figure, least)}


def _together(figures: Mapping[str, plot.Figures]) -> plot.Figures:
    return [
        None if any(figure is None for figure in column) else sum(figure or 0 for figure in column)
        for column in zip(*figures.values(), strict=True)
    ]


def _rows(report: Report, endpoint: EndpointView) -> list[dict[str, Any]]:
    lines = {server.name: report.course.of(endpoint, server) for server in endpoint.servers}
    top = max((rate.connections for line in lines.values() for rate in line if rate), default=0)
    means = {name: report.course.average(line) if line else None for name, line in lines.items()}
    return [_row(server, lines[server.name], means[server.name], top) for server in endpoint.servers]


def _row(server: ServerView, line: Any, mean: Any, top: float) -> dict[str, Any]:
    """Averages over the period; the kernel's own estimate where there was only one look."""
    return {
        "server": server,
        "class": _HEALTHS.get(server.health, "bad"),
        "there": server.weight is not None,
        "mean": mean if line else server.rate,
        "spark": plot.sparkline(
            [rate.connections if rate else None for rate in line], f"{server.name}: new connections", top
        )
        if line
        else "",
    }


_FEW = 10


def _figure(number: float) -> str:
    """With a digit after the point where it says something."""
    return f"{number:.1f}" if 0 < number < _FEW else short(number)
