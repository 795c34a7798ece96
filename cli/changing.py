"""What all commands that change a cluster have in common: plan, show, ask, do it, say what came of it.

Loaded by a command when it is called: `lbctl --help` must not wait for pydantic and pyinfra.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import as_json
from cli.session import cluster_file, of

if TYPE_CHECKING:
    from cluster.change import Change, Drain
    from cluster.declaration import Declaration
    from cluster.footprint import Blueprint
    from cluster.observed import HostState
    from cluster.plan import Plan
    from fleet.change import Outcome
    from fleet.recorded import Agreed
    from fleet.session import Session

    Seen = Mapping[str, HostState | None]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
OnlyPlan = Annotated[bool, typer.Option("--plan", help="Show what would be done, and change nothing.")]
Diff = Annotated[
    bool, typer.Option("--diff/--no-diff", help="With --plan: show what changes in files (secrets redacted).")
]
Json = Annotated[bool, typer.Option("--json", help="For programs; needs --yes or --plan.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a keepalived.conf that was edited by hand.")]
DrainFor = Annotated[
    str,
    typer.Option(
        "--drain",
        metavar="10m|0|forever",
        help="How long to wait for connections that stand. When it runs out nothing breaks: what they use stays.",
    ),
]
Cut = Annotated[bool, typer.Option("--cut", help="After --drain, end the connections that are left.")]


@dataclass(frozen=True)
class Manner:
    """How a command was called. Raises RequestError for --json where it would have to ask."""

    yes: bool = False
    only_plan: bool = False
    json: bool = False
    shown_by: str = "--plan"
    """What shows the plan, for whoever is told to ask for that."""
    overwrite: bool = False
    diff: bool = False
    tell: Callable[[dict[str, Any]], None] = as_json
    """With `json`: where the plan or the outcome goes. A command prints one document, and some make several changes."""

    def __post_init__(self) -> None:
        from cluster.errors import RequestError  # noqa: PLC0415 (as below: loaded late)

        if self.json and not (self.yes or self.only_plan):
            raise RequestError(
                "--json does not ask, so it needs --yes" + (" or --plan" if self.shown_by == "--plan" else ""),
                cure=f"--yes does it, {self.shown_by} shows it; nothing was changed",
            )


@dataclass(frozen=True)
class Asked:
    """What is to be changed."""

    what: str
    """As the history will say it."""
    edit: Callable[[str, "Declaration"], str] = lambda text, _: text
    """From the declaration's text, and what it says, to the text that it is to have."""
    drain: "Drain | None" = None
    idle: frozenset[str] = frozenset()
    dead: frozenset[str] = frozenset()
    """Hosts that leave and cannot be asked, because they are gone for good."""
    left: str | None = None
    """Text of a declaration that the cluster leaves besides the one in the file: of a change that was stopped half-way. Hosts
    that only it names leave, too."""
    gone_for_good: bool = False
    """All hosts that leave are `dead`."""
    everything: bool = False
    """All hosts leave: nothing of ours stays anywhere."""
    goes_on: str = ""
    """What this command did first (`cluster.change.Change`)."""
    leads_on: bool = False
    """Another change of the same command follows: of servers that could not be asked the exit code tells after that one.

    A director that could not be asked ends the command all the same: it may still send connections as before.
    """
    notes: tuple[str, ...] = field(default=())
    check: Callable[["Declaration", "Declaration"], None] | None = None
    """Raises an LbctlError where this must not be asked for: before and after."""
    judge: Callable[["Blueprint", "Seen"], None] | None = None
    """Raises an LbctlError where it must not be done as hosts are now."""


def drain(text: str, *, cut: bool = False) -> "Drain":
    """From --drain. Raises RequestError."""
    from cluster.change import Drain  # noqa: PLC0415 (as below: loaded late)
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.units import seconds  # noqa: PLC0415

    if text == "forever":
        return Drain(None, cut=cut)
    try:
        return Drain(seconds(text), cut=cut)
    except ValueError as error:
        raise RequestError(f"--drain: {error}", cure="such as --drain 10m, --drain 0, --drain forever") from None


def run(ctx: typer.Context, cluster: str | None, asked: Asked, manner: Manner) -> "Outcome | None":
    """The whole command; what came of it, None for a plan. Raises typer.Exit or an LbctlError with DESIGN's exit codes."""
    from fleet import source  # noqa: PLC0415

    path = cluster_file(ctx, cluster)
    change = _change(path, source.text(path), asked)
    # Only now: it changes the whole process, and a mistake in a file is said without it.
    import fleet.green  # noqa: F401, PLC0415
    from cli import printing, show  # noqa: PLC0415
    from cluster.errors import Exit  # noqa: PLC0415
    from cluster.plan import plan  # noqa: PLC0415
    from fleet import deployment, lock, recorded, undeclared  # noqa: PLC0415
    from fleet.session import Session  # noqa: PLC0415

    if not manner.json:
        printing.which(change.blueprint.declaration, change.blueprint.former)
    with (
        Session(change.blueprint, overwrite=manner.overwrite, interrupted=printing.interrupted) as session,
        undeclared.asked(session, change.before) as taken_out,
    ):
        seen = session.observe() if manner.only_plan else lock.observe_unless_held(session)
        wanted = plan(session.blueprint, seen, session.unreachable)
        if asked.left is None and (former := change.blueprint.former):
            wanted = replace(wanted, undeclared=taken_out(former, change.blueprint.declaration))
        if asked.judge and not wanted.none_asked:
            asked.judge(session.blueprint, seen)
        wanted = replace(wanted, notes=(*wanted.notes, *asked.notes, *_told_before(change, wanted)))
        if manner.only_plan:
            if manner.json:
                manner.tell(show.as_json(wanted))
            else:
                printing.plan(wanted, deployment.texts(session, wanted) if manner.diff else None)
            if wanted.unreachable:
                raise typer.Exit(int(Exit.FAILED))
            return None

        def judge(seen: "Seen") -> None:
            if asked.judge:
                asked.judge(session.blueprint, seen)

        done = _do(ctx, session, change, recorded.Agreed(wanted, seen, judge), manner)
    silent_director = wanted.unreachable.keys() & change.blueprint.declaration.director.keys()
    if done.report.failed or silent_director or (wanted.unreachable and not asked.leads_on):
        raise typer.Exit(int(Exit.FAILED))
    return done


def _change(path: Path, text: str, asked: Asked) -> "Change":
    from cluster.change import Change, Drain  # noqa: PLC0415
    from cluster.reading import DeclarationError, read, without_lines_of_an_edit  # noqa: PLC0415
    from fleet import source  # noqa: PLC0415

    before = read(text, str(path))
    after = asked.edit(text, before)
    try:
        blueprint = source.blueprint(path, after)
    except DeclarationError as error:
        raise without_lines_of_an_edit(error, text, after) from None
    if asked.check:
        asked.check(before, blueprint.declaration)
    stays = None if asked.everything else blueprint.declaration
    # One of the two may name all hosts that leave: commands let hosts come or go, never both.
    known = [read(asked.left, str(path)), before] if asked.left else [before]
    former = max(known, key=lambda each: len(each.gone_from(stays)))
    gone = former.gone_from(stays)
    dead = gone if asked.gone_for_good else asked.dead
    blueprint = replace(blueprint, former=former, leaving=frozenset(gone - dead))
    return Change(
        asked.what,
        path,
        text,
        after,
        blueprint,
        asked.drain or Drain(0),
        asked.idle,
        remembered=not asked.everything,
        goes_on=asked.goes_on,
    )


def _told_before(change: "Change", wanted: "Plan") -> tuple[str, ...]:
    from cluster.change import afterwards, clients_must_move  # noqa: PLC0415
    from cluster.reading import read  # noqa: PLC0415

    before = read(change.before, str(change.file))
    return (*clients_must_move(before, change.blueprint.declaration), *afterwards(change, wanted))


def _do(ctx: typer.Context, session: "Session", change: "Change", agreed: "Agreed", manner: Manner) -> "Outcome":
    from cli import printing, show  # noqa: PLC0415
    from cluster.change import refuse  # noqa: PLC0415
    from fleet import change as changes  # noqa: PLC0415
    from fleet import deployment, recorded  # noqa: PLC0415

    wanted, seen = agreed.plan, agreed.seen
    changes.refuse_unwritable(change)
    refuse(change, wanted)
    if not manner.json and not wanted.none_asked:
        printing.plan(wanted, None)
    deployment.preflight(session, wanted, overwrite=manner.overwrite)
    listener = printing.listener(change, as_json=manner.json)
    nothing = wanted.is_empty and not change.idle
    if nothing and not _was_left(seen) and not _takes_away(change, seen):
        done = changes.carry_out(session, change, wanted, listener, seen)
    else:
        if not nothing:
            _agreed(wanted, change.blueprint.declaration, yes=manner.yes)
        of(ctx).state = (
            "what was begun is finished on each host or not begun; the same command goes on from there, "
            "lbctl switch-mode --abort goes back"
            if change.before != change.after
            else "what was begun is finished on each host or not begun; `lbctl deploy` goes on from there"
        )
        done = recorded.carry_out(session, change, agreed, listener, printing.note(manner.json))
    if manner.json:
        manner.tell(show.outcome_as_json(change.what, wanted, done))
    else:
        printing.outcome(change, wanted, done)
    return done


def _was_left(seen: "Seen") -> bool:
    """Whether the last change did not come to its end: this one is written down, then, though nothing is left to do. Else the
    other would be called unfinished for ever.
    """
    from fleet.recorded import last_seen  # noqa: PLC0415

    last = last_seen(seen)
    return last is not None and not last.came_to_its_end


def _takes_away(change: "Change", seen: "Seen") -> bool:
    """Whether something is still to be taken away when connections have ended that are waited for: not without the lock."""
    from cluster.change import wait  # noqa: PLC0415

    return (change.drain.seconds != 0 or change.drain.cut) and wait(change, seen) is not None


def _agreed(wanted: "Plan", declaration: "Declaration", *, yes: bool) -> None:
    """Raises RefusedError."""
    hosts = ", ".join(wanted.hosts) or "the declaration"
    confirmed(f"Change {hosts} of cluster {declaration.name} ({declaration.source})?", yes=yes)


def confirmed(question: str, *, yes: bool) -> None:
    """Asks on a terminal; without one, and without --yes, refuses. Raises RefusedError."""
    from cluster.errors import RefusedError  # noqa: PLC0415

    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError(
            "there is nobody to ask whether to go on; nothing was changed", cure="--yes goes on without asking"
        )
    if not typer.confirm(question):
        raise RefusedError("not agreed to; nothing was changed")


def one_of(names: Any, name: str, what: str) -> None:
    """Raises RequestError if there is no such director or server."""
    from cluster.errors import RequestError  # noqa: PLC0415

    if name not in names:
        raise RequestError(f"there is no {what} {name}", cure=f"declared: {', '.join(names)}")
