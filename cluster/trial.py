"""A trial of a forwarding method: a director that no client uses connects through its own table, as a client would.

IPVS takes a director's own connections to a virtual service too (ip_vs_core.c in the kernel, LOCAL_OUT). So before the active
director changes, the passive one shows that each server answers by the new method: clients are still on the old one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint, endpoints
from cluster.observed import HostState
from cluster.order import not_by_declared_method
from cluster.vocabulary import Mode

CONNECTIONS = 6
"""To each endpoint. MySQL counts one that says nothing as an error of its client, and shuts a client out after a hundred in a row
(max_connect_errors)."""


@dataclass(frozen=True)
class Attempt:
    """What came of the connections to one endpoint."""

    endpoint: str
    answered: int
    servers: frozenset[IPv4Address]
    """Who took those that were answered."""


def tried(declaration: Declaration, director: str, seen: HostState) -> tuple[Endpoint, ...]:
    """The endpoints that a trial on this director can tell something about: of TCP, with a server in its table."""
    alive = {
        (service.endpoint.address, service.endpoint.port)
        for service in seen.services
        if any(destination.weight for destination in service.destinations)
    }
    all_ = endpoints(declaration, director)
    return tuple(e for e in all_ if e.protocol == "tcp" and (e.address, e.port) in alive)


def can_try(declaration: Declaration, director: str, seen: HostState) -> bool:
    """Whether this director serves all by the declared method, and no client: so that a trial there harms nobody."""
    unit = seen.units.get("keepalived.service")
    return bool(
        unit
        and unit.active
        and seen.services
        and not any(seen.holds(address) for address in (*declaration.vips, *_gateway(declaration)))
        and not not_by_declared_method(declaration, director, seen)
    )


def _gateway(declaration: Declaration) -> Iterable[IPv4Address]:
    return () if declaration.nat.gateway is None else (declaration.nat.gateway,)


def read(lines: Iterable[str]) -> tuple[Attempt, ...]:
    """From what a trial printed: `open ENDPOINT` for each connection that was answered, `by ENDPOINT ADDRESS` for each server."""
    answered, servers, order = Counter[str](), dict[str, set[IPv4Address]](), list[str]()
    for words in (line.split() for line in lines):
        if words[:1] == ["try"]:
            order.append(words[1])
        elif words[:1] == ["open"]:
            answered[words[1]] += 1
        elif words[:1] == ["by"]:
            servers.setdefault(words[1], set()).add(IPv4Address(words[2]))
    return tuple(Attempt(place, answered[place], frozenset(servers.get(place, ()))) for place in order)


def against(declaration: Declaration, director: str, wanted: Sequence[Endpoint], seen: Sequence[Attempt]) -> str | None:
    """What speaks against the declared method after a trial on `director`; None when nothing does."""
    by_place = {attempt.endpoint: attempt for attempt in seen}
    for endpoint in wanted:
        attempt = by_place.get(str(endpoint))
        answered = attempt.answered if attempt else 0
        if answered < CONNECTIONS:
            return (
                f"a trial on {director}: {CONNECTIONS - answered} of {CONNECTIONS} connections to {endpoint} by "
                f"{Mode(declaration.mode)} got no answer"
            )
    return None
