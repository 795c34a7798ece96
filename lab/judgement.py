"""What the demo accepts as proof. Pure: it reads what others printed, and says what is wrong with it, or nothing."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from cluster.vocabulary import Mode

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_HEADINGS = ("Operation", "Hosts", "Success", "Error", "No Change")


@dataclass(frozen=True)
class Row:
    """A line of pyinfra's table of results."""

    operation: str
    hosts: int
    success: int
    error: int
    no_change: int


@dataclass(frozen=True)
class Service:
    """A virtual service in what `ipvsadm -Ln` prints."""

    address: str
    destinations: dict[str, Mode] = field(default_factory=dict)
    """Address of a server → how it is reached."""


def results(output: str) -> list[Row]:
    """The rows of the last table of results, without the grand total; none when pyinfra got no further than preparing."""
    rows: list[Row] = []
    for line in _COLOUR.sub("", output).splitlines():
        cells = tuple(re.split(r"\s{2,}", line.strip()))
        if cells == _HEADINGS:
            rows.clear()
        elif len(cells) == len(_HEADINGS) and all(cell.isdigit() or cell == "-" for cell in cells[1:]):
            rows.append(Row(cells[0], *(int(cell) if cell.isdigit() else 0 for cell in cells[1:])))
    return [row for row in rows if row.operation != "Grand total"]


def operation_started(line: str) -> str | None:
    """The name in a line that announces an operation."""
    found = re.match(r"--> Starting operation: (.*)", _COLOUR.sub("", line).strip())
    return found[1].strip() if found else None


def failed_deploy(rows: Sequence[Row], status: int) -> str | None:
    """A first run: every operation on every host ended well, and something was changed."""
    if status or not rows:
        return f"exit status {status} and {len(rows)} operations in the table of results"
    if bad := [f"{row.operation} ({row.error} hosts)" for row in rows if row.error]:
        return f"errors in {', '.join(bad)}"
    return None if any(row.success for row in rows) else "nothing was changed"


def changed_again(rows: Sequence[Row], status: int) -> str | None:
    """A second run: exit status 0, and not one operation that changed a host."""
    if status or not rows:
        return f"exit status {status} and {len(rows)} operations in the table of results"
    changed = [
        f"{row.operation} (success {row.success}, error {row.error})" for row in rows if row.success or row.error
    ]
    return f"changes by {', '.join(changed)}" if changed else None


def not_rotating(answers: Sequence[str], servers: Collection[str]) -> str | None:
    """Round robin: each answer in turn, so that any N neighbours are N different servers."""
    if stranger := next((answer for answer in answers if answer not in servers), None):
        return f"an answer {stranger!r}"
    turns = [answers[start : start + len(servers)] for start in range(len(answers) - len(servers) + 1)]
    if not turns:
        return f"only {len(answers)} answers"
    uneven = next((turn for turn in turns if set(turn) != set(servers)), None)
    return f"a turn of {' '.join(uneven)}" if uneven else None


def not_sticking(answers: Sequence[str], servers: Collection[str]) -> str | None:
    """Persistence: one and the same server every time."""
    if stranger := next((answer for answer in answers if answer not in servers), None):
        return f"an answer {stranger!r}"
    different = sorted(set(answers))
    return None if len(different) == 1 else f"answers from {', '.join(different) or 'nobody'}"


def table(ipvsadm: str) -> list[Service]:
    """What `ipvsadm -Ln` prints."""
    services: list[Service] = []
    for line in ipvsadm.splitlines():
        words = line.split()
        if words[:1] in (["TCP"], ["UDP"]):
            services.append(Service(words[1]))
        elif words[:1] == ["->"] and services and words[2] != "Forward":
            services[-1].destinations[words[1].rsplit(":", 1)[0]] = Mode.of(words[2])
    return services


def not_served(
    services: Sequence[Service], wanted: Collection[str], servers: Collection[str], mode: Mode
) -> str | None:
    """The kernel's table has just these services, each with just these servers, all reached by the declared method."""
    if missing := set(wanted) ^ {service.address for service in services}:
        return f"services missing or too many: {', '.join(sorted(missing))}"
    for service in services:
        if set(service.destinations) != set(servers):
            return f"{service.address} goes to {', '.join(sorted(service.destinations)) or 'nobody'}"
        if other := set(service.destinations.values()) - {mode}:
            return f"{service.address} is forwarded by {', '.join(other)}"
    return None
