"""A planned failover, watched: the connection tables are equal first, then the active director hands over."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import gevent

from cluster.declaration import Declaration
from cluster.errors import HostError
from cluster.failover import Cost, Known, Move
from cluster.keepalived import floating_addresses
from cluster.observed import HostState
from fleet.equal import equal, known_to
from fleet.line import Answer
from fleet.lock import Say
from fleet.session import Session
from fleet.sticking import clients_stick, learnt_back
from fleet.untranslated import led_on

RESTART_LIMIT = 90
"""Seconds for keepalived to stop, which takes as long as it forwards for its heir, and to start again."""
TAKEN_WITHIN = 12
"""Seconds for the passive director to take over."""


def carry_out(
    session: Session, move: Move, seen: Mapping[str, HostState | None], say: Say, *, force: bool = False
) -> Cost:
    """Raises RefusedError if the passive director does not know all connections, HostError if it does not take over.

    `seen`: what `move` was found from.
    """
    declaration = session.blueprint.declaration
    with prepared(session, declaration, move, seen, say, force=force, returns=True) as before:
        return _handed_over(session, move, before)


@contextmanager
def prepared(
    session: Session,
    declaration: Declaration,
    move: Move,
    seen: Mapping[str, HostState | None],
    say: Say,
    *,
    force: bool = False,
    returns: bool = False,
) -> Iterator[Known]:
    """The block in which directors change places, whichever way: no connection is lost by it. Gives those that both know.

    `declaration`: what they serve by; `seen`: what `move` was found from; `returns`: the old one starts again. Raises
    RefusedError, before the block, if the passive director does not know all connections, unless `force`.
    """
    if not declaration.vrrp.synchronise_connections:
        say("connections are not synchronised (vrrp.synchronise_connections): established ones are cut")
        yield known_to(session.connect(move.source), declaration)
        return
    with clients_stick(session, declaration, move, seen, say):
        both = equal(session, declaration, move, say, force=force)
        with led_on(session, declaration, move, say):
            yield both
        if returns:
            learnt_back(session, move, say)


def _handed_over(session: Session, move: Move, before: Known) -> Cost:
    """`before`: the connections that both knew."""
    declaration = session.blueprint.declaration
    source, target = session.connect(move.source), session.connect(move.target)
    watch = gevent.spawn(target.tell, _watch(str(floating_addresses(declaration)[0])))
    # The watch has begun before anything stops.
    gevent.sleep(0.5)
    # One job of systemd: whatever becomes of this program meanwhile, keepalived runs again afterwards, as a backup.
    restarted = source.tell("systemctl restart keepalived.service\n", RESTART_LIMIT)
    seconds = _taken(watch, move)
    if restarted.failed:
        raise HostError(
            f"{move.source}: keepalived did not stop and start again: {restarted.failed}; {move.target} holds the addresses",
            cure="lbctl deploy starts it",
        )
    now = known_to(target, declaration)
    # What ended meanwhile has ended on the old one as well, which went on counting.
    alive = before & (known_to(source, declaration) | now)
    return Cost(max(0.0, seconds - 0.5), len(alive), len(alive & now))


def _watch(address: str) -> str:
    """Prints after how many milliseconds the address was there."""
    return f"""\
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
begin=$(date +%s%3N)
while [ $(($(date +%s%3N) - begin)) -lt {TAKEN_WITHIN * 1000} ]; do
  if ip -4 -o addr show to {address}/32 | grep -q .; then echo $(($(date +%s%3N) - begin)); exit 0; fi
  sleep 0.02
done
echo never
"""


def _taken(watch: Any, move: Move) -> float:
    answer: Answer = watch.get()
    if answer.failed or answer.lines[:1] == ("never",) or not answer.lines:
        raise HostError(
            f"{move.target} did not take over: {answer.failed or f'not within {TAKEN_WITHIN} s'}; "
            f"{move.source} is started again",
            cure="lbctl plan says how things stand",
        )
    return int(answer.lines[0]) / 1000
