"""`lbctl plan`: what a deploy would do."""

from dataclasses import replace
from typing import Annotated

import typer

from cli.output import as_json
from cli.session import ClusterOption, cluster_file


def plan(
    ctx: typer.Context,
    *,
    diff: Annotated[
        bool, typer.Option("--diff/--no-diff", help="Show what changes in files (secrets redacted).")
    ] = True,
    check: Annotated[bool, typer.Option("--check", help="Exit with 4 if anything would change.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Show every step, host and file that a deploy would change, and change nothing.

    Example:  lbctl plan
              lbctl plan --no-diff --check
    """
    from fleet import source  # noqa: PLC0415 (as all below: `lbctl --help` must not wait for pydantic and pyinfra)

    path = cluster_file(ctx, cluster)
    text = source.text(path)
    blueprint = source.blueprint(path, text)
    # Only now: it changes the whole process, and a mistake in a file is said without it.
    import fleet.green  # noqa: F401, PLC0415
    from cli import printing, show  # noqa: PLC0415
    from cluster.errors import Exit  # noqa: PLC0415
    from fleet import deployment, undeclared  # noqa: PLC0415
    from fleet.session import Session  # noqa: PLC0415

    if not json_:
        printing.which(blueprint.declaration)
    with Session(blueprint) as session, undeclared.asked(session, text) as taken_out:
        found = deployment.look_and_plan(session)
        found = replace(found, undeclared=taken_out(blueprint.declaration))
        if json_:
            as_json(show.as_json(found))
        else:
            printing.plan(found, deployment.texts(session, found) if diff else None)
    if found.unreachable:
        raise typer.Exit(Exit.FAILED)
    if check and (found.leaves_work or not found.is_empty):
        raise typer.Exit(Exit.TROUBLE)
