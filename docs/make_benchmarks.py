# ruff: noqa: INP001, E501 (run as a file; lines of a Markdown table are long)
"""Writes docs/benchmarks.md and its plots from benchmarks/results: `python -m docs.make_benchmarks`. A test compares them.

`make bench-NAME SAVE=1` writes such a result. A new benchmark needs an entry in SECTIONS.
"""

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import RESULTS, amount

DOCS = Path(__file__).parent
TARGET = DOCS / "benchmarks.md"

HEAD = """\
# Benchmarks

Each figure that this tool promises, beside what it is compared with, in the same run. `make bench-NAME` measures, prints
`what | figure | at most | met`, and fails where a goal is missed. `make bench-NAME SAVE=1` also keeps the figures in
`benchmarks/results`, of which `python -m docs.make_benchmarks` makes this page.

A time says something about the machine that it was taken on; a ratio says something about the program. So most goals are ratios,
and what is compared takes turns, so that a busy moment falls on all alike. Medians throughout.

<!-- written by docs/make_benchmarks.py: measure anew or change that file, not this one -->
"""

CONVERGE = """\
`make bench-converge` boots five machines of the lab (docs/lab.md), which have Python for Ansible's sake, forms the Galera cluster
and takes a snapshot. Each first deploy starts from that snapshot. Afterwards the machines must be the same, whoever deployed:
virtual addresses, kernel settings now and at boot, keepalived.conf, the kernel's table, the database user, clustercheck's answer.
Only then come the runs that change nothing; each must say so itself.

- Ansible: `benchmarks/ansible`, roles with handlers and templates, pipelining, 20 forks, facts gathered as usual, its SSH
  connections kept open between runs as is its default. It uses what ansible-core has; collections would add tasks. All directors
  at once, where lbctl takes one after the other and looks at each before it goes on.
- `pyinfra inventory.py deploy.py -y` and `lbctl deploy --yes`: new connections each time.
- bare ssh: `ssh HOST true` to all five side by side, a new connection each.

Against bare ssh the goal of twice its time is missed. Beside the logins there are the start of the program and the look at each
host, a shell and the short programs that it calls, on machines whose kernels are processes.

Ansible and what it needs are pinned in `requirements-bench.lock` and installed in an environment of their own.
"""

SCALE = """\
`make bench-scale` starts 200 OpenSSH servers on this machine, each in a network namespace of its own, all on one bridge.
`lbctl plan --no-diff` connects to the first 5, 20, … of them with the real connector, checks their host keys, and each answers
the real observation script with its own shell. A namespace has no IPVS and no systemd, so these hosts are not as declared: what is
measured is what a run that changes nothing does, connecting, looking and comparing, and not a deploy.

Two things make the figure look worse than a cluster's own: servers and operator share the CPUs, so the servers' key exchanges and
shells are in the time, too; and with five hosts most of the time is the start of the program. Bare ssh to as many hosts stands
beside it for comparison: it runs one command and compares nothing, and takes 25 times as long for 200 hosts as for 5.

`lbctl status` is held to seconds: of five hosts one of which is dead to 3, of 200 hosts to 10, with a dead one or without. A dead
host is an address to which packets go and from which nothing comes, not even that nobody is there. Here it is at its worst, for
no director of these has a table: the one that is asked asks the health check of each server, to say why it is out. The figures
below are of a slow hour of a rented machine (`lbctl plan` of 5 hosts has taken 0.5 s on it as well, and of 200 hosts 4.6 s).

The goal of four times is missed for that reason: what the servers and their shells use of both CPUs is alone more than four times
the time of five hosts. What the operator's own process uses is at the goal. On a machine of its own it has not been measured.
"""

STARTUP = """\
`make bench-startup`: `lbctl --help` beside an interpreter that only imports the library for command lines. pyinfra, pydantic and
paramiko are imported where a command needs them.
"""

FAILOVER = """\
`make bench-failover` boots a lab, deploys each mode and lets clients of real SQL work: 20 connections that are held open and ask
every 100 ms, and 50 new ones a second (login, one query, quit), spread over all endpoints. Then the active director leaves, in four
ways: by `lbctl failover`, by `systemctl stop keepalived`, by a killed keepalived, by a power cut. Each row is the worst of all rounds.
`longest gap`: the worst time in which nobody at one endpoint got an answer. Where somebody wants it (the first two ways) no new
connection may fail; a crash may cost new ones, for less than a second. No held one is cut in any of them.

A round in which a director threw a server out or changed its state with no fault of ours is void, is shown as such and is done again:
on a machine that is too busy a health check comes late, a well server is thrown out, and with `expire_nodest_conn` its clients are
reset. What each way costs, and why: [vrrp.md](vrrp.md).
"""

EJECT = """\
`make bench-eject`, in each mode: the database that a client sticks to is killed (SIGKILL), frozen (SIGSTOP) or its machine is cut
off, with the default health checks. "Out" is the moment when both directors had the server out of their tables, counted from the
fault; the client's next connection must be served by another one. The worst of all rounds.
"""

SWITCH = """\
`make bench-switch` boots a lab, deploys the first mode and makes all six changes of mode by `lbctl switch-mode MODE --drain 0`, one
after another, while a client works with real SQL: 20 connections that are held open and ask every 100 ms, and 50 new ones a second
(login, one query, quit). Each row is the worst of all rounds. `--drain 0` means that old connections are not waited for: whatever
would be cut, is cut before the benchmark's eyes. A deploy follows each change, which takes away what only the old ones used.
"""

LIVE = """\
`make bench-live` changes a cluster of two directors and three servers by each command that does so while it runs, one after another in
each mode, under the same load: 20 connections that are held open and ask every 100 ms, 50 new ones a second. A server is drained
(`--drain 0`), undrained, removed, added; the addresses go to the other director and back; the active director is removed and comes
back; one that lost power is removed. Each row is the worst of all rounds. No new connection may fail, none that is held be cut, and no
address have two owners, who are asked for by ARP every 50 ms. One exception is asked for: a server is removed with `--drain 5s --cut`, which
cuts the held connections that are left at it, so that there the number is shown and has no goal.

In nat one new connection of 4,457 failed when the active director was removed. MySQL speaks first: a greeting that reaches the new
director before the copy of its connection, which takes some hundredths of a second, is not translated back, and the client's
machine refuses it. That is what we take it for; it has not been caught in a capture.
"""

WRITERS = """\
`make bench-writers`: the three ways to choose a writer ([declaration.md](declaration.md#three-ways-to-choose-the-writer)) on a real
Galera cluster in mode dr, with the default health checks. A pool of 4 connections and 20 new ones a second write rows that say where
they were written, while nodes and directors leave and come back. "Nobody could write": the longest time without any write. "Two
writers at once": from the first write at the new one to the last at the one before; a pool stays where it is until its connections
end. "Needless moves": changes of the writer beyond the one that its own end calls for.
"""


@dataclass(frozen=True)
class Section:
    """What the page says of one benchmark."""

    title: str
    text: str
    plot: str = ""
    """Text that stands for the plot where no picture can be seen."""


SECTIONS: Mapping[str, Section] = {
    "converge": Section("Beside Ansible", CONVERGE, "Seconds for a first deploy and for a run that changes nothing"),
    "scale": Section("Number of hosts", SCALE, "Seconds by number of hosts"),
    "failover": Section("A director stops, dies, is cut off", FAILOVER),
    "eject": Section("A database dies, hangs, is cut off", EJECT),
    "switch": Section("A running cluster changes its mode", SWITCH),
    "live": Section("A running cluster is changed", LIVE),
    "writers": Section("A writer, chosen in three ways", WRITERS),
    "startup": Section("Start-up", STARTUP),
}


def results() -> dict[str, Any]:
    """By name, in the page's order."""
    found = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in RESULTS.glob("*.json")}
    return {name: found[name] for name in SECTIONS if name in found}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name, result in results().items():
        section = SECTIONS[name]
        picture = f"![{section.plot}](benchmarks-{name}.svg)\n\n" if section.plot else ""
        parts.append(
            f"## {section.title}\n\n{section.text}\n{picture}{TABLES.get(name, _table)(result)}\n{_conditions(result)}"
        )
    return "\n".join(parts)


def _table(result: Mapping[str, Any]) -> str:
    lines = ["| what | figure | at most | met |", "|---|---|---|---|"]
    for row in result["figures"]:
        what = row["what"].replace("  ", "… ") if row["what"].startswith("  ") else row["what"]
        goal = "" if row["goal"] is None else amount(row["goal"], row["unit"])
        met = "" if row["goal"] is None else "yes" if row["met"] else "**no**"
        lines.append(f"| {what} | {amount(row['figure'], row['unit'])} | {goal} | {met} |")
    return "\n".join(lines) + "\n"


def _pivot(result: Mapping[str, Any]) -> str:
    """Of rows "WAY, WHAT: MEASURE": a column for each way, a line for each event and measure."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for row in result["figures"]:
        way, _, rest = row["what"].partition(", ")
        what, _, measure = rest.partition(": ")
        cells.setdefault((what, measure), {})[way] = amount(row["figure"], row["unit"])
    ways = list(dict.fromkeys(way for found in cells.values() for way in found))
    lines = [f"| what happens | measured | {' | '.join(ways)} |", "|---|---|" + "---|" * len(ways)]
    before = ""
    for (what, measure), found in cells.items():
        lines.append(
            f"| {'' if what == before else what} | {measure} | {' | '.join(found.get(way, '') for way in ways)} |"
        )
        before = what
    return "\n".join(lines) + "\n"


TABLES = {"writers": _pivot}
"""Where ways are compared with one another, not with a goal."""


def _conditions(result: Mapping[str, Any]) -> str:
    said = [f"{key} {value}" for key, value in result["conditions"].items() if key != "date"]
    return f"Measured {result['conditions']['date']}: {'; '.join(said)}.\n"


# Plots

WIDTH = 720
STYLE = """\
svg { font: 14px system-ui, "DejaVu Sans", sans-serif; }
.sheet { fill: #ffffff; } text { fill: #1f2328; } .small { font-size: 12px; fill: #57606a; }
.end { text-anchor: end; } .middle { text-anchor: middle; }
.grid { stroke: #d0d7de; stroke-width: 1; } .goal { stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 5 4; fill: none; }
.a { stroke: #0969da; fill: #0969da; } .b { stroke: #bc4c00; fill: #bc4c00; } .c { stroke: #57606a; fill: #57606a; }
.line { fill: none; stroke-width: 2.5; } .bar, .dot { stroke: none; }
@media (prefers-color-scheme: dark) {
.sheet { fill: #0d1117; } text { fill: #e6edf3; } .small { fill: #9da7b3; } .grid { stroke: #30363d; } .goal { stroke: #9da7b3; }
.a { stroke: #4493f8; fill: #4493f8; } .b { stroke: #f0883e; fill: #f0883e; } .c { stroke: #9da7b3; fill: #9da7b3; }
.line { fill: none; } .bar, .dot { stroke: none; }
}"""


def _sheet(height: int, label: str, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">',
            f"<style>{STYLE}</style>",
            f'<rect class="sheet" width="{WIDTH}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


BARS = (
    ("first deploy", "Ansible", "first deploy, ansible", "b"),
    ("", "pyinfra", "first deploy, pyinfra", "a"),
    ("", "lbctl", "first deploy, lbctl", "a"),
    ("nothing to change", "Ansible", "no-op, ansible", "b"),
    ("", "pyinfra", "no-op, pyinfra", "a"),
    ("", "lbctl", "no-op, lbctl", "a"),
    ("", "bare ssh", "bare ssh", "c"),
)


def converge(result: Mapping[str, Any]) -> str:
    """Bars: the medians, and a mark for the fastest and the slowest run."""
    seconds = {name: sorted(times) for name, times in result["data"]["seconds"].items()}
    scale = 400 / max(times[-1] for times in seconds.values())
    parts, y = [], 16
    for group, tool, name, colour in BARS:
        if group:
            parts.append(f'<text x="16" y="{y + 26}">{group}</text>')
            y += 8
        times, left = seconds[name], 250
        middle = statistics.median(times)
        end = left + middle * scale
        parts += [
            f'<text class="small end" x="{left - 10}" y="{y + 17}">{tool}</text>',
            f'<rect class="bar {colour}" x="{left}" y="{y + 4}" width="{max(middle * scale, 1):.1f}" height="16" rx="2"/>',
            f'<path class="goal" style="stroke-dasharray: none" d="M {left + times[0] * scale:.1f} {y + 12} H {left + times[-1] * scale:.1f}"/>',
            f'<text class="small" x="{max(end, left + times[-1] * scale) + 8:.1f}" y="{y + 17}">{middle:.1f} s</text>',
        ]
        y += 26
    return _sheet(y + 16, SECTIONS["converge"].plot, parts)


def scale(result: Mapping[str, Any]) -> str:
    """Lines: medians by number of hosts; dashed, four times the time of the fewest."""
    columns = result["data"]["columns"]
    taken = {
        int(size): [statistics.median(c) for c in zip(*rows, strict=True)]
        for size, rows in result["data"]["seconds"].items()
    }
    names = {"plan": ("lbctl plan", "a"), "ssh": ("bare ssh", "c"), "cpu": ("CPU of lbctl plan", "b")}
    goal = result["figures"][-1]["goal"] * taken[min(taken)][columns.index("plan")]
    top = max(goal, *(max(row) for row in taken.values())) * 1.1
    left, right, above, below = 60, WIDTH - 150, 20, 300

    def at(size: float, seconds: float) -> str:
        return f"{left + (right - left) * size / max(taken):.1f} {below - (below - above) * seconds / top:.1f}"

    parts = [*_grid(top, taken, left, right, at)]
    parts.append(f'<path class="goal" d="M {at(0, goal)} L {at(max(taken), goal)}"/>')
    labels = [(goal, f"at most: {goal:.1f} s", "")]
    for place, column in enumerate(columns):
        name, colour = names[column]
        parts.append(
            f'<path class="line {colour}" d="M {" L ".join(at(size, row[place]) for size, row in taken.items())}"/>'
        )
        for size, row in taken.items():
            x, y = at(size, row[place]).split()
            parts.append(f'<circle class="dot {colour}" cx="{x}" cy="{y}" r="3.5"/>')
        labels.append((taken[max(taken)][place], f"{name}: {taken[max(taken)][place]:.1f} s", colour))
    lowest = float("inf")
    for seconds, label, _ in sorted(labels):
        y = min(float(at(0, seconds).split()[1]) + 5, lowest - 16)
        lowest = y
        parts.append(f'<text class="small" x="{right + 10}" y="{y:.1f}">{label}</text>')
    return _sheet(350, SECTIONS["scale"].plot, parts)


def _grid(top: float, sizes: Mapping[int, Any], left: int, right: int, at: Any) -> Iterator[str]:
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50) if top / step <= 8)  # noqa: PLR2004 (lines that a reader can count)
    mark = 0.0
    while mark <= top:
        y = float(at(0, mark).split()[1])
        yield f'<path class="grid" d="M {left} {y:.1f} H {right}"/><text class="small end" x="{left - 8}" y="{y + 4:.1f}">{mark:g} s</text>'
        mark += step
    for size in sizes:
        x = at(size, 0).split()[0]
        yield f'<text class="small middle" x="{x}" y="318">{size}</text>'
    yield f'<text class="small middle" x="{(left + right) / 2}" y="338">hosts</text>'


PLOTS = {"converge": converge, "scale": scale}


def pictures() -> dict[Path, str]:
    """The plots by file."""
    return {DOCS / f"benchmarks-{name}.svg": PLOTS[name](found) for name, found in results().items() if name in PLOTS}


if __name__ == "__main__":
    for file, text in {TARGET: page(), **pictures()}.items():
        file.write_text(text, encoding="utf-8")
        print(f"{file} is written", file=sys.stderr)
