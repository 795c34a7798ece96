"""A running cluster is switched from each mode to each other, under held connections and new ones."""

import itertools
import sys

from benchmarks.figures import Figure, report
from benchmarks.machines import arguments, at_rest, deployed, machines
from cluster.vocabulary import Mode
from lab.load_record import Summary
from tests.system.live import at_work
from tests.system.machines import Cluster

ORDER = (Mode.DR, Mode.TUN, Mode.NAT, Mode.DR, Mode.NAT, Mode.TUN, Mode.DR)
"""Every change of mode once."""


def switched(cluster: Cluster, to: Mode) -> Summary:
    """What clients saw of it."""
    with at_work(cluster) as seen:
        done = cluster.lbctl("switch-mode", to, "--yes", "--drain", "0")
    if done.status:
        raise SystemExit(f"the switch failed:\n{done.output}")
    cluster.reread()
    # Clients have gone: what they used can go, too.
    done = cluster.lbctl("deploy", "--yes")
    if done.status:
        raise SystemExit(f"the deploy afterwards failed:\n{done.output}")
    at_rest(cluster)
    return seen.summary


def figures(name: str, seen: list[Summary]) -> list[Figure]:
    """The worst of all rounds."""
    return [
        Figure(f"{name}: failed of {sum(s.new for s in seen)} new", sum(s.failures for s in seen), 0, unit=""),
        Figure(f"{name}: cut of {sum(s.held for s in seen)} held", sum(len(s.cut) for s in seen), 0, unit=""),
        Figure(f"{name}: slowest new connection", max(s.slowest_new for s in seen)),
        Figure(f"{name}: slowest answer to a held one", max(s.slowest_held for s in seen)),
    ]


def main() -> int:
    options = arguments(main.__doc__ or "")
    seen: dict[str, list[Summary]] = {}
    with machines(options.lab) as cluster:
        deployed(cluster, ORDER[0])
        for _ in range(options.rounds):
            for before, after in itertools.pairwise(ORDER):
                summary = switched(cluster, after)
                print(f"{before} to {after}: {summary}", flush=True)
                seen.setdefault(f"{before} to {after}", []).append(summary)
    rows = [figure for name, each in seen.items() for figure in figures(name, each)]
    return report(rows, "switch")


if __name__ == "__main__":
    sys.exit(main())
