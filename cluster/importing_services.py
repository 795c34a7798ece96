"""The services of an imported configuration: which of them fit into one declaration, their checks, weights and names."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from cluster.errors import RequestError
from cluster.keepalived_body import Checking, Conf, Effect, Remark, Served, Virtual
from cluster.keepalived_conf import ConfError
from cluster.units import duration
from cluster.vocabulary import CLUSTERCHECK_PORT, MYSQL_PORT, Mode

_BY_PORT = {25: "smtp", 53: "dns", 80: "http", 389: "ldap", 443: "https", 5432: "postgres", 6379: "redis"}
_BY_PATH = {"/": "synced", "/master": "primary", "/writable": "writable"}


@dataclass(frozen=True)
class Own:
    """Addresses that are no VIPs: the directors', and what answers of nat go through."""

    directors: AbstractSet[IPv4Address]
    gateway: IPv4Address | None


@dataclass(frozen=True)
class Chosen:
    """The services that one declaration says, and the servers that all of them have."""

    virtuals: tuple[Virtual, ...]
    mode: Mode
    weights: Mapping[IPv4Address, int]
    """Each server's, in the order in which they are to be declared."""

    @property
    def is_mysql(self) -> bool:
        return all(MYSQL_PORT in {server_port(virtual), virtual.port} for virtual in self.virtuals)


def chosen(conf: Conf, only: Iterable[str], remarks: list[Remark]) -> Chosen:
    """As many services as have the same servers and forwarding method; those of `only`, if it names any. Others are told.

    Raises RequestError.
    """
    wanted = set(only)
    if unknown := wanted - {str(virtual) for virtual in conf.virtuals}:
        there = ", ".join(map(str, conf.virtuals)) or "none"
        raise RequestError(f"--only {', '.join(sorted(unknown))}: no such virtual_server", cure=f"there are {there}")
    fit: dict[object, list[Virtual]] = {}
    for virtual in conf.virtuals:
        if why := _unfit(virtual):
            _tell(remarks, Effect.CLIENTS, virtual, f"{why}: it is not carried over, and its clients are not served")
        elif not wanted or str(virtual) in wanted:
            fit.setdefault(_group(virtual), []).append(virtual)
    if not fit:
        raise RequestError(f"{conf.file} has no virtual_server that a declaration could say")
    group = max(fit.values(), key=len)
    for virtual in conf.virtuals:
        if virtual not in group and not _unfit(virtual):
            _tell(
                remarks,
                Effect.CLIENTS,
                virtual,
                "has other real servers, or another forwarding method, than the services that are carried over: it is not, and "
                "after a deploy its clients are not served: declare it as a service by hand (one writer among all servers: "
                'scheduler = "fo"), or leave it to keepalived on directors of its own',
            )
    mode = group[0].servers[0].mode
    ports = _with_one_port(group, mode, remarks)
    _refuse_doubled(ports)
    return Chosen(ports, mode, _weights(ports, remarks))


def _refuse_doubled(virtuals: Iterable[Virtual]) -> None:
    there: dict[object, Virtual] = {}
    for virtual in virtuals:
        before = there.setdefault((virtual.address, virtual.port, virtual.protocol), virtual)
        if before is not virtual:
            raise ConfError(
                virtual.place, f"virtual_server {virtual} is there already, at {before.place}", cure="keep one"
            )


def _unfit(virtual: Virtual) -> str | None:
    if not virtual.servers:
        return "it has no real server"
    if virtual.protocol not in {"tcp", "udp"}:
        return f"protocol {virtual.protocol}"
    if len({server.mode for server in virtual.servers}) > 1:
        return "its servers have different forwarding methods"
    return None


def _group(virtual: Virtual) -> object:
    return virtual.servers[0].mode, frozenset(server.address for server in virtual.servers)


def _with_one_port(group: Iterable[Virtual], mode: Mode, remarks: list[Remark]) -> tuple[Virtual, ...]:
    """Each service with one port on all servers; in dr and tun it is the service's own, for nothing else can be."""
    found = []
    for virtual in group:
        usual = Counter(server.port or virtual.port for server in virtual.servers).most_common(1)[0][0]
        port = usual if mode is Mode.NAT else virtual.port
        servers: dict[IPv4Address, Served] = {}
        for server in virtual.servers:
            there = server.port or virtual.port
            if there != port and mode is not Mode.NAT:
                what = f"port {there} of {server.address} becomes {port}: {mode} cannot change ports, and the kernel does not"
                remarks.append(Remark(Effect.NOTE, server.place.file, server.place.line, what))
            elif there != port:
                what = f"port {there} of {server.address} becomes {port}: a service has one port on all servers"
                remarks.append(Remark(Effect.CLIENTS, server.place.file, server.place.line, what))
            servers[server.address] = replace(server, port=port)
        found.append(replace(virtual, servers=tuple(servers.values())))
    return tuple(found)


def server_port(virtual: Virtual) -> int:
    return virtual.servers[0].port


# Weights


def _weights(group: Iterable[Virtual], remarks: list[Remark]) -> dict[IPv4Address, int]:
    """One for each server. Services by rank (fo) want an order: the declaration's own, where weights are equal."""
    ranked = [virtual for virtual in group if virtual.scheduler == "fo"]
    shared = [virtual for virtual in group if virtual.scheduler != "fo"] or ranked
    base = {server.address: server.weight for server in shared[0].servers}
    for virtual in shared[1:]:
        for server in virtual.servers:
            if server.weight != base[server.address]:
                what = f"weight {server.weight} of {server.address} becomes {base[server.address]}: a server has one weight"
                remarks.append(Remark(Effect.CLIENTS, server.place.file, server.place.line, what))
    if not ranked:
        return base
    wish = {server.address: server.weight for server in ranked[0].servers}
    order = sorted(base, key=lambda address: (-base[address], -wish[address]))
    for virtual in ranked:
        theirs = {server.address: server.weight for server in virtual.servers}
        if sorted(theirs, key=lambda address: -theirs[address]) != sorted(
            order, key=lambda address: (-(theirs[address] > 0), order.index(address))
        ):
            _tell(remarks, Effect.CLIENTS, virtual, "another server ranks first then: servers rank by their one weight")
        elif [theirs[address] for address in order] != [10 * (len(order) - place) for place in range(len(order))]:
            _tell(remarks, Effect.NOTE, virtual, "weights of a service by rank become 10, 20, 30 …, in the same order")
    return {address: base[address] for address in order}


# Services


def services(
    conf: Conf,
    picked: Chosen,
    own: Own,
    remarks: list[Remark],
    *,
    clustercheck: bool,
) -> dict[str, dict[str, Any]]:
    """The tables [service.NAME]."""
    found: dict[str, dict[str, Any]] = {}
    for virtual in picked.virtuals:
        name = _unused(_name(virtual, picked), found)
        said = _address(virtual, conf, picked.mode, own, remarks)
        if virtual.protocol == "udp":
            said["protocol"] = "udp"
        said["scheduler"] = virtual.scheduler
        said |= _check(virtual, remarks, clustercheck=clustercheck)
        if virtual.persistence and virtual.scheduler == "fo":
            _tell(remarks, Effect.NOTE, virtual, "persistence beside scheduler fo has no effect, and is left out")
        elif virtual.persistence:
            granularity = str(virtual.granularity)
            said["persistence"] = {"timeout": duration(virtual.persistence), "granularity": granularity}
        found[name] = said
    return found


def _name(virtual: Virtual, picked: Chosen) -> str:
    if virtual.name:
        return re.sub(r"[^a-z0-9]+", "-", virtual.name.lower()).strip("-") or "service"
    port = server_port(virtual)
    if MYSQL_PORT not in {port, virtual.port}:
        return _BY_PORT.get(port, f"port-{port}")
    writers = [v for v in picked.virtuals if _is_writer(v)]
    if not writers or len(writers) == len(picked.virtuals):
        return "mysql"
    return "write" if virtual in writers else "read"


def _is_writer(virtual: Virtual) -> bool:
    return bool(virtual.persistence) or virtual.scheduler == "fo" or virtual.servers[0].check.path == "/master"


def _unused(name: str, taken: Mapping[str, object]) -> str:
    number = 1
    while (found := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return found


def _address(virtual: Virtual, conf: Conf, mode: Mode, own: Own, remarks: list[Remark]) -> dict[str, Any]:
    """Where clients connect. nat: on the gateway, or a director's own address, a service has a nat_port."""
    port = server_port(virtual)
    if mode is Mode.NAT and (
        virtual.address == own.gateway or (virtual.address in own.directors and own.gateway is None)
    ):
        return {"port": port, "nat_port": virtual.port}
    if virtual.address in own.directors:
        if mode is Mode.NAT:
            what = f"moves from the director's own address to the gateway, {own.gateway}:{virtual.port}"
            _tell(remarks, Effect.CLIENTS, virtual, what)
            return {"port": port, "nat_port": virtual.port}
        raise RequestError(f"{virtual.place}: {virtual} is the director's own address; mode {mode} needs a virtual one")
    if virtual.address not in conf.floating:
        what = f"{virtual.address} is in no virtual_ipaddress; it floats between directors from now on"
        _tell(remarks, Effect.NOTE, virtual, what)
    said: dict[str, Any] = {"vip": str(virtual.address), "port": virtual.port}
    if port != virtual.port:
        said["server_port"] = port
    return said


# Checks


def _check(virtual: Virtual, remarks: list[Remark], *, clustercheck: bool) -> dict[str, Any]:
    first = next((server.check for server in virtual.servers if server.check.kind != "none"), virtual.servers[0].check)
    for server in virtual.servers:
        if _asked(server.check) != _asked(first):
            what = f"{server.address} is checked as on line {first.place.line} from now on: a service has one check"
            remarks.append(Remark(Effect.CLIENTS, server.check.place.file, server.check.place.line, what))
    kind = _kind(virtual, first, remarks)
    if kind == "none":
        _tell(remarks, Effect.NOTE, virtual, "no check: a server that is dead keeps on getting clients")
        return {"check": "none"}
    if kind == "http" and first.port == CLUSTERCHECK_PORT and first.path in _BY_PATH:
        if clustercheck:
            what = f"lbctl brings its own health service: what answers on {first.port} of the servers now must go first"
            _tell(remarks, Effect.NOTE, virtual, what)
            return {"check": _BY_PATH[first.path]}
        own = f'check = "{_BY_PATH[first.path]}" (--clustercheck)'
        what = f"the check stays as it is, with what answers there; {own} is lbctl's own"
        _tell(remarks, Effect.NOTE, virtual, what)
    said: dict[str, Any] = {"check": kind}
    if first.port not in {0, server_port(virtual)}:
        said["check_port"] = first.port
    if kind == "http" and first.path != "/":
        said["check_path"] = first.path
    return said


def _asked(check: Checking) -> tuple[str, int, str]:
    return check.kind, check.port, check.path


def _kind(virtual: Virtual, check: Checking, remarks: list[Remark]) -> str:
    """Which of a declaration's checks comes nearest."""
    place = check.place

    def instead(what: str) -> str:
        other = "none" if virtual.protocol == "udp" else "tcp"
        then = (
            "servers are not checked" if other == "none" else "that the port accepts a connection is all that is asked"
        )
        remarks.append(Remark(Effect.CLIENTS, place.file, place.line, f"{what}: {then}"))
        return other

    if check.kind not in {"http", "tcp", "none"}:
        return instead(f"{check.kind} is no check of a declaration")
    if check.kind == "tcp" and virtual.protocol == "udp":
        return instead("TCP_CHECK of a UDP service")
    if check.kind == "http" and not re.fullmatch(r"/[A-Za-z0-9/._~?=&%-]*", check.path):
        return instead(f'path "{check.path}" has characters that a declaration does not take')
    return check.kind


def health(conf: Conf, picked: Chosen, remarks: list[Remark]) -> dict[str, Any]:
    """The table [health]: there is one for all services."""
    all_ = [server.check for virtual in picked.virtuals for server in virtual.servers]
    checks = [c for c in all_ if c.kind in {"http", "tcp"}] or [c for c in all_ if c.kind != "none"]
    if not checks:
        return {}
    first = checks[0]
    for check in checks:
        if _pace(check) != _pace(first):
            what = f"how often and how long is checked is the same for all: as on line {first.place.line}"
            remarks.append(Remark(Effect.NOTE, check.place.file, check.place.line, what))
    alphas = {virtual.alpha for virtual in picked.virtuals}
    if len(alphas) > 1:
        remarks.append(Remark(Effect.NOTE, conf.file, 0, "alpha counts for all services or for none: for all"))
    kept = {
        "every": min(max(first.every, 0.1), 3600.0),
        "timeout": min(max(first.timeout, 0.1), 3600.0),
        "retry_after": first.retry_after,
    }
    if (kept["every"], kept["timeout"], min(first.retry, 10)) != (first.every, first.timeout, first.retry):
        what = "delay_loop and connect_timeout become 100ms to 1h, retry at most 10"
        remarks.append(Remark(Effect.NOTE, first.place.file, first.place.line, what))
    said: dict[str, Any] = {key: duration(value) for key, value in kept.items()}
    return {**said, "retry": min(first.retry, 10), "alpha": True in alphas}


def _pace(check: Checking) -> tuple[float, float, int, float]:
    return check.every, check.timeout, check.retry, check.retry_after


def _tell(remarks: list[Remark], effect: Effect, virtual: Virtual, what: str) -> None:
    remarks.append(Remark(effect, virtual.place.file, virtual.place.line, f"virtual_server {virtual}: {what}"))
