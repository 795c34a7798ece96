"""Segment sizes, direct answers, and the clocks of connections: what footprints say of them, and what a declaration may say."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.advice import advice
from cluster.declaration import Declaration
from cluster.difference import Action, differences
from cluster.footprint import Blueprint
from cluster.observed import HostState, SeenLink
from cluster.parts import Part, Route, Thing
from cluster.reading import read
from cluster.rules import problems
from cluster.vocabulary import Mode
from templates import render
from tests.cluster.states import as_declared
from tests.variants import Variant


def declared(mode: Mode, table: str = "", top: str = "") -> Declaration:
    text = Variant(mode).text
    name, _, keys = table.partition("\n")
    text = text.replace(f"{name}\n", f"{name}\n{keys}\n") if f"{name}\n" in text and name else f"{text}\n{table}\n"
    return read(f"{top}\n{text}", "x.toml")


def blueprint(mode: Mode, table: str = "", top: str = "") -> Blueprint:
    return Blueprint(declared(mode, table, top), render)


def part(plan: Blueprint, host: str, thing: Thing, seen: HostState | None = None) -> Part | None:
    return next((p for p in plan.footprint(host, {plan.declaration.mode}, seen) if p.thing is thing), None)


def with_mtu(mtu: int) -> HostState:
    return HostState(links={"eth0": SeenLink(up=True, kind="", received_packets=0, mtu=mtu)})


def sizes(plan: Blueprint, seen: HostState | None = None) -> set[int | None]:
    found = part(plan, "db1", Thing.SEGMENT_SIZE, seen)
    assert found
    return {route.advmss for route in found.routes}


# Segment size


def test_the_segment_fits_into_the_tunnel_of_the_device_that_was_seen() -> None:
    plan = blueprint(Mode.TUN)
    assert sizes(plan) == {1440}
    assert sizes(plan, with_mtu(1400)) == {1340}
    assert sizes(plan, with_mtu(9000)) == {8940}
    # Declared, because the way is narrower than the device.
    assert sizes(blueprint(Mode.TUN, "[tun]\nmtu = 1300"), with_mtu(1500)) == {1240}


def test_answers_from_virtual_addresses_only_and_in_tun_only() -> None:
    found = part(blueprint(Mode.TUN), "db1", Thing.SEGMENT_SIZE)
    assert found
    assert {str(rule.source) for rule in found.rules} == {"10.0.0.10", "10.0.0.11"}
    assert part(blueprint(Mode.DR), "db1", Thing.SEGMENT_SIZE) is None
    assert part(blueprint(Mode.NAT), "db1", Thing.SEGMENT_SIZE) is None


def test_a_router_takes_the_segment_size_to_clients_beyond_it() -> None:
    found = part(blueprint(Mode.TUN, top='router = "10.0.0.254"'), "db1", Thing.SEGMENT_SIZE)
    assert found
    assert Route(101, "default", device="eth0", via=IPv4Address("10.0.0.254"), advmss=1440) in found.routes


def test_a_server_beyond_a_router_is_left_to_pieces() -> None:
    text = Variant(Mode.TUN).text.replace('address = "10.0.0.1"', 'address = "10.1.0.1"')
    plan = Blueprint(read(text, "x.toml"), render)
    assert part(plan, "db1", Thing.SEGMENT_SIZE) is None
    pieces = part(plan, "lb1", Thing.TUNNEL)
    assert pieces
    assert pieces.sysctls == {"net.ipv4.vs.pmtu_disc": 0}
    assert part(blueprint(Mode.TUN, "[tun]\nfragment = false"), "lb1", Thing.TUNNEL) is None


def test_another_mtu_is_a_difference_and_any_size_a_leftover() -> None:
    plan = blueprint(Mode.TUN)
    state = replace(as_declared(plan, "db1", {Mode.TUN}), links={})
    narrower = replace(state, links={**as_declared(plan, "db1", {Mode.TUN}).links, **with_mtu(1400).links})
    found = differences(plan.footprint("db1", {Mode.TUN}, narrower), plan.known("db1"), narrower)
    assert "add route 10.0.0.0/24 dev eth0 advmss 1340 table 101" in [d.what for d in found]
    other = blueprint(Mode.DR)
    old = replace(state, routes=frozenset({Route(101, "10.0.0.0/24", device="eth0", advmss=1340)}))
    gone = differences(other.footprint("db1", {Mode.DR}), other.known("db1"), old)
    assert "remove route 10.0.0.0/24 dev eth0 advmss 1340 table 101" in [d.what for d in gone]


# Direct answers


def test_direct_answers() -> None:
    plan = blueprint(
        Mode.NAT, '[nat]\ndirect = ["10.0.0.200", "10.0.0.48/28", "10.9.0.0/24"]', top='router = "10.0.0.254"'
    )
    found = part(plan, "db1", Thing.RETURN_PATH)
    assert found
    ways = {route.destination: route.via for route in found.routes if route.kind == "unicast"}
    assert ways == {
        "default": IPv4Address("10.0.0.12"),
        **dict.fromkeys(("10.0.0.4", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.200", "10.0.0.48/28")),
        "10.9.0.0/24": IPv4Address("10.0.0.254"),
    }


def test_direct_needs_a_router_beyond_the_network() -> None:
    text = Variant(Mode.NAT).text.replace("[nat]\n", '[nat]\ndirect = ["10.9.0.0/24"]\n')
    with pytest.raises(Exception, match=r"nat\.direct.*router"):
        read(text, "x.toml")


def test_a_direct_network_with_all_clients_in_it_is_advised_against() -> None:
    said = advice(declared(Mode.NAT, '[nat]\ndirect = ["10.0.0.0/24"]'))
    assert [key for key, _ in said if key == ("nat", "direct")]
    assert not [key for key, _ in advice(declared(Mode.NAT, '[nat]\ndirect = ["10.0.0.9"]')) if key[0] == "nat"]


# Clocks


@pytest.mark.parametrize(
    "keys",
    ['idle = "500ms"', 'idle = "5m"', "idle = 0", 'keepalive = "15m"', 'keepalive = "1.5s"', "copy_every = 0"],
)
def test_clocks_that_make_no_sense(keys: str) -> None:
    with pytest.raises(Exception, match="connections"):
        declared(Mode.DR, f"[connections]\n{keys}")


def test_servers_that_do_not_ask() -> None:
    plan = blueprint(Mode.DR, '[connections]\nkeepalive = "0s"')
    assert problems(plan.declaration) == []
    assert part(plan, "db1", Thing.KEEPALIVE) is None
    assert [key for key, _ in advice(plan.declaration) if key == ("connections", "keepalive")]
    longer = declared(Mode.DR, '[connections]\nkeepalive = "0s"\nidle = "9h"')
    assert not [key for key, _ in advice(longer) if key[0] == "connections"]
    # What was set before is taken back.
    before = as_declared(blueprint(Mode.DR), "db1", {Mode.DR})
    left = differences(plan.footprint("db1", {Mode.DR}), plan.known("db1"), before)
    assert {d.thing for d in left} == {Thing.KEEPALIVE}
    assert {d.action for d in left} == {Action.REMOVE}


def test_what_is_switched_off_is_neither_set_nor_written() -> None:
    off = "reset_dead = false\nunstick_dead = false\nrefuse = false"
    found = part(blueprint(Mode.DR, f"[connections]\n{off}"), "lb1", Thing.KERNEL)
    assert found
    sync = {"net.ipv4.vs.sync_threshold", "net.ipv4.vs.sync_refresh_period"}
    assert set(found.sysctls) == {"net.ipv4.vs.sloppy_tcp", "net.ipv4.vs.conn_reuse_mode"} | sync
    one = part(Variant(Mode.DR, directors=1).blueprint, "lb1", Thing.KERNEL)
    assert one
    assert not [key for key in one.sysctls if "sync" in key]


def test_keepalived_conf() -> None:
    plan = blueprint(Mode.DR, '[connections]\nidle = "1h"')
    assert "lvs_timeouts tcp 3600 tcpfin 120 udp 300\n" in plan.keepalived_conf("lb1").text
    assert "    alpha\n" in plan.keepalived_conf("lb1").text
    assert "    alpha\n" not in blueprint(Mode.DR, "[health]\nalpha = false").keepalived_conf("lb1").text
