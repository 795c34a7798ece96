"""`lbctl deploy`: does what `lbctl plan` says."""

from typing import Annotated

import typer

from cli.changing import Asked, Manner, Overwrite, Yes, run
from cli.session import ClusterOption


def deploy(
    ctx: typer.Context,
    *,
    yes: Yes = False,
    overwrite: Overwrite = False,
    json_: Annotated[bool, typer.Option("--json", help="For programs; needs --yes.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Bring the hosts to what the declaration says, step by step, and show that they are.

    A second run changes nothing. Stopped anywhere, the same command finishes the work. While it changes something it holds the
    cluster's lock, and it is written down (lbctl history).

    Example:  lbctl deploy
              lbctl deploy --yes --json
    """
    run(ctx, cluster, Asked("deploy"), Manner(yes=yes, json=json_, shown_by="lbctl plan --json", overwrite=overwrite))
