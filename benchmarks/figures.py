"""Rows of what was measured against what was to be reached."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One row: what, how much, and at most how much it was to be."""

    what: str
    value: float
    goal: float
    unit: str = "s"

    @property
    def met(self) -> bool:
        return self.value <= self.goal

    def __str__(self) -> str:
        met = "yes" if self.met else "NO"
        return f"{self.what:<52} | {self.value:>9.3f} {self.unit} | {self.goal:>9.3f} {self.unit} | {met}"


def report(figures: Sequence[Figure]) -> int:
    """Prints a table; the exit code: 1 if one goal was missed."""
    print(f"{'what':<52} | {'figure':>11} | {'at most':>11} | met")
    for figure in figures:
        print(figure)
    return 0 if all(figure.met for figure in figures) else 1


def interleaved(rounds: int, *works: Callable[[], float]) -> list[float]:
    """The median of each work's figure. They take turns, so that a busy moment of the machine falls on all alike."""
    for work in works:
        work()  # the first one finds cold caches
    taken = [[work() for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]
