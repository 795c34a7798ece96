"""What the global options said: handed to every command as `ctx.obj`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cli.completion import declarations

ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        "-c",
        metavar="FILE",
        help="The declaration, as before the command.",
        show_default=False,
        autocompletion=declarations,
    ),
]
"""For commands, so that `lbctl render -c FILE` says the same as `lbctl -c FILE render`."""


@dataclass
class Session:
    """One run of lbctl."""

    cluster: str | None = None
    """--cluster, or the environment's LBCTL_CLUSTER."""
    state: str = "nothing was changed"
    """What an operator who interrupts is told. A command that changes hosts keeps it true."""


def of(ctx: typer.Context) -> Session:
    return ctx.ensure_object(Session)


def refuse_unheeded(ctx: typer.Context) -> None:
    """Of a group that is a command itself: its own options say nothing to a command below it. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415 (as below: loaded late)

    heeded = {"cluster", "debug"}
    for option in ctx.command.params:
        source = ctx.get_parameter_source(option.name) if option.name not in heeded and option.name else None
        if source and source.name == "COMMANDLINE":
            below = f"{ctx.command_path} {ctx.invoked_subcommand}"
            raise RequestError(
                f"{option.opts[0]} says nothing to {below}", cure=f"{below} --help has that one's options"
            )


def cluster_file(ctx: typer.Context, given: str | None = None) -> Path:
    """The declaration that is meant: the command's --cluster, else the global one, else LBCTL_CLUSTER, else the default."""
    from fleet.which import path_of  # noqa: PLC0415

    return path_of(given or of(ctx).cluster)
