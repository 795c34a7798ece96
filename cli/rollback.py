"""`lbctl rollback` and `lbctl uninstall`: back to an earlier declaration, and back to before the first."""

from typing import Annotated

import typer

from cli.changing import Asked, Cut, Diff, DrainFor, Json, Manner, OnlyPlan, Overwrite, Yes, drain, run
from cli.session import ClusterOption


def rollback(
    ctx: typer.Context,
    number: Annotated[
        int | None,
        typer.Argument(
            metavar="N",
            min=1,
            help="Back to before change N of `lbctl history`. Default: the last that altered the declaration.",
        ),
    ] = None,
    *,
    drain_for: DrainFor = "10m",
    cut: Cut = False,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    overwrite: Overwrite = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Return to the declaration from before a change, by a plan like any other: clients are served all the while.

    Example:  lbctl rollback --plan
              lbctl rollback 12
    """
    from cli.unfinished import text_before  # noqa: PLC0415 (loaded late)

    manner = Manner(yes=yes, only_plan=only_plan, json=json_, overwrite=overwrite, diff=diff)
    found = text_before(ctx, cluster, number)
    asked = Asked(found.what, lambda _text, _: found.text, drain(drain_for, cut=cut), left=found.left)
    run(ctx, cluster, asked, manner)


def uninstall(
    ctx: typer.Context,
    *,
    only_plan: OnlyPlan = False,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Take away all that lbctl put on the hosts: they are as before the first deploy. Clients are served no longer.

    Passive directors stop first, the active one last, then the rest goes. Debian packages stay installed, and the declaration
    stays where it is.

    Example:  lbctl uninstall --plan
              lbctl uninstall
    """
    notes = (
        "clients are served no longer, and the history on the directors goes, too",
        "packages stay; what was installed is in /var/log/apt/history.log of each host",
    )
    run(
        ctx,
        cluster,
        Asked("uninstall", everything=True, notes=notes),
        Manner(yes=yes, only_plan=only_plan, json=json_, overwrite=True),
    )
