"""`lbctl deploy`: does what `lbctl plan` says."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.session import ClusterOption, cluster_file, of

if TYPE_CHECKING:
    from cluster.declaration import Declaration
    from cluster.plan import Plan


def deploy(
    ctx: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a keepalived.conf that was edited by hand.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="For programs; needs --yes.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Bring the hosts to what the declaration says, step by step, and show that they are.

    A second run changes nothing. Stopped anywhere, the same command finishes the work. While it changes something it holds the
    cluster's lock, and it is written down (lbctl history).

    Example:  lbctl deploy
              lbctl deploy --yes --json
    """
    from fleet import source  # noqa: PLC0415 (as all below: `lbctl --help` must not wait for pydantic and pyinfra)

    file = cluster_file(ctx, cluster)
    text = source.text(file)
    blueprint = source.blueprint(file, text)
    # Only now: it changes the whole process, and a mistake in a file is said without it.
    import fleet.green  # noqa: F401, PLC0415
    from cli import printing  # noqa: PLC0415
    from fleet import deployment, lock, recorded  # noqa: PLC0415
    from fleet.session import Session  # noqa: PLC0415

    if not json_:
        printing.which(blueprint.declaration)
    with Session(blueprint, overwrite=overwrite) as session:
        # Hosts that another operator's command is at work on would be waited for.
        lock.refuse_if_held(session)
        wanted = deployment.look_and_plan(session)
        if not json_ and not wanted.none_asked:
            printing.plan(wanted, None)
        deployment.preflight(session, wanted, overwrite=overwrite)
        if wanted.is_empty:
            report = deployment.carry_out(session, wanted)
        else:
            _agreed(wanted, blueprint.declaration, yes=yes or json_)
            of(ctx).state = "what was begun is finished on each host or not begun; `lbctl deploy` goes on from there"
            report = recorded.deploy(session, wanted, text, printing.steps(json_), printing.note(json_))
    printing.report(wanted, report, as_json=json_)
    if report.failed or wanted.unreachable:
        raise typer.Exit(int(report.exit_code))


def _agreed(wanted: "Plan", declaration: "Declaration", *, yes: bool) -> None:
    """Asks on a terminal; without one, and without --yes, refuses. Raises RefusedError."""
    import sys  # noqa: PLC0415

    from cluster.errors import RefusedError  # noqa: PLC0415

    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(
            "there is nobody to ask whether to go on; nothing was changed", cure="--yes goes on without asking"
        )
    if not typer.confirm(f"Change {', '.join(wanted.hosts)} of cluster {declaration.name} ({declaration.source})?"):
        raise RefusedError("not agreed to; nothing was changed")
