"""`lbctl doctor`: what is wrong with the cluster, where, how that is known, and what cures it."""

from typing import Annotated

import typer

from cli.session import ClusterOption
from cli.status import Patience

app = typer.Typer(
    help="""Find what is wrong, name the host, show how that is known and what cures it. Nothing is changed.

    All hosts are asked at once; one that is dead is a finding, and holds nobody up. Exits with 4 if anything is found.

    Example:  lbctl doctor
              lbctl doctor --json
    """,
    invoke_without_command=True,
)


@app.callback()
def doctor(
    ctx: typer.Context,
    *,
    patience: Patience = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    if ctx.invoked_subcommand is not None:
        return
    from cli import output  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from cli.status import eyes, judged  # noqa: PLC0415
    from cluster.errors import Exit  # noqa: PLC0415

    with eyes(ctx, cluster, here=False, patience=patience) as onlooker:
        found = judged(onlooker.blueprint, onlooker.look())
    drift = [f"{host}: {what}" for host, what in found.drift]
    if json_:
        output.as_json({"cluster": found.cluster, "healthy": found.healthy, "findings": [*found.troubles, *drift]})
    else:
        for line in (*found.troubles, *drift):
            typer.echo(f"  ✗ {line}")
        if found.healthy:
            typer.echo("Nothing is wrong.")
    if not found.healthy:
        raise typer.Exit(Exit.TROUBLE)
