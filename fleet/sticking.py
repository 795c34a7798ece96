"""While directors change places each client's new connections go to one server, on both of them alike.

A connection that has only begun is not known to the other director yet: the kernel copies it when it is established. Its next
packet reaches the new active one, which takes it up (`sloppy_tcp`) and chooses a server, with `rr` the wrong one in two of three
cases: a reset. With persistence it chooses the server where this client's connections went before, because templates are copied,
too (net/netfilter/ipvs/ip_vs_core.c, ip_vs_sched_persist).

What the other director lost with its last start it would be told again after `connections.copy_every` only: the writer's clients
would be sent to another server by a second failover within a minute. So meanwhile all is copied every second that has a packet
(ip_vs_sync.c, ip_vs_sync_conn_needed), and the one that handed over learns it again before the command ends.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import gevent

from cluster.declaration import Declaration
from cluster.directors import COPIED_EVERY
from cluster.errors import RefusedError
from cluster.failover import Known, Move, busy, stuck
from cluster.observed import HostState
from cluster.table import Mend, not_sticking, sticking
from fleet.equal import CONNECTIONS
from fleet.line import Line, Lines, tell_all
from fleet.lock import Say
from fleet.session import Session
from operations.commands import mended

SECONDS = 60
"""For how long a client sticks: longer than all of it takes."""
LEARN = 3
"""Seconds in which a client that often makes connections has made one."""
OFTEN = 1
"""Seconds after which a connection, and where its client goes, is copied again with its next packet."""
EQUAL_WITHIN = 10
"""Seconds for the other director to know where clients go that are silent: their next connection may go elsewhere, no more."""
BUSY_WITHIN = 60
"""The same for clients that have connections."""


@contextmanager
def clients_stick(
    session: Session,
    declaration: Declaration,
    move: Move,
    seen: Mapping[str, HostState | None],
    say: Say,
    *,
    force: bool = False,
) -> Iterator[None]:
    """From when both directors know where each client goes, to the end of the block. A deploy undoes it, too.

    `declaration`: what they serve by, which is not the session's while one of them leaves the cluster. Raises RefusedError,
    before the block, if one does not learn where clients go that have connections, unless `force`.
    """
    # One that leaves is none of the session's lines, which are to directors that are declared.
    lines = {name: session.connect(name) for name in (move.source, move.target)}
    states = {name: state for name in lines if (state := seen.get(name))}
    undo = {name: _edit(not_sticking(declaration, name, state), _seldom(declaration)) for name, state in states.items()}
    try:
        stick = {
            name: _edit(sticking(declaration, name, state, SECONDS), f"echo {OFTEN} >{_COPIED}")
            for name, state in states.items()
        }
        _tell(lines, stick, say)
        _learnt(lines, declaration, move, say, force=force)
        yield
    finally:
        _tell(lines, undo, say)


def learnt_back(session: Session, declaration: Declaration, move: Move) -> None:
    """In the block, after they have changed places: the former active director is told again what it lost. Not for ever."""
    began = time.monotonic()
    source, target = session.connect(move.target), session.connect(move.source)
    while _unknown(source, target, declaration)[0] and time.monotonic() - began < EQUAL_WITHIN:
        gevent.sleep(1)


_COPIED = f"/proc/sys/{COPIED_EVERY.replace('.', '/')}"


def _seldom(declaration: Declaration) -> str:
    # Not where it is another one's value by now: a director that left has what it had before.
    declared = int(declaration.connections.copy_every)
    return f'[ "$(cat {_COPIED} 2>/dev/null)" != {OFTEN} ] || echo {declared} >{_COPIED}'


def _edit(mends: Iterable[Mend], copied: str) -> str:
    # A service that is not there now is made anew by keepalived, as declared.
    return "".join(f"{line} 2>/dev/null || :\n" for line in (*map(mended, mends), copied))


def _tell(lines: Lines, scripts: Mapping[str, str], say: Say) -> None:
    for name, answer in tell_all(lines, scripts, insist=True).items():
        if answer.failed:
            say(f"{name}: services could not be edited: {answer.failed}; lbctl deploy mends what is not as declared")


def _learnt(lines: Lines, declaration: Declaration, move: Move, say: Say, *, force: bool) -> None:
    began = time.monotonic()
    while True:
        gevent.sleep(1)
        missing, waited_for, there = _unknown(lines[move.source], lines[move.target], declaration)
        passed = time.monotonic() - began
        if not missing and passed >= LEARN:
            return
        if passed > (BUSY_WITHIN if waited_for else EQUAL_WITHIN):
            break
    if waited_for and not force:
        raise RefusedError(
            f"after {BUSY_WITHIN} s {move.target} does not know where {len(waited_for)} of {len(there)} clients go that have "
            f"connections: their next one may go to another server, so {move.source} goes on serving",
            cure="is UDP 8848 let through between directors? lbctl failover --force hands over all the same",
        )
    who = "" if waited_for else ", which are silent: their next connection may go to another server"
    say(f"{move.target} does not know where {len(missing)} of {len(there)} clients go{who}")


def _unknown(source: Line, target: Line, declaration: Declaration) -> tuple[Known, Known, Known]:
    """Where clients go that `target` does not know: of all, of those that have connections; and what `source` knows."""
    there = stuck(source.tell(CONNECTIONS).lines)
    missing = there - stuck(target.tell(CONNECTIONS).lines)
    # What ended between the two looks is not missing.
    now = source.tell(CONNECTIONS).lines
    missing &= stuck(now)
    return missing, busy(missing, now, declaration), there
