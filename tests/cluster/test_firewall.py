"""What a host's netfilter rules do to the packets that a cluster lives on, from what iptables-save and nft print."""

from ipaddress import IPv4Address

import pytest

from cluster.firewall import IPIP, TCP, UDP, VRRP, Chains, Packet, dropped_by, iptables, nft
from cluster.needed import needed
from cluster.vocabulary import Mode
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
    assert dropped_by(saved(*chains), "input", SQL) == "-A MINE -j DROP"


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
    lines = ["table ip filter {", "chain INPUT {", "type filter hook input priority filter; policy drop;", "}", "}"]
    assert dropped_by(nft(lines), "input", CHECK) is None


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
