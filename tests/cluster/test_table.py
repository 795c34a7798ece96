"""The kernel's table beside the declaration: what is drift, what is not, and what mends it."""

from dataclasses import replace
from ipaddress import IPv4Address

from cluster.difference import Action, differences
from cluster.footprint import Blueprint, table
from cluster.keepalived import Endpoint, hand_over_seconds
from cluster.observed import HostState, SeenDestination, SeenService, ipvs_table, parse
from cluster.plan import Work, plan
from cluster.reading import read
from cluster.still_used import modes_in_use, telling
from cluster.table import drift, not_sticking, set_aside, spread, sticking, taken_back, weights
from cluster.vocabulary import Mode
from tests.cluster.states import as_declared, director
from tests.variants import Variant

PLAN = Variant(Mode.DR).blueprint
SEEN = director(PLAN, "lb1", Mode.DR, active=True)
READ, WRITE = SEEN.services


def found(*services: SeenService) -> list[tuple[str, str]]:
    """(ipvsadm's arguments, what is said) of lb1 with this table."""
    wanted = table(PLAN.declaration, "lb1")
    return [(" ".join(mend.arguments), what) for mend, what in drift(wanted, HostState(services=services))]


def first_changed(service: SeenService, destination: SeenDestination) -> SeenService:
    return replace(service, destinations=(destination, *service.destinations[1:]))


def test_no_drift_as_keepalived_makes_it_and_none_for_a_dead_server() -> None:
    assert found(READ, WRITE) == []
    assert found(replace(READ, destinations=READ.destinations[1:]), replace(WRITE, destinations=())) == []


def test_method_and_weight_are_mended_at_once_and_in_place() -> None:
    other = replace(READ.destinations[0], mode=Mode.TUN, weight=3)
    assert found(first_changed(READ, other), WRITE) == [
        (
            "-e -t 10.0.0.10:3306 -r 10.0.0.1:3306 -g -w 10",
            "10.0.0.10:3306: db1: method tun becomes dr, weight 3 becomes 10",
        )
    ]


def test_scheduler_and_persistence_are_mended_in_place() -> None:
    assert found(replace(READ, scheduler="wlc"), replace(WRITE, persistence=300)) == [
        ("-E -t 10.0.0.10:3306 -s rr", "10.0.0.10:3306: scheduler wlc becomes rr"),
        (
            "-E -t 10.0.0.11:3306 -s rr -p 86400 -M 0.0.0.0",
            "10.0.0.11:3306: persistence 300 s for 0.0.0.0 becomes 86400 s for 0.0.0.0",
        ),
    ]
    sticky = replace(READ, persistence=50, granularity=IPv4Address("255.255.255.255"))
    assert found(sticky, WRITE) == [
        ("-E -t 10.0.0.10:3306 -s rr", "10.0.0.10:3306: persistence 50 s for 255.255.255.255 becomes none")
    ]


def test_a_foreign_server_goes_from_a_declared_service() -> None:
    foreign = replace(READ.destinations[0], address=IPv4Address("10.0.0.9"))
    assert found(replace(READ, destinations=(*READ.destinations, foreign)), WRITE) == [
        (
            "-d -t 10.0.0.10:3306 -r 10.0.0.9:3306",
            "10.0.0.10:3306: remove 10.0.0.9:3306, which is not declared",
        )
    ]


def test_a_service_on_an_address_of_ours_goes_and_one_elsewhere_stays() -> None:
    stale = replace(READ, endpoint=Endpoint("", IPv4Address("10.0.0.12"), 5506, "udp"))
    foreign = replace(READ, endpoint=Endpoint("", IPv4Address("10.0.0.4"), 80))
    assert found(READ, WRITE, stale, foreign) == [
        ("-D -u 10.0.0.12:5506", "remove 10.0.0.12:5506 from the kernel's table")
    ]


def test_a_service_that_is_gone_needs_keepalived_to_start_anew() -> None:
    assert found(READ) == [("", "10.0.0.11:3306 is not in the kernel's table: start keepalived anew")]
    # Once for all of them.
    assert found() == [("", "10.0.0.10:3306, 10.0.0.11:3306 are not in the kernel's table: start keepalived anew")]


def test_drift_is_a_difference_only_while_keepalived_runs_what_is_declared() -> None:
    modes = {Mode.DR}
    drifted = replace(SEEN, services=(replace(READ, scheduler="wlc"), WRITE))
    wanted, known = PLAN.footprint("lb1", modes), PLAN.known("lb1")
    (difference,) = differences(wanted, known, drifted)
    assert (difference.kind, difference.action) == ("table", Action.BUILD)
    unit = drifted.units["keepalived.service"]
    older = replace(drifted, units={**drifted.units, "keepalived.service": replace(unit, revision="old")})
    assert [d.kind for d in differences(wanted, known, older)] == ["unit"]


def test_drift_of_the_method_asks_nothing_of_servers() -> None:
    """A method in the table of a director that runs what is declared is not one that servers must be made ready for."""
    drifted = replace(SEEN, services=(first_changed(READ, replace(READ.destinations[0], mode=Mode.TUN)), WRITE))
    directors = {"lb1": drifted, "lb2": director(PLAN, "lb2", Mode.DR, active=False)}
    assert modes_in_use(PLAN.declaration, telling(PLAN, directors)) == {Mode.DR}
    servers = {name: as_declared(PLAN, name, {Mode.DR}) for name in PLAN.declaration.real_server}
    steps = plan(PLAN, {**servers, **directors}).steps
    assert [(step.work, list(step.changes)) for step in steps] == [(Work.CONFIGURE, ["lb1"])]


def test_the_method_of_a_director_on_an_older_file_is_in_use() -> None:
    old = {"lb1": director(PLAN, "lb1", Mode.TUN, active=True)}
    assert modes_in_use(PLAN.declaration, telling(PLAN, old)) == {Mode.DR, Mode.TUN}


WEIGHTS = weights(PLAN.declaration, "lb1")
DB1 = IPv4Address("10.0.0.1")


def weighed(service: SeenService, **weights: int) -> SeenService:
    """The service with other weights, by the last number of a server's address."""
    there = tuple(
        replace(d, weight=weights.get(f"db{str(d.address)[-1]}", d.weight), mode=Mode.TUN) for d in service.destinations
    )
    return replace(service, destinations=there)


def test_a_server_gets_no_new_connections_where_another_one_takes_them() -> None:
    foreign = replace(READ, endpoint=Endpoint("", IPv4Address("10.0.0.200"), 80))
    only_db1 = weighed(WRITE, db2=0, db3=0)
    seen = HostState(services=(weighed(READ), only_db1, foreign))
    assert [" ".join(mend.arguments) for mend in set_aside(DB1, WEIGHTS, seen)] == [
        "-e -t 10.0.0.10:3306 -r 10.0.0.1:3306 -i -w 0"
    ]
    assert seen.receiving == seen.destinations


def test_it_gets_them_back_by_the_method_of_the_moment_and_nobody_else_does() -> None:
    foreign = replace(READ, endpoint=Endpoint("", IPv4Address("10.0.0.200"), 80))
    seen = HostState(services=(weighed(READ, db1=0), weighed(WRITE, db1=3), weighed(foreign, db2=0)))
    assert [" ".join(mend.arguments) for mend in taken_back(WEIGHTS, seen)] == [
        "-e -t 10.0.0.10:3306 -r 10.0.0.1:3306 -i -w 10"
    ]


def test_weights_are_known_for_the_services_of_every_mode() -> None:
    nat_port = replace(WRITE, endpoint=Endpoint("", IPv4Address("10.0.0.12"), 5507))
    seen = HostState(services=(weighed(nat_port, db1=0, db2=0),))
    ranked = weights(Variant(Mode.DR, "ranked").declaration, "lb1")
    assert [mend.arguments[-1] for mend in taken_back(ranked, seen)] == ["30", "20"]
    text = Variant(Mode.DR).text.replace('address = "10.0.0.1"', 'address = "10.0.0.1"\nweight = 0')
    assert [mend.arguments[-1] for mend in taken_back(weights(read(text, "weightless.toml"), "lb1"), seen)] == ["10"]


def test_one_without_weight_receives_nothing() -> None:
    seen = HostState(services=(weighed(READ, db1=0), weighed(WRITE, db1=0)))
    assert DB1 in seen.destinations
    assert DB1 not in seen.receiving
    assert [*set_aside(DB1, WEIGHTS, seen)] == []


PAGE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A00000B:0CEA rr persistent 8640000 00000000
  -> 0A000001:0CEA      Route   10     1          0
"""


def test_persistence_is_in_seconds_where_ipvsadm_says_so() -> None:
    said = (
        "#network\n[]\n[]\n[]\n#ipvs\n" + PAGE + "#persistence\n-A -t 10.0.0.11:3306 -s rr -p 86400 -M 0.0.0.0\n#end\n"
    )
    assert parse(said).services[0].persistence == 86400
    assert ipvs_table(PAGE.splitlines())[0].persistence == 8640000


def seconds(**vrrp: object) -> float:
    declaration = PLAN.declaration
    changed = declaration.model_copy(update={"vrrp": declaration.vrrp.model_copy(update=vrrp)})
    return hand_over_seconds(changed)


def test_a_director_goes_on_until_its_peer_has_taken_over_and_never_for_long() -> None:
    assert seconds() == 1.8
    assert seconds(version=2, advertise_every=1.0) == 5
    assert seconds(advertise_every=40.0) == 10
    alone: Blueprint = Variant(Mode.DR, directors=1).blueprint
    assert hand_over_seconds(alone.declaration) == 0


def test_clients_stick_where_no_persistence_is_declared_and_then_no_more() -> None:
    d = PLAN.declaration
    assert d.service["write"].persistence
    (stick,) = sticking(d, "lb1", SEEN, 60)
    assert " ".join(stick.arguments) == "-E -t 10.0.0.10:3306 -s rr -p 60 -M 255.255.255.255"
    # Also by a run that finds what another one, which was killed, has left.
    left = replace(SEEN, services=(replace(READ, persistence=60, granularity=IPv4Address("255.255.255.255")), WRITE))
    for seen in (SEEN, left):
        (undo,) = not_sticking(d, "lb1", seen)
        assert " ".join(undo.arguments) == "-E -t 10.0.0.10:3306 -s rr"
    assert [what for _, what in found(*left.services)] == [
        "10.0.0.10:3306: persistence 60 s for 255.255.255.255 becomes none"
    ]
    assert spread(d, "lb1", left) == SEEN
