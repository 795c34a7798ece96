"""`lbctl failover`: another director takes over, while clients are served."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.changing import Json, Manner, OnlyPlan, Yes, confirmed, one_of
from cli.completion import directors
from cli.output import as_json
from cli.session import ClusterOption, cluster_file, of

if TYPE_CHECKING:
    from cluster.failover import Move


def failover(
    ctx: typer.Context,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NAME", help="Who takes over. Default: the next by priority.", autocompletion=directors
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also while the new one does not know all connections: they are cut.")
    ] = False,
    only_plan: OnlyPlan = False,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Let another director take over, as before work on the active one: no connection is lost.

    Only when it knows all connections that stand. The old one forwards until the new one holds the addresses, and is a backup
    then; the same command again returns. What it cost is said.

    Example:  lbctl failover --plan
              lbctl failover --to lb2 --yes
    """
    from fleet import source  # noqa: PLC0415 (as below: loaded late)

    manner = Manner(yes=yes, only_plan=only_plan, json=json_)
    path = cluster_file(ctx, cluster)
    text = source.text(path)
    blueprint = source.blueprint(path, text)
    if to is not None:
        one_of(blueprint.declaration.director, to, "director")
    import fleet.green  # noqa: F401, PLC0415
    from cli import printing  # noqa: PLC0415
    from cluster.errors import HostError, RefusedError  # noqa: PLC0415
    from cluster.failover import move  # noqa: PLC0415
    from fleet import failover, recorded  # noqa: PLC0415
    from fleet.session import Session  # noqa: PLC0415

    with Session(blueprint) as session:
        seen = session.observe()
        if not any(seen.get(name) for name in blueprint.declaration.director):
            directors = [name for name in blueprint.declaration.director if name in session.unreachable]
            reasons = "\n  ".join(f"{name}: {session.unreachable[name]}" for name in directors)
            raise HostError(f"no director can be asked; nothing was changed\n  {reasons}")
        wanted = move(blueprint.declaration, seen, to)
        if only_plan:
            _show(wanted, as_json_=json_)
            return
        confirmed(f"Hand over from {wanted.source} to {wanted.target}?", yes=manner.yes)
        of(ctx).state = "lbctl plan says who holds the addresses; lbctl deploy starts a director that was stopped"
        say = printing.note(json_)

        def still() -> None:
            seen.update(session.observe())
            if move(blueprint.declaration, seen, to) != wanted:
                raise RefusedError("the directors have changed meanwhile; nothing was changed now", cure="lbctl status")

        with recorded.noted(session, f"failover {wanted.source} to {wanted.target}", text, say, still):
            cost = failover.carry_out(session, wanted, seen, say, force=force)
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


def _show(wanted: "Move", *, as_json_: bool) -> None:
    from cluster.failover import gate  # noqa: PLC0415 (loaded late)

    if as_json_:
        as_json({"from": wanted.source, "to": wanted.target})
        return
    typer.echo(f"""{wanted.source} holds the addresses; {wanted.target} would take over:
  1     both: each client's new connections go to one server for now: {wanted.target} sends one that has just begun there, too
  gate  {gate(wanted)}
  2     {wanted.source}: keepalived restarts; the kernel forwards until {wanted.target} answers for the addresses
  gate  {wanted.target} holds the addresses
  gate  {wanted.source} sends connections to its servers again, and knows where clients go, as far as they open any within seconds
  3     both: new connections are spread as declared again
Established connections stay. Nothing was changed.""")
