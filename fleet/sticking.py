"""While directors change places each client's new connections go to one server, on both of them alike.

A connection that has only begun is not known to the other director yet: the kernel copies it when it is established. Its next
packet reaches the new active one, which takes it up (`sloppy_tcp`) and chooses a server, with `rr` the wrong one in two of three
cases: a reset. With persistence it chooses the server where this client's connections went before, because templates are copied,
too (net/netfilter/ipvs/ip_vs_core.c, ip_vs_sched_persist).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import gevent

from cluster.declaration import Declaration
from cluster.failover import Known, Move, stuck
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
EQUAL_WITHIN = 10
"""Seconds for the other director to know which client goes where."""


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
    undo = {name: list(not_sticking(declaration, name, state)) for name, state in states.items()}
    try:
        if any(undo.values()):
            stick = {name: list(sticking(declaration, name, state, SECONDS)) for name, state in states.items()}
            _tell(lines, stick, say)
            _learnt(lines[move.source], lines[move.target], say)
        yield
    finally:
        _tell(lines, undo, say)


def _tell(lines: Lines, mends: Mapping[str, list[Mend]], say: Say) -> None:
    # A service that is not there now is made anew by keepalived, as declared.
    scripts = {
        name: "".join(f"{mended(mend)} 2>/dev/null || :\n" for mend in wanted)
        for name, wanted in mends.items()
        if wanted
    }
    for name, answer in tell_all(lines, scripts, insist=True).items():
        if answer.failed:
            say(f"{name}: services could not be edited: {answer.failed}; lbctl deploy mends what is not as declared")


def _learnt(source: Line, target: Line, say: Say) -> None:
    began = time.monotonic()
    while True:
        gevent.sleep(1)
        there = _stuck(source)
        missing = (there - _stuck(target)) & _stuck(source)
        passed = time.monotonic() - began
        if not missing and passed >= LEARN:
            return
        if passed > EQUAL_WITHIN:
            say(f"the new director does not know where {len(missing)} of {len(there)} clients go")
            return


def _stuck(line: Line) -> Known:
    return stuck(line.tell(CONNECTIONS).lines)
