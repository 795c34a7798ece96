"""Where servers listen on a host, and where its MySQL would listen after a restart: read from what the host printed."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

ANYWHERE = IPv4Address("0.0.0.0")  # noqa: S104 (what is seen, not what is bound)
MYSQL = frozenset({"mariadbd", "mysqld"})
"""The server's process, by name."""


def ipv4_end(text: str) -> tuple[IPv4Address, int] | None:
    """Address and port of one end of a connection as `ss` prints it, also in a socket of both families; None for IPv6."""
    address, _, port = text.rpartition(":")
    plain = address.strip("[]").removeprefix("::ffff:").split("%")[0]
    return None if ":" in plain else (IPv4Address(plain), int(port))


@dataclass(frozen=True)
class SeenListener:
    """A TCP socket that takes IPv4 connections. `address` ANYWHERE: at all addresses, also those that come later."""

    address: IPv4Address
    port: int
    program: str


@dataclass(frozen=True)
class SeenBind:
    """What a MySQL that is bound to single addresses was told, and would go by when it is started again."""

    unit: str | None
    """The systemd service that it runs in."""
    told: str | None
    """bind-address as it is written; "" where nothing says it, which means everywhere; None where it could not be asked."""
    place: str
    """FILE:LINE that says so, "the command line", or "" where it was not found."""

    @property
    def addresses(self) -> frozenset[IPv4Address]:
        """Those of its list that are IPv4 addresses: names are not looked up. ANYWHERE stands for all."""
        if self.told is None:
            return frozenset()
        if not self.told or {"*", "::", "0.0.0.0"} & set(self._words):  # noqa: S104 (as above)
            return frozenset({ANYWHERE})
        return frozenset(self.listed)

    @property
    def listed(self) -> tuple[IPv4Address, ...]:
        """The same in the order in which they are written."""
        return tuple(IPv4Address(word) for word in self._words if _is_ipv4(word))

    @property
    def _words(self) -> list[str]:
        return [word.strip() for word in (self.told or "").split(",")]


def _is_ipv4(word: str) -> bool:
    try:
        IPv4Address(word)
    except ValueError:
        return False
    return True


def listeners(lines: Iterable[list[str]]) -> tuple[SeenListener, ...]:
    """From `ss -Hltnp`: State Recv-Q Send-Q Local:Port Peer:Port users:(("NAME",pid=…,fd=…)).

    ss writes `*` for an IPv6 wildcard that takes IPv4 too, and `[::]` for one that does not (v6only).
    """
    found = []
    for words in lines:
        host, port = words[3].rsplit(":", 1)
        host = host.split("%")[0].strip("[]").removeprefix("::ffff:")
        if ":" in host:
            continue
        program = words[5].split('"')[1] if len(words) > 5 else ""  # noqa: PLR2004 (ss has no name for what is not ours to see)
        found.append(SeenListener(ANYWHERE if host == "*" else IPv4Address(host), int(port), program))
    return tuple(found)


def bind(lines: Iterable[str]) -> SeenBind | None:
    """From lines `unit NAME`, `argument VALUE`, `asked` (it gave its defaults), `default VALUE`, `line FILE:LINE:VALUE`.

    None without a unit line.

    A later word goes before an earlier one, and the command line before all files: so MySQL reads them. Of the lines in files
    the last with the value that counts is the one to change.
    """
    said: dict[str, list[str]] = {}
    for line in lines:
        kind, _, value = line.partition(" ")
        said.setdefault(kind, []).append(value.strip())
    if "unit" not in said:
        return None
    name = said["unit"][-1]
    unit = name if name.endswith(".service") else None
    if "argument" in said:
        return SeenBind(unit, said["argument"][-1], "the command line")
    if "asked" not in said:
        return SeenBind(unit, None, "")
    told = said.get("default", [""])[-1]
    places = [(f"{file}:{number}", value) for file, number, value in (w.split(":", 2) for w in said.get("line", ()))]
    fitting = [place for place, value in places if _same(value, told)]
    return SeenBind(unit, told, fitting[-1] if fitting else "")


def _same(one: str, other: str) -> bool:
    return one.strip().strip("\"'").replace(" ", "") == other.strip().replace(" ", "")
