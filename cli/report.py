"""`lbctl report`: all that can be seen of a cluster, as one page."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.session import ClusterOption, cluster_file
from cli.status import Patience, eyes, judged

if TYPE_CHECKING:
    from cluster.report import Report
    from cluster.status import Status

POINTS = 30
"""So many looks make a line; more only where the period is short."""
QUICKEST = 1.0
"""Seconds between two looks at least."""
SLOW = 4.0
"""Seconds that a look waits for a host, so that one that hangs does not hold up the others' figures."""
LONGEST = 86400.0
"""Seconds that a report may take its samples."""


def report(
    ctx: typer.Context,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The page; one that is there is replaced.")
    ] = Path("report.html"),
    over: Annotated[
        str,
        typer.Option("--over", metavar="DURATION", help="How long connections and bytes are looked at; 0: one look."),
    ] = "30s",
    patience: Patience = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs, on standard output; no page.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Write one page (HTML) of the cluster: state, the way of a packet, traffic, changes, the last verify and doctor.

    It needs nothing from outside, so it can be sent or kept. Nothing is changed on hosts. Exits with 4 if anything is wrong; the
    page is written all the same.

    Example:  lbctl report
              lbctl report --over 5m --output night.html
    """
    from cli import output as printing  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from cluster.errors import Exit  # noqa: PLC0415

    seconds = _seconds(over)
    with eyes(ctx, cluster, here=False, patience=patience) as onlooker, _progress(seconds) as step:
        looks = list(_looks(onlooker, seconds, step))
        past = onlooker.history()
    found = _report(cluster_file(ctx, cluster), onlooker.blueprint.declaration, looks, past)
    if json_:
        printing.as_json(_plain(found))
    else:
        from pages.report import page  # noqa: PLC0415

        _write(output, page(found))
        _say(output, found.status)
    if not found.status.healthy:
        raise typer.Exit(Exit.TROUBLE)


def _seconds(text: str) -> float:
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.units import seconds  # noqa: PLC0415

    try:
        found = seconds(text)
    except ValueError as error:
        raise RequestError(f"--over: {error}") from None
    if found > LONGEST:
        raise RequestError("--over: at most 1d")
    return found


def _looks(onlooker: Any, over: float, step: Callable[[float], None]) -> Iterator["Status"]:
    """Quick ones for so many seconds, and then a whole one, which also has all that is compared with the declaration."""
    interval = max(QUICKEST, over / POINTS)
    began = None
    before: Any = None
    while over and (began is None or time.monotonic() - began < over):
        answers = onlooker.look(whole=False, within=None if began is None else max(interval, SLOW))
        began = began or time.monotonic()  # connecting is not a part of the period
        found = judged(onlooker.blueprint, answers)
        # What a slow director said before is no figure of now.
        if not (found.serving and before and answers.pulses[found.serving] is before.pulses.get(found.serving)):
            yield found
        before = answers
        passed = time.monotonic() - began
        step(passed)
        time.sleep(min(interval, max(0.0, over - passed)))
    yield judged(onlooker.blueprint, onlooker.look())


@contextmanager
def _progress(over: float) -> Iterator[Callable[[float], None]]:
    """On a terminal a bar, which is gone afterwards. It is told how many seconds have passed."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal or not over:
        yield lambda _: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Looking at the cluster", total=over)
        yield lambda passed: bar.update(task, completed=passed)


def _report(file: Path, declaration: Any, looks: "list[Status]", past: Any) -> "Report":
    from importlib.metadata import version  # noqa: PLC0415

    from cluster.report import CHECKS, Conditions, report  # noqa: PLC0415
    from fleet import remembered, source  # noqa: PLC0415

    conditions = Conditions(remembered.by(), version("lbctl"), str(file), source.text(file))
    checks = {name: remembered.last(declaration, name) for name in CHECKS}
    return report(declaration, looks, past, checks, conditions)


def _write(file: Path, text: str) -> None:
    """Whole or not at all. What is no regular file (/dev/null, a pipe) is written to, a link stays one. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8")
            return
        real = Path(os.path.realpath(file))
        beside = real.with_name(f".{real.name}.part")
        beside.write_text(text, encoding="utf-8")
        beside.replace(real)
    except OSError as error:
        raise RequestError(f"{file}: {error.strerror}", cure="--output FILE names another place") from None


def _say(file: Path, status: "Status") -> None:
    if status.healthy:
        typer.secho(f"{file}: nothing is wrong.", fg=typer.colors.GREEN)
        return
    count = len(status.troubles)
    wrong = "1 thing is wrong" if count == 1 else f"{count} things are wrong"
    typer.secho(f"{file}: {wrong}:", fg=typer.colors.RED)
    for trouble in status.troubles:
        typer.secho(f"  ✗ {trouble}", fg=typer.colors.RED)


def _plain(found: "Report") -> dict[str, Any]:
    from dataclasses import asdict  # noqa: PLC0415

    from cli.screen import as_json  # noqa: PLC0415

    course = found.course
    return {
        "status": as_json(found.status),
        "steps": [step.text for step in found.scene.steps],
        "traffic": {
            "began": course.began.isoformat(),
            "seconds": list(course.seconds),
            "servers": [
                {
                    "endpoint": endpoint,
                    "server": server,
                    "rates": [rate and asdict(rate) for rate in rates],
                    "established": course.established[(endpoint, server)],
                }
                for (endpoint, server), rates in course.rates.items()
            ],
            "happened": [{"at": each.at.isoformat(), "tone": each.tone, "text": each.text} for each in found.happened],
        },
        "changes": [
            {**asdict(change.entry), "result": change.result, "seconds": change.seconds} for change in found.changes
        ],
        "history_gaps": dict(found.history_gaps),
        "checks": {last.name: last.check and last.check.model_dump(mode="json") for last in found.checks},
        "by": found.conditions.by,
        "lbctl": found.conditions.version,
        "declaration": found.conditions.file,
    }
