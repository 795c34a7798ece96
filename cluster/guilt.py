"""Whether the load balancer or a database is guilty: services, and the same servers past the load balancer, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster.declaration import Declaration
from cluster.directly import refused
from cluster.keepalived import source_network_translated
from cluster.verification import Kind, Verdict
from cluster.vocabulary import Mode

_STATUS = "lbctl status says"


@dataclass(frozen=True)
class _Sides:
    """What speaks for whom. Names of servers that should serve; endpoints as text."""

    failing: tuple[str, ...]
    """Endpoints that some connection failed at, by another reason than its account."""
    serving: tuple[str, ...]
    up: tuple[str, ...]
    """Answer directly, be it by refusing the account."""
    down: tuple[str, ...]
    """Answer nowhere."""
    left_out: tuple[str, ...]
    """Answer directly, and had no turn at a service whose connections all came through."""


def conclusions(declaration: Declaration, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """As far as it can be told. Nothing where no server was asked directly."""
    direct = [verdict for verdict in verdicts if verdict.probe.kind is Kind.DIRECT and verdict.probe.sql]
    if not direct:
        return ()
    services = [v for v in verdicts if v.probe.kind is Kind.SPREAD and v.probe.sql]
    sides = _sides(services, direct)
    return (
        *_whose_fault(sides, by_director=_answers_pass_the_director(declaration)),
        *_who_is_left_out(sides),
        *_whose_packets([v for v in verdicts if v.probe.kind is Kind.LARGE], direct),
        *_who_is_seen(services, direct),
    )


def _sides(services: Sequence[Verdict], direct: Sequence[Verdict]) -> _Sides:
    serving = [verdict for verdict in direct if not verdict.probe.idle]
    up = _names(v for v in serving if v.answers or any(map(refused, v.errors)))
    missing = {
        name for verdict in services if not verdict.errors and not verdict.probe.by_load for name in verdict.missing
    }
    return _Sides(
        failing=tuple(str(v.probe.endpoint) for v in services if any(not refused(error) for error in v.errors)),
        serving=_names(iter(serving)),
        up=up,
        down=tuple(name for name in _names(v for v in serving if not v.healthy) if name not in up),
        left_out=tuple(name for name in up if name in missing),
    )


def _names(verdicts: Iterator[Verdict]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(verdict.probe.endpoint.service for verdict in verdicts))


def _answers_pass_the_director(declaration: Declaration) -> bool:
    """nat: what leaves from a server's own address and a service's port takes the return path (docs/connection-pools.md)."""
    return declaration.mode is Mode.NAT and not source_network_translated(declaration)


def _whose_fault(sides: _Sides, *, by_director: bool) -> Iterator[str]:
    failing, up, down = sides.failing, sides.up, sides.down
    fails = f"{_and(failing)} {_form('fail', failing)}"
    if failing and up and up == sides.serving:
        each = "each server answers directly" if len(up) > 1 else f"{up[0]} answers directly"
        yield f"{fails} and {each}: the load balancer's path is guilty, no database (lbctl doctor; lbctl doctor trace)"
    if down and not up:
        nobody = "no server answers directly: the databases are guilty, or the network from here, not the load balancer alone"
        yield f"{fails} and {nobody}" if failing else nobody
        if by_director:
            yield "in nat direct answers pass the active director, too, unless nat.direct names this client"
    elif down:
        whose = "the database is guilty, or its machine, not the load balancer"
        yield f"{_and(down)} {_form('do', down)} not answer directly: {whose}"
        if failing:
            others = f"{_and(up)} {_form('answer', up)} directly"
            yield f"{fails} though {others}: {_STATUS} whom directors send clients to"


def _who_is_left_out(sides: _Sides) -> Iterator[str]:
    if names := sides.left_out:
        both = f"{_and(names)} {_form('answer', names)} directly and not by the load balancer"
        yield f"{both}: {_STATUS} why directors send no clients there"


def _whose_packets(large: Sequence[Verdict], direct: Sequence[Verdict]) -> Iterator[str]:
    asked = [verdict for verdict in direct if verdict.answers and verdict.probe.large]
    narrow = _names(verdict for verdict in asked if verdict.errors)
    cut = [str(verdict.probe.endpoint) for verdict in large if verdict.faults]
    if cut and narrow:
        whose = "the network there is guilty, not the load balancer"
        yield f"large packets of {_and(narrow)} do not pass directly either: {whose}"
    elif cut and asked:
        whose = "the load balancer's path is guilty (in tun: the tunnel's packet size)"
        yield f"large packets pass directly and not by {_and(cut)}: {whose}"


def _who_is_seen(services: Sequence[Verdict], direct: Sequence[Verdict]) -> Iterator[str]:
    """Without translation servers must see the same client both ways. One that has several addresses may use two of them."""
    here = {client for verdict in direct for client in verdict.clients}
    for verdict in services:
        probe = verdict.probe
        others = set(verdict.clients) - here
        # Of a director as client the service's own verdict speaks.
        if here and others and not probe.translated and not others & probe.directors:
            seen = f"{probe.endpoint}: servers see {_and(sorted(others))} as client, and directly {_and(sorted(here))}"
            yield f"{seen}: right only if this client has both addresses"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _form(verb: str, subjects: Sequence[str]) -> str:
    """A verb for one or for several."""
    if len(subjects) > 1:
        return verb
    return "does" if verb == "do" else f"{verb}s"
