"""From what hosts answered to the faults of a cluster: a name, the right host, nothing beside it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from cluster.doctor import Case, diagnose
from cluster.errors import LbctlError
from cluster.examined import Advert, Examined
from cluster.faults import BY_HAND, DEPLOY, Diagnosis, Fault
from cluster.firewall import iptables
from cluster.footprint import Blueprint
from cluster.keepalived import floating_addresses
from cluster.observed import ForeignLine
from cluster.parts import KEEPALIVED_CONF, Address
from cluster.pulse import Ask
from cluster.status import Answers, status
from cluster.vocabulary import Mode
from cluster.why import LOOPBACK
from tests.cluster.states import SOURCE
from tests.cluster.watched import blueprint, changed, elected, healthy, out, unreached, without
from tests.variants import MATRIX, SPECIAL, Variant

PLAN = blueprint()
VIP = IPv4Address("10.0.0.10")
LB1, LB2 = IPv4Address("10.0.0.4"), IPv4Address("10.0.0.6")
FLOATING = floating_addresses(PLAN.declaration)


def mac(host: str) -> str:
    return f"02:00:00:00:00:{sum(host.encode()) % 256:02x}"


@dataclass
class Seen:
    """A cluster whose hosts are changed one by one, and then judged."""

    plan: Blueprint
    answers: Answers
    examined: dict[str, Examined]

    def look(self, host: str, **fields: Any) -> None:
        self.examined[host] = replace(self.examined[host], **fields)

    def state(self, host: str, **fields: Any) -> None:
        states = dict(self.answers.states)
        states[host] = replace(states[host], **fields)
        self.answers = replace(self.answers, states=states)

    def found(self) -> tuple[Diagnosis, ...]:
        return diagnose(Case(self.plan, self.answers, status(self.plan, self.answers), self.examined))

    @property
    def names(self) -> set[tuple[Fault, str]]:
        return {(each.fault, each.host) for each in self.found()}


def well(plan: Blueprint = PLAN) -> Seen:
    """A cluster in which all is as declared, looked at by `lbctl doctor`."""
    declaration = plan.declaration
    first = next(iter(declaration.director))
    heard = Advert(
        declaration.director[first].address,
        declaration.vrrp.version,
        declaration.director[first].priority,
        floating_addresses(declaration)[:1],
    )
    examined = {
        name: Examined(
            ahead=0.01,
            vague=0.02,
            macs=frozenset({mac(name)}),
            mtu=1500,
            answered={address: frozenset({mac(first)}) for address in floating_addresses(declaration) if name != first},
            adverts=(heard,) if name in declaration.director else (),
        )
        for name in declaration.hosts()
    }
    return Seen(plan, healthy(plan), examined)


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
    "another mark": (
        lambda seen: seen.look("db1", marks=("-A OUTPUT -p tcp --sport 3306 -j MARK --set-mark 1",)),
        Fault.RETURN_PATH_DOUBLED,
        "db1",
    ),
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
