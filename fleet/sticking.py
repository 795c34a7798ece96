"""While directors change places each client's new connections go to one server, on both of them alike.

A connection that has only begun is not known to the other director yet: the kernel copies it when it is established. Its next
packet reaches the new active one, which takes it up (`sloppy_tcp`) and chooses a server, with `rr` the wrong one in two of three
cases: a reset. With persistence it chooses the server where this client's connections went before, because templates are copied,
too (net/netfilter/ipvs/ip_vs_core.c, ip_vs_sched_persist).

A director whose keepalived starts again has forgotten where clients go, and is told again only after `connections.copy_every`: a
second failover within a minute would send the writer's clients elsewhere. So meanwhile a template is copied with each new
connection of its client, once a second (ip_vs_sync.c, ip_vs_sync_conn_needed), and the one that handed over learns it again
before the command ends.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import gevent

from cluster.declaration import Declaration
from cluster.directors import COPIED_EVERY
from cluster.errors import HostError
from cluster.failover import Known, Move, lacks, remembered_otherwise, stuck
from cluster.observed import HostState, ipvs_table
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
"""Seconds after which it is copied again where a client goes, with its next new connection."""
TABLE = "[ ! -r /proc/net/ip_vs ] || cat /proc/net/ip_vs\n"
EQUAL_WITHIN = 10
"""Seconds for the other director to know which client goes where: it learns nothing of those that open no connection."""
AT_SERVICE = 15
"""Seconds for one that started again to find its servers alive. Before, what it is told of them is not bound to them."""
COPIED = 3
"""Seconds in which a client that often makes connections has made one, and it is copied."""


@contextmanager
def clients_stick(
    session: Session, declaration: Declaration, move: Move, seen: Mapping[str, HostState | None], say: Say
) -> Iterator[None]:
    """From when both directors know where each client goes, to the end of the block. A deploy undoes it, too.

    `declaration`: what they serve by, which is not the session's while one of them leaves the cluster.
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
        _learnt(lines, move, say)
        yield
    finally:
        _tell(lines, undo, say)


def learnt_back(session: Session, move: Move, say: Say) -> None:
    """In the block, after they have changed places: the former active director is told again what it lost. Not for ever, and not
    against Ctrl-C: the move is over.
    """
    try:
        source, target = session.connect(move.target), session.connect(move.source)
        began = time.monotonic()
        while (against := _not_at_service(source, target)) and time.monotonic() - began < AT_SERVICE:
            gevent.sleep(1)
        gevent.sleep(COPIED)
        began = time.monotonic()
        while (unknown := _unknown(source, target)).missing and time.monotonic() - began < EQUAL_WITHIN:
            gevent.sleep(1)
    except KeyboardInterrupt:
        say(f"not waited for: that {move.source} knows again where clients go")
        return
    except HostError as error:
        against = error.message
    if against:
        say(f"{move.source} cannot take over again yet: {against}")
    elif unknown.missing:
        say(unknown.told(move.source))


def _not_at_service(source: Line, target: Line) -> str | None:
    active, passive = (ipvs_table(line.tell(TABLE).whole()) for line in (source, target))
    return lacks(passive, active)


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


def _learnt(lines: Lines, move: Move, say: Say) -> None:
    began = time.monotonic()
    while True:
        gevent.sleep(1)
        unknown = _unknown(lines[move.source], lines[move.target])
        passed = time.monotonic() - began
        # What it remembers otherwise is never replaced: it is not waited for.
        if passed > EQUAL_WITHIN or (not unknown.missing and passed >= LEARN):
            break
    if unknown.missing or unknown.otherwise:
        say(unknown.told(move.target))


class _Unknown(NamedTuple):
    """Where clients go, as one director knows it and another one does not."""

    missing: Known
    otherwise: Known
    """The other one remembers another server."""
    there: Known
    """All that the first one knows."""

    def told(self, name: str) -> str:
        of_all = f"of {len(self.there)} clients"
        new = f"{name} does not know where {len(self.missing)} {of_all} go, which open no connection now"
        old = f"{name} remembers another server for {len(self.otherwise)} {of_all}"
        said = "; ".join(words for words, them in ((new, self.missing), (old, self.otherwise)) if them)
        return f"{said}: through it their next connection may go to another server"


def _unknown(source: Line, target: Line) -> _Unknown:
    """What `source` knows and `target` does not. Raises HostError."""
    there, known = stuck(source.tell(CONNECTIONS).whole()), stuck(target.tell(CONNECTIONS).whole())
    # What ended between the two looks is not missing.
    missing = (there - known) & stuck(source.tell(CONNECTIONS).whole())
    otherwise = remembered_otherwise(missing, known)
    return _Unknown(missing - otherwise, otherwise, there)
