"""The kernel's IPVS table beside the declaration.

keepalived compares its file with the file before, never with the kernel. One that died and was started again finds its services
there and keeps them as they are, old method, weights, scheduler and foreign servers included; what somebody changes with ipvsadm
it does not see at all (keepalived 2.2.7, seen on machines; a reload mends neither). So the table is compared here, and mended by
ipvsadm: editing in place keeps established connections.

Not drift: a declared server that is not in the table. It fails its check, and only keepalived knows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import Destination, Endpoint, VirtualServer, endpoints, weights_for
from cluster.observed import HostState, SeenDestination, SeenService
from cluster.parts import Table
from cluster.vocabulary import Mode


@dataclass(frozen=True)
class Mend:
    """ipvsadm's arguments; none: only a new start of keepalived mends it, because it alone knows which servers live."""

    arguments: tuple[str, ...]


_Key = tuple[IPv4Address, int, str]
Drift = tuple[Mend, str]
"""What mends it, and what it is: one line, for people."""


def drift(table: Table, seen: HostState) -> Iterator[Drift]:
    """All that is otherwise in the kernel's table than declared."""
    there = {_key(service.endpoint): service for service in seen.services}
    for server in table.servers:
        if service := there.get(_key(server.endpoint)):
            yield from _of_service(server, service)
            yield from _of_destinations(server, service.destinations)
    declared = {_key(server.endpoint) for server in table.servers}
    for key, service in there.items():
        if key not in declared and service.endpoint.address in table.ours:
            yield Mend(("-D", *_named(service.endpoint))), f"remove {service.endpoint} from the kernel's table"
    gone = [str(server.endpoint) for server in table.servers if _key(server.endpoint) not in there]
    if gone:
        verb = "is" if len(gone) == 1 else "are"
        yield Mend(()), f"{', '.join(gone)} {verb} not in the kernel's table: start keepalived anew"


Weights = Mapping[_Key, Mapping[IPv4Address, int]]
"""Of each service's servers, by the service's address, port and protocol."""


def weights(declaration: Declaration, director: str) -> Weights:
    """As declared, for all that this director may serve in any mode."""
    servers = declaration.real_server
    found = {}
    for endpoint in _in_any_mode(declaration, director):
        named = weights_for(declaration.service[endpoint.service], declaration)
        found[_key(endpoint)] = {servers[name].address: weight for name, weight in named.items()}
    return found


def set_aside(address: IPv4Address, declared: Weights, seen: HostState) -> Iterator[Mend]:
    """What has a director send a server no new connections, while established ones go on: weight 0.

    Not where no other server would take them. Taken out of the table instead (so keepalived does when a check fails), it would
    have its established connections reset, those too that have just begun.
    """
    for service in seen.services:
        if _key(service.endpoint) in declared and any(d.weight for d in service.destinations if d.address != address):
            yield from (_weigh(service, d, 0) for d in service.destinations if d.address == address and d.weight)


def taken_back(declared: Weights, seen: HostState) -> Iterator[Mend]:
    """What undoes `set_aside` for every server, also where a run that was cut short did it."""
    for service in seen.services:
        for d in service.destinations:
            if not d.weight and (weight := declared.get(_key(service.endpoint), {}).get(d.address)):
                yield _weigh(service, d, weight)


def sticking(declaration: Declaration, director: str, seen: HostState, seconds: int) -> Iterator[Mend]:
    """What has each client's new connections go to one server, for so long: services become persistent (ipvsadm(8), -p).

    Established connections stay where they are. `not_sticking` undoes it.
    """
    for service in _not_persistent(declaration, director, seen):
        yield _edited(service.endpoint, service.scheduler, seconds, IPv4Address("255.255.255.255"))


def not_sticking(declaration: Declaration, director: str, seen: HostState) -> Iterator[Mend]:
    """`seen`: before `sticking` or after it."""
    for service in _not_persistent(declaration, director, seen):
        yield _edited(service.endpoint, service.scheduler)


def spread(declaration: Declaration, director: str, seen: HostState) -> HostState:
    """As after `not_sticking`: what a command that was killed amid `sticking` left is undone by the next one like it."""
    left = {_key(service.endpoint) for service in _not_persistent(declaration, director, seen)}
    services = (
        replace(s, persistence=None, granularity=None) if _key(s.endpoint) in left else s for s in seen.services
    )
    return replace(seen, services=tuple(services))


def _not_persistent(declaration: Declaration, director: str, seen: HostState) -> Iterator[SeenService]:
    """The services in the kernel that are declared without persistence."""
    declared = {_key(e): declaration.service[e.service] for e in _in_any_mode(declaration, director)}
    for service in seen.services:
        there = declared.get(_key(service.endpoint))
        if there and there.protocol == "tcp" and not there.persistence:
            yield service


def _in_any_mode(declaration: Declaration, director: str) -> Iterator[Endpoint]:
    """All that this director may serve: its table may be of another mode than the declared."""
    for mode in Mode:
        yield from endpoints(declaration.model_copy(update={"mode": mode}), director)


def _edited(
    endpoint: Endpoint, scheduler: str, seconds: int | None = None, granularity: IPv4Address | None = None
) -> Mend:
    persistence = ("-p", str(seconds), "-M", str(granularity)) if seconds else ()
    return Mend(("-E", *_named(endpoint), "-s", scheduler, *persistence))


def _weigh(service: SeenService, there: SeenDestination, weight: int) -> Mend:
    named = (*_named(service.endpoint), "-r", f"{there.address}:{there.port}")
    return Mend(("-e", *named, there.mode.ipvsadm_option, "-w", str(weight)))


def _key(endpoint: Endpoint) -> _Key:
    return endpoint.address, endpoint.port, endpoint.protocol


def _named(endpoint: Endpoint) -> tuple[str, str]:
    return ("-u" if endpoint.protocol == "udp" else "-t", str(endpoint))


def _of_service(wanted: VirtualServer, there: SeenService) -> Iterator[Drift]:
    reasons = []
    if there.scheduler != wanted.scheduler:
        reasons.append(f"scheduler {there.scheduler} becomes {wanted.scheduler}")
    if (there.persistence, there.granularity) != (wanted.persistence_timeout, wanted.persistence_granularity):
        before, then = (
            f"{s} s for {g}" if s else "none"
            for s, g in (
                (there.persistence, there.granularity),
                (wanted.persistence_timeout, wanted.persistence_granularity),
            )
        )
        reasons.append(f"persistence {before} becomes {then}")
    if reasons:
        timeout, granularity = wanted.persistence_timeout, wanted.persistence_granularity
        mend = _edited(wanted.endpoint, wanted.scheduler, timeout, granularity)
        yield mend, f"{wanted.endpoint}: {', '.join(reasons)}"


def _of_destinations(wanted: VirtualServer, there: Iterable[SeenDestination]) -> Iterator[Drift]:
    declared = {(d.address, d.port): d for d in wanted.destinations}
    for seen in there:
        named = (*_named(wanted.endpoint), "-r", f"{seen.address}:{seen.port}")
        destination = declared.get((seen.address, seen.port))
        if destination is None:
            what = f"{wanted.endpoint}: remove {seen.address}:{seen.port}, which is not declared"
            yield Mend(("-d", *named)), what
        elif why := _differs(destination, wanted.mode, seen):
            mend = Mend(("-e", *named, wanted.mode.ipvsadm_option, "-w", str(destination.weight)))
            yield mend, f"{wanted.endpoint}: {destination.name}: {why}"


def _differs(wanted: Destination, mode: Mode, seen: SeenDestination) -> str | None:
    reasons = []
    if seen.mode is not mode:
        reasons.append(f"method {seen.mode} becomes {mode}")
    if seen.weight != wanted.weight:
        reasons.append(f"weight {seen.weight} becomes {wanted.weight}")
    return ", ".join(reasons) or None
