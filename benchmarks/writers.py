"""The three ways to choose a writer, on a real Galera cluster: what becomes of writes when nodes leave and come.

Each connection writes a row, which says where it was written. From that: for how long nothing was written, for how long there
were two writers at once, and whether the writer changed although it was well.
"""

import itertools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.figures import Figure, report
from benchmarks.machines import arguments, at_rest, machines
from cluster.vocabulary import Mode
from lab.load import Load, Orders
from lab.load_record import Record, Request
from tests.system.machines import Cluster, wait_until
from tests.variants import WRITERS, Variant

TABLE = """\
create database if not exists writers; grant all on writers.* to lab;
create table if not exists writers.rows_ (id bigint auto_increment primary key, server varchar(20));"""
WRITE = "insert into writers.rows_ (server) values (@@hostname) returning server"
Strike = Callable[[Cluster, str], None]
"""Does it to a host, and returns when it is done."""
HELD, NEW = 4, 20
"""Connections of a pool, and new ones a second: all of them write."""
AFTERWARDS = 5
"""Seconds for which writes are watched after an event has shown its effect."""
_STATE = "mariadb --connect-timeout=2 -BNe \"show status like 'wsrep_local_state_comment'\""


@dataclass(frozen=True)
class Seen:
    """What one event did to writes. Times in seconds."""

    without: float
    """Longest time in which nobody could write."""
    together: float
    """From the first write at a new writer to the last at the one before: as long as a pool stays where it is."""
    moves: int
    failed: int
    """New connections that could not write."""


def seen(record: Record) -> Seen:
    """From what the load saw. Of two writes in one moment the order is not known, so a move is one for good."""
    written = sorted((r for r in record.requests if not r.error), key=lambda r: r.ended)
    moments = [r.ended for r in written]
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    return Seen(
        without=max(gaps, default=0.0),
        together=_together(written),
        moves=len(_order([r.server for r in written if r.kind == "new"])) - 1,
        failed=sum(r.kind == "new" and bool(r.error) for r in record.requests),
    )


def _order(servers: Sequence[str]) -> list[str]:
    """Who wrote, one after the other; a straggler of the one before is no move back."""
    found: list[str] = []
    for place, server in enumerate(servers):
        if found and server == found[-1]:
            continue
        if len(set(servers[place : place + 3])) == 1:  # three in a row
            found.append(server)
    return found or list(dict.fromkeys(servers))


def _together(written: Sequence[Request]) -> float:
    """The longest time for which one server had begun and another had not yet ended."""
    spans: list[tuple[float, float]] = []
    for server in dict.fromkeys(r.server for r in written):
        mine = [r.ended for r in written if r.server == server]
        spans.append((min(mine), max(mine)))
    spans.sort()
    return max((max(0.0, before[1] - after[0]) for before, after in itertools.pairwise(spans)), default=0.0)


def _stop(cluster: Cluster, host: str) -> None:
    cluster.on(host, "systemctl stop mariadb")


def _start(cluster: Cluster, host: str) -> None:
    cluster.on(host, "systemctl start mariadb")
    _synced(cluster, host)


def _cut(cluster: Cluster, host: str) -> None:
    cluster.lab.link(host, up=False)
    time.sleep(AFTERWARDS)


def _plug(cluster: Cluster, host: str) -> None:
    cluster.lab.link(host, up=True)
    _synced(cluster, host)


def _synced(cluster: Cluster, host: str) -> None:
    wait_until(lambda: "Synced" in cluster.on(host, _STATE, check=False), f"{host} is Synced")


def _director_stops(cluster: Cluster, host: str) -> None:
    cluster.on(host, "systemctl stop keepalived")


def _director_starts(cluster: Cluster, host: str) -> None:
    cluster.on(host, "systemctl start keepalived")


def measured(cluster: Cluster, event: Callable[[], None]) -> Seen:
    """What writes saw of it."""
    endpoint = cluster.endpoints("write")[0]
    orders = Orders(((str(endpoint.address), endpoint.port),), held=HELD, new_per_second=NEW, statement=WRITE)
    with Load(cluster.lab, orders) as load:
        time.sleep(1)
        event()
        time.sleep(AFTERWARDS)
        return seen(load.stop())


def figures(way: str, what: str, result: Seen, needed: int) -> tuple[Figure, ...]:
    """As docs/make_benchmarks.py takes them apart: "WAY, WHAT: MEASURE". `needed`: moves that the event makes necessary."""
    return (
        Figure(f"{way}, {what}: nobody could write", result.without),
        Figure(f"{way}, {what}: two writers at once", result.together),
        Figure(f"{way}, {what}: needless moves", max(0, result.moves - needed), unit=""),
    )


def rows(cluster: Cluster, way: str) -> list[Figure]:
    """All events, one after the other, each from a cluster at rest."""
    found: list[Figure] = []

    def event(what: str, host: str, strike: Strike, *, needed: int) -> None:
        result = measured(cluster, lambda: strike(cluster, host))
        print(f"{way}: {what} ({host}): {result}", flush=True)
        found.extend(figures(way, what, result, needed))

    def at_writer(leaves: str, comes: str, go: Strike, come: Strike) -> None:
        writer = cluster.sticks(cluster.endpoints("write")[0])
        event(leaves, writer, go, needed=1)
        event(comes, writer, come, needed=0)
        at_rest(cluster)

    at_writer("the writer is stopped", "it comes back", _stop, _start)
    at_writer("the writer is cut off", "it is connected again", _cut, _plug)
    writer = cluster.sticks(cluster.endpoints("write")[0])
    other = next(name for name in reversed(list(cluster.declaration.real_server)) if name != writer)
    event("another node is stopped", other, _stop, needed=0)
    event("another node comes back", other, _start, needed=0)
    active = at_rest(cluster)
    event("the active director stops", active, _director_stops, needed=0)
    event("that director starts", active, _director_starts, needed=0)
    at_rest(cluster)
    return found


def main() -> int:
    options = arguments(main.__doc__ or "")
    found: list[Figure] = []
    with machines(options.lab) as cluster:
        cluster.on("db1", "mariadb", stdin=TABLE)
        for way in WRITERS:
            cluster.declare(Variant(Mode.DR, way))
            done = cluster.lbctl("deploy", "--yes")
            if done.status:
                raise SystemExit(f"the deploy failed:\n{done.output}")
            at_rest(cluster)
            found += rows(cluster, way)
    return report(found, "writers")


if __name__ == "__main__":
    sys.exit(main())
