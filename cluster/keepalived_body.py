"""What a hand-made keepalived.conf is found to say, and how a block is read so that no statement is lost.

Each statement is either asked for by name or told as a `Remark`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Interface
from typing import TypeVar

from cluster.keepalived_conf import ConfError, Place, Statement, printable, shown
from cluster.remarks import Known
from cluster.vocabulary import Mode

_N = TypeVar("_N", int, float)


class Effect(IntEnum):
    """How much it matters that something is not as it was. The order is that in which it is told."""

    CLIENTS = 0
    """Clients would notice."""
    LOST = 1
    """It is not carried over."""
    NOTE = 2
    """Said otherwise in a declaration, or needs a look."""


@dataclass(frozen=True, order=True)
class Remark:
    """Something that a declaration does not say as the file does."""

    effect: Effect
    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return printable(f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}")


@dataclass(frozen=True)
class Checking:
    """A health check. `kind`: "http", "tcp", "none", or the keyword of one that no declaration has."""

    kind: str
    port: int
    path: str = "/"
    every: float = 60
    timeout: float = 5
    retry: int = 1
    retry_after: float = 1
    place: Place = field(default=Place("", 0), compare=False)


@dataclass(frozen=True)
class Served:
    """A real_server block."""

    address: IPv4Address
    port: int
    weight: int
    mode: Mode
    check: Checking
    place: Place = field(compare=False)


@dataclass(frozen=True)
class Virtual:
    """A virtual_server block, or one address of a group of them."""

    address: IPv4Address
    port: int
    protocol: str
    scheduler: str
    mode: Mode
    alpha: bool
    persistence: int | None
    granularity: IPv4Address | None
    servers: tuple[Served, ...]
    name: str = field(compare=False)
    """Of its group; empty: none."""
    place: Place = field(compare=False)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Pair:
    """A vrrp_instance block."""

    name: str
    interface: str
    priority: int
    virtual_router_id: int
    version: int
    advertise_every: float
    announce_every: int
    preempt: bool
    preempt_delay: float
    password: str | None = field(repr=False)
    password_place: Place
    source: IPv4Address | None
    """The director's own address, as far as it is said."""
    unicast: bool
    peers: tuple[IPv4Address, ...]
    addresses: tuple[tuple[IPv4Interface, str, Place], ...]
    """What floats, with the interface."""
    place: Place


@dataclass
class Conf:
    """One director's file."""

    file: str
    router_id: str = ""
    timeouts: Mapping[str, int] = field(default_factory=dict)
    timeouts_place: Place | None = None
    synchronised: bool = False
    pairs: list[Pair] = field(default_factory=list)
    virtuals: list[Virtual] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)

    @property
    def floating(self) -> tuple[IPv4Address, ...]:
        return tuple(dict.fromkeys(interface.ip for pair in self.pairs for interface, _, _ in pair.addresses))

    def tell(self, place: Place, effect: Effect, what: str) -> None:
        self.remarks.append(Remark(effect, place.file, place.line, what))


class Body:
    """The statements of a block: those that are asked for are read, the rest is told."""

    def __init__(
        self, conf: Conf, statements: Iterable[Statement], known: Mapping[str, Known], *, secret: bool = False
    ) -> None:
        """`secret`: of what stands there nothing is told but keywords that are known."""
        self._conf, self._statements, self._known, self._secret = conf, list(statements), known, secret
        self._read: set[int] = set()

    def all(self, *names: str) -> list[Statement]:
        found = [s for s in self._statements if s.keyword in names]
        self._read |= {id(s) for s in found}
        return found

    def blocks(self, *names: str) -> list[Statement]:
        """Raises ConfError for one without a block: all that it says would be lost."""
        found = self.all(*names)
        for statement in found:
            if statement.body is None:
                raise ConfError(
                    statement.place,
                    f'"{statement.keyword}" has no block',
                    cure="what belongs to it stands between { and }, of which the first is on that line or the next one",
                )
        return found

    def last(self, *names: str) -> Statement | None:
        return next(reversed(self.all(*names)), None)

    def flag(self, *names: str) -> bool:
        return self.last(*names) is not None

    def text(self, *names: str) -> str | None:
        """The one word after the keyword. More of them keepalived ignores, which is told."""
        statement = self.last(*names)
        if statement is None:
            return None
        if len(statement.words) < 2:  # noqa: PLR2004 (keyword and value)
            raise ConfError(statement.place, f"{statement.keyword} has no value")
        if ignored := statement.words[2:]:
            what = "what stands" if self._secret else f'"{shown(ignored)}"'
            self._conf.tell(
                statement.place,
                Effect.NOTE,
                f"{what} after {statement.keyword} is on the same line: keepalived ignores it, and so does import",
            )
        return statement.words[1]

    def number(self, kind: type[_N], default: _N, *names: str, most: int | None = None) -> _N:
        value = self.text(*names)
        return default if value is None else as_number(kind, value, self.last(*names), most=most)

    def tell_rest(self) -> None:
        for statement in self._statements:
            if id(statement) in self._read:
                continue
            known = self._known.get(statement.keyword)
            if known is None:
                what = "a line that is not shown" if self._secret else str(statement)
                self._conf.tell(statement.place, Effect.LOST, f"{what} is not known to import, and not carried over")
            elif known.what:
                what = statement.keyword if self._secret else str(statement)
                self._conf.tell(statement.place, Effect(known.effect), f"{what}: {known.what}")


MOST = 65535
"""Of a port, and of a weight (keepalived.conf(5))."""


def as_number(kind: type[_N], value: str, statement: Statement | None, *, most: int | None = None) -> _N:
    """Raises ConfError. `most`: from 0 to that."""
    place, keyword = (statement.place, statement.keyword) if statement else (Place("", 0), "")
    try:
        number = kind(value)
    except ValueError:
        raise ConfError(place, f'{keyword}: "{value}" is no number') from None
    if most is not None and not 0 <= number <= most:
        raise ConfError(place, f"{keyword}: {value} is not one of 0 to {most}")
    return number


def address_of(text: str, place: Place) -> IPv4Address | None:
    """None: not an IPv4 address, which is all that a declaration has."""
    if ":" in text:
        return None
    try:
        return IPv4Address(text)
    except ValueError:
        raise ConfError(place, f'"{text}" is no address') from None
