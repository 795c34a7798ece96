"""How connections and bytes went over a period, from several looks at a cluster. Pure.

The kernel's own counters are compared between looks: neither how long a look took nor how the kernel smooths its estimates is in
the figures.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cluster.pulse import Traffic
from cluster.status import EndpointView, ServerView, Status

Key = tuple[str, str]
"""An endpoint's place, and a server."""


@dataclass(frozen=True)
class Rate:
    """What came in a second, on average between two looks."""

    connections: float
    bytes_in: float
    bytes_out: float


@dataclass(frozen=True)
class Course:
    """Times are seconds since the first look; every list of figures has one for each time."""

    began: datetime
    seconds: tuple[float, ...]
    """When each look was taken."""
    rates: Mapping[Key, tuple[Rate | None, ...]]
    """Before each look but the first. None: nothing to compare with, because another director serves, or the server is newly in
    the table, where the kernel counts anew."""
    established: Mapping[Key, tuple[int, ...]]

    @property
    def looks(self) -> int:
        return len(self.seconds)

    @property
    def length(self) -> float:
        return self.seconds[-1] - self.seconds[0]

    def of(self, endpoint: EndpointView, server: ServerView) -> tuple[Rate | None, ...]:
        return self.rates.get((endpoint.place, server.name), ())

    def average(self, rates: Sequence[Rate | None]) -> Rate | None:
        """Over the moments of which a rate is known; `rates` are those of a server, or of several together."""
        lengths = [after - before for before, after in pairwise(self.seconds)]
        known = [(rate, length) for rate, length in zip(rates, lengths, strict=True) if rate]
        whole = sum(length for _, length in known)
        if not whole:
            return None
        return Rate(
            sum(rate.connections * length for rate, length in known) / whole,
            sum(rate.bytes_in * length for rate, length in known) / whole,
            sum(rate.bytes_out * length for rate, length in known) / whole,
        )

    def by_server(self) -> dict[str, tuple[Rate | None, ...]]:
        """All endpoints of each server together. A moment of which one is not known is not known."""
        found: dict[str, list[tuple[Rate | None, ...]]] = {}
        for (_, server), rates in self.rates.items():
            found.setdefault(server, []).append(rates)
        return {server: tuple(map(_sum, zip(*several, strict=True))) for server, several in found.items()}

    def established_by_server(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, list[tuple[int, ...]]] = {}
        for (_, server), counts in self.established.items():
            found.setdefault(server, []).append(counts)
        return {server: tuple(map(sum, zip(*several, strict=True))) for server, several in found.items()}


def _sum(rates: Sequence[Rate | None]) -> Rate | None:
    known = [rate for rate in rates if rate]
    if len(known) < len(rates):
        return None
    return Rate(
        sum(rate.connections for rate in known),
        sum(rate.bytes_in for rate in known),
        sum(rate.bytes_out for rate in known),
    )


def course(looks: Sequence[Status]) -> Course:
    """`looks`: one at least."""
    keys = dict.fromkeys(key for look in looks for key, _ in _servers(look))
    tables = [dict(_servers(look)) for look in looks]
    pairs = list(zip(looks, tables, looks[1:], tables[1:], strict=False))
    return Course(
        began=looks[0].at,
        seconds=tuple((look.at - looks[0].at).total_seconds() for look in looks),
        rates={
            key: tuple(
                _rate(old.get(key), new.get(key), (after.at - before.at).total_seconds())
                if before.serving == after.serving
                else None
                for before, old, after, new in pairs
            )
            for key in keys
        },
        established={key: tuple(table[key].active if key in table else 0 for table in tables) for key in keys},
    )


def _servers(status: Status) -> Iterator[tuple[Key, ServerView]]:
    for endpoint in status.endpoints:
        for server in endpoint.servers:
            yield (endpoint.place, server.name), server


_NOTHING = Rate(0, 0, 0)


def _rate(old: ServerView | None, new: ServerView | None, seconds: float) -> Rate | None:
    if new is None or new.weight is None:
        return _NOTHING  # who is not in the table gets nothing
    if old is None or old.weight is None or seconds <= 0 or _less(new.total, old.total):
        return None
    return Rate(
        (new.total.connections - old.total.connections) / seconds,
        (new.total.bytes_in - old.total.bytes_in) / seconds,
        (new.total.bytes_out - old.total.bytes_out) / seconds,
    )


def _less(new: Traffic, old: Traffic) -> bool:
    """The kernel began to count anew."""
    return new.connections < old.connections or new.bytes_in < old.bytes_in
