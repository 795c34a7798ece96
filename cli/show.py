"""How plans and results look: for people, and as JSON."""

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cluster.difference import Action
from cluster.parts import File
from cluster.plan import Plan, Step
from facts.redaction import redacted

if TYPE_CHECKING:
    from fleet.change import Outcome


def as_lines(plan: Plan, texts: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[tuple[str, str]]:
    """(style, line) for each line of a plan; with `texts` (host → path → what is there now) also what changes in files."""
    for host, why in plan.unreachable.items():
        yield "red", f"{host} cannot be reached and is left out: {why}"
    for host, found in plan.hand_edited.items():
        yield "red", f"{host}: {found.what}"
    for host, why in plan.refused.items():
        yield "red", f"{host} must not be changed, so a deploy changes nothing: {why}"
    if plan.refused and plan.cure:
        yield "red", f"  → {plan.cure}"
    yield from _steps(plan, texts)
    for host, what in plan.told.items():
        yield "red", f"{host}: {what}"
    for host, what in plan.undeclared.items():
        yield "red", f"{host} is declared no more, and was not taken out of the cluster: {what}"
    for note in plan.notes:
        yield "cyan", note
    if plan.is_empty:
        yield _nothing_to_do(plan)


def _steps(plan: Plan, texts: Mapping[str, Mapping[str, str]] | None) -> Iterator[tuple[str, str]]:
    shown: dict[tuple[str, ...], str] = {}
    for number, step in enumerate(plan.steps, start=1):
        yield "bold", f"{number}. {step.title}"
        if step.gate:
            yield "cyan", f"     {'gate':<8} {step.gate}"
        for host, changes in step.changes.items():
            for change in changes:
                yield ("green" if change.action is Action.BUILD else "yellow"), f"     {host:<8} {change.what}"
                if texts is not None and change.kind == "file":
                    lines = _difference(host, change.item, texts.get(host, {}), gone=change.action is Action.REMOVE)
                    yield from _once(shown, host, change.item.path, list(lines))


def _nothing_to_do(plan: Plan) -> tuple[str, str]:
    if plan.none_asked:
        return "red", "No host could be asked, so nothing is known. Mend the connections above, then plan again."
    rest = " but for that" if plan.leaves_work else ""
    others = f"; not asked: {', '.join(plan.unreachable)}" if plan.unreachable else ""
    return "green", f"Nothing to do: every host that could be asked is as declared{rest}{others}."


def _once(
    shown: dict[tuple[str, ...], str], host: str, path: str, lines: list[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """A difference; where another host has the same, whose it is. `shown`: those so far. Servers are mostly alike."""
    first = shown.setdefault((path, *(line for _, line in lines[2:])), host)  # beyond two lines that name the host
    if first == host or not lines:
        yield from lines
    else:
        yield "dim", f"              the same as on {first}"


def _difference(host: str, file: File, texts: Mapping[str, str], *, gone: bool) -> Iterator[tuple[str, str]]:
    now = texts.get(file.path, "").splitlines()
    then = [] if gone else redacted(file.text).splitlines()
    if now and now == then:
        yield "dim", "              what differs is not shown: a secret, or who may read the file"
    for line in difflib.unified_diff(
        now, then, f"{host}:{file.path}", f"{host}:{file.path} (declared)", lineterm="", n=2
    ):
        style = {"+": "green", "-": "red"}.get(line[:1], "dim")
        yield style, f"              {line}"


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan for programs. No file's text is in it."""
    return {
        "steps": [_step(step) for step in plan.steps],
        "unreachable": dict(plan.unreachable),
        "hand_edited": {host: found.what for host, found in plan.hand_edited.items()},
        "told": dict(plan.told),
        "refused": dict(plan.refused),
        "clashes": [{"host": each.host, "seen": list(each.seen), "cure": each.cure} for each in plan.clashes],
        "undeclared": dict(plan.undeclared),
        "notes": list(plan.notes),
    }


def outcome_as_json(what: str, wanted: Plan, done: "Outcome") -> dict[str, Any]:
    """How a change ended. `what` it was the history says in the same words."""
    report = done.report
    return {
        "what": what,
        "plan": as_json(wanted),
        "changed": report.changed,
        "failed": report.failed,
        "unreachable": dict(wanted.unreachable),
        "remaining": as_json(report.remaining) if report.remaining else None,
        "declared": done.declared,
        "left": list(done.left),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "work": step.work,
        "title": step.title,
        "gate": step.gate or None,
        "hosts": {
            host: [{"thing": c.thing, "action": c.action, "kind": c.kind, "what": c.what} for c in changes]
            for host, changes in step.changes.items()
        },
    }
