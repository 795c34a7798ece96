"""A running cluster is changed by each command that there is for it, under held connections and new ones: what clients see.

Changes of the mode have a benchmark of their own (benchmarks/switch.py), a director that dies as well (benchmarks/failover.py).
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Figure, report
from benchmarks.machines import arguments, at_rest, deployed, machines
from cluster.vocabulary import Mode
from lab.topology import ADDRESSES
from tests.system.live import Seen, at_work
from tests.system.machines import Cluster

SERVER = "db3"
DRAIN = "5s"
"""So long a server that is removed is waited for; the load's connections do not end by themselves."""


def _told(cluster: Cluster, *words: str) -> None:
    done = cluster.lbctl(*words, "--yes")
    if done.status:
        raise SystemExit(f"lbctl {' '.join(words)} failed:\n{done.output}")
    cluster.reread()


def _passive(cluster: Cluster) -> str:
    (name,) = set(cluster.declaration.director) - {cluster.active()}
    return name


def _nothing(cluster: Cluster) -> None:
    """Nothing more is to be done."""


def _failover_and_return(cluster: Cluster) -> None:
    first = cluster.active()
    _told(cluster, "failover")
    at_rest(cluster)
    _told(cluster, "failover", "--to", first)


def _remove_active(cluster: Cluster) -> None:
    _told(cluster, "director", "remove", cluster.active())


def _add_director(cluster: Cluster) -> None:
    (name,) = {"lb1", "lb2"} - set(cluster.declaration.director)
    _told(cluster, "director", "add", name, "--address", str(ADDRESSES[name]))


def _power_off(cluster: Cluster) -> None:
    # The passive one: what the death of an active one costs is another benchmark's.
    cluster.lab.power_off(_passive(cluster))


def _remove_dead(cluster: Cluster) -> None:
    (dead,) = (name for name, machine in cluster.lab.machines().items() if not machine.pid)
    _told(cluster, "director", "remove", dead, "--dead")


def _bring_back(cluster: Cluster) -> None:
    (name,) = {"lb1", "lb2"} - set(cluster.declaration.director)
    cluster.lab.power_on(name)
    # It runs as it was before it died; nobody must be surprised by it.
    cluster.on(name, "systemctl disable --now keepalived 2>&1")
    _add_director(cluster)


@dataclass(frozen=True)
class Command:
    """What is done under the load, and what goes before and after it, which is not measured."""

    name: str
    give: Callable[[Cluster], None]
    before: Callable[[Cluster], None] = _nothing
    after: Callable[[Cluster], None] = _nothing
    cuts: bool = False
    """It is told to end the connections that are left (`--cut`)."""


def _server(*words: str) -> Callable[[Cluster], None]:
    return lambda cluster: _told(cluster, "real-server", *words)


COMMANDS = (
    Command("server drained", _server("drain", SERVER, "--drain", "0")),
    Command("server undrained", _server("undrain", SERVER)),
    Command("server removed", _server("remove", SERVER, "--drain", DRAIN, "--cut"), cuts=True),
    Command("server added", _server("add", SERVER, "--address", str(ADDRESSES[SERVER]))),
    Command("failover and return", _failover_and_return),
    Command("active director removed", _remove_active),
    Command("director added", _add_director),
    Command("dead director removed", _remove_dead, before=_power_off, after=_bring_back),
)
"""One after another; each finds what the one before has left."""


def given(cluster: Cluster, command: Command) -> Seen:
    """What clients saw of it."""
    command.before(cluster)
    with at_work(cluster) as seen:
        command.give(cluster)
    # Clients have gone: what they used can go, too.
    _told(cluster, "deploy")
    command.after(cluster)
    at_rest(cluster)
    return seen


def figures(mode: Mode, command: Command, seen: list[Seen]) -> list[Figure]:
    """The worst of all rounds."""
    name, all_ = f"{mode}, {command.name}", [each.summary for each in seen]
    new, held = sum(s.new for s in all_), sum(s.held for s in all_)
    cut = sum(len(s.cut) for s in all_)
    return [
        Figure(f"{name}: failed of {new} new", sum(s.failures for s in all_), 0, unit=""),
        Figure(f"{name}: cut of {held} held", cut, None if command.cuts else 0, unit=""),
        Figure(f"{name}: longest request", max(max(s.slowest_new, s.slowest_held) for s in all_)),
        Figure(f"{name}: addresses with two owners", sum(len(each.arp.twice_owned) for each in seen), 0, unit=""),
    ]


def main() -> int:
    options = arguments(main.__doc__ or "")
    rows: list[Figure] = []
    with machines(options.lab) as cluster:
        for mode in options.modes:
            deployed(cluster, mode)
            seen: dict[str, list[Seen]] = {}
            for _ in range(options.rounds):
                for command in COMMANDS:
                    print(f"{mode}, {command.name}", flush=True)
                    seen.setdefault(command.name, []).append(given(cluster, command))
            rows += [figure for command in COMMANDS for figure in figures(mode, command, seen[command.name])]
    return report(rows, "live")


if __name__ == "__main__":
    sys.exit(main())
