"""What is imported renders to the same table and the same VRRP terms; what is not the same is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.errors import RequestError
from cluster.footprint import Blueprint
from cluster.importing import Imported, Wish, imported
from cluster.keepalived_body import Effect
from cluster.keepalived_conf import instances, parse
from cluster.keepalived_reading import read as read_conf
from cluster.reading import read
from templates import render
from tests.cluster import small_reader

HERE = Path(__file__).parent / "imported"


def load(pattern: str, file: str) -> list[tuple[str, str]]:
    folder = Path(file).parent
    return [(str(path), path.read_text()) for path in sorted(folder.glob(pattern))]


def imported_from(files: Sequence[str], wish: Wish) -> Imported:
    confs = []
    for file in files:
        text = (HERE / file).read_text()
        for instance in instances([text]) or ("",):
            conf = read_conf(parse(text, str(HERE / file), load, instance), file)
            conf.router_id = instance or conf.router_id
            confs.append(conf)
    return imported(confs, wish)


@dataclass(frozen=True)
class Case:
    """One way in which people write keepalived.conf."""

    files: tuple[str, ...]
    instance: str = ""
    """The vrrp_instance that is carried over."""
    directors: Mapping[str, str] = field(default_factory=lambda: {"lb1": "192.0.2.3"})
    names: tuple[str, ...] = ("lb1",)
    """Directors, as the files come."""
    only: tuple[str, ...] = ()
    gateway: str = ""
    gone: frozenset[str] = frozenset()
    """Services that the declaration does not have: each must be told."""
    sunk: frozenset[str] = frozenset()
    """Addresses that float no more: each must be told."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Of a service by rank, the weights that it gets, in the order of the file's servers."""
    told: tuple[tuple[Effect, str], ...] = ()
    """(effect, what) of remarks that must be there."""

    @property
    def id(self) -> str:
        return "-".join(self.files + self.only)

    @property
    def wish(self) -> Wish:
        return Wish(directors=self.directors, only=self.only, gateway=self.gateway)


HOW_TO = {"lb1": "10.0.0.4"}
PAIR = {"lb1": "192.0.2.3", "lb2": "192.0.2.4"}
CLIENTS, LOST, NOTE = Effect.CLIENTS, Effect.LOST, Effect.NOTE
CASES = [
    Case(
        ("how-to.conf",),
        "mysql_pool",
        HOW_TO,
        told=((NOTE, "auth_pass has 10 characters"), (NOTE, ":36: virtual_server 10.0.0.10:3306: no check")),
    ),
    Case(("how-to-nat.conf",), "", HOW_TO, told=((NOTE, "nothing floats"),)),
    Case(("how-to-checked.conf",), "mysql_pool", HOW_TO, told=((NOTE, 'check = "primary"'),)),
    Case(("how-to-checked.conf", "how-to-second.conf"), "mysql_pool", HOW_TO | {"lb2": "10.0.0.6"}, ("lb1", "lb2")),
    Case(("web.conf",), "VI_1", told=((CLIENTS, ":44: digest"), (LOST, ":4: notification_email"), (LOST, ":9: smtp_server"))),
    Case(
        ("group.conf",),
        "edge",
        told=(
            (CLIENTS, ":7: fwmark 7"),
            (CLIENTS, ":10: virtual_server group shop: to keepalived a plain service is never that of a group"),
            (CLIENTS, ":21: sorry_server 192.0.2.9 3306"),
            (CLIENTS, ":24: SSL_GET"),
            (LOST, ":19: quorum_up"),
            (LOST, ":25: notify_down"),
            (NOTE, ":17: quorum 2"),
        ),
    ),
    Case(
        ("unicast-lb1.conf", "unicast-lb2.conf"),
        "pool",
        {},
        ("balancer-1", "balancer-2"),
        told=((CLIENTS, "unicast-lb1.conf:49: sh-port"), (LOST, "unicast-lb2.conf:30: track_script"), (LOST, ":31: notify")),
    ),
    Case(("conditional.conf",), "both", {}, ("left", "right")),
    Case(("included.conf",), "vi", told=((LOST, "included.conf:3: include missing.d/*.conf"),)),
    Case(("dense.conf",), "v", told=((CLIENTS, ":14: 192.0.2.13 is checked as on line 17"), (NOTE, '"connect_port 6380" after'))),
    Case(
        ("instances.conf",),
        "outside",
        told=(
            (CLIENTS, ":23: use_vmac"),
            (CLIENTS, ":51: virtual_server 2001:db8::5"),
            (LOST, ":21: track_interface eth1"),
            (LOST, ":25: vrrp_instance inside (10.20.0.1)"),
            (LOST, ":33: virtual_routes"),
            (NOTE, ":1: vrrp_sync_group"),
        ),
    ),
    Case(
        ("routed-lb1.conf", "routed-lb2.conf"),
        "routed",
        PAIR,
        ("lb1", "lb2"),
        told=(
            (CLIENTS, "routed-lb1.conf:17: inhibit_on_failure"),
            (CLIENTS, "routed-lb2.conf:12: virtual_server"),
            (NOTE, "192.0.2.254 floats and serves nothing"),
        ),
    ),
    Case(
        ("marks.conf",),
        "m",
        told=((CLIENTS, ":9: virtual_server fwmark 3"), (CLIENTS, ":24: MISC_CHECK"), (CLIENTS, ":23: uthreshold")),
    ),
    Case(
        ("ranked.conf",),
        "galera",
        sunk=frozenset({"192.0.2.92"}),
        ranks={"192.0.2.93:3306": 10, "192.0.2.94:3306": 30, "192.0.2.95:3306": 20},
        told=((NOTE, "weights of a service by rank"),),
    ),
    Case(("names.conf",), "dns", told=((CLIENTS, ":13: ops"), (CLIENTS, ":15: DNS_CHECK"))),
    Case(("mixed.conf",), "mixed", gone=frozenset({"192.0.2.151:3306/tcp"}), sunk=frozenset({"192.0.2.151", "192.0.2.152"})),
    Case(
        ("mixed.conf",),
        "mixed",
        only=("192.0.2.151:3306",),
        gone=frozenset({"192.0.2.150:80/tcp", "192.0.2.150:443/tcp"}),
        sunk=frozenset({"192.0.2.150"}),
    ),
    Case(("generated.conf",), "g"),
]  # fmt: skip


def rendered(found: Imported, name: str, folder: Path) -> Path:
    path = folder / f"{name}.conf"
    blueprint = Blueprint(read(found.text, "imported.toml"), render, found.password)
    path.write_text(blueprint.keepalived_conf(name).text)
    return path


def given(case: Case, name: str) -> small_reader.Block:
    """The file of that director."""
    file = case.files[min(case.names.index(name), len(case.files) - 1)]
    return small_reader.read(HERE / file, instance=name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_same_table(case: Case, tmp_path: Path) -> None:
    found = imported_from(case.files, case.wish)
    # Where directors' files differ, which is told, the preferred one's is followed.
    expected = small_reader.table(given(case, case.names[0]))
    for place in case.gone:
        del expected[place]
        assert any(r.effect is CLIENTS and place.partition("/")[0] in r.what for r in found.remarks), place
    for place, (scheduler, persistence, mask, servers) in expected.items():
        if scheduler == "fo":
            ranked = {server: (method, case.ranks[server]) for server, (method, _) in servers.items()}
            expected[place] = (scheduler, persistence, mask, ranked)
    for name in case.names:
        assert small_reader.table(small_reader.read(rendered(found, name, tmp_path))) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case.instance], ids=lambda case: case.id)
def test_same_terms(case: Case, tmp_path: Path) -> None:
    found = imported_from(case.files, case.wish)
    declaration = read(found.text, "imported.toml")
    for name in case.names:
        expected = small_reader.terms(given(case, name), case.instance)
        floating = expected["floating"]
        assert isinstance(floating, list)
        for address in case.sunk:
            floating.remove(address)
            assert any(r.effect is CLIENTS and address in r.what for r in found.remarks), address
        assert small_reader.terms(small_reader.read(rendered(found, name, tmp_path)), declaration.name) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_not_the_same_is_told(case: Case) -> None:
    found = imported_from(case.files, case.wish)
    assert list(found.remarks) == sorted(found.remarks), "what clients would notice comes first"
    for effect, what in case.told:
        assert any(remark.effect is effect and what in str(remark) for remark in found.remarks), what


def test_the_password_is_not_in_the_declaration() -> None:
    found = imported_from(["how-to.conf"], Wish(directors=HOW_TO))
    assert found.password == "Twagipmi"
    assert "Twagip" not in found.text + repr(found) + "".join(map(str, found.remarks))


@pytest.mark.parametrize(
    "said",
    [
        "authentication { auth_type PASS auth_pass s3cret }",
        "authentication { auth_type PASS\n auth_pass two s3cret }",
        "authentication { auth_type PASS\n auth_password s3cret }",
        "authentication { auth_type PASS\n geheim s3cret }",
        "authentication { auth_type AH\n s3cret }",
        "auth_pass s3cret",
        "auth_type PASS auth_pass s3cret",
        "pumpkin PASS auth_pass s3cret",
    ],
)
def test_a_password_is_in_no_remark(said: str) -> None:
    found = one(CONF.replace("_id 1", f"_id 1\n {said}"))
    assert any("k.conf:4" in str(r) or "k.conf:5" in str(r) for r in found.remarks), "it is told, with its line"
    assert "s3cret" not in "".join(map(str, found.remarks)) + found.text


@pytest.mark.parametrize(
    "said", ["authentication auth_pass s3cret", "auth_pass s3cret {", "auth_pass s3cret { virtual_server x {"]
)
def test_a_password_is_in_no_error(said: str) -> None:
    with pytest.raises(RequestError) as caught:
        one(CONF.replace("_id 1", f"_id 1\n {said}"))
    assert "s3cret" not in f"{caught.value}{caught.value.cure}"


def test_own_health_service() -> None:
    found = imported_from(["ranked.conf"], Wish(directors={"lb1": "192.0.2.3"}, clustercheck=True))
    checks = {name: str(service.check) for name, service in read(found.text, "").service.items()}
    assert checks == {"read": "synced", "write": "writable"}


CONF = """\
vrrp_instance v {
 interface eth0
 virtual_router_id 1
 virtual_ipaddress {
  192.0.2.10
 }
}
virtual_server 192.0.2.10 3306 {
 lb_algo rr
 lb_kind DR
 protocol TCP
 real_server 192.0.2.21 3306 {
  weight 1
 }
}
"""


def one(text: str, **wish: object) -> Imported:
    conf = read_conf(parse(text, "k.conf", lambda _pattern, _file: []), "k.conf")
    return imported([conf], Wish(**({"directors": {"lb1": "192.0.2.3"}} | wish)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "effect", "says"),
    [
        ("rr", "roulette", CLIENTS, "scheduler roulette: wlc"),
        ("  weight 1", "  weight 1\n  pumpkin 3", LOST, "k.conf:14: pumpkin 3 is not known to import"),
        (" interface eth0", " interface eth0\n pumpkin", LOST, "k.conf:3: pumpkin is not known to import"),
        ("vrrp_instance", "pumpkin { a }\nvrrp_instance", LOST, "k.conf:1: pumpkin is not known to import"),
        ("21 3306", "21 3307", NOTE, "port 3307 of 192.0.2.21 becomes 3306"),
        (" protocol TCP\n", "", NOTE, "no protocol is said"),
        ("  192.0.2.10\n", "  192.0.2.10 dev eth1\n", CLIENTS, "192.0.2.10 is on eth1"),
        ("  weight 1", "  weight 1\n  lvs_method NAT", None, ""),
        ("_id 1", "_id 1\n nopreempt\n state MASTER", NOTE, "nopreempt beside state MASTER"),
        ("_id 1", "_id 1\n authentication { auth_type AH\n auth_pass x }", LOST, "auth_type AH"),
        ("_id 1", "_id 1\n unicast_peer { 192.0.2.4 }", CLIENTS, "there is another director, 192.0.2.4"),
        (
            "_id 1",
            "_id 1\n version 3\n authentication { auth_type PASS\n auth_pass x }",
            NOTE,
            "VRRP 3 has no passwords",
        ),
        ("rr", "fo\n persistence_timeout 5", NOTE, "persistence beside scheduler fo"),
    ],
)
def test_small_things(old: str, new: str, effect: Effect | None, says: str) -> None:
    assert old in CONF
    found = one(CONF.replace(old, new))
    assert not effect or any(r.effect is effect and says in str(r) for r in found.remarks), found.remarks


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("lb_kind DR", "lb_kind ROUTE-AROUND", "k.conf:10: lb_kind ROUTE-AROUND: no forwarding method"),
        ("weight 1", "weight much", 'k.conf:13: weight: "much" is no number'),
        ("192.0.2.21", "db1", 'k.conf:12: "db1" is no address'),
        (" virtual_router_id 1\n", "", "k.conf:1: vrrp_instance v has no virtual_router_id"),
        (" interface eth0\n", "", "k.conf:1: vrrp_instance v names no interface"),
        ("_id 1", "_id 1\n authentication", 'k.conf:4: "authentication" has no block'),
        (" interface eth0", " interface eth0\n virtual_ipaddress 192.0.2.11", 'k.conf:3: "virtual_ipaddress" has no block'),
        ("  weight 1\n }", "  weight 1\n }\n real_server 192.0.2.22 3306", 'k.conf:15: "real_server" has no block'),
        ("virtual_server 1", "virtual_server 192.0.2.11 3306\nvirtual_server 1", 'k.conf:8: "virtual_server" has no block'),
        ("virtual_server 192.0.2.10 3306", "virtual_server 10.0.0.0/8 3306", 'k.conf:8: "10.0.0.0/8" stands for 16777216'),
        ("virtual_server 192.0.2.10 3306", "virtual_server", "k.conf:8: virtual_server has no address"),
        ("virtual_server 192.0.2.10 3306", "virtual_server group nobody", "k.conf:8: there is no virtual_server_group nobody"),
        ("virtual_server 192.0.2.10 3306", "virtual_server fwmark 1", "no virtual_server that a declaration could say"),
        ("192.0.2.21", "198.51.100.21", "--network 10.0.0.0/24"),
        ("_id 1", "_id 1\n authentication { auth_type PASS\n auth_pass 'a#b' }", "k.conf:5: the VRRP password has"),
        ("_id 1", "_id 999", "no declaration can say what these files say:\nvrrp.virtual_router_id"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported(old: str, new: str, says: str) -> None:
    assert old in CONF
    with pytest.raises(RequestError) as caught:
        one(CONF.replace(old, new))
    assert says in str(caught.value)


def test_control_characters_do_not_reach_a_terminal() -> None:
    (told,) = [r for r in one(CONF.replace("  weight 1", "  weight 1\n  x\x1b[2J")).remarks if r.effect is LOST]
    assert "\x1b" not in str(told)
    with pytest.raises(RequestError) as caught:
        one(CONF.replace("weight 1", "weight \x1b[2J"))
    assert "\x1b" not in str(caught.value)


def test_a_director_whose_address_is_said_nowhere() -> None:
    with pytest.raises(RequestError, match=r"--director lb1=ADDRESS"):
        one(CONF, directors={})


def two(first: str, second: str) -> Imported:
    files = enumerate((first, second), start=1)
    confs = [read_conf(parse(t, f"lb{n}.conf", lambda _p, _f: []), f"lb{n}.conf") for n, t in files]
    return imported(confs, Wish(directors=PAIR))


def clients_notice(found: Imported) -> str:
    return "\n".join(str(remark) for remark in found.remarks if remark.effect is CLIENTS)


@pytest.mark.parametrize(
    ("first", "second", "told", "declared"),
    [
        ("priority 100", "priority 100", "lb2.conf:1: priority 100 becomes 99", (100, 99)),
        ("priority 255", "priority 100", "lb1.conf:1: priority 255 becomes 254", (254, 100)),
        ("priority 255", "priority 254", "lb2.conf:1: priority 254 becomes 253", (254, 253)),
        ("priority 101", "priority 100", "", (101, 100)),
    ],
)
def test_a_priority_that_is_changed_is_told(first: str, second: str, told: str, declared: tuple[int, int]) -> None:
    said = [f"_id 1\n nopreempt\n {priority}" for priority in (first, second)]
    found = two(*(CONF.replace("_id 1", text) for text in said))
    assert told in clients_notice(found)
    assert bool(told) is bool(clients_notice(found))
    assert tuple(d.priority for d in read(found.text, "").director.values()) == declared


@pytest.mark.parametrize(
    ("said", "told"),
    [("", True), ("preempt_delay 30", True), ("preempt_delay 90", False), ("nopreempt", False)],
)
def test_a_pair_whose_preferred_director_takes_over_early(said: str, *, told: bool) -> None:
    text = CONF.replace("_id 1", f"_id 1\n {said}")
    found = two(text, text.replace("_id 1", "_id 1\n priority 90"))
    assert ("connections.copy_every" in clients_notice(found)) is told
    assert "copy_every" not in clients_notice(one(text)), "one director takes over from nobody"


def test_two_directors_that_do_not_agree() -> None:
    found = two(CONF.replace("_id 1", "_id 1\n nopreempt"), CONF.replace("_id 1", "_id 2\n nopreempt\n priority 90"))
    (told,) = [remark for remark in found.remarks if remark.effect is CLIENTS]
    assert str(told).startswith("lb2.conf:1: the directors differ in virtual_router_id")


def test_nat_with_two_directors_needs_a_gateway() -> None:
    text = CONF.replace("lb_kind DR", "lb_kind NAT").replace("192.0.2.10", "192.0.2.3").replace("  192.0.2.3\n", "")
    files = [text, text.replace("192.0.2.3", "192.0.2.4").replace("_id 1", "_id 1\n priority 90")]
    confs = [read_conf(parse(t, f"lb{n}.conf", lambda _p, _f: []), f"lb{n}.conf") for n, t in enumerate(files, start=1)]
    with pytest.raises(RequestError, match="--gateway"):
        imported(confs, Wish())
    found = imported(confs, Wish(gateway="192.0.2.12"))
    assert any("moves from the director's own address to the gateway" in r.what for r in found.remarks)
    assert "nat_port = 3306" in found.text
