"""What a view of a cluster consists of: directors, endpoints, servers, and what is wrong. `cluster.status` makes it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address

from cluster.history import Entry, Lock
from cluster.pulse import Traffic
from cluster.vocabulary import Mode


class Part(StrEnum):
    """What a director does in VRRP."""

    ACTIVE = "active"
    BACKUP = "backup"
    STOPPED = "stopped"
    STRAY = "stray"
    """It holds addresses, and its keepalived does not run: its kernel goes on forwarding, and nobody checks the servers."""
    SILENT = "silent"
    """It has not answered yet this time, and another holds what it held before."""
    DEAD = "dead"
    NOT_ASKED = "not asked"


class Health(StrEnum):
    """What a server does in a service."""

    SERVING = "serving"
    DRAINED = "drained"
    """It gets no new connections, as declared."""
    STANDBY = "standby"
    """Its check keeps it out by design, because another is the writer or it takes no writes, and another server serves."""
    OUT = "out"
    """It should serve, and does not."""
    STRANGER = "stranger"
    """It is in the kernel's table, and not declared."""
    UNKNOWN = "unknown"
    """No director could be asked."""


@dataclass(frozen=True)
class DirectorView:
    name: str
    address: IPv4Address
    part: Part
    priority: int | None
    """In the file that its keepalived reads; None where it was not seen."""
    declared_priority: int
    holds: tuple[IPv4Address, ...]
    """Of what floats between directors."""
    connections: int
    """Established ones in its table: its own, and on a passive director its copies."""
    why: str = ""


@dataclass(frozen=True)
class ServerView:
    """A server under one endpoint."""

    name: str
    address: IPv4Address
    port: int
    declared: int
    weight: int | None
    """In the kernel; None: it is not in the table."""
    mode: Mode | None
    health: Health
    why: str
    active: int
    inactive: int
    total: Traffic
    rate: Traffic


@dataclass(frozen=True)
class EndpointView:
    """Where clients connect."""

    service: str
    address: IPv4Address
    port: int
    protocol: str
    scheduler: str
    declared_mode: Mode
    modes: tuple[Mode, ...]
    """In the kernel of the director that serves."""
    in_table: bool
    servers: tuple[ServerView, ...]

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def place(self) -> str:
        """No other endpoint's: TCP and UDP may have the same address and port (a name server's)."""
        return str(self) if self.protocol == "tcp" else f"{self} {self.protocol}"


@dataclass(frozen=True)
class Unready:
    """A server that the active director sends clients to, and a backup would not."""

    director: str
    server: str
    service: str
    endpoint: str
    why: str


@dataclass(frozen=True)
class Status:
    cluster: str
    mode: Mode
    at: datetime
    serving: str | None
    """The director whose table is shown: the active one, if there is one."""
    directors: tuple[DirectorView, ...]
    endpoints: tuple[EndpointView, ...]
    unready: tuple[Unready, ...]
    """What the next failover would lose."""
    dead: Mapping[str, str]
    drift: tuple[tuple[str, str], ...]
    """(host, what differs from the declaration)."""
    drift_unknown: Mapping[str, str]
    """Hosts that could not be compared, and why."""
    locks: tuple[tuple[Lock, str], ...]
    """Who changes the cluster now, and why nobody does any more though the lock stands, or ""."""
    unfinished: Entry | None
    """The last change, if nobody has said how it ended."""
    troubles: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        return not self.troubles

    @property
    def under_way(self) -> bool:
        """Somebody holds the lock, and is at work."""
        return any(not stale for _, stale in self.locks)
