"""States of hosts for pure tests: exactly what a footprint asks for, and what tables look like."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address

from cluster import boot
from cluster.footprint import Blueprint
from cluster.keepalived import VirtualServer, configuration
from cluster.observed import (
    Connection,
    ForeignLine,
    HostState,
    SeenDestination,
    SeenFile,
    SeenLink,
    SeenService,
    SeenUnit,
)
from cluster.parts import Address, proc_path
from cluster.vocabulary import BootFiles, Mode

SOURCE = ForeignLine("/etc/network/interfaces", 4, "source /etc/network/interfaces.d/*")
IFUPDOWN = HostState(interfaces=(SOURCE,))
NETWORKD = HostState(boot_files=BootFiles.NETWORKD, network_file="10-eth0.network")
"""Hosts that differ in who configures their network."""


def as_declared(blueprint: Blueprint, host: str, modes: Iterable[Mode], kind: HostState = IFUPDOWN) -> HostState:
    """A host that carries its footprint, as it would be seen."""
    parts = boot.on_host(blueprint.footprint(host, frozenset(modes), kind), kind)
    return replace(
        kind,
        files={
            f.path: SeenFile(f.sha256, f.mode, "root:root", 0, "kept" if f.guarded else None)
            for p in parts
            for f in p.files
        },
        sysctls={proc_path(key): str(value) for p in parts for key, value in p.sysctls.items()},
        before={key: "7" for p in parts for key in p.sysctls},
        packages=frozenset(name for p in parts for name in p.packages),
        users=frozenset(name for p in parts for name in p.users),
        modules=frozenset(name for p in parts for name in p.modules),
        links={link.name: SeenLink(up=True, kind=link.kind, received_packets=0) for p in parts for link in p.links},
        addresses=frozenset(address for p in parts for address in p.addresses),
        rules=tuple(rule for p in parts for rule in p.rules),
        routes=frozenset(route for p in parts for route in p.routes),
        chains=tuple(chain for p in parts for chain in p.chains),
        units={
            unit.name: SeenUnit(
                active=True,
                enabled=True,
                stale=False,
                revision=unit.revision,
                contract=blueprint.contract if unit.name == "keepalived.service" else None,
            )
            for p in parts
            for unit in p.units
        },
        services=tuple(s for p in parts if p.table for s in services(p.table.servers)),
        database="up",
        database_users=frozenset(name for p in parts for name in p.database_users),
    )


def services(servers: Iterable[VirtualServer], dead: Iterable[str] = ()) -> tuple[SeenService, ...]:
    """The kernel's table as keepalived makes it, without the dead servers."""
    return tuple(
        SeenService(
            server.endpoint,
            server.scheduler,
            server.persistence_timeout,
            server.persistence_granularity,
            tuple(
                SeenDestination(d.address, d.port, server.mode, d.weight, 0, 0)
                for d in server.destinations
                if d.name not in frozenset(dead)
            ),
        )
        for server in servers
    )


def director(blueprint: Blueprint, name: str, mode: Mode, *, active: bool, dead: Iterable[str] = ()) -> HostState:
    """A director whose table sends by `mode`, without the dead servers; the active one holds what floats."""
    declaration = blueprint.declaration.model_copy(update={"mode": mode})
    model = configuration(declaration, name)
    old = Blueprint(declaration, blueprint.render, blueprint.password)
    held = (*model.instance.advertised, *model.instance.excluded) if active and model.instance else ()
    state = as_declared(old, name, {mode})
    return replace(
        state,
        services=services(model.virtual_servers, dead),
        addresses=frozenset(Address("eth0", address) for address in held),
    )


def with_length(state: HostState, length: int) -> HostState:
    """The same director, as a hand-made keepalived.conf would have it hold what floats."""
    return replace(state, addresses=frozenset(), wider=frozenset(replace(a, length=length) for a in state.addresses))


def with_connections(state: HostState, *pairs: tuple[str, str]) -> HostState:
    """The same server with established connections: (its own end, the other end)."""
    return replace(state, established=tuple(Connection(IPv4Address(a), IPv4Address(b)) for a, b in pairs))
