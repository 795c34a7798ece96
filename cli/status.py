"""`lbctl status`: how the cluster is, on one screen."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.session import ClusterOption, cluster_file

if TYPE_CHECKING:
    from cli.screen import Line
    from cluster.status import Answers, Status

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
HereOption = Annotated[
    bool, typer.Option("--here", help="On a director: this machine only, its kernel by netlink, without SSH.")
]
Patience = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=60,
        metavar="SECONDS",
        help="For a host to take a connection.  [default: 1.5; more for more than 30 hosts]",
        show_default=False,
    ),
]


def status(
    ctx: typer.Context,
    *,
    here: HereOption = False,
    patience: Patience = None,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Show services, servers, directors, drift, and who changes the cluster. Nothing is changed.

    All hosts are asked at once; one that is dead is named and holds nobody up. Exits with 4 if anything is wrong.

    Example:  lbctl status
              lbctl status --json
              lbctl status --here
    """
    from cli import output, screen  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from cluster.errors import Exit  # noqa: PLC0415

    with eyes(ctx, cluster, here=here, patience=patience) as onlooker:
        found = judged(onlooker.blueprint, onlooker.look())
    if json_:
        output.as_json(screen.as_json(found))
    else:
        print_lines(screen_console(), screen.lines(found))
    if not found.healthy:
        raise typer.Exit(Exit.TROUBLE)


@contextmanager
def eyes(ctx: typer.Context, cluster: str | None, *, here: bool, patience: float | None) -> Iterator[Any]:
    """What looks at the hosts: `look` gives their answers."""
    from fleet import source  # noqa: PLC0415

    blueprint = source.blueprint(cluster_file(ctx, cluster))
    if here:
        from fleet.here import Here  # noqa: PLC0415

        with Here(blueprint) as look:
            yield look
        return
    # Only now: it changes the whole process, and a mistake in a file is said without it.
    import fleet.green  # noqa: F401, PLC0415
    from fleet.onlooker import Onlooker  # noqa: PLC0415

    with Onlooker(blueprint, patience) as onlooker:
        yield onlooker


def judged(blueprint: Any, answers: "Answers") -> "Status":
    from cluster.status import status  # noqa: PLC0415
    from facts import here as machine  # noqa: PLC0415

    return status(blueprint, answers, lambda lock: lock.why_stale(machine.machine(), machine.runs))


def print_lines(console: Any, lines: "Iterable[Line]") -> None:
    """On a terminal a long sentence goes on below its beginning; elsewhere it stays one line, for whoever searches."""
    from cli.screen import folded  # noqa: PLC0415

    for style, line in lines:
        console.print(folded(line, console.width) if console.is_terminal else line, style=style)


def screen_console() -> Any:
    from rich.console import Console  # noqa: PLC0415

    # Rich reads NO_COLOR and whether this is a terminal by itself.
    return Console(highlight=False, soft_wrap=True, emoji=False, markup=False)
