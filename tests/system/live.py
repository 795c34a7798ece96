"""Clients at work while an operator changes the cluster: what they saw, and who answered ARP meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from cluster.keepalived import floating_addresses
from cluster.vocabulary import MYSQL_PORT
from lab.arp_watch import Watch, Watched
from lab.load import Load, Orders
from lab.load_record import Summary
from tests.system.machines import Cluster

HELD, NEW = 20, 50
"""Connections that are held open, and new ones a second."""


@dataclass
class Seen:
    """What clients saw; there when their work is over."""

    summary: Summary = field(init=False)
    arp: Watched = field(init=False)

    def __str__(self) -> str:
        longest = max(self.summary.slowest_new, self.summary.slowest_held)
        return (
            f"failed {self.summary.failures} of {self.summary.new}, longest request {longest:.2f} s, "
            f"cut {len(self.summary.cut)} of {self.summary.held}, addresses owned twice {len(self.arp.twice_owned)} times"
        )


@contextmanager
def at_work(cluster: Cluster, *, held: int = HELD, new_per_second: float = NEW) -> Iterator[Seen]:
    """Clients on the ports that all modes have, for as long as the block takes. `pytest -rP` shows what they saw."""
    endpoints = [e for name in cluster.declaration.service for e in cluster.endpoints(name) if e.port == MYSQL_PORT]
    places = tuple((str(e.address), e.port) for e in endpoints)
    seen = Seen()
    watch = Watch(cluster.lab, floating_addresses(cluster.declaration))
    with Load(cluster.lab, Orders(places, held=held, new_per_second=new_per_second)) as load, watch:
        yield seen
        seen.arp = watch.stop()
        seen.summary = load.stop().summary()
        print(f"clients: {seen}", flush=True)
        if seen.summary.failures:
            print(f"  {seen.summary}", flush=True)


def nobody_noticed(seen: Seen) -> None:
    """No new connection failed, and none that was held was cut."""
    assert seen.summary.new > 0
    assert seen.summary.failures == 0, str(seen.summary)
    assert seen.summary.cut == {}, str(seen.summary)


def nobody_owned_twice(seen: Seen) -> None:
    """At no moment did two hosts answer ARP for a virtual address."""
    assert len(seen.arp.rounds) > 0
    assert seen.arp.twice_owned == (), seen.arp.twice_owned[:5]
