"""What a load saw, and what that means for the people behind it. Pure."""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One question. A new connection's runs from the call to the answer, login included. Times: monotonic seconds."""

    kind: str
    """ "held" or "new"."""
    connection: int
    endpoint: str
    begun: float
    ended: float
    server: str
    """Who answered; "" when nobody did."""
    error: str
    """Why not; "" when it was answered."""


@dataclass(frozen=True)
class Summary:
    """Times in seconds."""

    new: int
    """New connections that were tried."""
    failed: Mapping[str, int]
    """New connections that failed, by reason."""
    slowest_new: float
    """Longest time that a new connection which succeeded took."""
    held: int
    cut: Mapping[int, str]
    """Held connections that were cut, with the reason."""
    slowest_held: float
    """Longest time that a held connection which survived waited for an answer."""
    gap: float
    """Longest time in which nobody at one of the endpoints got an answer, the worst of all endpoints."""

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    @property
    def survivors(self) -> int:
        return self.held - len(self.cut)

    def __str__(self) -> str:
        reasons = "".join(f" ({count} × {why})" for why, count in self.failed.items())
        cut = "".join(f" ({count} × {why})" for why, count in Counter(self.cut.values()).items())
        return (
            f"new connections: {self.failures} of {self.new} failed{reasons}, slowest {self.slowest_new:.2f} s; "
            f"held: {self.survivors} of {self.held} survived{cut}, slowest answer {self.slowest_held:.2f} s; "
            f"longest gap {self.gap:.2f} s"
        )


@dataclass(frozen=True)
class Record:
    """All requests of a load."""

    requests: tuple[Request, ...]

    def between(self, since: float, until: float) -> "Record":
        """Those that were under way at any moment of that time."""
        return Record(tuple(r for r in self.requests if r.ended >= since and r.begun <= until))

    def summary(self) -> Summary:
        """Of all of it."""
        new = [r for r in self.requests if r.kind == "new"]
        held = [r for r in self.requests if r.kind == "held"]
        cut = {r.connection: r.error for r in held if r.error}
        return Summary(
            new=len(new),
            failed=Counter(r.error for r in new if r.error),
            slowest_new=max((r.ended - r.begun for r in new if not r.error), default=0),
            held=len({r.connection for r in held}),
            cut=cut,
            slowest_held=max((r.ended - r.begun for r in held if r.connection not in cut), default=0),
            gap=max((self._gap(endpoint) for endpoint in {r.endpoint for r in self.requests}), default=0),
        )

    def _gap(self, endpoint: str) -> float:
        mine = [r for r in self.requests if r.endpoint == endpoint]
        moments = [min(r.begun for r in mine), *sorted(r.ended for r in mine if not r.error)]
        # No answer at the end is a gap, too, for who asked after the last one that came. Who had asked before, and is still left
        # without an answer when the others have stopped asking, tells nothing of those.
        in_vain = [r.ended for r in mine if r.error and r.begun >= moments[-1]]
        moments.append(max(in_vain, default=moments[-1]))
        return max(later - earlier for earlier, later in itertools.pairwise(moments))
