"""Where a key stands in a TOML text: tomllib reads values and forgets their lines."""

import re
from collections.abc import Iterator, Sequence

_PART = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"^\s*\[\[?\s*({_DOTTED})\s*\]")
_KEY = re.compile(rf"^\s*({_DOTTED})\s*=")


def line_of(text: str, key: Sequence[str]) -> int:
    """The 1-based line of `key`; where it is not written, of its nearest parent, else of the first thing below it.

    0 when there is nothing to point at.
    """
    wanted = tuple(key)
    best, depth, below = 0, 0, 0
    for number, here in _keys(text):
        if len(here) > depth and wanted[: len(here)] == here:
            best, depth = number, len(here)
        if not below and here[: len(wanted)] == wanted:
            below = number
    return best or below


def key_at(text: str, line: int) -> tuple[str, ...]:
    """The key that stands on a line; empty if none does."""
    return next((here for number, here in _keys(text) if number == line), ())


def _keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TABLE.match(line):
            table = _parts(found[1])
            yield number, table
        elif found := _KEY.match(line):
            yield number, (*table, *_parts(found[1]))


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))
