"""What a host's netfilter rules do to the packets that a cluster lives on, from what iptables-save and nft print."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.firewall import IPIP, TCP, UDP, VRRP, Chains, Packet, dropped_by
from cluster.footprint import Blueprint
from cluster.iptables import iptables
from cluster.needed import needed
from cluster.nft import nft
from cluster.vocabulary import Mode, ReturnPath
from tests.variants import Variant

LB1, CLIENT = IPv4Address("10.0.0.4"), IPv4Address("10.0.0.5")
CHECK = Packet(TCP, 9200, LB1, "eth0")
SQL = Packet(TCP, 3306, None, "eth0")
ADVERT = Packet(VRRP, 0, LB1, "eth0")
ANSWER = Packet(TCP, 3306, None, answer=True, out="eth0")
ACCEPT_ALL = ["*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]"]
DROP_ALL = ["*filter", ":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":OUTPUT ACCEPT [0:0]"]


def saved(*rules: str, policy: list[str] = ACCEPT_ALL) -> tuple[Chains, ...]:
    return iptables([*policy, *rules, "COMMIT"])


def listed(*rules: str, hook: str = "input", policy: str = "accept", family: str = "inet") -> tuple[Chains, ...]:
    base = f"type filter hook {hook} priority filter; policy {policy};"
    return nft([f"table {family} filter {{", "chain c {", base, *rules, "}", "}"])


@pytest.mark.parametrize(
    ("rule", "packet", "hook"),
    [
        ("-A INPUT -p tcp -m tcp --dport 9200 -j DROP", CHECK, "input"),
        ("-A INPUT -p tcp -m tcp --dport 9000:9300 -j REJECT --reject-with icmp-port-unreachable", CHECK, "input"),
        ("-A INPUT -p tcp -m multiport --dports 22,9200 -j DROP", CHECK, "input"),
        ("-A INPUT -s 10.0.0.0/29 -i eth0 -j DROP", CHECK, "input"),
        ('-A INPUT -p vrrp -m comment --comment "no -j ACCEPT here" -j DROP', ADVERT, "input"),
        ("-A INPUT -p 112 -j DROP", ADVERT, "input"),
        ("-A INPUT -p ipencap -j DROP", Packet(IPIP, 0, LB1, "eth0"), "input"),
        ("-A INPUT -m conntrack --ctstate NEW -j DROP", SQL, "input"),
        ("-A OUTPUT -p tcp -m tcp --sport 3306 -j DROP", ANSWER, "output"),
        ("-A OUTPUT -d 10.0.0.4/32 -o eth0 -j DROP", Packet(TCP, 9200, target=LB1, out="eth0"), "output"),
    ],
)
def test_a_rule_of_iptables_that_drops(rule: str, packet: Packet, hook: str) -> None:
    assert dropped_by(saved(rule), hook, packet) == rule


@pytest.mark.parametrize(
    ("rules", "packet"),
    [
        (["-A INPUT -p tcp -m tcp --dport 9201 -j DROP"], CHECK),
        (["-A INPUT -p udp -m udp --dport 9200 -j DROP"], CHECK),
        (["-A INPUT -i eth1 -j DROP"], CHECK),
        (["-A INPUT -s 10.0.0.9/32 -j DROP"], CHECK),
        (["-A INPUT -s 10.0.0.9/32 -p tcp -m tcp --dport 3306 -j DROP"], SQL),
        (["-A INPUT -m conntrack --ctstate INVALID -j DROP"], CHECK),
        (["-A INPUT -p tcp -m tcp --dport 9200 -j LOG"], CHECK),
        (["-A INPUT ! -s 10.0.0.0/24 -j DROP"], CHECK),
        (["-A INPUT -p tcp -m limit --limit 1/sec -j DROP"], CHECK),
        (["-A INPUT -s 10.0.0.4/32 -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 9200 -j DROP"], CHECK),
    ],
    ids=lambda value: str(value)[:60],
)
def test_one_that_does_not_surely(rules: list[str], packet: Packet) -> None:
    assert dropped_by(saved(*rules), "input", packet) is None


def test_a_policy_drops_what_no_rule_lets_in() -> None:
    assert dropped_by(saved(policy=DROP_ALL), "input", CHECK) == "policy drop of INPUT"
    let_in = "-A INPUT -p tcp -m tcp --dport 9200 -j ACCEPT"
    assert dropped_by(saved(let_in, policy=DROP_ALL), "input", CHECK) is None
    assert dropped_by(saved(let_in, policy=DROP_ALL), "forward", ANSWER) == "policy drop of FORWARD"


def test_a_chain_of_its_own_is_followed_and_returned_from() -> None:
    chains = [":MINE - [0:0]", "-A INPUT -j MINE", "-A MINE -s 10.0.0.4/32 -j RETURN", "-A MINE -j DROP"]
    assert dropped_by(saved(*chains), "input", CHECK) is None
    other = replace(CHECK, source=CLIENT)
    assert dropped_by(saved(*chains), "input", other) == "-A MINE -j DROP"


def test_a_chain_that_calls_itself_ends() -> None:
    assert dropped_by(saved(":A - [0:0]", "-A INPUT -j A", "-A A -j A"), "input", CHECK) is None


def test_other_tables_of_iptables_are_no_filter() -> None:
    lines = ["*mangle", ":INPUT DROP [0:0]", "COMMIT", *ACCEPT_ALL, "COMMIT"]
    assert dropped_by(iptables(lines), "input", CHECK) is None


@pytest.mark.parametrize(
    ("rule", "packet", "hook"),
    [
        ("tcp dport 9200 drop", CHECK, "input"),
        ("tcp dport { 22, 9200 } counter packets 3 bytes 180 drop", CHECK, "input"),
        ('iifname "eth0" ip saddr 10.0.0.0/24 log prefix "no: " reject with icmp port-unreachable', CHECK, "input"),
        ("ip protocol vrrp drop", ADVERT, "input"),
        ("meta l4proto { 4, 112 } drop", ADVERT, "input"),
        ("udp dport 8848 drop", Packet(UDP, 8848, LB1, "eth0"), "input"),
        ("ct state new drop", SQL, "input"),
        ("tcp sport 3306 drop", ANSWER, "output"),
        ('oifname "eth0" ip daddr 10.0.0.4 drop', Packet(TCP, 9200, target=LB1, out="eth0"), "output"),
    ],
)
def test_a_rule_of_nft_that_drops(rule: str, packet: Packet, hook: str) -> None:
    assert dropped_by(listed(rule, hook=hook), hook, packet) == rule


@pytest.mark.parametrize(
    "rule",
    [
        "tcp dport 9201 drop",
        "ct state established,related accept",
        "ip saddr != 10.0.0.0/24 drop",
        "tcp dport 9200 limit rate over 100/second drop",
        "tcp dport @ports drop",
    ],
)
def test_one_of_nft_that_does_not_surely(rule: str) -> None:
    assert dropped_by(listed(rule), "input", CHECK) is None


def test_policy_and_family_of_nft() -> None:
    assert dropped_by(listed(policy="drop"), "input", CHECK) == "policy drop of c"
    assert dropped_by(listed("tcp dport 9200 accept", policy="drop"), "input", CHECK) is None
    assert dropped_by(listed("tcp dport 9200 drop", family="ip6"), "input", CHECK) is None


def test_what_iptables_made_is_read_from_iptables() -> None:
    """`nft list ruleset` shows it, too, with matches that only iptables can say."""
    base = "type filter hook input priority filter; policy drop;"
    lines = ["table ip filter {", "chain INPUT {", base, "}", "}"]
    assert dropped_by(nft(lines, {"filter"}), "input", CHECK) is None
    assert dropped_by(nft(lines), "input", CHECK) == "policy drop of INPUT"
    inet = ["table inet filter {", *lines[1:]]
    assert dropped_by(nft(inet, {"filter"}), "input", CHECK) == "policy drop of INPUT"


# What is not certain says nothing: neither that a rule drops, nor that one behind it does.

MULTICAST = Packet(VRRP, 0, LB1, "eth0", target=IPv4Address("224.0.0.18"))
FORWARDED = Packet(TCP, 3306, CLIENT, "eth0", answer=True, out="eth0", sent_on=True)


@pytest.mark.parametrize(
    ("rule", "packet", "hook"),
    [
        ("-A INPUT -s 10.0.0.0/24 -p tcp -m tcp --dport 3306 -j ACCEPT", SQL, "input"),
        ("-A INPUT -p tcp -m set --match-set trusted src -m tcp --dport 9200 -j ACCEPT", CHECK, "input"),
        ("-A INPUT -m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT", CHECK, "input"),
        ("-A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT", CHECK, "input"),
        ("-A INPUT -i eth+ -j ACCEPT", CHECK, "input"),
        ("-A INPUT -m limit --limit 50/sec -j ACCEPT", CHECK, "input"),
        ("-A INPUT -m rpfilter -j ACCEPT", CHECK, "input"),
        ("-A INPUT -d 224.0.0.18/32 -p vrrp -j ACCEPT", MULTICAST, "input"),
        ("-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT", MULTICAST, "input"),
        ("-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT", CHECK, "input"),
        ("-A INPUT -p tcp -m tcp --dport 9200 -j NFQUEUE --queue-num 0", CHECK, "input"),
        ("-A INPUT -p tcp -j SOMEWHERE", CHECK, "input"),
        ("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", FORWARDED, "forward"),
        ("-A FORWARD -m conntrack --ctstate INVALID -j ACCEPT", replace(FORWARDED, listed="invalid"), "forward"),
    ],
    ids=lambda value: str(value)[:70],
)
def test_what_may_let_it_in_is_before_a_policy_that_drops(rule: str, packet: Packet, hook: str) -> None:
    assert dropped_by(saved(policy=DROP_ALL), hook, packet)
    assert dropped_by(saved(rule, policy=DROP_ALL), hook, packet) is None


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -p udp -m set --match-set trusted src -j ACCEPT",
        "-A INPUT -i tun+ -j ACCEPT",
        "-A INPUT -m addrtype --dst-type MULTICAST -j ACCEPT",
        "-A INPUT ! -s 10.0.0.0/24 -j ACCEPT",
        "-A INPUT -p tcp -m tcp --sport 22 -j ACCEPT",
        '-A INPUT -m limit --limit 3/min -j LOG --log-prefix "[UFW BLOCK] "',
        "-A INPUT",
        "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ],
)
def test_what_surely_does_not_leaves_it_to_the_policy(rule: str) -> None:
    assert dropped_by(saved(rule, policy=DROP_ALL), "input", CHECK) == "policy drop of INPUT"


@pytest.mark.parametrize(
    "rule",
    [
        "ip saddr @trusted tcp dport 9200 accept",
        "ip saddr . tcp dport @x accept",
        "ip saddr . tcp dport { 10.0.0.4 . 9200, 10.0.0.6 . 9200 } accept",
        'iifname . ip saddr { "eth0" . 10.0.0.4 } accept',
        "ip saddr { 10.0.0.1-10.0.0.9 } accept",
        "ip saddr 10.0.0.1-10.0.0.9 tcp dport { 22, 9000-9300 } accept",
        "meta l4proto { tcp, udp } th dport 9200 accept",
        "th dport 9200 accept",
        'iifname "eth*" accept',
        'iifname { "lo", "eth0" } accept',
        "limit rate 100/second burst 5 packets accept",
        "ct original ip daddr 10.9.9.9 accept",
        "fib daddr . iif type local accept",
        "fib daddr type local accept",
        "meta mark 0x00000001 accept",
        "tcp flags syn / fin,syn,rst,ack accept",
        "tcp dport vmap { 22 : accept, 9200 : accept }",
        "tcp dport vmap @services",
        "ip saddr . tcp dport vmap { 10.0.0.4 . 9200 : accept }",
        "ip saddr != 10.0.1.0/24 accept",
        "queue num 0",
        "tcp dport 9200 # xt_recent counter packets 0 bytes 0 accept",
    ],
)
def test_what_may_let_it_in_in_nft(rule: str) -> None:
    assert dropped_by(listed(rule, policy="drop"), "input", CHECK) is None


@pytest.mark.parametrize(
    "rule",
    [
        "ip6 saddr fe80::/10 accept",
        "meta nfproto ipv6 accept",
        "icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept",
        "icmp type echo-request limit rate 5/second accept",
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        'iif "lo" accept',
        "udp dport . ip saddr { 9200 . 10.0.0.4 } accept",
        "tcp dport != 9200 accept",
        "pkttype { broadcast, multicast } accept",
        'limit rate 5/minute burst 5 packets log prefix "drop: " flags all',
        "counter packets 1 bytes 2",
    ],
)
def test_what_surely_does_not_in_nft(rule: str) -> None:
    assert dropped_by(listed(rule, policy="drop"), "input", CHECK) == "policy drop of c"


@pytest.mark.parametrize("rule", ["tcp dport @x drop", "ip saddr . tcp dport vmap { 10.0.0.4 . 9200 : drop }"])
def test_a_rule_that_may_drop_is_named_by_none(rule: str) -> None:
    assert dropped_by(listed(rule), "input", CHECK) is None
    assert dropped_by(listed(rule, "tcp dport 9200 drop"), "input", CHECK) == "tcp dport 9200 drop"


def test_a_goto_does_not_come_back() -> None:
    chains = [":A - [0:0]", "-A INPUT -g A", "-A INPUT -j ACCEPT", "-A A -p udp -j ACCEPT"]
    assert dropped_by(saved(*chains, policy=DROP_ALL), "input", CHECK) == "policy drop of INPUT"
    assert dropped_by(saved(*chains[:1], "-A INPUT -j A", *chains[2:], policy=DROP_ALL), "input", CHECK) is None


@pytest.mark.parametrize("family", ["ip6", "bridge", "arp", "netdev"])
def test_chains_of_other_families_are_not_written_into_the_last_one(family: str) -> None:
    ours = ["table inet filter {", "chain input {", "type filter hook input priority filter; policy accept;", "}", "}"]
    theirs = [f"table {family} filter {{", "chain input {", "type filter hook input priority filter; policy drop;"]
    assert dropped_by(nft([*ours, *theirs, "tcp dport 9200 drop", "}", "}"]), "input", CHECK) is None


def test_a_sets_type_is_no_chains() -> None:
    base = "type filter hook input priority filter; policy drop;"
    names = ["set trusted {", "type ipv4_addr", "elements = { 10.0.0.1,", "10.0.0.2 }", "}"]
    types = ["set pairs {", "typeof ip saddr . tcp dport", "flags interval", "}"]
    lines = ["table inet filter {", "chain input {", base, "}", *names, *types, "}"]
    assert dropped_by(nft(lines), "input", CHECK) == "policy drop of input"


def test_a_table_that_sleeps_drops_nothing() -> None:
    base = "type filter hook input priority filter; policy drop;"
    assert dropped_by(nft(["table inet t {", "flags dormant", "chain c {", base, "}", "}"]), "input", CHECK) is None


@pytest.mark.parametrize("mode", list(Mode))
def test_what_a_cluster_needs_passes_where_there_is_no_firewall(mode: Mode) -> None:
    blueprint = Variant(mode).blueprint
    for host in blueprint.declaration.hosts():
        for each in needed(blueprint, host):
            assert dropped_by(saved(), each.hook, each.packet) is None
            assert dropped_by((), each.hook, each.packet) is None


def test_what_is_needed_is_said_in_words() -> None:
    blueprint = Variant(Mode.TUN).blueprint
    assert set(map(str, needed(blueprint, "db1"))) == {
        *(f"{what} from {who}" for what in ("TCP 9200", "IPIP (protocol 4)") for who in ("lb1", "lb2")),
        "TCP 3306 from clients",
        "answers of TCP 9200 to lb1",
        "answers of TCP 9200 to lb2",
        "answers of TCP 3306 to clients",
    }
    of_director = set(map(str, needed(blueprint, "lb1")))
    assert {"VRRP (protocol 112) from lb2", "VRRP (protocol 112) to lb2", "IPIP (protocol 4) to db3"} <= of_director
    nat = set(map(str, needed(Variant(Mode.NAT).blueprint, "lb1")))
    assert {"answers of TCP 3306 from db1", "TCP 3306 to db1", "TCP 5506 from clients"} <= nat


KNOWN_ONLY = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
UNKNOWN = "-A FORWARD -m conntrack --ctstate INVALID -j DROP"


@pytest.mark.parametrize(
    ("blueprint", "known_only", "unknown"),
    [
        (Variant(Mode.NAT).blueprint, "policy drop of FORWARD", UNKNOWN),
        (Variant(Mode.NAT, return_path=ReturnPath.SNAT).blueprint, None, None),
    ],
    ids=["ipvs", "conntrack"],
)
def test_an_answer_of_a_connection_that_conntrack_has_not_seen(
    blueprint: Blueprint, known_only: str | None, unknown: str | None
) -> None:
    answers = [each.packet for each in needed(blueprint, "lb1") if each.hook == "forward"]
    assert answers
    for packet in answers:
        assert dropped_by(saved(KNOWN_ONLY, policy=DROP_ALL), "forward", packet) == known_only
        assert dropped_by(saved(UNKNOWN), "forward", packet) == unknown


def test_what_ipvs_sends_on_is_not_what_conntrack_lists() -> None:
    rule = "-A OUTPUT -p tcp -m tcp --dport 3306 -m conntrack --ctstate UNTRACKED -j DROP"
    known = "-A OUTPUT -m conntrack --ctstate NEW,ESTABLISHED -j DROP"
    sent = [
        n.packet for n in needed(Variant(Mode.NAT).blueprint, "lb1") if n.packet.port == 3306 and n.hook == "output"
    ]
    assert sent
    for packet in sent:
        assert dropped_by(saved(rule), "output", packet) == rule
        assert dropped_by(saved(known), "output", packet) is None
