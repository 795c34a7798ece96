"""A planned failover: who hands over to whom, and when it must not begin."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.errors import LbctlError
from cluster.failover import Move, clients_by_server, known, move, of_clients, stuck
from cluster.observed import HostState
from cluster.vocabulary import Mode
from tests.cluster.states import director
from tests.variants import Variant

PAIR = Variant(Mode.DR).blueprint
D = PAIR.declaration


def pair(active: str) -> dict[str, HostState | None]:
    return {name: director(PAIR, name, Mode.DR, active=name == active) for name in D.director}


def test_from_the_active_one_to_the_other() -> None:
    assert move(D, pair("lb1"), None) == Move("lb1", "lb2")
    assert move(D, pair("lb2"), "lb1") == Move("lb2", "lb1")


def stopped(name: str) -> dict[str, HostState | None]:
    seen = pair("lb1")
    state = seen[name]
    assert state
    unit = replace(state.units["keepalived.service"], active=False)
    return {**seen, name: replace(state, units={"keepalived.service": unit})}


BOTH = {name: director(PAIR, name, Mode.DR, active=True) for name in D.director}
WAITING = {
    **pair("lb1"),
    "lb2": director(PAIR, "lb2", Mode.DR, active=False, dead=("db3",)),
}
"""The heir has just started: a server waits for its first check."""
EMPTY = {**pair("lb1"), "lb2": replace(director(PAIR, "lb2", Mode.DR, active=False), services=())}


@pytest.mark.parametrize(
    ("seen", "to", "why"),
    [
        (pair("lb1"), "lb1", "active director already"),
        (pair("lb1"), "lb9", "no director that runs"),
        (pair("none"), None, "no director that can be asked holds"),
        (BOTH, None, "several directors hold"),
        (stopped("lb2"), None, "nobody to hand over to"),
        ({**pair("lb1"), "lb2": None}, None, "nobody to hand over to"),
        (EMPTY, None, "lb2 cannot serve yet"),
        (WAITING, None, "lb2 cannot serve yet: it does not send connections for 10.0.0.10:3306 to 10.0.0.3:3306 yet"),
    ],
)
def test_it_does_not_begin(seen: dict[str, HostState | None], to: str | None, why: str) -> None:
    with pytest.raises(LbctlError, match=why):
        move(D, seen, to)


TABLE = """\
Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP 0A000005 9C40 0A00000A 0CEA 0A000001 0CEA ESTABLISHED     899
TCP 0A000005 9C41 0A00000A 0CEA 0A000002 0CEA FIN_WAIT        119
TCP 0A000006 9C42 0A00000A 0CEA 0A000003 0CEA ESTABLISHED     899
TCP 0A000005 0000 0A00000A 0CEA 0A000002 0CEA NONE            58
"""


def test_connections_of_clients_are_compared() -> None:
    found = known(TABLE.splitlines())
    assert len(found) == 2
    assert {connection[0] for connection in of_clients(found, D)} == {"0A000005"}


def test_who_is_to_be_asked_whether_a_connection_stands() -> None:
    found = clients_by_server(of_clients(known(TABLE.splitlines()), D))
    assert found == {IPv4Address("10.0.0.1"): frozenset({"10.0.0.5:40000"})}


def test_which_client_goes_where() -> None:
    assert stuck(TABLE.splitlines()) == {("0A000005", "0000", "0A00000A", "0CEA", "0A000002", "0CEA")}
