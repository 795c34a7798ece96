"""Rows of what was measured against what was to be reached, and the file that keeps them."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parent.parent
RESULTS = HOUSE / "benchmarks" / "results"
"""One file a benchmark. docs/make_benchmarks.py makes the page and its plots of them."""


@dataclass(frozen=True)
class Figure:
    """One row: what, how much, and at most how much it was to be."""

    what: str
    value: float
    goal: float | None = None
    """None: shown for comparison, nothing was to be reached."""
    unit: str = "s"

    @property
    def met(self) -> bool:
        return self.goal is None or self.value <= self.goal

    def __str__(self) -> str:
        goal = "" if self.goal is None else amount(self.goal, self.unit)
        met = "" if self.goal is None else "yes" if self.met else "NO"
        return f"{self.what:<58} | {amount(self.value, self.unit):>12} | {goal:>12} | {met}"


def amount(value: float, unit: str) -> str:
    """Counts are whole; times and ratios have as many digits as anybody reads."""
    number = f"{value:d}" if isinstance(value, int) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"  # noqa: PLR2004
    return f"{number} {unit}".strip()


def report(figures: Sequence[Figure], name: str = "", data: Mapping[str, Any] | None = None) -> int:
    """Prints a table; the exit code: 1 if one goal was missed.

    With a name and `SAVE=1` in the environment the figures are kept for docs/benchmarks.md, with the conditions and with `data`,
    which is whatever the page's plots need.
    """
    print(f"{'what':<58} | {'figure':>12} | {'at most':>12} | met")
    for figure in figures:
        print(figure)
    if name and os.environ.get("SAVE") == "1":
        print(f"\nkept in {save(name, figures, data or {}).relative_to(HOUSE)}; next: python -m docs.make_benchmarks")
    return 0 if all(figure.met for figure in figures) else 1


def save(name: str, figures: Sequence[Figure], data: Mapping[str, Any]) -> Path:
    """Writes benchmarks/results/NAME.json and returns its path."""
    rows = [{"what": f.what, "figure": f.value, "goal": f.goal, "unit": f.unit, "met": f.met} for f in figures]
    file = RESULTS / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    kept = {"benchmark": name, "conditions": conditions(), "figures": rows, "data": data}
    file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return file


def conditions() -> dict[str, str]:
    """What a figure depends on, and whoever reads it must know."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in flags if line.startswith("model name")), platform.machine()
    )
    kibibytes = next(
        int(line.split()[1])
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        if "MemTotal" in line
    )
    described = ["git", "-C", str(HOUSE), "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{len(os.sched_getaffinity(0))} CPUs ({model}), {kibibytes / 1024**2:.0f} GiB",
        "kernel": platform.release(),
        "load": f"{os.getloadavg()[0]:.1f} over the last minute, the benchmark's own included",
        "python": platform.python_version(),
        "pyinfra": version("pyinfra"),
        "paramiko": version("paramiko"),
        "lbctl": f"{version('lbctl')}, commit {commit or 'unknown'}",
    }


def interleaved(rounds: int, *works: Callable[[], float]) -> list[float]:
    """The median of each work's figure. They take turns, so that a busy moment of the machine falls on all alike."""
    for work in works:
        work()  # the first one finds cold caches
    taken = [[work() for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]
