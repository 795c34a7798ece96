"""The how-to's manual set-up: a director without keepalived, made with ip and ipvsadm, to try a mode before production.

`lbctl trial` makes it, and a deploy takes away what is left of it. It is known by this: what floats, or what is served, is on a
director that has no keepalived.conf. So a trial needs no mark of its own, and one that was typed by hand is found as well.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.errors import HostError, RefusedError, RequestError
from cluster.keepalived import Endpoint, configuration, endpoints, floating_addresses
from cluster.observed import HostState
from cluster.parts import KEEPALIVED_CONF, Address
from cluster.vocabulary import Mode


def table_lines(declaration: Declaration, director: str, servers: Collection[str] = ()) -> tuple[str, ...]:
    """ipvsadm's arguments, as the how-to types them. `servers`: only these; empty: all."""

    def lines() -> Iterator[str]:
        for server in configuration(declaration, director).virtual_servers:
            named = _named(server.endpoint)
            persistence = (
                f" -p {server.persistence_timeout} -M {server.persistence_granularity}"
                if server.persistence_timeout
                else ""
            )
            yield f"-A {named} -s {server.scheduler}{persistence}"
            for d in server.destinations:
                if not servers or d.name in servers:
                    # Only nat can change the port.
                    place = f"{d.address}:{d.port}" if server.mode is Mode.NAT else str(d.address)
                    yield f"-a {named} -r {place} {server.mode.ipvsadm_option} -w {d.weight}"

    return tuple(lines())


def _named(endpoint: Endpoint) -> str:
    return f"{'-u' if endpoint.protocol == 'udp' else '-t'} {endpoint}"


def addresses(declaration: Declaration) -> tuple[IPv4Address, ...]:
    """What the trial's director holds: VIPs, and in nat what answers go through."""
    return floating_addresses(declaration) if declaration.mode is Mode.NAT else declaration.vips


def places(declaration: Declaration, director: str) -> tuple[Endpoint, ...]:
    """All that a trial by any mode serves on this director."""
    own = declaration.director[director].address
    found: dict[tuple[IPv4Address, int, str], Endpoint] = {}
    for mode in Mode:
        for e in endpoints(declaration.model_copy(update={"mode": mode}), director):
            found.setdefault((e.address, e.port, e.protocol), e)
    for name, service in declaration.service.items():
        if service.nat_port:
            # Without a gateway, or of a trial from before there was one.
            place = Endpoint(name, own, service.nat_port, service.protocol)
            found.setdefault((own, service.nat_port, service.protocol), place)
    return tuple(found.values())


# Leftovers


@dataclass(frozen=True)
class Leftovers:
    """What a trial left on a director."""

    addresses: tuple[Address, ...] = ()
    services: tuple[Endpoint, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.services)

    @property
    def what(self) -> tuple[str, ...]:
        """A line for each, for people."""
        return (
            *(f"remove {service} from the kernel's table, which a trial left" for service in self.services),
            *(f"remove {a.address}/{a.length} from {a.device}, which a trial left" for a in self.addresses),
        )


def leftovers(declaration: Declaration, director: str, seen: HostState) -> Leftovers:
    """What of the cluster's is on this director while no keepalived.conf is there: nobody but a trial put it there.

    Where there is one it is keepalived's, also when that was killed: then the kernel goes on serving, and must.
    """
    if KEEPALIVED_CONF in seen.files or _runs(seen):
        return Leftovers()
    floating = set(floating_addresses(declaration))
    served = {(e.address, e.port, e.protocol) for e in places(declaration, director)}
    held = (a for a in seen.addresses | seen.wider if a.address in floating)
    return Leftovers(
        # Typed by hand, with any length. None can be the host's own: cluster.rules wants those of VIPs to be free.
        tuple(sorted(held, key=lambda a: (a.device, a.address, a.length))),
        tuple(
            service.endpoint
            for service in seen.services
            if (service.endpoint.address, service.endpoint.port, service.endpoint.protocol) in served
            or service.endpoint.address in floating
        ),
    )


def _runs(seen: HostState) -> bool:
    unit = seen.units.get("keepalived.service")
    return unit is not None and unit.active


def cleared(seen: HostState, left: Leftovers) -> HostState:
    """The same director without it."""
    return replace(
        seen,
        addresses=seen.addresses - set(left.addresses),
        wider=seen.wider - set(left.addresses),
        local=seen.local - {address.address for address in left.addresses},
        services=tuple(service for service in seen.services if service.endpoint not in left.services),
    )


# Before a trial


def refuse(declaration: Declaration, director: str, seen: Mapping[str, HostState | None]) -> None:
    """Raises HostError if a director cannot be asked, RefusedError if keepalived serves these addresses, or would.

    One that cannot be asked may well serve: SSH is not the way of clients.
    """
    for name in declaration.director:
        state = seen.get(name)
        if state is None and name == director:
            raise HostError(f"{name} cannot be asked; nothing was changed")
        if state is None:
            raise HostError(
                f"{name} cannot be asked, and may hold the addresses that a trial on {director} would take; nothing was changed",
                cure=f"repair the way to {name}; one that is gone for good is taken out of the declaration",
            )
        if _runs(state) or KEEPALIVED_CONF in state.files:
            verb = "runs" if _runs(state) else "is configured"
            raise RefusedError(
                f"keepalived {verb} on {name}: a trial beside it would take its addresses and its table; nothing was changed",
                cure="a trial comes before production. Another mode while clients are served: lbctl switch-mode; "
                "to begin anew: lbctl uninstall",
            )
        left = leftovers(declaration, name, state)
        if name != director and left:
            raise RefusedError(
                f"there is a trial on {name} already, and two directors cannot hold the same addresses; nothing was changed",
                cure="lbctl trial clear",
            )


def one_director(declaration: Declaration, given: str | None) -> str:
    """The one that is named, else the preferred one. Raises RequestError."""
    if given is not None and given not in declaration.director:
        raise RequestError(f"there is no director {given}", cure=f"declared: {', '.join(declaration.director)}")
    return given or max(declaration.director, key=lambda name: declaration.director[name].priority)


def chosen_servers(declaration: Declaration, given: str) -> tuple[str, ...]:
    """From NAME,NAME; all, where none is named. Raises RequestError."""
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    if unknown := [name for name in names if name not in declaration.real_server]:
        known = ", ".join(declaration.real_server)
        raise RequestError(f"there is no real server {', '.join(unknown)}", cure=f"declared: {known}")
    return names or tuple(declaration.real_server)


# Tables in ipvsadm's own format


_SERVICE = r"-(?P<kind>[tu]) (?P<address>[0-9.]+):(?P<port>\d+)"
_LINE = re.compile(
    rf"(?:-A {_SERVICE} -s [a-z]+(?: -p \d+)?(?: -M [0-9.]+)?(?: -b [a-z0-9,-]+)?(?: -o)?"
    rf"|-a {_SERVICE.replace('?P<', '?P<to_')} -r [0-9.]+(?::\d+)? -[gim](?: -w \d+)?(?: -[xy] \d+)*(?: --tun-type ipip)?)"
)


def saved(lines: Iterable[str], ours: Collection[Endpoint]) -> tuple[str, ...]:
    """Of what `ipvsadm -Sn` printed, the lines of our services."""
    return tuple(line.strip() for line in lines if (place := _place_of(line.strip())) and place in _keys(ours))


def to_restore(text: str, ours: Collection[Endpoint]) -> tuple[str, ...]:
    """The lines of a saved table. Raises RequestError for one that is not ipvsadm's, or of a service that is not declared."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = _place_of(line.strip())
        if place is None:
            raise RequestError(
                f"line {number} is not as `ipvsadm -Sn` writes it: {line.strip()!r}",
                cure="lbctl trial save writes one (numbers, no names of ports)",
            )
        if place not in _keys(ours):
            raise RequestError(f"line {number}: {place[0]}:{place[1]} is no service of this cluster: {line.strip()}")
        found.append(line.strip())
    if not found:
        raise RequestError("there is no table in it", cure="lbctl trial clear takes the table away")
    return tuple(found)


def _keys(ours: Collection[Endpoint]) -> set[tuple[str, int, str]]:
    return {(str(e.address), e.port, e.protocol) for e in ours}


def _place_of(line: str) -> tuple[str, int, str] | None:
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    names = ("address", "port", "kind") if found["kind"] else ("to_address", "to_port", "to_kind")
    address, port, kind = (found[name] for name in names)
    return address, int(port), "udp" if kind == "u" else "tcp"
