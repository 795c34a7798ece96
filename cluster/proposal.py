"""What `lbctl init` proposes: from a few wishes to all that a declaration's template needs. Pure."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

NAT_PORTS = {"read": 5506, "write": 5507}
"""The seed's second way in, in mode nat."""

_FIRST_PRIORITY = 101


@dataclass(frozen=True)
class Wish:
    """What the operator has said so far; empty: nothing yet. Nothing is checked here: the finished declaration is."""

    name: str = ""
    mode: str = ""
    network: str = ""
    directors: Mapping[str, str] = field(default_factory=dict)
    """Name → address, the preferred one first."""
    real_servers: Mapping[str, str] = field(default_factory=dict)
    read_vip: str = ""
    write_vip: str = ""
    gateway: str = ""
    interface: str = ""

    @property
    def needs_gateway(self) -> bool:
        """With two directors in mode nat replies need an address that floats between them."""
        return self.mode == "nat" and len(self.directors) > 1

    @property
    def missing(self) -> tuple[str, ...]:
        """The fields without which nothing can be proposed."""
        needed = ["name", "mode", "network", "directors", "real_servers"]
        needed += ["gateway"] if self.needs_gateway else []
        lacking = [name for name in needed if not getattr(self, name)]
        if self.mode != "nat" and not (self.read_vip or self.write_vip):
            lacking.append("read_vip")
        return tuple(lacking)


def proposal(wish: Wish) -> dict[str, Any]:
    """The template's values. Texts are TOML's already: quoted, so that no name can break out of its place.

    A writer by rank (heaviest live server first) has neither the seed's day-long persistence nor the gap of election. Priorities
    count down from 101. The virtual_router_id comes from the name: two clusters in one network are unlikely to share it, and
    the same wish gives the same file.
    """
    nat = wish.mode == "nat" or bool(wish.gateway)
    vips = {"read": wish.read_vip, "write": wish.write_vip}
    services = [
        {"name": name, "vip": _text(vip) if vip else None, "nat_port": NAT_PORTS[name] if nat else None}
        for name, vip in vips.items()
        if vip or wish.mode == "nat"
    ]
    return {
        "name": _text(wish.name),
        "mode": _text(wish.mode),
        "network": _text(wish.network),
        "services": services,
        "virtual_router_id": virtual_router_id(wish.name),
        "gateway": _text(wish.gateway) if wish.gateway else None,
        "interface": _text(wish.interface or "eth0"),
        "directors": [
            {"key": _key(name), "address": _text(address), "priority": _FIRST_PRIORITY - place}
            for place, (name, address) in enumerate(wish.directors.items())
        ],
        "real_servers": [{"key": _key(name), "address": _text(address)} for name, address in wish.real_servers.items()],
    }


def virtual_router_id(name: str) -> int:
    """1–255, the same for the same name."""
    return 1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 255


def _key(name: str) -> str:
    """A TOML key, bare where it can be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _text(value: str) -> str:
    """A TOML basic string, whose escapes are JSON's."""
    return json.dumps(value)
