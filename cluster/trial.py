"""A trial of a forwarding method: a director that no client uses connects through its own table, as a client would.

IPVS takes a director's own connections to a virtual service too (ip_vs_core.c in the kernel, LOCAL_OUT). So before the active
director changes, the passive one shows that each server answers by the new method: clients are still on the old one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint, endpoints
from cluster.observed import HostState
from cluster.order import not_by_declared_method
from cluster.vocabulary import Mode

CONNECTIONS = 6
"""To each endpoint. MySQL counts one that says nothing as an error of its client, and shuts a client out after a hundred in a row
(max_connect_errors)."""


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


def read(lines: Iterable[str]) -> Mapping[str, int]:
    """From what a trial printed, `open ENDPOINT` for each connection that came about: how many did, by endpoint."""
    return Counter(words[1] for words in map(str.split, lines) if words[:1] == ["open"])


def against(
    declaration: Declaration, director: str, wanted: Sequence[Endpoint], answered: Mapping[str, int]
) -> str | None:
    """What speaks against the declared method after a trial on `director`; None when nothing does."""
    for endpoint in wanted:
        lost = CONNECTIONS - answered.get(str(endpoint), 0)
        if lost > 0:
            return (
                f"a trial on {director}: {lost} of {CONNECTIONS} connections to {endpoint} by "
                f"{Mode(declaration.mode)} got no answer; a firewall or a rule of another hand is in the way "
                "(docs/troubleshooting.md), or go back: lbctl switch-mode --abort"
            )
    return None
