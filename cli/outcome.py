"""How a command ends: what is said, and the exit code. Only lbctl's own faults have a traceback, in a file."""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from cli import session
from cluster.errors import Exit, LbctlError
from facts import here


@contextmanager
def told(ctx: typer.Context) -> Iterator[None]:
    """Whatever ends the command is said on standard error, and becomes an exit code.

    Usage errors pass through: typer says them with the command's usage, and exits with 2.
    """
    try:
        yield
    except LbctlError as error:
        raise _ended(ctx, error, str(error), error.exit_code) from error
    except (KeyboardInterrupt, typer.Abort) as error:
        if sys.stderr.isatty():
            typer.echo(err=True)  # the cursor is behind ^C, or behind a question
        raise _ended(ctx, error, f"interrupted: {session.of(ctx).state}", Exit.INTERRUPTED, word="") from error
    except (typer.Exit, typer.TyperException, BrokenPipeError):
        raise
    except Exception as error:
        text = f"a fault in lbctl itself: {type(error).__name__}; {session.of(ctx).state}"
        text += f"\n  → please report it with {_keep(error)}"
        raise _ended(ctx, error, text, Exit.FAULT) from error


def _ended(ctx: typer.Context, error: BaseException, text: str, code: Exit, word: str = "error: ") -> typer.Exit:
    if ctx.params.get("debug"):
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    typer.secho(f"{word}{text}", err=True, fg=typer.colors.RED if word else None)
    return typer.Exit(int(code))


def _keep(error: Exception) -> str:
    """Writes what a developer needs into a file that only the operator can read; its name."""
    lines = (f"lbctl {' '.join(sys.argv[1:])}\nPython {sys.version}\n\n", *traceback.format_exception(error))
    for folder in (here.state_folder(), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            stamp = time.strftime("%Y%m%d-%H%M%S")
            descriptor, name = tempfile.mkstemp(prefix=f"fault-{stamp}-", suffix=".txt", dir=folder)
        except OSError:
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines(lines)
        return name
    return "what --debug shows (no place was found to write it to)"
