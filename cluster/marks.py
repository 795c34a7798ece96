"""Marks by which another hand sends a server's answers through the director. Pure.

The how-to's return path of nat is a mark in mangle's OUTPUT, a rule for it and a table of its own. In dr and tun these come
from a virtual address: the director drops them. Marks for other ends (a VPN's, those of traffic shaping) are nobody's business.
"""

from collections.abc import Iterator

from cluster.declaration import Declaration
from cluster.firewall import TCP, UDP, Packet
from cluster.footprint import Blueprint
from cluster.iptables import rule
from cluster.keepalived import addresses_of_directors
from cluster.observed import HostState


def to_directors(blueprint: Blueprint, host: str, marks: tuple[str, ...], state: HostState) -> Iterator[str]:
    """Those of `marks`, rules for what this server sends, that a rule leads to a table with a director as its gateway."""
    declaration = blueprint.declaration
    directors = addresses_of_directors(declaration)
    tables = {route.table for route in state.routes if route.destination == "default" and route.via in directors}
    leading = {each.mark for each in state.rules if each.mark and each.table in tables}
    answers = list(_answers(declaration, host))
    for line in marks:
        read = rule(line)
        if _mark(line) in leading and any(read.matches(answer) is not False for answer in answers):
            yield line


def _answers(declaration: Declaration, host: str) -> Iterator[Packet]:
    """As they leave, in any mode: from the server's own address, or from one of the service."""
    for service in declaration.service.values():
        protocol = TCP if service.protocol == "tcp" else UDP
        out = declaration.host(host).interface
        yield Packet(protocol, service.port_at_servers, answer=True, out=out)


def _mark(line: str) -> int:
    """From -j MARK --set-xmark VALUE/MASK, which is how iptables-save prints all its ways; 0: not understood."""
    words = line.split()
    value, _, mask = words[-1].partition("/")
    try:
        return int(value, 0) & int(mask or "0xffffffff", 0) if words[-2].startswith("--set-") else 0
    except ValueError:
        return 0
