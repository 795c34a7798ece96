"""Ports that only nat has, after a change to another mode: served for as long as clients are connected there."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from cluster.keepalived import configuration, endpoints, fading
from cluster.observed import HostState, SeenService
from cluster.plan import Plan, Work, plan
from cluster.still_used import clung_to, modes_now
from cluster.vocabulary import MYSQL_PORT, Mode
from tests.cluster.states import IFUPDOWN, as_declared, director, services
from tests.variants import Variant

NAT = Variant(Mode.NAT).blueprint
DR = Variant(Mode.DR).blueprint
BOTH = frozenset({Mode.DR, Mode.NAT})
PLACES = tuple(e for e in endpoints(NAT.declaration, "lb1") if e.port != MYSQL_PORT)
PORTS = ["10.0.0.12:5506", "10.0.0.12:5507"]


def connected(
    found: tuple[SeenService, ...], endpoint: str, *, active: int, inactive: int = 0
) -> tuple[SeenService, ...]:
    """The same table with so many connections of each server at one endpoint."""

    def counted(service: SeenService) -> SeenService:
        if str(service.endpoint) != endpoint:
            return service
        lines = tuple(replace(d, active=active, inactive=inactive) for d in service.destinations)
        return replace(service, destinations=lines)

    return tuple(map(counted, found))


def moved(*, active: int = 0, inactive: int = 0) -> dict[str, HostState]:
    """The pair and its servers after both directors have changed from nat to dr, with connections at the old port."""
    tables = {n: services(configuration(DR.declaration, n, former=PLACES).virtual_servers) for n in ("lb1", "lb2")}
    held = director(DR, "lb1", Mode.DR, active=True).addresses
    seen = {name: as_declared(DR, name, BOTH) for name in DR.declaration.real_server}
    for name, table in tables.items():
        there = as_declared(DR, name, BOTH, replace(IFUPDOWN, services=table))
        counted = connected(table, PORTS[0], active=active, inactive=inactive) if name == "lb1" else table
        seen[name] = replace(there, services=counted, addresses=held if name == "lb1" else frozenset())
    return seen


def steps(found: Plan) -> list[tuple[Work, tuple[str, ...]]]:
    return [(step.work, tuple(step.changes)) for step in found.steps]


def directors(seen: Mapping[str, HostState]) -> dict[str, HostState | None]:
    return {name: seen[name] for name in ("lb1", "lb2")}


def test_only_nat_has_ports_of_its_own() -> None:
    served = endpoints(NAT.declaration, "lb1")
    assert [str(e) for e in fading(DR.declaration, "lb1", served)] == PORTS
    assert fading(DR.declaration, "lb1", endpoints(DR.declaration, "lb1")) == ()
    assert fading(NAT.declaration, "lb1", served) == ()


def test_where_the_gateway_begins_to_float_the_directors_own_address_is_a_former_place() -> None:
    alone = Variant(Mode.NAT, directors=1).blueprint
    served = endpoints(alone.declaration, "lb1")
    assert [str(e) for e in fading(NAT.declaration, "lb1", served)] == ["10.0.0.4:5506", "10.0.0.4:5507"]


def test_they_are_served_by_nat_beside_the_declared_method() -> None:
    servers = configuration(DR.declaration, "lb1", former=PLACES).virtual_servers
    assert [(str(s.endpoint), s.mode) for s in servers] == [
        ("10.0.0.10:3306", Mode.DR),
        ("10.0.0.11:3306", Mode.DR),
        (PORTS[0], Mode.NAT),
        (PORTS[1], Mode.NAT),
    ]


def test_a_change_away_from_nat_keeps_them_and_then_gives_them_up() -> None:
    seen: dict[str, HostState | None] = {
        name: as_declared(NAT, name, {Mode.NAT}) for name in NAT.declaration.real_server
    }
    seen |= {"lb1": director(NAT, "lb1", Mode.NAT, active=True), "lb2": director(NAT, "lb2", Mode.NAT, active=False)}
    found = plan(DR, seen)
    assert [work for work, _ in steps(found)] == [
        Work.PREPARE,
        Work.CONFIGURE,
        Work.CONFIGURE,
        Work.WITHDRAW,
        Work.RETIRE,
        Work.RETIRE,
    ]
    confs = [
        c.item.text for step in found.steps for c in step.changes.get("lb1", ()) if c.kind == "file" and c.item.guarded
    ]
    assert ["virtual_server 10.0.0.12 5506" in text for text in confs] == [True, False]


def test_while_a_client_is_connected_nothing_of_nat_goes() -> None:
    seen = moved(active=1)
    assert modes_now(DR, directors(seen)) == BOTH
    found = plan(DR, seen)
    assert steps(found) == [(Work.WITHDRAW, ("lb1", "lb2"))]
    conf = found.steps[0].changes["lb1"][0].item.text
    assert ["virtual_server 10.0.0.12 5506" in conf, "virtual_server 10.0.0.12 5507" in conf] == [True, False]


def test_while_clients_are_at_both_there_is_nothing_to_do_and_it_is_said_why() -> None:
    seen = moved(active=1)
    seen["lb1"] = replace(seen["lb1"], services=connected(seen["lb1"].services, PORTS[1], active=1))
    found = plan(DR, seen)
    assert found.is_empty
    (note,) = found.notes
    assert note == "kept for now: clients are connected to 10.0.0.12:5506, 10.0.0.12:5507 (nat)"


@pytest.mark.parametrize("inactive", [0, 1])
def test_when_the_last_one_has_gone_they_go_and_then_the_rest(inactive: int) -> None:
    seen = moved(inactive=inactive)
    assert bool(clung_to(DR, directors(seen), quiet=True)["lb2"]) is bool(inactive)
    assert clung_to(DR, directors(seen)) == {"lb1": (), "lb2": ()}
    found = steps(plan(DR, seen))
    assert found[0] == (Work.WITHDRAW, ("lb1", "lb2"))
    assert {work for work, _ in found[1:]} == {Work.RETIRE}


def test_what_a_director_serves_for_old_clients_is_no_drift() -> None:
    """The passive one has changed, the active one is about to: what the first serves is what both will."""
    seen = moved() | {"lb1": director(NAT, "lb1", Mode.NAT, active=True)}
    assert modes_now(DR, directors(seen)) == BOTH
    assert [hosts for work, hosts in steps(plan(DR, seen)) if work is Work.CONFIGURE] == [("lb1",)]
