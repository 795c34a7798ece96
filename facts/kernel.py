"""The IPVS table of this machine's own kernel, by netlink: for lbctl on a director itself. Nothing is started or changed.

Linux: include/uapi/linux/ip_vs.h has the names of all attributes; net/netfilter/ipvs/ip_vs_ctl.c (ip_vs_genl_fill_service,
ip_vs_genl_fill_dest) how they are filled.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address
from socket import AF_INET, IPPROTO_TCP, IPPROTO_UDP
from typing import Any

from cluster.errors import HostError
from cluster.keepalived import Endpoint
from cluster.observed import SeenDestination, SeenService
from cluster.pulse import Place, Pulse, Traffic, place
from cluster.vocabulary import Mode

_PROTOCOLS = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp"}
_PERSISTENT = 1
"""IP_VS_SVC_F_PERSISTENT."""
_METHOD = 7
"""IP_VS_CONN_F_FWD_MASK: the other bits are no forwarding method."""

Attributes = Mapping[str, Any]
Dump = Iterable[tuple[Attributes, Iterable[Attributes]]]
"""Each service with its servers: the attributes by their names in ip_vs.h."""


def with_table(pulse: Pulse) -> Pulse:
    """The same with this machine's table. Raises HostError."""
    return read(pulse, list(_dump()))


def read(pulse: Pulse, dump: Dump) -> Pulse:
    """The same with the table that was dumped. Pure."""
    services = []
    totals: dict[tuple[Place, IPv4Address, int], Traffic] = {}
    rates: dict[tuple[Place, IPv4Address, int], Traffic] = {}
    for found, servers in dump:
        service = _service(found)
        if service is None:
            continue
        destinations = []
        for server in servers:
            destination = _destination(server)
            destinations.append(destination)
            key = (place(service.endpoint), destination.address, destination.port)
            totals[key], rates[key] = _traffic(server)
        services.append(replace(service, destinations=tuple(destinations)))
    return replace(pulse, services=tuple(services), totals=totals, rates=rates)


def _service(found: Attributes) -> SeenService | None:
    """None: by a firewall's mark, or IPv6, and so none of ours."""
    protocol = _PROTOCOLS.get(found.get("IPVS_SVC_ATTR_PROTOCOL", 0))
    if protocol is None or found.get("IPVS_SVC_ATTR_AF") != AF_INET:
        return None
    sticks = found["IPVS_SVC_ATTR_FLAGS"]["flags"] & _PERSISTENT
    return SeenService(
        Endpoint("", IPv4Address(found["IPVS_SVC_ATTR_ADDR"]), found["IPVS_SVC_ATTR_PORT"], protocol),
        found["IPVS_SVC_ATTR_SCHED_NAME"],
        found["IPVS_SVC_ATTR_TIMEOUT"] if sticks else None,
        IPv4Address(found["IPVS_SVC_ATTR_NETMASK"]) if sticks else None,
        (),
    )


def _destination(found: Attributes) -> SeenDestination:
    return SeenDestination(
        IPv4Address(found["IPVS_DEST_ATTR_ADDR"]),
        found["IPVS_DEST_ATTR_PORT"],
        Mode.of(found["IPVS_DEST_ATTR_FWD_METHOD"] & _METHOD),
        found["IPVS_DEST_ATTR_WEIGHT"],
        found["IPVS_DEST_ATTR_ACTIVE_CONNS"],
        found["IPVS_DEST_ATTR_INACT_CONNS"],
    )


def _traffic(found: Attributes) -> tuple[Traffic, Traffic]:
    """In total, and in a second. Kernels before 4.1 have no 64-bit counters."""
    counted = dict(found.get("IPVS_DEST_ATTR_STATS64") or found.get("IPVS_DEST_ATTR_STATS") or {})
    kinds = (("CONNS", "INPKTS", "OUTPKTS", "INBYTES", "OUTBYTES"), ("CPS", "INPPS", "OUTPPS", "INBPS", "OUTBPS"))
    total, rate = (Traffic(*(counted.get(f"IPVS_STATS_ATTR_{name}", 0) for name in kind)) for kind in kinds)
    return total, rate


def _dump() -> Iterator[tuple[Attributes, list[Attributes]]]:
    from pyroute2 import IPVS, IPVSService  # noqa: PLC0415 (only where it is used: it takes its time to import)
    from pyroute2.netlink.exceptions import NetlinkError  # noqa: PLC0415

    try:
        with closing(IPVS()) as kernel:
            for message in list(kernel.service("dump")):
                asked = IPVSService.from_message(message)
                servers = [attributes(m.get("IPVS_CMD_ATTR_DEST")) for m in kernel.dest("dump", service=asked)]
                yield attributes(message.get("IPVS_CMD_ATTR_SERVICE")), servers
    except (NetlinkError, OSError) as error:
        raise HostError(
            f"this machine's kernel does not show its IPVS table: {error}",
            cure="is this a director, and are you root? (`lsmod | grep ip_vs`)",
        ) from error


def attributes(tree: Any) -> Attributes:
    """What pyroute2 made of a nested attribute, as plain values."""
    found: dict[str, Any] = {}
    for name, value, *_ in tree["attrs"]:
        found[name] = attributes(value) if isinstance(value, Mapping) and "attrs" in value else value
    return found
