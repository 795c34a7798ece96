"""What several commands print alike."""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer


def as_json(value: Any) -> None:
    """For programs: nothing else may be on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


@contextmanager
def as_one() -> Iterator[list[dict[str, Any]]]:
    """For programs, from a command of several changes: what became of each goes into the list, which is printed at the end.

    Also of a command that ends before its last change: the first ones were made all the same.
    """
    changes: list[dict[str, Any]] = []
    try:
        yield changes
    finally:
        if changes:
            as_json({"changes": changes})


def columns(rows: Iterable[Sequence[str]], *, indent: int = 2, figures: Collection[int] = ()) -> list[str]:
    """Lines with the cells of each column under one another. `figures`: columns whose cells end at the same place."""
    table = [tuple(row) for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return [
        " " * indent
        + "  ".join(
            cell.rjust(width) if number in figures else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def on_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty()
