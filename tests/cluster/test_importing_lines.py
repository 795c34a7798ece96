"""What single lines of a hand-made keepalived.conf become, and what is told of them."""

import pytest

from cluster.errors import RequestError
from cluster.importing import Imported, Wish, imported
from cluster.keepalived_body import Effect
from cluster.keepalived_conf import parse
from cluster.keepalived_reading import read as read_conf
from cluster.reading import read

PAIR = {"lb1": "192.0.2.3", "lb2": "192.0.2.4"}
CLIENTS, LOST, NOTE = Effect.CLIENTS, Effect.LOST, Effect.NOTE
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


DOUBLED = (
    "virtual_server 192.0.2.10 3306 { protocol TCP\n lb_kind DR\n real_server 192.0.2.21 3306 { }\n}\nvirtual_server "
)


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
        ("  192.0.2.10\n", "  192.0.2.10/24 no_track dev eth1\n", CLIENTS, "k.conf:5: 192.0.2.10/24 is on eth1"),
        (
            "  192.0.2.10\n",
            "  192.0.2.10 no_track label eth0:1 home\n",
            NOTE,
            "k.conf:5: 192.0.2.10: no_track is not carried",
        ),
        (
            "  192.0.2.10\n",
            "  192.0.2.10 no_track label eth0:1 home\n",
            NOTE,
            "192.0.2.10: label eth0:1 is not carried",
        ),
        ("  192.0.2.10\n", "  192.0.2.10 no_track label eth0:1 home\n", NOTE, "192.0.2.10: home is not carried over"),
        ("  192.0.2.10\n", "  192.0.2.10 dev\n", None, ""),
        (
            "lb_kind DR",
            "lb_kind TUN type gue port 6080",
            CLIENTS,
            "k.conf:10: lb_kind TUN type gue port 6080: servers are to",
        ),
        (
            "weight 1",
            "lvs_method TUN type gre",
            CLIENTS,
            "k.conf:13: lvs_method TUN type gre: servers are to take tunnelled",
        ),
        ("lb_kind DR", "lb_kind DR flat", NOTE, "k.conf:10: lb_kind DR flat: flat is not carried over"),
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
        ("_id 1", "_id 999", "no declaration can say what these files say:\nk.conf:1: vrrp.virtual_router_id"),
        ("_id 1", "_id 1\n priority 0", "no declaration can say what these files say:\nk.conf:1: director.lb1.priority"),
        (" 192.0.2.10 3306", " 192.0.2.10 70000", "k.conf:8: virtual_server: 70000 is not one of 0 to 65535"),
        ("192.0.2.21 3306", "192.0.2.21 70000", "k.conf:12: real_server: 70000 is not one of 0 to 65535"),
        ("weight 1", "weight -1", "k.conf:13: weight: -1 is not one of 0 to 65535"),
        ("weight 1", "weight 1\n TCP_CHECK { connect_port -3\n }", "k.conf:14: connect_port: -3 is not one of 0 to 65535"),
        ("virtual_server ", DOUBLED, "k.conf:12: virtual_server 192.0.2.10:3306 is there already, at k.conf:8"),
        ("192.0.2.21", "192.0.2.10", "no declaration can say what these files say:\nk.conf:"),
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


CHECKED = "weight 1\n TCP_CHECK { connect_timeout 3 }"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("weight 1", CHECKED.replace("3", "9"), "lb2.conf:10: virtual_server 192.0.2.10:3306 is not as in lb1.conf"),
        ("weight 1", "weight 1", "lb2.conf:10: virtual_server 192.0.2.10:3306 is not as in lb1.conf"),
        ("lb_algo rr", "lb_algo rr\n alpha", "lb2.conf:10: virtual_server 192.0.2.10:3306 is not as in lb1.conf"),
        (
            "virtual_server",
            "global_defs {\n lvs_timeouts tcp 60\n}\nvirtual_server",
            "lb2.conf:11: lvs_timeouts are not as",
        ),
        ("priority 90", "priority 91", ""),
    ],
)
def test_what_the_second_file_says_otherwise_is_told(old: str, new: str, told: str) -> None:
    text = CONF.replace("_id 1", "_id 1\n nopreempt")
    checked = text.replace("weight 1", CHECKED)
    second = (text if old == "weight 1" else checked).replace("_id 1", "_id 1\n priority 90").replace(old, new)
    found = two(checked, second)
    assert told in clients_notice(found)
    assert bool(told) is bool(clients_notice(found))


def test_two_priorities_of_1() -> None:
    text = CONF.replace("_id 1", "_id 1\n priority 1")
    with pytest.raises(RequestError, match=r"lb2\.conf:1: director\.lb2\.priority"):
        two(text, text)


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
    "said",
    [
        "authentication auth_pass s3cret",
        "auth_pass s3cret {",
        "auth_pass s3cret { virtual_server x {",
        "authentication { geheim s3cret {",
        "authentication { geheim s3cret {\n virtual_server x {",
    ],
)
def test_a_password_is_in_no_error(said: str) -> None:
    with pytest.raises(RequestError) as caught:
        one(CONF.replace("_id 1", f"_id 1\n {said}"))
    assert "s3cret" not in f"{caught.value}{caught.value.cure}"


@pytest.mark.parametrize(
    ("said", "declared"),
    [
        ("persistence_granularity 255.255.255.0", (360, "255.255.255.0")),
        ("persistence_timeout", (360, "255.255.255.255")),
        ("persistence_granularity 0.0.0.0\n persistence_timeout 60", (60, "0.0.0.0")),
    ],
)
def test_how_long_clients_stick_where_keepalived_has_a_default(said: str, declared: tuple[int, str]) -> None:
    (service,) = read(one(CONF.replace("lb_algo rr", f"lb_algo rr\n {said}")).text, "").service.values()
    assert service.persistence
    assert (service.persistence.timeout, str(service.persistence.granularity)) == declared


def test_tunnels_of_a_kind_that_is_lbctls_are_not_told() -> None:
    assert not clients_notice(one(CONF.replace("lb_kind DR", "lb_kind TUN type ipip")))
