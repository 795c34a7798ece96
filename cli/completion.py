"""What a shell completes beside commands and options: modes, and names from the declaration that is meant.

A person waits for it with a finger on a key: the declaration is only parsed, not checked, and nothing heavy is imported. Where it
cannot be read there is nothing to say: a complaint would land in the middle of the line that is being typed.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import typer

Names = Callable[[typer.Context, str], list[str]]

_LONGEST = 1_000_000
"""Bytes of a file that is parsed."""


def _of(*tables: str) -> Names:
    """Names of these tables of the declaration that is meant."""

    def names(ctx: typer.Context, incomplete: str) -> list[str]:
        del incomplete  # typer leaves out what begins otherwise
        return _declared(ctx, tables)

    return names


directors = _of("director")
real_servers = _of("real_server")
hosts = _of("director", "real_server")
services = _of("service")


def several_real_servers(ctx: typer.Context, incomplete: str) -> list[str]:
    """For NAME,NAME: the last one, after those that are there."""
    before, comma, _ = incomplete.rpartition(",")
    there = before.split(",")
    return [f"{before}{comma}{name}" for name in real_servers(ctx, "") if name not in there]


def places(ctx: typer.Context, incomplete: str) -> list[str]:
    """Where clients are, for --from."""
    del incomplete
    return ["here", "lab", *_declared(ctx, ["client"])]


def modes() -> list[str]:
    from cluster.vocabulary import Mode  # noqa: PLC0415 (as below: loaded late)

    return [*Mode]


def machines() -> list[str]:
    """Of a lab: the usual ones."""
    from lab.topology import ALL  # noqa: PLC0415

    return [*ALL]


def declarations(incomplete: str) -> list[str]:
    """Files here and one folder below that declare a cluster. Without any the shell completes files as it always does."""
    import glob  # noqa: PLC0415

    begun = glob.escape(incomplete)
    found = {*glob.glob(f"{begun}*.toml"), *glob.glob(f"{begun}*/*.toml")}  # noqa: PTH207 (./x.toml must stay ./x.toml)
    return _typable(name for name in sorted(found) if _parsed(Path(name)).get("director"))


def _declared(ctx: typer.Context, tables: Iterable[str]) -> list[str]:
    from fleet.which import path_of  # noqa: PLC0415

    found = _parsed(path_of(_given(ctx)).expanduser())  # the shell has not read this line yet
    return _typable(name for table in tables for name in found.get(table) or ())


def _given(ctx: typer.Context) -> str | None:
    """--cluster of the command, else of the group, else before it: no callback has run, so no `cli.session` knows."""
    at: Any = ctx
    while at is not None and not at.params.get("cluster"):
        at = at.parent
    return at and str(at.params["cluster"])


def _parsed(file: Path) -> dict[str, dict[str, Any]]:
    """The tables of a TOML file; none where it is not one."""
    import tomllib  # noqa: PLC0415

    try:
        # Not of a pipe or a device, which may never end.
        if not file.is_file() or file.stat().st_size > _LONGEST:
            return {}
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, RuntimeError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, dict)}


def _typable(words: Iterable[str]) -> list[str]:
    """Those that a shell takes as they are: what is completed is typed, and zsh even evaluates it."""
    from shlex import quote  # noqa: PLC0415

    return [word for word in words if quote(word) == word]
