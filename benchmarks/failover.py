"""The active director goes, in an orderly way or by a power cut, under held connections and new ones."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Figure, report
from benchmarks.machines import arguments, at_rest, deployed, load, machines
from cluster.vocabulary import Mode
from lab.load_record import Summary
from tests.system.machines import Cluster

BEFORE = 8
"""Seconds of load before the fault: within that time the other director has heard of every held connection."""
AFTER = 5
GAP = 1.0
"""Seconds that a crash may take."""


@dataclass(frozen=True)
class Fault:
    """What happens to the active director, and the way back, which is not measured."""

    name: str
    strike: Callable[[Cluster, str], None]
    mend: Callable[[Cluster, str], None]
    planned: bool = False
    """Somebody wants it so: then no new connection may fail. Of a crash no more is promised than how long it takes."""


def _failover(cluster: Cluster, active: str) -> None:  # noqa: ARG001 (the one that lbctl finds)
    done = cluster.lbctl("failover", "--yes")
    if done.status:
        raise SystemExit(f"the failover failed:\n{done.output}")


def _stop(cluster: Cluster, active: str) -> None:
    cluster.on(active, "systemctl stop keepalived")


def _start(cluster: Cluster, active: str) -> None:
    cluster.on(active, "systemctl start keepalived")


def _kill(cluster: Cluster, active: str) -> None:
    cluster.on(active, "kill -KILL $(pidof keepalived)")


def _wait_for_restart(cluster: Cluster, active: str) -> None:
    """It runs again by itself."""


def _power_off(cluster: Cluster, active: str) -> None:
    cluster.lab.power_off(active)


def _power_on(cluster: Cluster, active: str) -> None:
    cluster.lab.power_on(active)


FAULTS = (
    Fault("planned (lbctl failover)", _failover, _wait_for_restart, planned=True),
    Fault("keepalived stopped", _stop, _start, planned=True),
    Fault("keepalived killed", _kill, _wait_for_restart),
    Fault("crash (power cut)", _power_off, _power_on),
)


def struck(cluster: Cluster, fault: Fault) -> tuple[Summary, str]:
    """What clients saw of it; and what else happened meanwhile that makes it no measurement of the fault ("": nothing)."""
    active = at_rest(cluster)
    (passive,) = set(cluster.declaration.director) - {active}
    begun = {name: cluster.on(name, "date +%s") for name in (active, passive)}
    with load(cluster) as running:
        time.sleep(BEFORE)
        before = [_happened(cluster, name, begun[name]) for name in (active, passive)]
        moment = time.monotonic()
        fault.strike(cluster, active)
        over = max(moment + AFTER, time.monotonic() + 1)
        time.sleep(over - time.monotonic())
        record = running.stop()
    after = _happened(cluster, passive, begun[passive])
    fault.mend(cluster, active)
    at_rest(cluster)
    took_over = [line for line in after if "Entering MASTER" in line]
    needless = (
        [line for lines in before for line in lines] + [line for line in after if line not in took_over] + took_over[1:]
    )
    return record.between(moment - 0.5, over).summary(), "; ".join(dict.fromkeys(needless))


def _happened(cluster: Cluster, director: str, since: str) -> list[str]:
    """What keepalived did to its servers or to its own state since that second of the machine's clock, in its own words.

    On a machine that is too busy a check or three advertisements come late, with no fault at all.
    """
    words = "grep -E 'Removing service|Entering|shutting down' | cut -d: -f4- | cut -c2-"
    said = cluster.on(
        director, f"journalctl -q -o short -u keepalived --since @{int(since) + 1} | {words}", check=False
    )
    return [f"{director}: {line}" for line in said.splitlines()]


def figures(mode: Mode, fault: Fault, seen: list[Summary]) -> list[Figure]:
    """The worst of all rounds."""
    name = f"{mode}, {fault.name}"
    return [
        Figure(f"{name}: longest gap", max(s.gap for s in seen), GAP),
        Figure(f"{name}: slowest new connection that succeeded", max(s.slowest_new for s in seen), 2.0),
        Figure(
            f"{name}: failed of {sum(s.new for s in seen)} new connections",
            sum(s.failures for s in seen),
            0 if fault.planned else None,
            unit="",
        ),
        Figure(f"{name}: cut of {sum(s.held for s in seen)} held ones", sum(len(s.cut) for s in seen), 0, unit=""),
    ]


def main() -> int:
    options = arguments(main.__doc__ or "")
    rows: list[Figure] = []
    with machines(options.lab) as cluster:
        for mode in options.modes:
            deployed(cluster, mode)
            for fault in FAULTS:
                seen: list[Summary] = []
                for _ in range(3 * options.rounds):
                    summary, needless = struck(cluster, fault)
                    print(f"{mode}, {fault.name}: {summary}{f' (void: {needless})' if needless else ''}", flush=True)
                    seen += [] if needless else [summary]
                    if len(seen) == options.rounds:
                        break
                else:
                    raise SystemExit("this machine is too busy to measure on")
                rows += figures(mode, fault, seen)
    return report(rows, "failover")


if __name__ == "__main__":
    sys.exit(main())
