"""Who goes when, what must stay, and when a director must not be changed."""

from dataclasses import replace

import pytest

from cluster.footprint import ALL_MODES
from cluster.observed import HostState
from cluster.order import (
    is_active,
    left_out,
    not_ready,
    only_choices,
    parted,
    reads_another_file,
    standing_down,
    turns,
    unsettled,
)
from cluster.parts import Address
from cluster.plan import plan
from cluster.still_used import modes_in_use, modes_to_keep
from cluster.vocabulary import Mode
from tests.cluster.states import as_declared, director, with_connections, with_length
from tests.variants import Variant

DR = Variant(Mode.DR)
PLAN = DR.blueprint
DECLARED = PLAN.declaration


def pair(mode: Mode, active: str, dead: tuple[str, ...] = ()) -> dict[str, HostState]:
    return {name: director(PLAN, name, mode, active=name == active, dead=dead) for name in DECLARED.director}


def test_the_active_director_is_changed_last() -> None:
    assert turns(DECLARED, pair(Mode.DR, "lb1"), PLAN.contract) == ("lb2", "lb1")
    assert turns(DECLARED, pair(Mode.DR, "lb2"), PLAN.contract) == ("lb1", "lb2")


def test_on_bare_machines_the_preferred_one_starts_first_and_becomes_active() -> None:
    bare = {"lb1": HostState(), "lb2": HostState()}
    assert turns(DECLARED, bare, PLAN.contract) == ("lb1", "lb2")


def test_passive_ones_stand_down_while_what_peers_must_agree_on_changes() -> None:
    seen = pair(Mode.DR, "lb1")
    assert standing_down(DECLARED, seen, PLAN.contract) == ()
    assert standing_down(DECLARED, seen, "other terms") == ("lb2",)
    assert turns(DECLARED, seen, "other terms") == ("lb1", "lb2")


def test_nobody_stands_down_once_the_active_one_is_on_the_new_terms() -> None:
    seen = pair(Mode.DR, "lb1")
    units = seen["lb2"].units
    old = {**units, "keepalived.service": replace(units["keepalived.service"], contract="old")}
    seen["lb2"] = replace(seen["lb2"], units=old)
    assert standing_down(DECLARED, seen, PLAN.contract) == ()


@pytest.mark.parametrize("length", [32, 24, 8])
def test_a_pair_whose_addresses_have_a_length_of_somebodys_is_changed_in_the_same_order(length: int) -> None:
    """keepalived takes `10.0.0.10/24 label eth0:1` as well. The active one would be taken for a passive one, and the other one
    would go on with its own list beside it: two masters.
    """
    seen = pair(Mode.DR, "lb1")
    if length < 32:
        seen["lb1"] = with_length(seen["lb1"], length)
    assert is_active(DECLARED, seen["lb1"])
    assert turns(DECLARED, seen, PLAN.contract) == ("lb2", "lb1")
    assert standing_down(DECLARED, seen, "other terms") == ("lb2",)
    assert turns(DECLARED, seen, "other terms") == ("lb1", "lb2")
    assert "still holds the virtual addresses" in (parted(DECLARED, "lb2", seen, "other terms") or "")
    assert unsettled(DECLARED, "lb2", seen["lb2"], [seen["lb1"]]) is None


def test_a_directors_own_address_makes_nobody_active() -> None:
    own = Address("eth0", DECLARED.director["lb2"].address, 24)
    assert not is_active(DECLARED, HostState(wider=frozenset({own})))


@pytest.mark.parametrize(
    ("said", "file"),
    [
        ("", ""),
        ('"-D"', ""),
        ('"--dont-respawn -p /run/f.pid"', ""),
        ('"-D -f /etc/keepalived/ha.conf"', "/etc/keepalived/ha.conf"),
        ("'-Df/etc/ha.conf'", "/etc/ha.conf"),
        ('"--use-file=/etc/ha.conf -D"', "/etc/ha.conf"),
        ('"--use-file /etc/ha.conf"', "/etc/ha.conf"),
        ("-f /etc/keepalived/keepalived.conf", ""),
        ('"-f /etc/ha.conf -f /etc/keepalived/keepalived.conf"', ""),
    ],
)
def test_a_director_whose_keepalived_reads_another_file_is_not_changed(said: str, file: str) -> None:
    """A reload would read that one again, and the pair would be on two lists of addresses."""
    seen = pair(Mode.DR, "lb1")
    seen["lb1"] = replace(seen["lb1"], daemon_args=said)
    assert (f"is told to read {file} " in (reads_another_file(seen["lb1"]) or "")) is bool(file)
    # Where nothing is to be changed nothing is wrong with it.
    assert parted(DECLARED, "lb1", seen, PLAN.contract) is None
    if file:
        assert parted(DECLARED, "lb1", seen, "other terms") == reads_another_file(seen["lb1"])
    stale = replace(seen["lb1"], files={})
    found = plan(PLAN, {**seen, "lb1": stale})
    assert found.refused == ({"lb1": reads_another_file(stale)} if file else {})
    assert ("name no file in /etc/default/keepalived" in found.cure) is bool(file)


def test_modes_of_all_directors_are_in_use_and_all_may_be_on_one_that_is_silent() -> None:
    nat = director(PLAN, "lb1", Mode.NAT, active=True)
    assert modes_in_use(DECLARED, [nat, HostState()]) == {Mode.DR, Mode.NAT}
    assert modes_in_use(DECLARED, [nat, None]) == ALL_MODES


@pytest.mark.parametrize(
    ("local", "peer", "kept"),
    [
        ("10.0.0.1", "10.0.0.5", Mode.NAT),  # a client, answered from the server's own address
        ("10.0.0.1", "10.0.0.2", None),  # replication among the servers
        ("10.0.0.1", "10.0.0.4", None),  # a director's own check
    ],
)
def test_a_mode_is_kept_while_a_connection_may_use_it(local: str, peer: str, kept: Mode | None) -> None:
    server = with_connections(HostState(), (local, peer))
    modes, why = modes_to_keep(DECLARED, [HostState()], [server])
    assert modes == {Mode.DR, *([kept] if kept else [])}
    assert bool(why) is (kept is not None)


def test_connections_at_a_vip_keep_dr_and_tun_under_nat() -> None:
    declared = Variant(Mode.NAT).declaration
    modes, _ = modes_to_keep(declared, [HostState()], [with_connections(HostState(), ("10.0.0.10", "10.0.0.5"))])
    assert modes == ALL_MODES


def test_everything_is_kept_while_a_server_cannot_be_asked() -> None:
    assert modes_to_keep(DECLARED, [HostState()], [None])[0] == ALL_MODES


def test_a_director_is_settled_when_its_kernel_says_so() -> None:
    seen = pair(Mode.DR, "lb1")
    assert unsettled(DECLARED, "lb1", seen["lb1"], [seen["lb2"]]) is None
    assert unsettled(DECLARED, "lb2", seen["lb2"], [seen["lb1"]]) is None


def test_a_dead_server_is_rightly_missing() -> None:
    seen = pair(Mode.DR, "lb1", dead=("db3",))
    assert unsettled(DECLARED, "lb1", seen["lb1"], []) is None


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (HostState(), "are not in the kernel's table"),
        (director(PLAN, "lb1", Mode.TUN, active=True), "method tun becomes dr"),
        (director(PLAN, "lb1", Mode.DR, active=False), "no director holds"),
    ],
)
def test_what_a_director_lacks_is_said(state: HostState, said: str) -> None:
    assert said in (unsettled(DECLARED, "lb1", state, []) or "")


def test_servers_that_are_dead_while_the_method_changes_are_left_out_first() -> None:
    assert left_out(DECLARED, "lb1", director(PLAN, "lb1", Mode.TUN, active=True, dead=["db3"])) == {
        ("read", "db3"),
        ("write", "db3"),
    }
    assert left_out(DECLARED, "lb1", director(PLAN, "lb1", Mode.DR, active=True, dead=["db3"])) == frozenset()
    assert left_out(DECLARED, "lb1", director(PLAN, "lb1", Mode.TUN, active=True)) == frozenset()
    assert left_out(DECLARED, "lb1", HostState()) == frozenset()


SERVER = as_declared(PLAN, "db1", {Mode.DR})


def test_a_director_moves_when_every_server_is_ready() -> None:
    old = director(PLAN, "lb1", Mode.TUN, active=True)
    assert not_ready(DECLARED, old, dict.fromkeys(DECLARED.real_server, SERVER), {}, []) is None


def test_a_server_that_may_be_in_rotation_and_is_not_ready_stops_it() -> None:
    old = director(PLAN, "lb1", Mode.TUN, active=True)
    why = not_ready(DECLARED, old, {"db1": SERVER}, {"db1": "set device tunl0 up"}, [])
    assert why is not None
    assert "db1" in why


def test_a_server_without_a_running_health_service_does_not() -> None:
    off = replace(SERVER, units={})
    assert not_ready(DECLARED, HostState(), {"db1": off}, {"db1": "add 10.0.0.10/32 to dummy0"}, []) is None


def test_a_silent_server_stops_a_change_of_method_only() -> None:
    assert not_ready(DECLARED, director(PLAN, "lb1", Mode.TUN, active=True), {"db1": None}, {}, []) is not None
    assert not_ready(DECLARED, director(PLAN, "lb1", Mode.DR, active=True), {"db1": None}, {}, []) is None
    out = director(PLAN, "lb1", Mode.TUN, active=True, dead=["db1"])
    assert not_ready(DECLARED, out, {"db1": None}, {}, []) is None


def test_a_director_that_failed_on_the_way_to_a_new_method_was_the_trial() -> None:
    assert not_ready(DECLARED, director(PLAN, "lb1", Mode.TUN, active=True), {}, {}, ["lb2"]) is not None
    assert not_ready(DECLARED, director(PLAN, "lb1", Mode.DR, active=True), {}, {}, ["lb2"]) is None


RANKED = Variant(Mode.DR, "ranked").blueprint


def writers(seen: HostState) -> set[str]:
    return set(only_choices(RANKED.declaration, [seen]))


def test_the_writer_is_the_heaviest_that_takes_new_connections() -> None:
    seen = director(RANKED, "lb1", Mode.DR, active=True)
    read, write = seen.services
    assert writers(seen) == {"db1"}
    first, *others = write.destinations
    aside = replace(write, destinations=(replace(first, weight=0), *others))
    assert writers(replace(seen, services=(read, aside))) == {"db2"}
    none = replace(write, destinations=tuple(replace(d, weight=0) for d in write.destinations))
    assert writers(replace(seen, services=(read, none))) == set()


def test_the_active_director_tells_who_the_writer_is() -> None:
    active = director(RANKED, "lb1", Mode.DR, active=True)
    passive = director(RANKED, "lb2", Mode.DR, active=False, dead=["db1"])
    assert only_choices(RANKED.declaration, [passive, active]) == {"db1"}
    assert only_choices(RANKED.declaration, [passive]) == {"db2"}
    assert only_choices(RANKED.declaration, []) == set()


def test_a_service_that_one_server_alone_answers_makes_it_the_only_choice() -> None:
    seen = director(PLAN, "lb1", Mode.DR, active=True)
    assert only_choices(DECLARED, [seen]) == set()
    read, write = seen.services
    elected = replace(write, destinations=write.destinations[1:2])
    assert only_choices(DECLARED, [replace(seen, services=(read, elected))]) == {"db2"}
