"""`lbctl failover`: another director takes over, while clients are served."""

from typing import Annotated

import typer

from cli.changing import Json, Yes, confirmed
from cli.output import as_json
from cli.session import ClusterOption, cluster_file, of


def failover(
    ctx: typer.Context,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NAME", help="Who takes over. Default: the next by priority.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also while the new one does not know all connections: they are cut.")
    ] = False,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Let another director take over, as before work on the active one: no connection is lost.

    Only when it knows all connections that stand. The old one forwards until the new one holds the addresses, and is a backup
    then; the same command again returns. What it cost is said.

    Example:  lbctl failover
              lbctl failover --to lb2 --yes
    """
    from fleet import source  # noqa: PLC0415 (as below: loaded late)

    path = cluster_file(ctx, cluster)
    text = source.text(path)
    blueprint = source.blueprint(path, text)
    import fleet.green  # noqa: F401, PLC0415
    from cli import printing  # noqa: PLC0415
    from cluster.failover import move  # noqa: PLC0415
    from fleet import failover, recorded  # noqa: PLC0415
    from fleet.session import Session  # noqa: PLC0415

    with Session(blueprint) as session:
        wanted = move(blueprint.declaration, session.observe(), to)
        confirmed(f"Hand over from {wanted.source} to {wanted.target}?", yes=yes or json_)
        of(ctx).state = "lbctl plan says who holds the addresses; lbctl deploy starts a director that was stopped"
        say = printing.note(json_)
        with recorded.noted(session, f"failover {wanted.source} to {wanted.target}", text, say):
            cost = failover.carry_out(session, wanted, say, force=force)
    if json_:
        as_json({"from": wanted.source, "to": wanted.target, **vars(cost)})
        return
    typer.secho(
        f"{wanted.target} holds the addresses, {cost.seconds:.1f} s after {wanted.source} was told to stop; "
        f"{wanted.source} forwarded until then and is a backup now.",
        fg=typer.colors.GREEN,
    )
    lost = cost.before - cost.known
    color = typer.colors.RED if lost else typer.colors.GREEN
    typer.secho(f"Established connections: {cost.before}, of which {wanted.target} knows {cost.known}.", fg=color)
