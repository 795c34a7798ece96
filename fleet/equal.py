"""Waits until a passive director knows every established connection of the active one, so that it may take over."""

import time
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.errors import HostError, RefusedError
from cluster.failover import Known, Move, clients_by_server, known, of_clients
from cluster.keepalived import source_network_translated
from cluster.listening import ipv4_end
from fleet.line import Line
from fleet.lock import Say
from fleet.session import Session

WITHIN = 60
"""Seconds for the passive director to learn of all connections."""
ASKED_AT_MOST = 200
"""Connections that one server is asked about."""
CONNECTIONS = "[ ! -r /proc/net/ip_vs_conn ] || cat /proc/net/ip_vs_conn\n"


def known_to(line: Line, declaration: Declaration) -> Known:
    """The clients' connections that a director knows. Raises HostError."""
    answer = line.tell(CONNECTIONS)
    if answer.failed:
        raise HostError(f"a director does not show its connections: {answer.failed}")
    return of_clients(known(answer.lines), declaration)


def equal(session: Session, declaration: Declaration, move: Move, say: Say, *, force: bool = False) -> Known:
    """The connections that both know, once the passive director knows all that the active one has.

    Raises RefusedError where it does not in time, unless `force`.
    """
    source, target = session.connect(move.source), session.connect(move.target)
    deadline = time.monotonic() + WITHIN
    while True:
        there = known_to(source, declaration)
        missing = there - known_to(target, declaration)
        # Those that ended between the two looks are not missing.
        missing = _stand(session, declaration, missing & known_to(source, declaration))
        if not missing:
            return there
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    if not force:
        raise RefusedError(
            f"after {WITHIN} s {move.target} does not know {len(missing)} of {len(there)} connections of {move.source}: "
            f"they would be cut, so {move.source} goes on serving",
            cure="is UDP 8848 let through between directors? lbctl failover --force hands over all the same",
        )
    say(f"{move.target} does not know {len(missing)} of {len(there)} connections")
    return there


def _stand(session: Session, declaration: Declaration, connections: Known) -> Known:
    """Of connections that a director remembers, those that stand at their server. Others have ended where it could not see that:
    on the way through another director, which was active then.
    """
    if source_network_translated(declaration):
        return connections  # servers see no clients
    ended = set()
    by_server = clients_by_server(connections)
    for name, server in declaration.real_server.items():
        places = sorted(by_server.get(server.address, ()))
        # One that cannot be asked says of none that it has ended.
        if not 0 < len(places) <= ASKED_AT_MOST or name in session.unreachable:
            continue
        wanted = " or ".join(f"dst {place}" for place in places)
        answer = session.connect(name).tell(f"ss -Htn state established '( {wanted} )'\n")
        ends = (ipv4_end(words[3]) for words in map(str.split, answer.lines) if len(words) > 3)  # noqa: PLR2004 (queues, two ends)
        there = {f"{end[0]}:{end[1]}" for end in ends if end}
        ended |= set() if answer.failed else {(server.address, place) for place in places if place not in there}
    return frozenset(c for c in connections if not ended & _at(c))


def _at(connection: tuple[str, ...]) -> set[tuple[IPv4Address, str]]:
    ((server, places),) = clients_by_server(frozenset({connection})).items()
    return {(server, place) for place in places}
