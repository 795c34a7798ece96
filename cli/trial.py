"""`lbctl trial`: the how-to's manual set-up, a director without keepalived, to try a mode before production."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.changing import OnlyPlan, Yes, confirmed
from cli.completion import directors, modes, several_real_servers
from cli.history import name_unasked
from cli.output import as_json
from cli.session import ClusterOption, cluster_file, of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.manual import Leftovers
    from cluster.observed import HostState
    from fleet.session import Session

app = typer.Typer(
    help="""Try a forwarding method before production: one director serves without keepalived, as the how-to does it by hand.

    Servers are prepared as for a deploy. A dead server is not taken out, and after a reboot of the director the trial is gone.
    `lbctl deploy` takes a trial away before it begins.

    Example:  lbctl trial start --mode tun --servers db1
              lbctl verify --expect db1
              lbctl trial clear
    """,
    no_args_is_help=True,
)

Mode = Annotated[
    str,
    typer.Option(metavar="dr|tun|nat", help="As if this were declared.", show_default=False, autocompletion=modes),
]
Director = Annotated[
    str | None,
    typer.Option(
        "--director", metavar="NAME", help="Who serves. Default: the preferred one.", autocompletion=directors
    ),
]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A table in ipvsadm's own format.")]


@dataclass(frozen=True)
class _At:
    """Hosts that were looked at, and the director that is meant."""

    session: "Session"
    seen: "Mapping[str, HostState | None]"
    director: str
    servers: tuple[str, ...]
    """Those that were chosen; all, where none were."""


@contextmanager
def _looked(
    ctx: typer.Context, cluster: str | None, *, mode: str = "", director: str | None = None, servers: str | None = None
) -> "Iterator[_At]":
    """`servers`: those that were chosen, as of `chosen_servers`; None where they need not be asked."""
    from dataclasses import replace  # noqa: PLC0415 (as below: loaded late)

    from cluster.manual import chosen_servers, one_director  # noqa: PLC0415
    from cluster.reading import switched  # noqa: PLC0415
    from fleet import source  # noqa: PLC0415

    blueprint = source.blueprint(cluster_file(ctx, cluster))
    if mode:
        blueprint = replace(blueprint, declaration=switched(blueprint.declaration, mode))
    name = one_director(blueprint.declaration, director)
    chosen = chosen_servers(blueprint.declaration, servers or "")  # before hosts are asked
    import fleet.green  # noqa: F401, PLC0415
    from fleet.session import Session  # noqa: PLC0415

    groups = ("directors", "real_servers") if servers is not None else ("directors",)
    with Session(blueprint, groups=groups) as session:
        yield _At(session, session.observe(), name, chosen)


def _answers(at: _At, director: str) -> None:
    """Raises HostError, with the reason, where that director could not be asked."""
    from cluster.errors import HostError  # noqa: PLC0415 (loaded late)

    if director in at.session.unreachable:
        raise HostError(f"{director} cannot be reached; nothing was changed: {at.session.unreachable[director]}")


def _looked_again(at: _At) -> "Mapping[str, HostState | None]":
    """Under the lock: until it was taken somebody may have deployed. Raises RefusedError, HostError."""
    from cluster import manual  # noqa: PLC0415 (loaded late)

    seen = at.session.observe()
    _answers(at, at.director)
    manual.refuse(at.session.blueprint.declaration, at.director, seen)
    return seen


@app.command()
def start(
    ctx: typer.Context,
    *,
    mode: Mode = "",
    servers: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME", help="Only these serve.", show_default=False, autocompletion=several_real_servers
        ),
    ] = "",
    director: Director = None,
    only_plan: OnlyPlan = False,
    yes: Yes = False,
    cluster: ClusterOption = None,
) -> None:
    """Prepare servers, and let one director serve by ipvsadm alone. Refused where keepalived is configured.

    Example:  lbctl trial start
              lbctl trial start --mode nat --servers db1 --yes
    """
    from cluster import manual  # noqa: PLC0415 (loaded late)

    with _looked(ctx, cluster, mode=mode, director=director, servers=servers) as at:
        from cli import printing  # noqa: PLC0415
        from fleet import lock, trial  # noqa: PLC0415

        declaration = at.session.blueprint.declaration
        lock.refuse_if_held(at.session, at.seen)
        _answers(at, at.director)
        manual.refuse(declaration, at.director, at.seen)
        wanted = trial.preparation(at.session, at.seen, at.director, at.servers)
        printing.which(declaration)
        if wanted.steps:
            printing.plan(wanted, None)
        typer.echo(f"On {at.director}, in mode {declaration.mode}:")
        device = declaration.director[at.director].interface
        for address in manual.addresses(declaration):
            typer.echo(f"  ip addr replace {address}/32 dev {device}")
        for line in manual.table_lines(declaration, at.director, at.servers):
            typer.echo(f"  ipvsadm {line}")
        if only_plan:
            return
        confirmed(f"Start the trial on {at.director}?", yes=yes)
        of(ctx).state = "lbctl trial show says what there is; lbctl trial clear takes it away"
        with lock.held(at.session, "trial start", printing.note(as_json=False)):
            wanted = trial.preparation(at.session, _looked_again(at), at.director, at.servers)
            trial.start(at.session, wanted, at.director, at.servers, printing.steps(as_json=False))
    typer.secho(f"{at.director} serves. Next: lbctl verify; lbctl trial clear", fg=typer.colors.GREEN)


@app.command()
def show(
    ctx: typer.Context,
    *,
    director: Director = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Show the kernel's table, and what the director holds. Exits with 4 where there is no trial.

    Example:  lbctl trial show
              lbctl trial show --director lb2
              lbctl trial show --json
    """
    with _looked(ctx, cluster, director=director) as at:
        from cluster.errors import TroubleError  # noqa: PLC0415
        from fleet import trial  # noqa: PLC0415
        from operations.trial import SHOW  # noqa: PLC0415

        trials = trial.found(at.session, at.seen)
        name = at.director if director or not trials else next(iter(trials))
        _answers(at, name)
        if json_:
            as_json(_as_json(name, trials.get(name), at.seen.get(name)))
        if name not in trials:
            raise TroubleError(f"there is no trial on {name}", cure="lbctl trial start")
        if json_:
            return
        for address in trials[name].addresses:
            typer.echo(f"{name} holds {address.address} on {address.device}")
        typer.echo("\n".join(trial.tell(at.session, name, SHOW)))


def _as_json(director: str, found: "Leftovers | None", seen: "HostState | None") -> dict[str, Any]:
    """For programs: what of the cluster's this director has; nothing where there is no trial."""
    places = found.services if found else ()
    return {
        "director": director,
        "addresses": [{"address": str(a.address), "device": a.device} for a in found.addresses] if found else [],
        "services": [
            {
                "address": str(service.endpoint.address),
                "port": service.endpoint.port,
                "protocol": service.endpoint.protocol,
                "scheduler": service.scheduler,
                "persistence": service.persistence,
                "servers": [
                    {
                        "address": str(d.address),
                        "port": d.port,
                        "mode": d.mode,
                        "weight": d.weight,
                        "active": d.active,
                        "inactive": d.inactive,
                    }
                    for d in service.destinations
                ],
            }
            for service in (seen.services if seen else ())
            if service.endpoint in places
        ],
    }


@app.command()
def save(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Default: standard output.")] = None,
    *,
    director: Director = None,
    cluster: ClusterOption = None,
) -> None:
    """Write down the table in ipvsadm's own format: what `ipvsadm -R` reads, and `lbctl trial restore`.

    Example:  lbctl trial save trial.ipvs
              lbctl trial save --director lb2
    """
    from cluster.errors import RequestError, TroubleError  # noqa: PLC0415 (loaded late)

    with _looked(ctx, cluster, director=director) as at:
        from cluster.manual import saved  # noqa: PLC0415
        from fleet import trial  # noqa: PLC0415
        from operations.trial import SAVE  # noqa: PLC0415

        lines = saved(trial.tell(at.session, at.director, SAVE), trial.ours(at.session, at.director))
    if not lines:
        raise TroubleError(f"{at.director} serves nothing of this cluster")
    text = "".join(f"{line}\n" for line in lines)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file}: {error.strerror}") from None
    typer.echo(f"{len(lines)} lines are in {file}", err=True)


@app.command()
def restore(
    ctx: typer.Context,
    file: File,
    *,
    director: Director = None,
    yes: Yes = False,
    cluster: ClusterOption = None,
) -> None:
    """Put a table in place of the trial's. Other services of the director stay, and addresses and servers as they are.

    Example:  lbctl trial restore trial.ipvs
              lbctl trial restore trial.ipvs --director lb2 --yes
    """
    from cluster import manual  # noqa: PLC0415 (loaded late)
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{file}: {error.strerror if isinstance(error, OSError) else 'it is no text'}") from None
    from fleet import source  # noqa: PLC0415

    declaration = source.declaration(cluster_file(ctx, cluster))
    # A mistake in the file is said before any host is asked.
    name = manual.one_director(declaration, director)
    lines = manual.to_restore(text, manual.places(declaration, name))
    with _looked(ctx, cluster, director=name) as at:
        from cli import printing  # noqa: PLC0415
        from fleet import lock, trial  # noqa: PLC0415
        from operations.trial import restore_script  # noqa: PLC0415

        _answers(at, name)
        manual.refuse(declaration, name, at.seen)
        confirmed(f"Replace the trial's table on {name} by {file}?", yes=yes)
        with lock.held(at.session, "trial restore", printing.note(as_json=False)):
            _looked_again(at)
            trial.tell(at.session, name, restore_script(lines, manual.places(declaration, name)))
    typer.secho(f"{name} serves by the {len(lines)} lines of {file}.", fg=typer.colors.GREEN)


@app.command()
def clear(ctx: typer.Context, *, yes: Yes = False, cluster: ClusterOption = None) -> None:
    """Take the trial's table and addresses away, on whichever director they are. What was prepared on hosts stays.

    A deploy needs it, and `lbctl uninstall` takes that away as well.

    Example:  lbctl trial clear
              lbctl trial clear --yes
    """
    with _looked(ctx, cluster) as at:
        from cli import printing  # noqa: PLC0415
        from fleet import lock, trial  # noqa: PLC0415

        trials = trial.found(at.session, at.seen)
        if not trials:
            typer.echo("There is no trial on any director that could be asked.")
        else:
            confirmed(f"Take the trial on {', '.join(trials)} away?", yes=yes)
            with lock.held(at.session, "trial clear", printing.note(as_json=False)):
                trial.clear(at.session, trial.found(at.session, at.session.observe()), typer.echo)
        silent = dict(at.session.unreachable)
    name_unasked(silent)
