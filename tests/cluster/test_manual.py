"""The how-to's manual set-up: its own lines, what is a leftover of it and what is not, and tables in ipvsadm's format."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.errors import HostError, RefusedError, RequestError
from cluster.footprint import Blueprint
from cluster.manual import (
    addresses,
    chosen_servers,
    cleared,
    leftovers,
    one_director,
    places,
    refuse,
    saved,
    table_lines,
    to_restore,
)
from cluster.observed import HostState
from cluster.parts import KEEPALIVED_CONF, Address
from cluster.plan import Plan, Work, plan
from cluster.reading import read, switched
from cluster.vocabulary import Mode
from tests.cluster.states import as_declared, director, with_length
from tests.variants import Variant

HOW_TO = """\
name = "galera"
mode = "{mode}"
network = "10.0.0.0/24"

[service.read]
{read}
scheduler = "rr"

[service.write]
{write}
scheduler = "rr"
persistence = {{ timeout = "1d", granularity = "0.0.0.0" }}

[director.lb1]
address = "10.0.0.4"

[real_server.db1]
address = "10.0.0.1"

[real_server.db2]
address = "10.0.0.2"

[real_server.db3]
address = "10.0.0.3"
"""

TUN = """\
-A -t 10.0.0.10:3306 -s rr
-a -t 10.0.0.10:3306 -r 10.0.0.1 -i -w 10
-a -t 10.0.0.10:3306 -r 10.0.0.2 -i -w 10
-a -t 10.0.0.10:3306 -r 10.0.0.3 -i -w 10
-A -t 10.0.0.11:3306 -s rr -p 86400 -M 0.0.0.0
-a -t 10.0.0.11:3306 -r 10.0.0.1 -i -w 10
-a -t 10.0.0.11:3306 -r 10.0.0.2 -i -w 10
-a -t 10.0.0.11:3306 -r 10.0.0.3 -i -w 10
"""
NAT = """\
-A -t 10.0.0.4:5506 -s rr
-a -t 10.0.0.4:5506 -r 10.0.0.1:3306 -m -w 10
-a -t 10.0.0.4:5506 -r 10.0.0.2:3306 -m -w 10
-a -t 10.0.0.4:5506 -r 10.0.0.3:3306 -m -w 10
-A -t 10.0.0.4:5507 -s rr -p 86400 -M 0.0.0.0
-a -t 10.0.0.4:5507 -r 10.0.0.1:3306 -m -w 10
-a -t 10.0.0.4:5507 -r 10.0.0.2:3306 -m -w 10
-a -t 10.0.0.4:5507 -r 10.0.0.3:3306 -m -w 10
"""
SAVED = TUN.replace(" -i -w 10", ":3306 -i -w 10 --tun-type ipip")
"""As Debian 12's `ipvsadm -Sn` writes it."""

PLAN = Variant(Mode.DR).blueprint
DECLARATION = PLAN.declaration
VIPS = [Address("eth0", IPv4Address(f"10.0.0.{n}")) for n in (10, 11)]


@pytest.mark.parametrize(
    ("mode", "lines", "held"),
    [
        ("tun", TUN, ["10.0.0.10", "10.0.0.11"]),
        ("dr", TUN.replace("-i", "-g"), ["10.0.0.10", "10.0.0.11"]),
        ("nat", NAT, []),
    ],
)
def test_the_how_tos_own_lines(mode: str, lines: str, held: list[str]) -> None:
    ways = ("nat_port = 5506", "nat_port = 5507") if mode == "nat" else ('vip = "10.0.0.10"', 'vip = "10.0.0.11"')
    declaration = read(HOW_TO.format(mode=mode, read=ways[0], write=ways[1]), "how-to.toml")
    assert list(table_lines(declaration, "lb1")) == lines.splitlines()
    assert list(map(str, addresses(declaration))) == held


def test_with_one_server() -> None:
    lines = table_lines(switched(DECLARATION, "tun"), "lb1", ("db1",))
    assert list(lines) == [line for line in TUN.splitlines() if "-A" in line or "10.0.0.1 " in line]


def test_nat_holds_the_gateway_too() -> None:
    nat = switched(DECLARATION, "nat")
    assert list(map(str, addresses(nat))) == ["10.0.0.12", "10.0.0.10", "10.0.0.11"]
    assert "-A -t 10.0.0.12:5506 -s rr" in table_lines(nat, "lb1")


# Leftovers


def on_trial(mode: Mode = Mode.DR) -> HostState:
    """A director as a trial leaves it: the table, the addresses, the software, and no keepalived.conf."""
    state = director(PLAN, "lb1", mode, active=True)
    files = {path: file for path, file in state.files.items() if "keepalived" not in path}
    return replace(
        state, files=files, units={name: u for name, u in state.units.items() if name != "keepalived.service"}
    )


def planned(**directors: HostState) -> Plan:
    seen: dict[str, HostState | None] = {
        name: as_declared(PLAN, name, {Mode.DR}) for name in DECLARATION.real_server
    }  # fmt: skip
    return plan(PLAN, seen | directors)


def test_a_trial_is_found_in_each_mode() -> None:
    for mode in Mode:
        left = leftovers(DECLARATION, "lb1", on_trial(mode))
        assert {a.address for a in left.addresses} >= {a.address for a in VIPS}
        assert {str(e) for e in left.services} >= {"10.0.0.10:3306", "10.0.0.11:3306"}
    assert "10.0.0.12:5506" in {str(e) for e in leftovers(DECLARATION, "lb1", on_trial(Mode.NAT)).services}


def test_one_that_was_typed_with_the_length_of_the_network_goes_as_it_is() -> None:
    """`ip addr add 10.0.0.10/24 dev eth0`: to delete it as a /32 is an error."""
    own = Address("eth0", DECLARATION.director["lb1"].address, 24)
    held = with_length(on_trial(), 24)
    state = replace(held, wider=held.wider | {own}, local=frozenset(a.address for a in held.wider | {own}))
    left = leftovers(DECLARATION, "lb1", state)
    assert "remove 10.0.0.10/24 from eth0, which a trial left" in left.what
    assert own not in left.addresses
    after = cleared(state, left)
    assert after.wider == {own}
    assert after.local == {own.address}
    assert not leftovers(DECLARATION, "lb1", after)


def test_what_is_not_a_trial_stays() -> None:
    running = director(PLAN, "lb1", Mode.DR, active=True)
    assert not leftovers(DECLARATION, "lb1", running)
    # Killed: the kernel goes on serving, and nobody may take that away.
    units = {name: replace(unit, active=False) for name, unit in running.units.items()}
    assert not leftovers(DECLARATION, "lb1", replace(running, units=units))
    foreign = replace(
        running.services[0], endpoint=replace(running.services[0].endpoint, port=80, address=IPv4Address("10.0.0.4"))
    )
    strange = Address("eth0", IPv4Address("10.0.0.77"))
    assert not leftovers(DECLARATION, "lb1", HostState(services=(foreign,), addresses=frozenset({strange})))


def test_services_on_a_directors_own_address_are_found() -> None:
    own = {str(place) for place in places(DECLARATION, "lb1")}
    assert {"10.0.0.4:5506", "10.0.0.4:5507", "10.0.0.12:5506", "10.0.0.10:3306"} <= own


def test_a_deploy_clears_it_before_everything_else() -> None:
    second = director(PLAN, "lb2", Mode.DR, active=False)
    found = planned(lb1=on_trial(), lb2=replace(second, files={}, units={}, services=()))
    assert found.steps[0].work is Work.CLEAR
    assert [d.what for d in found.steps[0].changes["lb1"]] == [
        "remove 10.0.0.10:3306 from the kernel's table, which a trial left",
        "remove 10.0.0.11:3306 from the kernel's table, which a trial left",
        "remove 10.0.0.10/32 from eth0, which a trial left",
        "remove 10.0.0.11/32 from eth0, which a trial left",
        "remove 10.0.0.12/32 from eth0, which a trial left",
    ]
    assert list(found.steps[0].changes) == ["lb1"]
    # Then all is planned as if it had never been there.
    clean = replace(on_trial(), services=(), addresses=frozenset())
    rest = planned(lb1=clean, lb2=replace(second, files={}, units={}, services=()))
    assert found.steps[1:] == rest.steps


def test_nothing_is_cleared_where_keepalived_serves() -> None:
    found = planned(
        lb1=director(PLAN, "lb1", Mode.DR, active=True), lb2=director(PLAN, "lb2", Mode.DR, active=False)
    )  # fmt: skip
    assert Work.CLEAR not in [step.work for step in found.steps]


def test_a_host_that_leaves_is_cleared_too() -> None:
    leaving = Blueprint(DECLARATION, PLAN.render, former=DECLARATION, leaving=frozenset(DECLARATION.hosts()))
    assert plan(leaving, {"lb1": on_trial()}).steps[0].work is Work.CLEAR


# Before a trial


def test_refused_beside_keepalived() -> None:
    nothing = HostState()
    running = director(PLAN, "lb1", Mode.DR, active=True)
    configured = replace(running, units={})
    stopped: list[Mapping[str, HostState | None]] = [
        {"lb1": running, "lb2": nothing},
        {"lb1": configured, "lb2": nothing},
        {"lb1": nothing, "lb2": running},
    ]
    for seen in stopped:
        with pytest.raises(RefusedError, match="a trial comes before production"):
            refuse(DECLARATION, "lb1", seen)
    assert KEEPALIVED_CONF in configured.files


def test_refused_beside_another_trial() -> None:
    with pytest.raises(RefusedError, match="there is a trial on lb1 already"):
        refuse(DECLARATION, "lb2", {"lb1": on_trial(), "lb2": HostState()})
    refuse(DECLARATION, "lb1", {"lb1": on_trial(), "lb2": HostState()})
    with pytest.raises(HostError, match="lb1 cannot be asked"):
        refuse(DECLARATION, "lb1", {"lb1": None, "lb2": HostState()})


@pytest.mark.parametrize("silent", [{"lb1": None}, {}])
def test_refused_while_another_director_cannot_be_asked(silent: Mapping[str, HostState | None]) -> None:
    """It may serve: SSH is not the way of clients."""
    with pytest.raises(HostError, match="lb1 cannot be asked, and may hold the addresses"):
        refuse(DECLARATION, "lb2", {**silent, "lb2": HostState()})


def test_who() -> None:
    assert one_director(DECLARATION, None) == "lb1"
    assert one_director(DECLARATION, "lb2") == "lb2"
    assert chosen_servers(DECLARATION, "db1, db3") == ("db1", "db3")
    assert chosen_servers(DECLARATION, "") == ("db1", "db2", "db3")
    with pytest.raises(RequestError, match="no director lb9"):
        one_director(DECLARATION, "lb9")
    with pytest.raises(RequestError, match="no real server db9"):
        chosen_servers(DECLARATION, "db1,db9")


# Tables in ipvsadm's own format


def test_what_is_saved_can_be_restored() -> None:
    ours = places(DECLARATION, "lb1")
    foreign = "-A -t 10.0.0.99:80 -s wlc\n-a -t 10.0.0.99:80 -r 10.0.0.98:80 -g -w 1\n"
    lines = saved((foreign + SAVED).splitlines(), ours)
    assert list(lines) == SAVED.splitlines()
    assert to_restore("\n".join(lines), ours) == lines
    assert to_restore(TUN, ours) == tuple(TUN.splitlines())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no table in it"),
        ("-A -t 10.0.0.10:mysql -s rr", "line 1 is not as `ipvsadm -Sn` writes it"),
        ("-A -t 10.0.0.10:3306 -s rr\n\n-C", "line 3 is not as"),
        ("-A -t 10.0.0.10:3306 -s rr; reboot", "line 1 is not as"),
        ("TABLE", "line 1 is not as"),
        ("-A -t 10.0.0.99:3306 -s rr", "line 1: 10.0.0.99:3306 is no service of this cluster"),
        ("-A -u 10.0.0.10:3306 -s rr", "is no service of this cluster"),
    ],
)
def test_what_is_not_restored(text: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        to_restore(text, places(DECLARATION, "lb1"))
    assert says in str(caught.value)
