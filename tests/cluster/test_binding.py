"""Where MySQL listens, and what follows from it: nothing, a restart, or a word to a person."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.binding import not_synced, why_not_restarted_now
from cluster.difference import Action, Difference, differences
from cluster.footprint import Blueprint
from cluster.listening import ANYWHERE, SeenBind, SeenListener, bind, ipv4_end, listeners
from cluster.observed import HostState
from cluster.order import not_open
from cluster.plan import Plan, Work, plan
from cluster.reading import read
from cluster.vocabulary import Mode
from lab.topology import DATABASES
from templates import render
from tests.cluster.states import as_declared, director
from tests.variants import Variant

DR = Variant(Mode.DR).blueprint
PLACE = "/etc/mysql/mariadb.conf.d/50-server.cnf:27"
OWN = "127.0.0.1,10.0.0.1"
ALL = f"{OWN},10.0.0.10,10.0.0.11"
SYNCED = {"wsrep_on": "ON", "wsrep_cluster_status": "Primary", "wsrep_local_state": "4", "wsrep_ready": "ON"}


def server(bound: str, told: str | None, *, blueprint: Blueprint = DR, program: str = "mariadbd") -> HostState:
    """A server that carries its footprint, with MySQL listening at `bound` and told to listen at `told`."""
    return replace(
        as_declared(blueprint, "db1", {blueprint.declaration.mode}),
        listeners=tuple(SeenListener(IPv4Address(word), 3306, program) for word in bound.split(",") if word),
        bind=SeenBind("mariadb.service", told, PLACE),
        local=frozenset(map(IPv4Address, OWN.split(","))),
        galera=SYNCED,
    )


def found(state: HostState, blueprint: Blueprint = DR) -> tuple[Difference, ...]:
    modes = {blueprint.declaration.mode}
    return differences(blueprint.footprint("db1", modes), blueprint.known("db1"), state)


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("0.0.0.0:3306 0.0.0.0:*", [(ANYWHERE, "mariadbd")]),
        ("*:3306 *:*", [(ANYWHERE, "mariadbd")]),
        ("[::]:3306 [::]:*", []),
        ("[::1]:3306 [::]:*", []),
        ("10.0.0.1:3306 0.0.0.0:*", [(IPv4Address("10.0.0.1"), "mariadbd")]),
        ("[::ffff:10.0.0.1]:3306 *:*", [(IPv4Address("10.0.0.1"), "mariadbd")]),
    ],
)
def test_ss_tells_where_it_listens(line: str, seen: list[tuple[IPv4Address, str]]) -> None:
    words = f'LISTEN 0 80 {line} users:(("mariadbd",pid=412,fd=27))'.split()
    assert listeners([words]) == tuple(SeenListener(address, 3306, program) for address, program in seen)
    assert [one.program for one in listeners([words[:5]])] == [""] * len(seen)


@pytest.mark.parametrize("bound", ["0.0.0.0", ALL])
def test_a_server_that_listens_everywhere_or_at_the_vips_needs_nothing(bound: str) -> None:
    assert found(server(bound, bound)) == ()


def test_nat_needs_the_servers_own_address_only() -> None:
    nat = Variant(Mode.NAT).blueprint
    assert found(server(OWN, OWN, blueprint=nat), nat) == ()
    (refusal,) = found(server("127.0.0.1", "127.0.0.1", blueprint=nat), nat)
    assert refusal.action is Action.TELL
    assert "refuses connections to 10.0.0.1, port 3306" in refusal.what


@pytest.mark.parametrize("told", [ALL, "*", "", "0.0.0.0", "::"])
def test_one_whose_configuration_names_the_vips_is_restarted(told: str) -> None:
    (refusal,) = found(server(OWN, told))
    assert (refusal.action, refusal.item) == (Action.BUILD, "mariadb.service")
    assert PLACE in refusal.what


def test_one_whose_configuration_does_not_is_named_with_the_line_to_change() -> None:
    (refusal,) = found(server(OWN, OWN))
    assert refusal.action is Action.TELL
    assert "in /etc/mysql/mariadb.conf.d/50-server.cnf, line 27," in refusal.what
    assert ALL in refusal.what


def test_a_restart_that_would_fail_or_is_forbidden_is_left_to_a_person() -> None:
    strange = found(server(OWN, f"{ALL},10.0.0.99", program="mysqld"))
    assert found(server(OWN, f"{ALL},10.0.0.99"))[0].action is Action.BUILD  # MariaDB does not mind
    forbidden = Blueprint(read(f'{Variant().text}\n[mysql]\nrestart = "never"\n', "never.toml"), render)
    cases = {
        "10.0.0.99, which this host does not have": strange,
        "by its unix socket": found(replace(server(OWN, ALL), database="down")),
        "no service of systemd": found(replace(server(OWN, ALL), bind=SeenBind(None, ALL, PLACE))),
        'mysql.restart is "never"': found(server(OWN, ALL), forbidden),
        "did not say": found(server(OWN, None)),
        "nginx listens on": found(server(OWN, ALL, program="nginx")),
        "listens nowhere": found(server("", ALL)),
    }
    for said, (refusal,) in cases.items():
        assert refusal.action is Action.TELL, said
        assert said in refusal.what


def test_a_server_that_is_down_is_left_to_the_health_checks() -> None:
    down = replace(server("", ALL), database="down")
    assert found(down) == ()
    directors = {n: director(DR, n, Mode.DR, active=n == "lb1", dead=["db1"]) for n in DR.declaration.director}
    others = {name: as_declared(DR, name, {Mode.DR}) for name in ("db2", "db3")}
    found_ = plan(DR, {"db1": down, **others, **directors})
    assert found_.notes == ("db1: nothing listens on port 3306, which directors send to",)
    assert (found_.steps, found_.told, found_.refused) == ((), {}, {})


def test_the_last_line_that_counts_is_the_one_to_change() -> None:
    lines = ["unit mariadb.service", "asked", "default 127.0.0.1", "default 10.0.0.1, 127.0.0.1"]
    files = ["line /etc/a.cnf:3:10.0.0.1,127.0.0.1 ", "line /etc/b.cnf:9:'10.0.0.1,127.0.0.1'", "line /etc/c.cnf:1:::1"]
    assert bind([*lines, *files]) == SeenBind("mariadb.service", "10.0.0.1, 127.0.0.1", "/etc/b.cnf:9")
    assert bind([*lines, "argument 10.0.0.7", *files]) == SeenBind("mariadb.service", "10.0.0.7", "the command line")
    assert bind(["unit user.slice"]) == SeenBind(None, None, "")
    assert bind([]) is None


def planned(bound: str, told: str, blueprint: Blueprint = DR) -> Plan:
    """From nat to dr, with such a server as each of the three."""
    servers = {}
    for name, declared in blueprint.declaration.real_server.items():
        of, to = (text.replace("10.0.0.1,", f"{declared.address},") for text in (f"{bound},", f"{told},"))
        state = server(of.strip(","), to.strip(","), blueprint=blueprint)
        servers[name] = replace(state, local=frozenset({declared.address}))
    directors = {n: director(blueprint, n, Mode.NAT, active=n == "lb1") for n in blueprint.declaration.director}
    return plan(blueprint, {**servers, **directors})


def test_restarts_come_one_by_one_after_the_network_and_before_the_directors() -> None:
    steps = planned(OWN, ALL).steps
    works = [Work.PREPARE, *[Work.RESTART] * 3, *[Work.CONFIGURE] * 2, Work.WITHDRAW, Work.RETIRE]
    assert [step.work for step in steps] == works
    assert [list(step.changes) for step in steps[1:4]] == [["db1"], ["db2"], ["db3"]]


def test_the_writer_is_restarted_last() -> None:
    ranked = Variant(Mode.DR, "ranked").blueprint
    order = [list(step.changes) for step in planned(OWN, ALL, ranked).steps if step.work is Work.RESTART]
    assert order == [["db2"], ["db3"], ["db1"]]


def test_no_director_moves_to_where_a_server_refuses() -> None:
    found_ = planned(OWN, OWN)
    assert set(found_.refused) == {"lb1", "lb2"}
    assert set(found_.told) == set(DR.declaration.real_server)
    assert Work.RESTART not in [step.work for step in found_.steps]
    assert planned(ALL, ALL).refused == {}


def test_where_it_refuses_already_a_change_makes_it_no_worse() -> None:
    servers: dict[str, HostState | None] = {"db1": server(OWN, OWN)}
    there, not_yet = (director(DR, "lb1", mode, active=True) for mode in (Mode.TUN, Mode.NAT))
    assert not_open(DR.declaration, there, servers, {"db1": "…"}) is None
    assert not_open(DR.declaration, not_yet, servers, {"db1": "…"}) is not None


def test_two_are_never_down_at_once() -> None:
    well, joining = server(ALL, ALL), replace(server(ALL, ALL), galera={**SYNCED, "wsrep_local_state": "1"})
    two: dict[str, HostState | None] = {"db1": well, "db2": well}
    db2 = {"db2": IPv4Address("10.0.0.2")}

    def why(servers: dict[str, HostState | None], **directors: HostState | None) -> str:
        return why_not_restarted_now(servers, directors, IPv4Address("10.0.0.1"), db2) or ""

    assert why(two) == ""
    assert "db2: wsrep_local_state is 1, not 4" in why({**two, "db2": joining})
    assert "db2 cannot be asked" in why({**two, "db2": None})
    assert "only server" in why({"db1": well})
    alone = director(DR, "lb1", Mode.DR, active=True, dead=("db2", "db3"))
    assert "one server alone" in why(two, lb1=alone)
    # One that was restarted, is Synced and did not come back into rotation.
    without_db2 = director(DR, "lb1", Mode.DR, active=True, dead=("db2",))
    assert "db2 should be in rotation" in why(two, lb1=without_db2)
    there = director(DR, "lb1", Mode.DR, active=True)
    assert why(two, lb1=there) == ""
    # Not sent to from there: what else is in rotation is no matter.
    assert why(two, lb1=there, lb2=director(DR, "lb2", Mode.DR, active=False, dead=("db1", "db2"))) == ""
    assert "director lb2 cannot be asked" in why(two, lb1=there, lb2=None)


def test_a_new_service_does_not_begin_with_servers_that_refuse() -> None:
    servers = {"db1": server(OWN, OWN)}
    there = director(DR, "lb1", Mode.DR, active=True)
    assert not_open(DR.declaration, there, servers, {"db1": "…"}) is None
    only_reads = replace(there, services=there.services[:1])
    assert not_open(DR.declaration, only_reads, servers, {"db1": "…"}) is not None


def test_without_galera_a_server_only_has_to_be_up() -> None:
    single = replace(server(ALL, ALL), galera={"wsrep_on": "OFF", "wsrep_ready": "OFF"})
    assert not_synced(single) is None
    assert not_synced(replace(single, database="down")) is not None

    disconnected = {
        "wsrep_on": "OFF",
        "wsrep_cluster_status": "Disconnected",
        "wsrep_ready": "OFF",
    }  # a MariaDB by itself
    assert not_synced(replace(single, galera=disconnected)) is None


@pytest.mark.parametrize(
    ("galera", "why"),
    [
        ({"wsrep_cluster_status": "Primary", "wsrep_local_state": "2", "wsrep_ready": "ON"}, "wsrep_local_state is 2"),
        ({"wsrep_cluster_status": "non-Primary", "wsrep_ready": "OFF"}, "wsrep_cluster_status is non-Primary"),
        ({"wsrep_on": "OFF", "wsrep_cluster_status": "Primary", "wsrep_local_state": "2"}, "wsrep_local_state is 2"),
    ],
)
def test_a_node_is_known_without_wsrep_on(galera: dict[str, str], why: str) -> None:
    """Percona XtraDB Cluster has that one for a session only; and somebody may have switched it off."""
    assert (not_synced(replace(server(ALL, ALL), galera=galera)) or "").startswith(why)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("10.0.0.1:3306", (IPv4Address("10.0.0.1"), 3306)),
        ("[::ffff:10.0.0.5]:43238", (IPv4Address("10.0.0.5"), 43238)),
        ("10.0.0.1%eth0:3306", (IPv4Address("10.0.0.1"), 3306)),
        ("[::1]:3306", None),
        ("[2001:db8::9]:5000", None),
        ("[fe80::1%eth0]:5000", None),
    ],
)
def test_an_end_of_a_connection(text: str, end: tuple[IPv4Address, int] | None) -> None:
    """A client by IPv6 makes no server unreadable."""
    assert ipv4_end(text) == end


@pytest.mark.parametrize(
    ("unit", "address", "cure"),
    [
        (
            "mysql@bootstrap.service",
            "gcomm://10.0.0.1,10.0.0.2",
            "systemctl stop mysql@bootstrap; systemctl start mysql",
        ),
        ("mariadb@bootstrap.service", "gcomm://10.0.0.1", "systemctl stop mariadb@bootstrap; systemctl start mariadb"),
        ("mariadb.service", "gcomm://", "configuration names the other nodes"),
        ("mariadb.service", "gcomm://?pc.wait_prim=no", "configuration names the other nodes"),
    ],
)
def test_one_that_would_begin_a_new_cluster_is_never_restarted(unit: str, address: str, cure: str) -> None:
    galera = {**SYNCED, "wsrep_cluster_address": address}
    (refusal,) = found(replace(server(OWN, ALL), bind=SeenBind(unit, ALL, PLACE), galera=galera))
    assert refusal.action is Action.TELL
    assert cure in refusal.what


def test_one_that_joins_the_others_is_restarted() -> None:
    galera = {**SYNCED, "wsrep_cluster_address": "gcomm://10.0.0.1,10.0.0.2"}
    state = replace(server(OWN, ALL), bind=SeenBind("mariadb@node.service", ALL, PLACE), galera=galera)
    assert [refusal.action for refusal in found(state)] == [Action.BUILD]


def test_of_two_nodes_none_would_serve_while_one_is_the_others_donor() -> None:
    two = Variant(Mode.DR, servers=DATABASES[:2]).blueprint
    (refusal,) = found(server(OWN, ALL, blueprint=two), two)
    assert refusal.action is Action.TELL
    assert "clustercheck.serve_donor" in refusal.what
    serving = two.declaration.clustercheck.model_copy(update={"serve_donor": True})
    donors_serve = replace(two, declaration=two.declaration.model_copy(update={"clustercheck": serving}))
    (restart,) = found(server(OWN, ALL, blueprint=donors_serve), donors_serve)
    assert restart.action is Action.BUILD
    # Without Galera a server that comes back needs nobody else.
    (plain,) = found(replace(server(OWN, ALL, blueprint=two), galera={}), two)
    assert plain.action is Action.BUILD


def test_the_list_to_write_begins_with_what_it_begins_with_now() -> None:
    """Without wsrep_node_address Galera takes the first for the node's own; `ss` lists them in any order."""
    (refusal,) = found(server("127.0.0.1,10.0.0.1", "10.0.0.1,127.0.0.1"))
    assert "the list 10.0.0.1,127.0.0.1,10.0.0.10,10.0.0.11)" in refusal.what
    assert "wsrep_node_address" in refusal.what


def noted(before: Mode, after: Mode, program: str, told: str) -> list[str]:
    """What a plan from one mode to another says of the addresses that MySQL was told to listen at."""
    blueprint = Variant(after).blueprint
    bind_, seen = SeenBind("mysql.service", told, PLACE), (SeenListener(IPv4Address("10.0.0.10"), 3306, program),)
    servers = {
        name: replace(as_declared(blueprint, name, {before}), bind=bind_, listeners=seen)
        for name in blueprint.declaration.real_server
    }
    directors = {n: director(blueprint, n, before, active=n == "lb1") for n in blueprint.declaration.director}
    return [note for note in plan(blueprint, {**servers, **directors}).notes if "bind-address" in note]


def test_a_list_that_goes_on_naming_vips_that_leave_is_named_with_its_line() -> None:
    notes = noted(Mode.DR, Mode.NAT, "mysqld", ALL)
    assert [note.split(":")[0] for note in notes] == list(DR.declaration.real_server)
    assert "names 10.0.0.10, 10.0.0.11, which this host will not have any more" in notes[0]
    assert f'in /etc/mysql/mariadb.conf.d/50-server.cnf, line 27, instead of "{ALL}" write' in notes[0]
    assert notes[0].endswith(f"the list {OWN})")
    assert noted(Mode.DR, Mode.NAT, "mysqld", "10.0.0.10")[0].endswith("write bind-address = 0.0.0.0")


def test_a_list_is_not_spoken_of_where_nothing_comes_of_it() -> None:
    assert noted(Mode.DR, Mode.NAT, "mysqld", OWN) == []
    assert noted(Mode.DR, Mode.NAT, "mariadbd", ALL) == []  # it starts all the same
    assert noted(Mode.TUN, Mode.DR, "mysqld", ALL) == []  # from tunl0 to dummy0
