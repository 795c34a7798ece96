"""The database cluster of a lab: a real three-node Galera.

When no member runs, every one is told that it was a member of the same primary component, and all start at once: Galera
then restores that component as after a power cut, at the position that all of them carry. To bootstrap one and let the
others join would take three times as long: a join is a position of its own and sends every joiner through a transfer.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from cluster.errors import HostError
from lab.shell import Result
from lab.topology import Seat

_T = TypeVar("_T")

USER = "lab"
PASSWORD = "lab"  # noqa: S105 - of a database whose address exists nowhere else
_MAY_TAKE = 180

_SIZE = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='wsrep_cluster_size'"
# One that waits for members that are long gone does not answer to a stop.
_SET_VIEW = """\
systemctl -q kill -s KILL mariadb 2>/dev/null; systemctl stop mariadb
cat >/var/lib/mysql/gvwstate.dat && chown mysql: /var/lib/mysql/gvwstate.dat"""
_START = f"""\
ln -sf /lib/systemd/system/mariadb.service /etc/systemd/system/multi-user.target.wants/
timeout {_MAY_TAKE} systemctl start mariadb"""


class Reach(Protocol):
    """What of a lab is needed here."""

    def exec(
        self, host: str, command: str, *, stdin: bytes | str = b"", timeout: float = 120, check: bool = True
    ) -> Result: ...


def start(lab: Reach, seats: Sequence[Seat]) -> None:
    if not any(_on_each(seats, lambda seat: _runs(lab, seat))):
        _on_each(seats, lambda seat: lab.exec(seat.name, _SET_VIEW, stdin=view(seat, seats)))
    _on_each(seats, lambda seat: lab.exec(seat.name, _START, timeout=_MAY_TAKE + 20))
    _wait_for_members(lab, seats)


def view(own: Seat, seats: Sequence[Seat]) -> str:
    """gvwstate.dat: who was in the last primary component."""
    members = "".join(f"member: {_uuid(seat)} 0\n" for seat in seats)
    return f"my_uuid: {_uuid(own)}\n#vwbeg\nview_id: 3 {_uuid(seats[0])} 1\nbootstrap: 0\n{members}#vwend\n"


def _uuid(seat: Seat) -> str:
    return f"{seat.address.packed[-1]:08x}-0000-11ee-8000-000000000000"


def _runs(lab: Reach, seat: Seat) -> bool:
    return lab.exec(seat.name, "systemctl is-active mariadb", check=False).stdout.strip() == "active"


def _wait_for_members(lab: Reach, seats: Sequence[Seat]) -> None:
    # Not from outside: where a test left the machines in the middle of something, no connection may pass.
    query = f'mariadb --connect-timeout=5 -BNe "{_SIZE}"'
    deadline = time.monotonic() + _MAY_TAKE
    while True:
        size = lab.exec(seats[0].name, query, check=False).stdout.strip()
        if size.isdigit() and int(size) >= len(seats):
            return
        if time.monotonic() > deadline:
            raise HostError(f"the Galera cluster has {size or 'no'} members, {len(seats)} were started")
        time.sleep(0.3)


def _on_each(seats: Sequence[Seat], work: Callable[[Seat], _T]) -> list[_T]:
    with ThreadPoolExecutor(len(seats)) as pool:
        return list(pool.map(work, seats))
