"""A planned failover, watched: the connection tables are equal first, then the active director hands over."""

import time
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

import gevent

from cluster.errors import HostError, RefusedError
from cluster.failover import Cost, Known, Move, clients_by_server, known, of_clients
from cluster.keepalived import floating_addresses
from cluster.observed import HostState
from cluster.vocabulary import Mode, ReturnPath
from fleet.line import Answer, Line
from fleet.lock import Say
from fleet.session import Session
from fleet.sticking import CONNECTIONS, clients_stick

EQUAL_WITHIN = 60
"""Seconds for the passive director to learn of all connections."""
RESTART_LIMIT = 90
"""Seconds for keepalived to stop, which takes as long as it forwards for its heir, and to start again."""
ASKED_AT_MOST = 200
"""Connections that one server is asked about."""
TAKEN_WITHIN = 12
"""Seconds for the passive director to take over."""


def carry_out(
    session: Session, move: Move, seen: Mapping[str, HostState | None], say: Say, *, force: bool = False
) -> Cost:
    """Raises RefusedError if the passive director does not know all connections, HostError if it does not take over.

    `seen`: what `move` was found from.
    """
    if not session.blueprint.declaration.vrrp.synchronise_connections:
        return _handed_over(session, move, say, force=force)
    with clients_stick(session, move, seen, say):
        return _handed_over(session, move, say, force=force)


def _handed_over(session: Session, move: Move, say: Say, *, force: bool) -> Cost:
    lines = session.lines()
    source, target = lines[move.source], lines[move.target]
    before = _equal(session, move, source, target, say, force=force)
    floating = floating_addresses(session.blueprint.declaration)
    watch = gevent.spawn(target.tell, _watch(str(floating[0])))
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
    now = _known(session, target)
    # What ended meanwhile has ended on the old one as well, which went on counting.
    alive = before & (_known(session, source) | now)
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


def _known(session: Session, line: Line) -> Known:
    answer = line.tell(CONNECTIONS)
    if answer.failed:
        raise HostError(f"a director does not show its connections: {answer.failed}; nothing was changed")
    return of_clients(known(answer.lines), session.blueprint.declaration)


def _stand(session: Session, connections: Known) -> Known:
    """Of connections that a director remembers, those that stand at their server. Others have ended where it could not see that:
    on the way through another director, which was active then.
    """
    declaration = session.blueprint.declaration
    if declaration.nat.return_path is ReturnPath.SNAT and declaration.mode is Mode.NAT:
        return connections  # servers see no clients
    ended = set()
    by_server = clients_by_server(connections)
    for name, server in declaration.real_server.items():
        places = sorted(by_server.get(server.address, ()))
        if not 0 < len(places) <= ASKED_AT_MOST:
            continue
        wanted = " or ".join(f"dst {place}" for place in places)
        answer = session.connect(name).tell(f"ss -Htn state established '( {wanted} )'\n")
        there = {words[3] for words in map(str.split, answer.lines) if len(words) > 3}  # noqa: PLR2004 (queues, two ends)
        ended |= set() if answer.failed else {(server.address, place) for place in places if place not in there}
    return frozenset(c for c in connections if not ended & _at(c))


def _at(connection: tuple[str, ...]) -> set[tuple[IPv4Address, str]]:
    ((server, places),) = clients_by_server(frozenset({connection})).items()
    return {(server, place) for place in places}


def _equal(session: Session, move: Move, source: Line, target: Line, say: Say, *, force: bool) -> Known:
    """The connections that both know, once the passive director knows all that the active one has."""
    if not session.blueprint.declaration.vrrp.synchronise_connections:
        say("connections are not synchronised (vrrp.synchronise_connections): established ones are cut")
        return _known(session, source)
    deadline = time.monotonic() + EQUAL_WITHIN
    while True:
        there = _known(session, source)
        missing = there - _known(session, target)
        # Those that ended between the two looks are not missing.
        missing = _stand(session, missing & _known(session, source))
        if not missing:
            return there
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    if not force:
        raise RefusedError(
            f"after {EQUAL_WITHIN} s {move.target} does not know {len(missing)} of {len(there)} connections of {move.source}: "
            "they would be cut; nothing was changed",
            cure="is UDP 8848 let through between directors? --force hands over all the same",
        )
    say(f"{move.target} does not know {len(missing)} of {len(there)} connections")
    return there
