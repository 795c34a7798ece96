"""`lbctl switch-mode`: another forwarding method, while clients are served."""

from typing import Annotated

import typer

from cli.changing import Asked, Cut, Diff, DrainFor, Json, Manner, OnlyPlan, Overwrite, Yes, drain, run
from cli.completion import modes
from cli.session import ClusterOption


def switch_mode(
    ctx: typer.Context,
    mode: Annotated[
        str | None, typer.Argument(metavar="dr|tun|nat", help="The new forwarding method.", autocompletion=modes)
    ] = None,
    *,
    drain_for: DrainFor = "10m",
    cut: Cut = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a change that was stopped half-way.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Go back to how things were before it.")] = False,
    dead: Annotated[
        bool,
        typer.Option(
            "--dead", help="With --resume or --abort: hosts that leave the cluster thereby are gone for good."
        ),
    ] = False,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    overwrite: Overwrite = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Switch a running cluster to another forwarding method: no connection is lost.

    Servers get what the new method needs beside what the old one needs; the passive director changes and tries the new method
    with connections of its own; the active one changes; when the old connections have ended, what only they needed is taken away.

    Example:  lbctl switch-mode nat --plan --no-diff
              lbctl switch-mode nat --drain 30m
              lbctl switch-mode --abort
    """
    from cli.unfinished import text_to_go_on_with  # noqa: PLC0415 (as below: loaded late)
    from cluster.edit import with_value  # noqa: PLC0415
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.vocabulary import Mode  # noqa: PLC0415

    manner = Manner(yes=yes, only_plan=only_plan, json=json_, overwrite=overwrite, diff=diff)
    wait = drain(drain_for, cut=cut)
    if sum((mode is not None, resume, abort)) != 1:
        raise RequestError("one of these: a mode, --resume or --abort", cure="such as lbctl switch-mode nat")
    if mode is None:
        found = text_to_go_on_with(ctx, cluster, abort=abort)
        asked = Asked(found.what, lambda _text, _: found.text, wait, left=found.left, gone_for_good=dead)
        run(ctx, cluster, asked, manner)
        return
    if dead:
        raise RequestError("--dead is for --resume and --abort", cure="lbctl director remove NAME --dead")
    if mode not in set(Mode):
        raise RequestError(f'"{mode}" is no mode', cure="dr, tun or nat")
    run(ctx, cluster, Asked(f"switch-mode {mode}", lambda text, _: with_value(text, ("mode",), mode), wait), manner)
