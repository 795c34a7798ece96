"""`lbctl history` and `lbctl unlock`: what directors keep of who changes the cluster now, and who did before."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import as_json, columns, on_terminal
from cli.session import ClusterOption, cluster_file, of, refuse_unheeded

if TYPE_CHECKING:
    from cluster.history import Entry, History, Lock
    from fleet.session import Session

app = typer.Typer(
    help="""Show what was changed, when, by whom, and how it ended: the directors remember the last 200 changes.

    What plain pyinfra changes is not written down.

    Example:  lbctl history
              lbctl history --limit 5 --json
              lbctl history show 12 --diff
    """,
    invoke_without_command=True,
)

Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.callback()
def history(
    ctx: typer.Context,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="The last N changes.")] = 20,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    if cluster:
        of(ctx).cluster = cluster  # also for the command that follows
    if ctx.invoked_subcommand:
        refuse_unheeded(ctx)
        return
    with directors(ctx, cluster) as session:
        from fleet import history, lock  # noqa: PLC0415

        found = history.read(session)
        held = [(each, lock.why_stale(each)) for each in lock.found(session)]
    entries = found.entries[-limit:]
    if json_:
        as_json(_as_json(found, entries, held))
    else:
        _table(found, entries, held)
    name_unasked(found.unreachable)


@app.command()
def show(
    ctx: typer.Context,
    number: Annotated[
        int, typer.Argument(metavar="N", min=1, help="The number of a change, as `lbctl history` says it.")
    ],
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Only what was different from the declaration before.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Show the declaration that a change was made from.

    Example:  lbctl history show 12
              lbctl history show 12 --diff
    """
    from cluster.errors import RequestError  # noqa: PLC0415 (as below: `lbctl --help` stays quick)

    with directors(ctx, cluster) as session:
        from fleet import history  # noqa: PLC0415

        found = history.read(session)
        entry = found.numbered(number)
        if entry is None:
            raise RequestError(f"there is no change {number}", cure=f"known: {_numbers(found)}")
        if entry.after is None:
            raise RequestError(f"change {number} ({entry.what}) was made from no declaration")
        after = history.text_of(session, entry.after)
        before = history.text_of(session, entry.before) if diff and entry.before else ""
    if not diff:
        typer.echo(after, nl=not after.endswith("\n"))
        return
    names = (_short(entry.before), _short(entry.after))
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), *names, lineterm=""))
    for line in lines:
        typer.secho(line, fg={"+": typer.colors.GREEN, "-": typer.colors.RED}.get(line[:1]))
    if not lines:
        typer.echo("The declaration was the same as before.")


def unlock(
    ctx: typer.Context,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also a lock whose owner is still at work.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="For programs; needs --yes.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Take away the cluster's lock when the command that held it was killed: it gives no sign of life any more.

    What that command had begun goes on by `lbctl switch-mode --resume`, or back by `--abort`; `lbctl status` names it. An
    unfinished deploy is finished by the next one.

    Example:  lbctl unlock
              lbctl unlock --yes
              lbctl unlock --yes --json
    """
    from cluster.errors import HostError, RefusedError, RequestError  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from cluster.history import refusal  # noqa: PLC0415

    if json_ and not yes:
        raise RequestError("--json does not ask, so it needs --yes", cure="--yes --json; nothing was changed")
    say = (lambda *_, **__: None) if json_ else typer.secho
    told: list[dict[str, Any]] = []
    with directors(ctx, cluster) as session:
        from fleet import lock  # noqa: PLC0415

        lines = session.lines()
        found = lock.found_on(lines, session.unreachable)
        if len(session.unreachable) == len(session.blueprint.declaration.director):
            reasons = "\n  ".join(f"{name}: {why}" for name, why in session.unreachable.items())
            raise HostError(f"no director can be asked\n  {reasons}")
        held = [(each, lock.why_stale(each)) for each in found]
        # Of two, which operators took who did not reach the same directors, none is taken away where one must stay.
        if at_work := next((each for each, stale in held if not stale and not force), None):
            raise RefusedError(
                refusal(at_work, "")[0], cure="wait until that is done; --force takes it away all the same"
            )
        if not found:
            say("Nobody holds the cluster's lock.")
        for each, stale in held:
            say(f"On {', '.join(each.directors)}: {each}")
            say(f"  {stale or f'last sign of life {each.silent_for} s ago'}")
            _agreed(yes=yes)
            failed = lock.take_away(lines, each)
            session.unreachable.update(failed)
            gone = [name for name in each.directors if name not in failed]
            told.append({**_lock_as_json(each, stale), "taken_from": gone})
            if gone:
                say(f"The lock is gone from {', '.join(gone)}.", fg=typer.colors.GREEN)
        unreachable = dict(session.unreachable)
    if json_:
        as_json({"locks": told, "unreachable": unreachable})
    name_unasked(unreachable)


def _agreed(*, yes: bool) -> None:
    from cluster.errors import RefusedError  # noqa: PLC0415

    if yes:
        return
    if not on_terminal():
        raise RefusedError("there is nobody to ask; the lock is still there", cure="--yes takes it away without asking")
    if not typer.confirm("Take it away?"):
        raise RefusedError("not agreed to; the lock is still there")


@contextmanager
def directors(ctx: typer.Context, cluster: str | None) -> "Iterator[Session]":
    """Connected, without the cluster's secret: it is not needed for this."""
    from cluster.footprint import Blueprint  # noqa: PLC0415
    from fleet import source  # noqa: PLC0415
    from templates import render  # noqa: PLC0415

    declaration = source.declaration(cluster_file(ctx, cluster))
    # Only now: it changes the whole process, and a mistake in a file is said without it.
    import fleet.green  # noqa: F401, PLC0415
    from fleet.session import Session  # noqa: PLC0415

    with Session(Blueprint(declaration, render), groups=("directors",)) as session:
        yield session


def name_unasked(unreachable: Any) -> None:
    """Names the directors that could not be asked, and exits with 3 if there are any."""
    from cluster.errors import Exit  # noqa: PLC0415

    for name, why in unreachable.items():
        typer.secho(f"{name} could not be asked: {why}", err=True, fg=typer.colors.RED)
    if unreachable:
        raise typer.Exit(Exit.FAILED)


def _short(name: str | None) -> str:
    return (name or "nothing")[:12]


def _numbers(found: "History") -> str:
    numbers = [entry.number for entry in found.entries]
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none yet"


def _table(found: "History", entries: "Sequence[Entry]", held: "Sequence[tuple[Lock, str]]") -> None:
    from cluster.history import moment, outcome, refusal  # noqa: PLC0415

    if not found.entries:
        typer.echo("No change was written down yet.")
    else:
        head = ("no.", "began", "by", "what", "result", "hosts changed")
        rows = [
            (
                str(entry.number),
                moment(entry.began),
                f"{entry.by}@{entry.host}",
                entry.what,
                outcome(entry, held),
                ", ".join(entry.changed) or "-",
            )
            for entry in entries
        ]
        for line in columns([head, *rows], indent=0):
            typer.echo(line)
    for lock, stale in held:
        typer.secho(refusal(lock, stale)[0], fg=typer.colors.RED if stale else typer.colors.CYAN)
    for name, why in found.broken.items():
        typer.secho(f"{name} was left out: {why}", fg=typer.colors.RED)


def _lock_as_json(lock: "Lock", stale: str) -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    return {
        "owner": lock.owner and {**asdict(lock.owner), "since": lock.owner.since.isoformat()},
        "silent_for": lock.silent_for,
        "directors": lock.directors,
        "stale": stale or None,
        "broken": lock.broken or None,
    }


def _as_json(found: "History", entries: "Sequence[Entry]", held: "Sequence[tuple[Lock, str]]") -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from cluster.history import outcome  # noqa: PLC0415

    return {
        "changes": [
            {
                **asdict(e),
                "result": outcome(e, held),
                "began": e.began.isoformat(),
                "ended": e.ended and e.ended.isoformat(),
            }
            for e in entries
        ],
        "locks": [_lock_as_json(lock, stale) for lock, stale in held],
        "declarations": dict(found.texts),
        "unreachable": dict(found.unreachable),
        "broken": dict(found.broken),
    }
