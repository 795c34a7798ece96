"""The command `lbctl`: global options and nothing else. Commands are listed in `cli.commands`."""

import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from cli.commands import Commands
from cli.completion import declarations
from cli.session import Session

app = typer.Typer(
    name="lbctl",
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 (seldom needed)

        typer.echo(f"lbctl {version('lbctl')}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            "-c",
            metavar="FILE",
            envvar="LBCTL_CLUSTER",
            help="The declaration.  [default: inventory/galera.toml]",
            show_default=False,
            autocompletion=declarations,
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A keepalived/LVS load balancer in front of a MySQL or Galera cluster: deployed, checked and changed live.

    A declaration (TOML) says what the cluster should be; every command reads it.

    Example:  lbctl init inventory/shop.toml
              lbctl --cluster inventory/shop.toml plan
              lbctl --cluster inventory/shop.toml deploy
    """
    del debug, version  # read by cli.outcome; acted upon above
    ctx.obj = Session(cluster)
    # Without NO_COLOR (no-color.org) typer decides: colour on a terminal, none in a pipe.
    ctx.color = False if os.environ.get("NO_COLOR") else None


def main() -> None:
    # A terminal that is not UTF-8 has no ✗ and no →: a question mark is better than a traceback.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    app(prog_name="lbctl")


if __name__ == "__main__":
    main()
