"""Whether the declaration still names all hosts that the last change knew.

The directors' history is asked while hosts are looked at, so that nobody waits for it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent

from cluster.declaration import Declaration
from cluster.errors import HostError
from cluster.history import text_hash
from cluster.undeclared import LastChange, undeclared
from fleet import history
from fleet.session import Session

Found = Callable[..., dict[str, str]]
"""From declarations to what to do about each host that none of them names any more (`cluster.undeclared`)."""


@contextmanager
def asked(session: Session, text: str) -> Iterator[Found]:
    """Asks from now on; the first call of what it gives waits for the answer. `text`: of the declaration as it is written now."""
    asking = gevent.spawn(_last_change, session, text_hash(text))

    def found(*declared: Declaration) -> dict[str, str]:
        return undeclared(asking.get(), *declared)

    try:
        yield found
    finally:
        asking.kill()


def _last_change(session: Session, now: str) -> LastChange | None:
    """None where nothing is remembered or nobody can be asked, which stops no deploy: the hosts' own look says as much."""
    try:
        past = history.read(session)
    except HostError:
        return None
    last = past.last
    if last is None or (last.came_to_its_end and last.after == now):
        return None

    after = history.declaration_of(session, past, last.after, last)
    return LastChange(
        last, after, None if last.came_to_its_end else history.declaration_of(session, past, last.before, last)
    )
