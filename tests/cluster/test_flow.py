"""The model of packet flow beside what was measured: each fault of the how-to's recipe ends where it was seen to end."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from cluster.flow import Fault, Path, World, connections, path, paths
from cluster.keepalived import Endpoint, endpoints
from cluster.listening import SeenListener
from cluster.observed import HostState, SeenLink
from cluster.parts import Address, Rule
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.states import as_declared, director
from tests.variants import Variant

CLIENT, VIP = IPv4Address("10.0.0.5"), IPv4Address("10.0.0.10")
READ = Endpoint("read", VIP, 3306)
LB1, LB2, DB1 = (IPv4Address(f"10.0.0.{last}") for last in (4, 6, 1))


def at_work(variant: Variant) -> dict[str, HostState]:
    """A cluster as declared, the first director active."""
    plan = variant.blueprint
    servers = {name: as_declared(plan, name, {variant.mode}) for name in plan.declaration.real_server}
    names = list(plan.declaration.director)
    return servers | {n: director(plan, n, variant.mode, active=n == names[0]) for n in names}


def world(variant: Variant, states: Mapping[str, HostState | None], down: tuple[str, ...] = ()) -> World:
    return World.of(variant.declaration, states, down)


def ended(variant: Variant, host: str, **changed: Any) -> str:
    """Where and why connections to db1 (or all of them) end when one thing is otherwise on one host."""
    states = at_work(variant)
    states[host] = replace(states[host], **changed)
    found = paths(world(variant, states), CLIENT, READ)[0]
    assert isinstance(found, Fault)
    return str(found)


def without_sysctl(state: HostState, *keys: str) -> Mapping[str, str]:
    return {path: "0" if path.endswith(keys) else value for path, value in state.sysctls.items()}


DR, TUN, NAT = (Variant(mode) for mode in Mode)
FWMARK, SNAT = (Variant(Mode.NAT, return_path=way) for way in (ReturnPath.FWMARK, ReturnPath.SNAT))


@pytest.mark.parametrize("variant", [DR, TUN, NAT, FWMARK, SNAT], ids=lambda variant: variant.name)
def test_as_declared_every_server_answers_at_every_endpoint(variant: Variant) -> None:
    for endpoint in endpoints(variant.declaration, "lb1"):
        found = paths(world(variant, at_work(variant)), CLIENT, endpoint)
        assert [way.server for way in found if isinstance(way, Path)] == ["db1", "db2", "db3"]
        for way in found:
            assert isinstance(way, Path)
            assert (way.director, way.mode, way.answers_from) == ("lb1", variant.mode, endpoint.address)
            assert way.server_sees == (LB1 if variant is SNAT else CLIENT)


def test_the_hops_are_told() -> None:
    way = paths(world(NAT, at_work(NAT)), CLIENT, READ)[0]
    assert [str(hop) for hop in way.hops] == [
        "client: asks for 10.0.0.10; lb1 answers",
        "lb1: sends it to db1 by nat",
        "db1: accepts it at 10.0.0.1:3306",
        "db1: answers through lb1",
        "lb1: answers the client from 10.0.0.10:3306",
    ]


# The how-to's ARP problem.


def test_a_server_that_does_not_keep_silent_answers_for_the_vip() -> None:
    said = ended(DR, "db1", sysctls=without_sysctl(at_work(DR)["db1"], "arp_ignore"))
    assert said == "client: db1 and lb1 both answer for 10.0.0.10"


def test_silence_alone_is_not_enough() -> None:
    said = ended(TUN, "db2", sysctls=without_sysctl(at_work(TUN)["db2"], "arp_announce"))
    assert said == "db2: its own ARP questions name 10.0.0.10, and clients note it (arp_announce below 2)"


def test_two_directors_that_hold_it() -> None:
    both = at_work(DR)["lb1"].addresses
    assert ended(DR, "lb2", addresses=both) == "client: lb1 and lb2 both answer for 10.0.0.10"


def test_none_that_holds_it() -> None:
    assert ended(DR, "lb1", addresses=frozenset()) == "client: nobody answers for 10.0.0.10"


# The director.


def test_no_service_and_no_server() -> None:
    assert ended(DR, "lb1", services=()) == "lb1: has no virtual service 10.0.0.10:3306"
    empty = tuple(replace(service, destinations=()) for service in at_work(DR)["lb1"].services)
    assert ended(DR, "lb1", services=empty) == "lb1: 10.0.0.10:3306 has no server in rotation"


def test_nat_needs_forwarding_and_the_others_do_not() -> None:
    off = without_sysctl(at_work(NAT)["lb1"], "ip_forward")
    assert ended(NAT, "lb1", sysctls=off) == "lb1: ip_forward is off: it passes nothing on by nat"
    for variant in (DR, TUN):
        states = at_work(variant)
        states["lb1"] = replace(states["lb1"], sysctls={})
        assert all(isinstance(way, Path) for way in paths(world(variant, states), CLIENT, READ))


def test_snat_needs_the_kernels_list_of_connections() -> None:
    """Without vs.conntrack masquerading does not meet what IPVS sends on: the server sees the client and answers past us."""
    said = ended(SNAT, "lb1", sysctls=without_sysctl(at_work(SNAT)["lb1"], "conntrack"))
    assert said == "client: gets an answer from 10.0.0.1 and asked 10.0.0.10: it went past the director"


# The server.


def test_an_address_that_is_missing_and_a_tunnel_that_is_down() -> None:
    assert ended(DR, "db1", addresses=frozenset()).startswith("db1: does not have 10.0.0.10")
    down = {**at_work(TUN)["db1"].links, "tunl0": SeenLink(up=False, kind="ipip", received_packets=0)}
    assert ended(TUN, "db1", links=down) == "db1: tunl0 is down, and tunnelled packets are refused"


def test_dr_works_with_the_address_on_any_device_and_also_while_that_is_down() -> None:
    states = at_work(DR)
    anywhere = frozenset({Address("lo", VIP)})
    states["db1"] = replace(states["db1"], links={}, addresses=anywhere)
    assert isinstance(paths(world(DR, states), CLIENT, READ)[0], Path)


@pytest.mark.parametrize(
    ("rp_filter", "device", "passes"),
    [(0, "tunl0", True), (2, "tunl0", True), (1, "tunl0", False), (0, "dummy0", True), (2, "dummy0", False)],
)
def test_rp_filter_as_measured(rp_filter: int, device: str, passes: bool) -> None:  # noqa: FBT001
    states = at_work(TUN)
    key = "net/ipv4/conf/tunl0/rp_filter"
    sysctls = {**states["db1"].sysctls, key: str(rp_filter)}
    states["db1"] = replace(states["db1"], sysctls=sysctls, addresses=frozenset({Address(device, VIP)}))
    assert isinstance(paths(world(TUN, states), CLIENT, READ)[0], Path) is passes


def test_nobody_listens_there() -> None:
    here = (SeenListener(DB1, 3306, "mariadbd"),)
    assert ended(DR, "db1", listeners=here) == "db1: nothing listens at 10.0.0.10:3306"
    states = at_work(NAT)
    states["db1"] = replace(states["db1"], listeners=here)
    assert isinstance(paths(world(NAT, states), CLIENT, READ)[0], Path)


def test_a_dead_server_is_no_way() -> None:
    found = paths(world(DR, at_work(DR), down=("db1",)), CLIENT, READ)
    assert [str(way) for way in found if isinstance(way, Fault)] == ["db1: does not answer"]
    assert len(found) == 3


# The way back of nat.


def test_answers_that_go_past_the_director() -> None:
    past = "client: gets an answer from 10.0.0.1 and asked 10.0.0.10: it went past the director"
    assert ended(NAT, "db1", rules=()) == past
    assert ended(FWMARK, "db1", chains=()) == past


def test_routes_that_were_lost() -> None:
    last = frozenset(route for route in at_work(NAT)["db1"].routes if route.kind == "unreachable")
    assert ended(NAT, "db1", routes=last) == "db1: table 100 has only its unreachable route for the answer"


def test_a_gateway_that_is_a_vip_of_the_server() -> None:
    routes = frozenset(replace(r, via=VIP) if r.via else r for r in at_work(NAT)["db1"].routes)
    own = frozenset({Address("dummy0", VIP)})
    silent = {"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"}
    said = ended(NAT, "db1", routes=routes, addresses=own, sysctls=silent)
    assert said == "db1: 10.0.0.10 is an address of its own, and no gateway"


def test_a_gateway_at_another_director() -> None:
    gateway = Address("eth0", IPv4Address("10.0.0.12"))
    states = at_work(NAT)
    states["lb1"] = replace(states["lb1"], addresses=states["lb1"].addresses - {gateway})
    states["lb2"] = replace(states["lb2"], addresses=frozenset({gateway}))
    found = paths(world(NAT, states), CLIENT, READ)[0]
    assert str(found) == "lb2: gets the answer and knows nothing of the connection, which is lb1's"


def test_the_seeds_mark_on_every_answer_breaks_dr() -> None:
    """Marked by the source port alone, answers from a VIP are sent to the director, which owns that address."""
    states = at_work(DR)
    nat = at_work(FWMARK)["db1"]
    every = tuple(
        replace(c, rules=("-p tcp -m tcp --sport 3306 -j MARK --set-xmark 0x1/0xffffffff",)) for c in nat.chains
    )
    states["db1"] = replace(states["db1"], rules=nat.rules, routes=nat.routes, chains=every)
    found = paths(world(DR, states), CLIENT, READ)[0]
    assert str(found) == "lb1: gets an answer from 10.0.0.10, which is its own address, and drops it"
    # Ours looks at the source address, too.
    states["db1"] = replace(states["db1"], chains=nat.chains)
    assert isinstance(paths(world(DR, states), CLIENT, READ)[0], Path)


def test_rules_are_asked_in_their_order() -> None:
    """The gateway watch's: before that of the return path one that sends answers out directly."""
    rules = (*at_work(NAT)["db1"].rules, Rule(99, 254, source=DB1, protocol="tcp", source_port=3306))
    assert ended(NAT, "db1", rules=rules).endswith("it went past the director")


# Established connections.


def test_an_established_connection_keeps_its_method() -> None:
    before = at_work(DR)
    held = next(connections(world(DR, before), CLIENT, READ))
    switched = {**before, "lb1": director(DR.blueprint, "lb1", Mode.TUN, active=True)}
    assert isinstance(paths(world(DR, switched), CLIENT, READ)[0], Fault)
    way = path(world(DR, switched), held)
    assert isinstance(way, Path)
    assert way.mode is Mode.DR


def test_what_ends_an_established_connection() -> None:
    states = at_work(NAT)
    held = next(connections(world(NAT, states), CLIENT, READ))
    early = {**states, "db1": replace(states["db1"], rules=())}
    assert "past the director" in str(path(world(NAT, early), held))
    gone = director(NAT.blueprint, "lb1", Mode.NAT, active=True, dead=["db1"])
    said = path(world(NAT, {**states, "lb1": gone}), held)
    assert str(said) == "lb1: 10.0.0.1 is no longer in its table: the connection is reset"


def test_a_translated_connection_ends_with_the_chain() -> None:
    states = at_work(SNAT)
    held = next(connections(world(SNAT, states), CLIENT, READ))
    assert held.server_sees == LB1
    assert isinstance(path(world(SNAT, states), held), Path)
    said = path(world(SNAT, {**states, "lb1": replace(states["lb1"], chains=())}), held)
    assert "no longer translates" in str(said)


def test_a_host_that_could_not_be_asked_is_named() -> None:
    states: dict[str, HostState | None] = {**at_work(DR), "db1": None}
    found = paths(world(DR, states), CLIENT, READ)[0]
    assert str(found) == "10.0.0.1: no host has this address, or it could not be asked"
