"""`lbctl watch`: the status, live, and what happens meanwhile."""

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.session import ClusterOption
from cli.status import HereOption, Patience, eyes, judged, print_lines, screen_console

if TYPE_CHECKING:
    from cluster.status import Status
    from cluster.watching import Course, Event

WHOLE_EVERY = 30
"""Seconds between two looks at all that is compared with the declaration: each costs a host more than all the rest."""
REMEMBERED = 8
"""Events on the screen."""


def watch(
    ctx: typer.Context,
    *,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, metavar="SECONDS", help="Between two looks.")] = 2,
    once: Annotated[bool, typer.Option("--once", help="One look; exits with 4 if anything is wrong.")] = False,
    here: HereOption = False,
    patience: Patience = None,
    cluster: ClusterOption = None,
) -> None:
    """Show the status live: rates of each server, and failovers, weights and health as they change. Ctrl-C ends it.

    Not on a terminal (lbctl watch > file) it prints the status once, and then only what happens.

    Example:  lbctl watch
              lbctl watch --interval 0.5
              lbctl watch --once
    """
    from cluster.errors import Exit  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from cluster.watching import Course  # noqa: PLC0415

    with eyes(ctx, cluster, here=here, patience=patience) as onlooker:
        course = Course()
        if once:
            found = judged(onlooker.blueprint, onlooker.look())
            course.add(found)
            _print(found, course)
            if not found.healthy:
                raise typer.Exit(Exit.TROUBLE)
            return
        try:
            _follow(_looks(onlooker, interval), course)
        except KeyboardInterrupt:
            return  # that is how one stops watching


def _looks(onlooker: Any, interval: float) -> Iterator["Status"]:
    whole_at = float("-inf")
    while True:
        began = time.monotonic()
        whole = began - whole_at >= WHOLE_EVERY
        first = whole_at == float("-inf")
        whole_at = began if whole else whole_at
        # The first look waits for whoever needs longer; then nobody holds the screen up.
        yield judged(onlooker.blueprint, onlooker.look(whole=whole, within=None if first else max(interval, 1)))
        time.sleep(max(0.0, began + interval - time.monotonic()))


def _follow(looks: Iterator["Status"], course: "Course") -> None:
    from cluster.watching import events  # noqa: PLC0415

    console = screen_console()
    # One that cannot move its cursor (TERM=dumb) would stay blank.
    if not console.is_terminal or console.is_dumb_terminal:
        _log(looks, course)
        return
    from rich.live import Live  # noqa: PLC0415

    happened: deque[tuple[Status, Event]] = deque(maxlen=REMEMBERED)
    before: Status | None = None
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for found in looks:
            if before:
                happened.extend((found, event) for event in events(before, found))
            before = found
            course.add(found)
            live.update(frame(found, course, happened, console.width), refresh=True)


def _log(looks: Iterator["Status"], course: "Course") -> None:
    from cluster.watching import events  # noqa: PLC0415

    before: Status | None = None
    for found in looks:
        if before is None:
            course.add(found)
            _print(found, course)
        else:
            for event in events(before, found):
                typer.echo(f"{found.at:%H:%M:%S}  {event.text}")
        before = found


def _print(found: "Status", course: "Course") -> None:
    from cli.screen import lines  # noqa: PLC0415

    print_lines(screen_console(), lines(found, course.of))


def frame(found: "Status", course: "Course", happened: "deque[tuple[Status, Event]]", width: int) -> Any:
    """One screen: the status, and below it what happened, the newest first."""
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from cli.screen import folded, lines  # noqa: PLC0415
    from cluster.watching import Tone  # noqa: PLC0415

    styles = {Tone.GOOD: "green", Tone.BAD: "red", Tone.NEWS: "cyan"}
    # A row that is cut off at the right is still one.
    shown = [
        Text(folded(line, width), style=style, no_wrap=True, overflow="crop")
        for style, line in lines(found, course.of, verdict_first=True)
    ]
    if happened:
        shown.append(Text(""))
    for then, event in reversed(happened):
        line = f"{then.at:%H:%M:%S}  {event.text}"
        shown.append(Text(folded(line, width, len("00:00:00  ")), style=styles[event.tone]))
    return Group(*shown)
