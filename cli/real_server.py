"""`lbctl real-server`: database servers come to a running cluster, rest, and leave it."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.changing import Asked, Cut, Diff, DrainFor, Json, Manner, OnlyPlan, Yes, drain, one_of, run
from cli.completion import real_servers
from cli.director import Address, Dead, Interface, SshHost, SshUser, ssh
from cli.output import as_one
from cli.session import ClusterOption

if TYPE_CHECKING:
    from cli.changing import Seen
    from cluster.declaration import Declaration
    from cluster.footprint import Blueprint

app = typer.Typer(
    help="""Add a database server to a running cluster, let one rest, or take one out, while clients are served.

    Example:  lbctl real-server drain db2
              lbctl real-server undrain db2
              lbctl real-server add db4 --address 10.0.0.8
    """,
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The server's name.", autocompletion=real_servers)]
Force = Annotated[bool, typer.Option("--force", help="Also where the others, which are declared, are dead.")]
RAMP_STEPS = 4


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new server's name.")],
    *,
    address: Address,
    interface: Interface = None,
    weight: Annotated[int | None, typer.Option("--weight", min=1, help="Its share of connections.")] = None,
    ramp: Annotated[
        str | None, typer.Option("--ramp", metavar="5m", help="Come to that share slowly, in so long.")
    ] = None,
    ssh_host: SshHost = None,
    ssh_user: SshUser = None,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Add a server: it is prepared, seen to be Synced, and only then gets connections.

    Example:  lbctl real-server add db4 --address 10.0.0.8
              lbctl real-server add db4 --address 10.0.0.8 --weight 10 --ramp 5m
    """
    from cluster.edit import with_host, with_value  # noqa: PLC0415 (as below: loaded late)

    manner = Manner(yes=yes, only_plan=only_plan, json=json_, diff=diff)
    whole = weight or 10
    pause, *shares = _ramp(ramp, whole)
    values: dict[str, Any] = {"address": address}
    values |= {"interface": interface} if interface else {}
    values |= {"weight": shares[0]} if weight or ramp else {}
    values |= ssh(ssh_host, ssh_user)
    asked = Asked(
        f"real-server add {name}",
        lambda text, _: with_host(text, "real_server", name, values),
        judge=_synced(name),
        leads_on=len(shares) > 1,
    )
    if ramp is None or only_plan:
        run(ctx, cluster, asked, manner)
        return
    with as_one() as changes:
        manner = replace(manner, tell=changes.append)
        run(ctx, cluster, asked, manner)
        for share in shares[1:]:
            time.sleep(pause)
            key = ("real_server", name, "weight")
            what = f"real-server add {name}, weight {share}"
            again = Asked(
                what,
                lambda text, _, key=key, share=share: with_value(text, key, share),  # type: ignore[misc]
                leads_on=share != shares[-1],
            )
            run(ctx, cluster, again, replace(manner, yes=True))


def _ramp(text: str | None, whole: int) -> Iterator[Any]:
    """The pause between two steps in seconds, and then the weights."""
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.units import seconds  # noqa: PLC0415

    if text is None:
        yield from (0.0, whole)
        return
    try:
        yield seconds(text) / RAMP_STEPS
    except ValueError as error:
        raise RequestError(f"--ramp: {error}", cure="such as --ramp 5m") from None
    yield from dict.fromkeys(max(1, whole * step // RAMP_STEPS) for step in range(1, RAMP_STEPS + 1))


def _synced(name: str) -> Any:
    def judge(blueprint: "Blueprint", seen: "Seen") -> None:
        from cluster.binding import not_synced  # noqa: PLC0415
        from cluster.errors import RefusedError  # noqa: PLC0415

        state = seen.get(name)
        if state and blueprint.declaration.clustercheck_wanted and (why := not_synced(state)):
            raise RefusedError(
                f"{name} cannot serve yet: {why}; nothing was changed", cure="let it join the cluster first"
            )

    return judge


@app.command(name="drain")
def drain_(
    ctx: typer.Context,
    name: Name,
    *,
    drain_for: DrainFor = "10m",
    force: Force = False,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Send no new connections to a server, and wait until those that stand have ended. The declaration says so, too.

    Example:  lbctl real-server drain db2 --drain 30m
    """
    manner = Manner(yes=yes, only_plan=only_plan, json=json_, diff=diff)
    _drained(ctx, cluster, f"real-server drain {name}", (name, drain_for, force), manner)


def _drained(
    ctx: typer.Context,
    cluster: str | None,
    what: str,
    how: tuple[str, str, bool],
    manner: Manner,
    *,
    cut: bool = False,
    leads_on: bool = False,
) -> bool:
    """Whether nothing is left. `how`: the server, --drain, --force."""
    from cluster.edit import with_value  # noqa: PLC0415

    name, drain_for, force = how

    def edit(text: str, before: "Declaration") -> str:
        one_of(before.real_server, name, "real server")
        _others_are_declared(name, before)
        return with_value(text, ("real_server", name, "drained"), True)  # noqa: FBT003 (TOML's true)

    judge = None if force else _not_the_last(name)
    asked = Asked(what, edit, drain(drain_for, cut=cut), idle=frozenset({name}), judge=judge, leads_on=leads_on)
    done = run(ctx, cluster, asked, manner)
    return done is not None and not done.left


def _others_are_declared(name: str, before: "Declaration") -> None:
    """Raises RefusedError if no other server would get connections: --force is about those that are dead, which may come back."""
    from cluster.errors import RefusedError  # noqa: PLC0415 (as below: loaded late)

    if not any(server.share for other, server in before.real_server.items() if other != name):
        raise RefusedError(
            f"all others are drained or of weight 0: without {name} nobody would be served; nothing was changed",
            cure="lbctl real-server undrain another one first; lbctl uninstall ends the services",
        )


def _not_the_last(name: str) -> Any:
    def judge(blueprint: "Blueprint", seen: "Seen") -> None:
        from cluster.change import refuse_last  # noqa: PLC0415

        refuse_last(blueprint, name, seen)

    return judge


@app.command()
def undrain(
    ctx: typer.Context,
    name: Name,
    *,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Send connections to a server again, with the weight that it had.

    Example:  lbctl real-server undrain db2
    """
    from cluster.edit import without  # noqa: PLC0415 (as below: loaded late)

    def edit(text: str, before: "Declaration") -> str:
        one_of(before.real_server, name, "real server")
        return without(text, ("real_server", name, "drained")) if before.real_server[name].drained else text

    run(
        ctx,
        cluster,
        Asked(f"real-server undrain {name}", edit),
        Manner(yes=yes, only_plan=only_plan, json=json_, diff=diff),
    )


@app.command()
def remove(
    ctx: typer.Context,
    name: Name,
    *,
    drain_for: DrainFor = "10m",
    cut: Cut = False,
    dead: Dead = False,
    force: Force = False,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Take a server out of a running cluster: it is drained, directors forget it, and nothing of ours is left on it.

    Example:  lbctl real-server remove db4
              lbctl real-server remove db4 --dead
    """
    from cluster.edit import without  # noqa: PLC0415 (as below: loaded late)
    from cluster.errors import RefusedError  # noqa: PLC0415

    manner = Manner(yes=yes, only_plan=only_plan, json=json_, diff=diff)

    def edit(text: str, before: "Declaration") -> str:
        one_of(before.real_server, name, "real server")
        _others_are_declared(name, before)
        return without(text, ("real_server", name))

    gone = frozenset({name}) if dead else frozenset[str]()
    judge = None if force or dead else _not_the_last(name)
    asked = Asked(f"real-server remove {name}", edit, dead=gone, judge=judge)
    if only_plan:
        run(ctx, cluster, asked, manner)
        return
    with as_one() as changes:
        manner = replace(manner, tell=changes.append)
        if not dead:
            first = f"real-server remove {name}: drain"
            drained = _drained(ctx, cluster, first, (name, drain_for, force), manner, cut=cut, leads_on=True)
            if not drained and not cut:
                raise RefusedError(
                    f"{name} still has connections; it is drained and stays in the declaration",
                    cure=f"lbctl real-server remove {name} again later, or with --cut; with --dead where it is gone for good",
                )
            asked, manner = replace(asked, goes_on=first), replace(manner, yes=True)
        run(ctx, cluster, asked, manner)
