"""What is allowed in a declaration and yet worth a second thought: each says what will happen, and what to write instead."""

from collections.abc import Callable, Iterator

from cluster.declaration import Declaration
from cluster.keepalived import endpoints
from cluster.rules import Problem, problems
from cluster.vocabulary import Check, Mode, ReturnPath

Advice = Callable[[Declaration], Iterator[Problem]]
_ADVICE: list[Advice] = []

WAIT_TIMEOUT = 28800
"""Seconds after which MySQL closes a silent connection (its manual, wait_timeout)."""

_SPARE = 10
"""Seconds beyond `connections.copy_every` in which a director that came back has surely got all connections."""


def _advice(function: Advice) -> Advice:
    _ADVICE.append(function)
    return function


def advice(declaration: Declaration) -> list[Problem]:
    """In the order below; empty when there is nothing to say."""
    return [problem for each in _ADVICE for problem in each(declaration)]


def other_modes(declaration: Declaration) -> dict[Mode, str]:
    """For each mode, the declared one first: where clients would connect, or what it lacks to be switched to."""
    found = {}
    for mode in sorted(Mode, key=lambda mode: mode is not declaration.mode):
        switched = declaration.model_copy(update={"mode": mode})
        lacking = problems(switched)
        if lacking:
            key, message = lacking[0]
            found[mode] = f"not with this declaration: {'.'.join(key)}: {message}"
            continue
        places = dict.fromkeys(
            f"{endpoint.service} {endpoint}" for name in declaration.director for endpoint in endpoints(switched, name)
        )
        found[mode] = ", ".join(places)
    return found


@_advice
def _redundancy(d: Declaration) -> Iterator[Problem]:
    if len(d.director) == 1:
        yield ("director",), "there is one director: when it is down, so are all services"
    serving = [name for name, server in d.real_server.items() if server.share]
    if len(serving) == 1:
        yield ("real_server",), f"only {serving[0]} serves: when it is down, so are all services"
    for name, server in d.real_server.items():
        if not server.share:
            why = "it is drained" if server.drained else "its weight is 0"
            key = "drained" if server.drained else "weight"
            yield ("real_server", name, key), f"{name} gets no new connections: {why}"


@_advice
def _checks(d: Declaration) -> Iterator[Problem]:
    for name, service in d.service.items():
        if service.check is Check.NONE:
            yield ("service", name, "check"), "a dead server goes on getting connections; for a first test only"
        if service.check is Check.PRIMARY:
            yield (
                ("service", name, "check"),
                "a node that joins takes index 0 before it is Synced: seconds without a writer; "
                'check = "writable" with scheduler = "fo" has no such gap',
            )
        if service.check is Check.WRITABLE and service.scheduler != "fo" and not service.persistence:
            yield (
                ("service", name, "scheduler"),
                f'scheduler "{service.scheduler}" spreads writes over all servers, which can conflict; '
                '"fo" sends all to the heaviest one that is alive',
            )


@_advice
def _failover(d: Declaration) -> Iterator[Problem]:
    if len(d.director) == 1:
        return
    if not d.vrrp.synchronise_connections:
        yield ("vrrp", "synchronise_connections"), "a failover cuts every established connection"
    crossing = d.connections.copy_every + _SPARE
    if d.vrrp.preempt and d.vrrp.preempt_delay < crossing and d.vrrp.synchronise_connections:
        yield (
            ("vrrp", "preempt_delay"),
            "a director that comes back takes over before connections have crossed to it, and cuts them; "
            f"{crossing:g}s and more is safe (connections.copy_every, and a bit)",
        )
    if d.vrrp.version == 2:  # noqa: PLR2004 (VRRP version)
        gap = 3 * d.vrrp.advertise_every
        yield (
            ("vrrp", "version"),
            f"a director's crash is noticed after {gap:g} s and more; version 3 can do it in 0.7 s",
        )


@_advice
def _idle(d: Declaration) -> Iterator[Problem]:
    if not d.connections.keepalive and d.connections.idle < WAIT_TIMEOUT:
        yield (
            ("connections", "keepalive"),
            f"without it a connection that is silent for {d.connections.idle:g} s is cut; MySQL keeps one for 8 hours",
        )


@_advice
def _direct(d: Declaration) -> Iterator[Problem]:
    for net in d.nat.direct:
        if d.mode is Mode.NAT and d.nat.return_path is not ReturnPath.SNAT and d.network.subnet_of(net):
            message = f"no client in {net} can use the load balancer: its answers would not pass the director"
            yield ("nat", "direct"), message


@_advice
def _client_addresses(d: Declaration) -> Iterator[Problem]:
    if d.mode is Mode.NAT and d.nat.return_path is ReturnPath.SNAT:
        yield ("nat", "return_path"), "servers see the director as client: rights granted by client address do not hold"


@_advice
def _one_connection_for_two(d: Declaration) -> Iterator[Problem]:
    # IPVS nat changes a packet's target only: netfilter's way of finding another source port is not there.
    if d.mode is not Mode.NAT or d.nat.return_path is ReturnPath.SNAT:
        return
    ports = [service.port_at_servers for service in d.service.values()]
    shared = [name for name, port in zip(d.service, ports, strict=True) if ports.count(port) > 1]
    if shared:
        yield (
            ("mode",),
            f"in nat, {' and '.join(shared)} lead to the same port of the same servers: a client that uses one port of its own "
            'for both loses the older connection (docs/modes.md); dr, tun and nat.return_path = "snat" do not have that',
        )
