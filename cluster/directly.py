"""Each server at its own address, past the load balancer: what to try, and what came of it. `cluster.guilt` compares."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint, source_network_translated
from cluster.large import lost
from cluster.verification import Answer, Kind, Pattern, Probe, Verdict, speaks_sql

_REFUSALS = ("Access denied", "is not allowed to connect")
"""MySQL's words (errors 1045 and 1130) to an account: the server is there, and speaks."""


def direct_probes(declaration: Declaration, *, expect: Sequence[str] = (), large: int = 0) -> tuple[Probe, ...]:
    """Each server once for each port that services have there; those that should not serve, too."""
    ports: dict[int, bool] = {}
    for service in declaration.service.values():
        if service.protocol == "tcp":
            port = service.port_at_servers
            ports[port] = ports.get(port, False) or speaks_sql(service)
    return tuple(
        Probe(
            endpoint=Endpoint(name, server.address, port),
            sql=sql,
            pattern=Pattern.STICKS,
            weights={name: server.share},
            count=1,
            translated=source_network_translated(declaration),
            kind=Kind.DIRECT,
            large=large if sql else 0,
            idle=_idle(declaration, name, expect),
        )
        for name, server in declaration.real_server.items()
        for port, sql in ports.items()
    )


def _idle(declaration: Declaration, name: str, expect: Sequence[str]) -> str:
    server = declaration.real_server[name]
    if server.drained:
        return "drained"
    if not server.weight:
        return "weight 0"
    return "not expected to serve" if expect and name not in expect else ""


def judge_direct(
    probe: Probe, answers: Iterable[Answer], services: Sequence[Verdict], known: Collection[str]
) -> Verdict:
    """`services`: what came of the services; `known`: all declared servers.

    A fault is only what services may suffer from: a server that answers by the load balancer and not directly is behind a
    firewall.
    """
    heard = list(answers)
    name = probe.endpoint.service
    verdict = Verdict(
        probe,
        answers=Counter(a.server for a in heard if a.server),
        clients=Counter(a.client for a in heard if a.client),
        errors=Counter(a.error for a in heard if a.error),
    )
    others = [server for server in verdict.answers if server != name and server in known]
    faults = [f"{other} answers at the address of {name}" for other in others]
    remarks = [f"calls itself {server}" for server in verdict.answers if probe.sql and server not in known]
    unanswered = [_unanswered(a.error) for a in heard if a.error and not a.server]
    cut, unwilling = lost(probe, heard) if probe.large else ((), ())
    remarks += unwilling
    if probe.idle:
        return replace(verdict, faults=tuple(faults), remarks=(probe.idle, *remarks, *unanswered, *cut))
    answered = {server for service in services for server in service.answers}
    whole = {server for service in services if service.probe.kind is Kind.LARGE for server in service.answers}
    if name in answered:
        remarks += [f"{text}; {_else(text)}" for text in unanswered]
    elif probe.translated:
        faults += [text for text in unanswered if not refused(text)]
        remarks += [f"{text}; services have another client address (snat)" for text in unanswered if refused(text)]
    else:
        faults += unanswered
    (remarks if name in whole else faults).extend(cut)
    return replace(verdict, faults=tuple(faults), remarks=tuple(remarks))


def _unanswered(error: str) -> str:
    return f"answers, and refuses this account: {error}" if refused(error) else f"does not answer directly: {error}"


def _else(text: str) -> str:
    """How it is by the load balancer."""
    if refused(text):
        return "by the load balancer it lets it in"
    return "by the load balancer it does: only the way from here to its own address is closed"


def refused(text: str) -> bool:
    """Whether MySQL said this error, to an account that it does not let in."""
    return any(words in text for words in _REFUSALS)
