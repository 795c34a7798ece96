"""What must be asked of a host to compare it with footprints: stated by the footprints themselves."""

from collections.abc import Iterable
from dataclasses import dataclass

from cluster.parts import Footprint


@dataclass(frozen=True)
class Question:
    """What to look at. All names were validated when the declaration was read; paths and keys are our own."""

    director: bool
    interface: str
    files: tuple[str, ...]
    guarded: tuple[str, ...]
    sysctls: tuple[str, ...]
    packages: tuple[str, ...]
    users: tuple[str, ...]
    units: tuple[str, ...]
    tables: tuple[int, ...]
    netfilter: tuple[str, ...]
    database_users: tuple[str, ...]
    database_socket: str
    ports: tuple[int, ...]
    """Real servers: whose established connections to count."""

    def __str__(self) -> str:
        """pyinfra shows what was asked when there is no answer: a kilobyte of names helps nobody then."""
        return "all that is ours"


def question(
    footprint: Footprint, *, director: bool, interface: str, database_socket: str, ports: Iterable[int]
) -> Question:
    """The question that `footprint` (that of all modes, so that leftovers of others are seen too) puts to a host."""

    def each(name: str) -> list[object]:
        return [item for part in footprint for item in getattr(part, name)]

    files = [file for part in footprint for file in part.files]
    return Question(
        director=director,
        interface=interface,
        files=tuple(file.path for file in files),
        guarded=tuple(file.path for file in files if file.guarded),
        sysctls=tuple(dict.fromkeys(key for part in footprint for key in part.sysctls)),
        packages=tuple(dict.fromkeys(str(name) for name in each("packages"))),
        users=tuple(str(name) for name in each("users")),
        units=tuple(unit.name for part in footprint for unit in part.units),
        tables=tuple(dict.fromkeys(rule.table for part in footprint for rule in part.rules)),
        netfilter=tuple(dict.fromkeys(chain.table for part in footprint for chain in part.chains)),
        database_users=tuple(str(name) for name in each("database_users")),
        database_socket=database_socket,
        ports=() if director else tuple(ports),
    )
