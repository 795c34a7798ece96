"""From what hosts answered to the faults of a cluster: a name, the right host, nothing beside it."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface

import pytest

from cluster.errors import LbctlError
from cluster.examined import Advert
from cluster.faults import BY_HAND, DEPLOY, Fault
from cluster.iptables import iptables
from cluster.keepalived import floating_addresses
from cluster.observed import ForeignLine
from cluster.parts import KEEPALIVED_CONF, Address, Route, Rule
from cluster.pulse import Ask
from cluster.status import status
from cluster.vocabulary import Mode
from cluster.why import LOOPBACK
from tests.cluster.examined_cluster import FLOATING, LB1, LB2, VIP, Seen, mac, well
from tests.cluster.states import SOURCE
from tests.cluster.watched import changed, elected, out, unreached, without
from tests.variants import MATRIX, SPECIAL, Variant


@pytest.mark.parametrize("variant", [*MATRIX, *SPECIAL], ids=lambda variant: variant.name)
def test_nothing_is_found_where_all_is_as_declared(variant: Variant) -> None:
    assert well(variant.blueprint).found() == ()


def test_servers_that_stand_by_are_no_fault() -> None:
    seen = well(Variant(writer="elected").blueprint)
    seen.answers = elected(seen.plan)
    assert seen.found() == ()


def test_a_server_that_only_the_backup_does_not_reach() -> None:
    seen = well()
    seen.answers = unreached(seen.plan, "no answer within 1 s", "db3")
    (found,) = seen.found()
    assert (found.fault, found.host, found.cure) == (Fault.OUT, "db3", "journalctl -u keepalived on lb2")
    assert found.evidence[0] == (
        "out of rotation on lb2, the backup, in read 10.0.0.10:3306: clustercheck at 10.0.0.3:9200/: no answer within 1 s"
    )


def test_a_packet_filter_of_the_backups_own_is_why_it_reaches_no_server() -> None:
    seen = well()
    seen.answers = unreached(seen.plan, "no answer within 1 s", "db1", "db2", "db3")
    seen.look(
        "lb2", tables=iptables(["*filter", ":OUTPUT ACCEPT [0:0]", "-A OUTPUT -p tcp -m tcp --dport 9200 -j DROP"])
    )
    (found,) = seen.found()
    assert (found.fault, found.host, len(found.hence)) == (Fault.FIREWALL, "lb2", 3)


def dropping(rule: str) -> Callable[[Seen], None]:
    return lambda seen: seen.look("db3", tables=iptables(["*filter", ":INPUT ACCEPT [0:0]", rule]))


def other_adverts(*adverts: Advert) -> Callable[[Seen], None]:
    def make(seen: Seen) -> None:
        for name in ("lb1", "lb2"):
            seen.look(name, adverts=(*seen.examined[name].adverts, *adverts))

    return make


def both_active(seen: Seen) -> None:
    held = frozenset(Address("eth0", address) for address in FLOATING)
    seen.answers = changed(seen.answers, "lb2", addresses=held)


def nobody_active(seen: Seen) -> None:
    seen.answers = changed(seen.answers, "lb1", addresses=frozenset())


def desynced(seen: Seen) -> None:
    seen.answers = out(seen.answers, seen.plan, "db3")
    seen.answers = changed(seen.answers, "db3", answers={Ask(LOOPBACK, 9200, "/"): "503 not Synced: Donor/Desynced"})


def hooks(seen: Seen) -> None:
    line = "post-up ip addr add 10.0.0.10/32 dev dummy0"
    seen.state("db1", interfaces=(SOURCE, ForeignLine("/etc/network/interfaces", 9, line)))


HOWTO_MARK = "-A OUTPUT -p tcp -m tcp --sport 3306 -j MARK --set-xmark 0x1/0xffffffff"


def marked(seen: Seen, mark: str, via: str = "10.0.0.12") -> None:
    """With a rule for mark 1 and a table on db1, as in the how-to."""
    seen.look("db1", marks=(mark,))
    state = seen.answers.states["db1"]
    route = Route(7, "default", "eth0", IPv4Address(via))
    seen.state("db1", rules=(*state.rules, Rule(32765, 7, mark=1)), routes=state.routes | {route})


CASES: dict[str, tuple[Callable[[Seen], None], Fault, str]] = {
    "a dead host": (lambda seen: setattr(seen, "answers", without(seen.answers, "db2")), Fault.DEAD_HOST, "db2"),
    "9200": (dropping("-A INPUT -p tcp -m tcp --dport 9200 -j DROP"), Fault.FIREWALL, "db3"),
    "3306": (dropping("-A INPUT -p tcp -m tcp --dport 3306 -j DROP"), Fault.FIREWALL, "db3"),
    "a clock": (lambda seen: seen.look("db1", ahead=60.0), Fault.CLOCK, "db1"),
    "mtu": (lambda seen: seen.look("db2", mtu=1400), Fault.PACKET_SIZE, "db2"),
    "denied": (lambda seen: seen.look("db1", denied=("apparmor",)), Fault.DENIED, "db1"),
    "arp": (
        lambda seen: seen.look("lb2", answered={VIP: frozenset({mac("lb1"), mac("db1")})}),
        Fault.ARP,
        "db1",
    ),
    "a stranger's arp": (
        lambda seen: seen.look("lb2", answered={VIP: frozenset({"02:ff:ff:ff:ff:ff"})}),
        Fault.ADDRESS_TAKEN,
        "",
    ),
    "a stale neighbour": (lambda seen: seen.look("lb2", neighbours={VIP: mac("db1")}), Fault.NEIGHBOUR, "lb2"),
    "split brain": (both_active, Fault.SPLIT_BRAIN, "lb1 and lb2"),
    "nobody": (nobody_active, Fault.NOBODY, ""),
    "vrrp stranger": (other_adverts(Advert(IPv4Address("10.0.0.99"), 3, 50, ())), Fault.VRRP_STRANGER, ""),
    "vrrp version": (other_adverts(Advert(LB2, 2, 100, FLOATING[:1])), Fault.VRRP_TERMS, "lb2"),
    "vrrp addresses": (other_adverts(Advert(LB2, 3, 100, (VIP, LB2))), Fault.VRRP_TERMS, "lb2"),
    "the how-to's hooks": (hooks, Fault.NEXT_BOOT, "db1"),
    "not synced": (desynced, Fault.NOT_SYNCED, "db3"),
    "another mark": (lambda seen: marked(seen, HOWTO_MARK), Fault.RETURN_PATH_DOUBLED, "db1"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_has_its_name_and_host(name: str) -> None:
    make, fault, host = CASES[name]
    seen = well()
    make(seen)
    (found,) = seen.found()
    assert (found.fault, found.host) == (fault, host)
    assert found.evidence
    assert found.cure
    assert found.page == f"docs/doctor.md#{fault}"


@pytest.mark.parametrize(
    ("mark", "via"),
    [
        (HOWTO_MARK, "10.0.0.254"),
        (HOWTO_MARK.replace("0x1/", "0x2/"), "10.0.0.12"),
        (HOWTO_MARK.replace("3306", "22"), "10.0.0.12"),
        (HOWTO_MARK.replace("--sport 3306", "--dport 443"), "10.0.0.12"),
        (HOWTO_MARK.replace("--set-xmark 0x1/0xffffffff", "--restore"), "10.0.0.12"),
    ],
    ids=["another gateway", "another mark", "another port", "what it asks others", "not understood"],
)
def test_marks_for_other_ends_are_no_return_path(mark: str, via: str) -> None:
    seen = well()
    marked(seen, mark, via)
    assert seen.found() == ()


def test_a_mark_without_a_rule_for_it_sends_nothing_anywhere() -> None:
    seen = well()
    seen.look("db1", marks=(HOWTO_MARK,))
    assert seen.found() == ()


def test_the_how_tos_mark_in_nat_beside_ours() -> None:
    seen = well(Variant(Mode.NAT).blueprint)
    marked(seen, HOWTO_MARK)
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.RETURN_PATH_DOUBLED, "db1")
    assert found.cure == "iptables -t mangle -D OUTPUT -p tcp -m tcp --sport 3306 -j MARK --set-xmark 0x1/0xffffffff"


def test_the_how_tos_hooks_are_taken_out_by_hand_and_status_counts_them() -> None:
    seen = well()
    hooks(seen)
    (found,) = seen.found()
    assert found.evidence[1] == "9: post-up ip addr add 10.0.0.10/32 dev dummy0"
    assert found.cure == "sed -i.before-lbctl '9d' /etc/network/interfaces"
    assert not found.by_deploy
    shown = status(seen.plan, seen.answers)
    assert shown.drift == (("db1", "/etc/network/interfaces does by hand what lbctl does now"),)
    assert not shown.healthy


def test_who_cannot_log_in_is_told_what_mends_that() -> None:
    seen = well()
    unknown = str(LbctlError("its key is not known", cure="Compare it. If so:\n      ssh-keyscan db2 >>known_hosts"))
    seen.answers = without(seen.answers, "db2", unknown)
    (found,) = seen.found()
    assert found.evidence == ("its key is not known",)
    assert found.cure == "Compare it. If so: ssh-keyscan db2 >>known_hosts"


@pytest.mark.parametrize("size", [32, 24])
def test_an_address_by_hand_on_a_servers_own_device_is_taken_away_by_hand(size: int) -> None:
    """A deploy changes nothing there."""
    seen = well()
    seen.look("lb2", answered={VIP: frozenset({mac("lb1"), mac("db1")})})
    seen.look("db1", held=((IPv4Interface("10.0.0.10/32"), "dummy0"), (IPv4Interface(f"10.0.0.10/{size}"), "eth0")))
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.ARP, "db1")
    assert found.cure == f"ip addr del 10.0.0.10/{size} dev eth0, there and where it is configured"
    assert found.evidence[0].endswith("; it is on eth0")
    seen.look("db1", held=((IPv4Interface("10.0.0.10/32"), "dummy0"),))
    (found,) = seen.found()
    assert found.cure == DEPLOY


def test_two_cures_of_one_fault_are_both_told() -> None:
    seen = well()
    seen.look("db1", held=((IPv4Interface("10.0.0.10/32"), "eth0"),))
    seen.look("lb2", answered={VIP: frozenset({mac("lb1"), mac("db1")})})
    state = seen.answers.states["db1"]
    key = next(key for key in state.sysctls if key.endswith("/all/arp_ignore"))
    seen.state("db1", sysctls={**state.sysctls, key: "0"})
    (found,) = seen.found()
    assert found.cure == f"{DEPLOY}; ip addr del 10.0.0.10/32 dev eth0, there and where it is configured"


def test_a_hosts_other_devices_and_addresses_are_no_strangers() -> None:
    """A bond with balance-alb answers by any of its devices; a director may advertise from another of its addresses."""
    seen = well()
    other = IPv4Address("10.0.0.44")
    seen.look(
        "lb1", all_macs=frozenset({mac("lb1"), "02:00:00:00:01:00"}), held=((IPv4Interface(f"{other}/24"), "eth1"),)
    )
    seen.look("lb2", answered={VIP: frozenset({"02:00:00:00:01:00"})})
    (own,) = seen.examined["lb1"].adverts
    other_adverts(replace(own, source=other))(seen)
    assert seen.found() == ()


def test_a_device_that_many_hosts_have_names_nobody_else() -> None:
    seen = well()
    for name in seen.examined:
        seen.look(name, all_macs=frozenset({mac(name), mac("lb1")}))
    assert seen.found() == ()


@pytest.mark.parametrize(("mtu", "cure"), [(9000, 1500), (1400, 1500)])
def test_of_different_packet_sizes_the_few_are_wrong(mtu: int, cure: int) -> None:
    seen = well()
    seen.look("db2", mtu=mtu)
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.PACKET_SIZE, "db2")
    assert found.evidence == (f"eth0 has MTU {mtu}, most hosts have {cure}",)
    assert found.cure.startswith(f"ip link set eth0 mtu {cure},")


def test_of_as_many_of_one_size_as_of_the_other_none_is_right() -> None:
    seen = well(Variant(vrrp="password").blueprint)
    assert len(seen.examined) == 5
    del seen.examined["db3"]
    seen.look("db1", mtu=9000)
    seen.look("lb1", mtu=9000)
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.PACKET_SIZE, "")
    assert found.evidence == ("MTU 1500: db2, lb2", "MTU 9000: db1, lb1")
    assert "ip link" not in found.cure


def test_a_director_that_cannot_be_asked_may_be_the_active_one() -> None:
    seen = well()
    seen.answers = without(seen.answers, "lb1")
    seen.examined.pop("lb1")
    assert seen.names == {(Fault.DEAD_HOST, "lb1")}
    for name in seen.examined:
        seen.look(name, answered={})
    assert seen.names == {(Fault.DEAD_HOST, "lb1")}
    seen.look("lb2", adverts=())
    assert (Fault.NOBODY, "") in seen.names


def test_a_director_that_goes_says_so_on_the_wire() -> None:
    """Priority 0 (RFC 5798, 5.2.4) is a farewell, whatever else it says."""
    seen = well()
    other_adverts(Advert(LB2, 3, 0, ()))(seen)
    assert seen.names == set()


def test_a_firewall_explains_what_follows_from_it() -> None:
    seen = well()
    dropping("-A INPUT -p tcp -m tcp --dport 9200 -j DROP")(seen)
    seen.answers = out(seen.answers, seen.plan, "db3")
    seen.answers = changed(seen.answers, "db3", answers={Ask(LOOPBACK, 9200, "/"): "no answer within 1 s"})
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.FIREWALL, "db3")
    assert any("out of rotation" in line for line in found.hence)


def test_directors_that_do_not_hear_each_other_are_split_because_of_that() -> None:
    seen = well()
    both_active(seen)
    seen.look("lb2", tables=iptables(["*filter", ":INPUT ACCEPT [0:0]", "-A INPUT -p vrrp -j DROP"]))
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.FIREWALL, "lb2")
    assert found.hence == ("lb1 and lb2: several directors hold the virtual addresses: both hold 10.0.0.12",)


# keepalived.conf: what is declared, what is on disk, what keepalived read.


def conf(seen: Seen, *, on_disk: str = "", loaded: str = "", guard: str = "kept") -> None:
    """lb2's; empty: as declared."""
    state = seen.answers.states["lb2"]
    file, unit = state.files[KEEPALIVED_CONF], state.units["keepalived.service"]
    seen.state(
        "lb2",
        files={**state.files, KEEPALIVED_CONF: replace(file, sha256=on_disk or file.sha256, guard=guard)},
        units={**state.units, "keepalived.service": replace(unit, revision=loaded or unit.revision)},
    )


@pytest.mark.parametrize(
    ("on_disk", "loaded", "guard", "fault", "cure"),
    [
        ("", "older", "kept", Fault.OLDER_FILE, DEPLOY),
        ("edited", "", "other", Fault.OLDER_FILE, BY_HAND),
        ("edited", "edited", "other", Fault.OTHERWISE, BY_HAND),
        ("older", "older", "kept", Fault.OTHERWISE, DEPLOY),
    ],
    ids=["right file, not loaded", "edited, not loaded", "edited and loaded", "declaration changed since"],
)
def test_which_file_keepalived_runs(on_disk: str, loaded: str, guard: str, fault: Fault, cure: str) -> None:
    seen = well()
    conf(seen, on_disk=on_disk, loaded=loaded, guard=guard)
    (found,) = seen.found()
    assert (found.fault, found.host, found.cure) == (fault, "lb2", cure)


def test_of_two_passwords_the_edited_one_is_named() -> None:
    variant = Variant(vrrp="password")
    seen = well(variant.blueprint)
    wanted = floating_addresses(variant.declaration)[:1]
    for name in ("lb1", "lb2"):
        seen.look(name, adverts=(Advert(LB1, 2, 101, wanted, "a"), Advert(LB2, 2, 100, wanted, "b")))
    assert seen.names == {(Fault.VRRP_TERMS, "lb1 and lb2")}
    conf(seen, on_disk="edited", loaded="edited", guard="other")
    both_active(seen)
    (found,) = seen.found()
    assert (found.fault, found.host, found.cure) == (Fault.VRRP_TERMS, "lb2", BY_HAND)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_server_without_its_footprint(mode: Mode) -> None:
    """What is missing has the name of what it does, not one for each item."""
    seen = well(Variant(mode).blueprint)
    if mode is Mode.NAT:
        seen.state("db1", rules=(), routes=frozenset())
    else:
        seen.state("db1", addresses=frozenset())
    wanted = Fault.RETURN_PATH if mode is Mode.NAT else Fault.VIP_MISSING
    assert seen.names == {(wanted, "db1")}


def test_addresses_that_nobody_looks_after_are_of_a_keepalived_that_does_not_run() -> None:
    seen = well()
    both_active(seen)
    units = seen.answers.states["lb2"].units
    seen.state("lb2", units={**units, "keepalived.service": replace(units["keepalived.service"], active=False)})
    (found,) = seen.found()
    assert (found.fault, found.host, found.by_deploy) == (Fault.STOPPED, "lb2", True)
    assert "lb1 and lb2" in found.hence[0]


def test_settings_have_the_name_of_what_they_do() -> None:
    seen = well()
    state = seen.answers.states["db1"]
    key = next(key for key in state.sysctls if key.endswith("/all/arp_ignore"))
    seen.state("db1", sysctls={**state.sysctls, key: "0"})
    (found,) = seen.found()
    assert (found.fault, found.host) == (Fault.ARP, "db1")
    assert "arp_ignore = 1 (is 0)" in found.evidence[0]
