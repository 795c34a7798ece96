"""What plan and deploy print. `cli.show` says what; here it meets the terminal."""

import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.control import strip_control_codes

from cli import show
from cluster.change import Change
from cluster.declaration import Declaration
from cluster.plan import Plan, Step
from fleet.change import Listener, Outcome
from fleet.deployment import Report
from fleet.session import Result


def _console() -> Console:
    # Rich reads NO_COLOR and whether this is a terminal by itself.
    return Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def which(declaration: Declaration, former: Declaration | None = None) -> None:
    """The cluster that is meant: two declarations may well name the same hosts. `former`: what it is changed from."""
    mode = str(declaration.mode)
    if former and former.mode is not declaration.mode:
        mode = f"{former.mode} → {mode}"
    _console().print(f"Cluster {declaration.name}, mode {mode} ({declaration.source})", style="bold")


def plan(found: Plan, texts: Mapping[str, Mapping[str, str]] | None) -> None:
    """A plan, with differences in files where `texts` are given."""
    console = _console()
    for style, line in show.as_lines(found, texts):
        if console.is_terminal:
            console.print(line, style=style)
        else:  # the same without style: of many hosts there are many lines, and rich takes its time for each
            print(strip_control_codes(line).expandtabs())


def steps(as_json: bool) -> Callable[[Step, Mapping[str, Result] | None], None]:  # noqa: FBT001
    """A listener that says how each step went, as it goes."""
    console, began = _console(), [0.0]

    def told(step: Step, results: Mapping[str, Result] | None) -> None:
        if as_json:
            return
        if results is None:
            began[0] = time.monotonic()
            console.print(f"→ {step.title} …", style="dim")
            return
        for host, result in results.items():
            if result.failed:
                console.print(f"  ✗ {host}: {result.failed}", style="red")
        good = [host for host, result in results.items() if not result.failed]
        if good:
            console.print(f"  ✓ {step.title}: {', '.join(good)} ({time.monotonic() - began[0]:.1f} s)", style="green")

    return told


def note(as_json: bool) -> Callable[[str], None]:  # noqa: FBT001
    """A listener for what an operator should know; beside JSON it goes to standard error."""
    return lambda text: Console(highlight=False, soft_wrap=True, markup=False, stderr=as_json).print(text, style="cyan")


def interrupted() -> None:
    """Ctrl-C while a step is under way."""
    Console(stderr=True).print("Ctrl-C: stops when this step is finished; once more stops at once.", style="yellow")


def report(wanted: Plan, done: Report) -> None:
    """How a deploy ended: what changed where, what failed and what to do next."""
    console = _console()
    for host, names in done.changed.items():
        console.print(f"changed on {host}: {', '.join(name.split(' | ')[-1] for name in names)}", style="green")
    if not done.changed:
        console.print("No host was changed.", style="green")
    for host, why in {**wanted.unreachable, **done.failed}.items():
        console.print(f"{host} is not as declared: {why}", style="red")
    for host, what in done.remaining.told.items() if done.remaining else ():
        console.print(f"{host}: {what}", style="red")
    for note in done.remaining.notes if done.remaining else ():
        console.print(note, style="cyan")
    if done.failed or wanted.unreachable:
        console.print("→ mend that, then `lbctl deploy` again: what is done is not done twice.", style="red")


def listener(change: Change, *, as_json: bool) -> Listener:
    """Says each step, that the declaration was written, and what is waited for: once, and again when it changes."""
    console, last = _console(), [""]

    def declared() -> None:
        if change.before != change.after and not as_json:
            console.print(f"{change.file} says it now", style="green")

    def waiting(left: tuple[str, ...], seconds: float) -> None:
        text = "; ".join(left)
        if text != last[0] and not as_json:
            last[0] = text
            console.print(f"  … waits ({seconds:.0f} s): {text}", style="dim")

    return Listener(steps(as_json), declared, waiting, note(as_json))


def outcome(change: Change, wanted: Plan, done: Outcome) -> None:
    """How a change ended."""
    report(wanted, done.report)
    if done.left:
        console = _console()
        console.print(f"Still used, so it stays: {'; '.join(done.left)}", style="cyan")
        rested = (
            f"no new ones come to {', '.join(sorted(change.idle))}: recycle the pools, or a restart there cuts them"
        )
        later = "nothing breaks; `lbctl deploy` takes it away later, --cut ends what is left"
        console.print(f"→ {rested if change.idle else later}", style="cyan")
