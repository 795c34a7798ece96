"""What well-known programs write as a packet filter, around a cluster: nothing is found where its packets pass, and what is
forgotten is.
"""

from collections.abc import Iterable

import pytest

from cluster.firewall import TCP, Chains, Packet, dropped_by
from cluster.iptables import iptables
from cluster.needed import needed
from cluster.nft import nft
from cluster.vocabulary import Mode
from tests.variants import Variant

SQL = "-A ufw-user-input -s 10.0.0.0/16 -p tcp -m tcp --dport 3306 -j ACCEPT"
CHECKS = [f"-A ufw-user-input -s {lb}/32 -p tcp -m tcp --dport 9200 -j ACCEPT" for lb in ("10.0.0.4", "10.0.0.6")]
TUNNEL = "-A ufw-before-input -p ipencap -j ACCEPT"
OF_DIRECTOR = [
    *(
        "-A ufw-before-input -d 224.0.0.18/32 -p vrrp -j ACCEPT",
        "-A ufw-before-input -p udp -m udp --dport 8848 -j ACCEPT",
    ),
    "-A ufw-user-input -p tcp -m multiport --dports 3306,3307 -j ACCEPT",
]
UFW_HEAD = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-after-forward - [0:0]
:ufw-after-input - [0:0]
:ufw-after-logging-input - [0:0]
:ufw-before-input - [0:0]
:ufw-before-output - [0:0]
:ufw-logging-deny - [0:0]
:ufw-not-local - [0:0]
:ufw-reject-input - [0:0]
:ufw-skip-to-policy-input - [0:0]
:ufw-track-input - [0:0]
:ufw-track-output - [0:0]
:ufw-user-input - [0:0]
:ufw-user-limit - [0:0]
:ufw-user-output - [0:0]
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A INPUT -j ufw-after-logging-input
-A INPUT -j ufw-reject-input
-A INPUT -j ufw-track-input
-A OUTPUT -j ufw-before-output
-A OUTPUT -j ufw-track-output
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
-A ufw-after-input -p tcp -m tcp --dport 445 -j ufw-skip-to-policy-input
-A ufw-after-input -m addrtype --dst-type BROADCAST -j ufw-skip-to-policy-input
-A ufw-after-logging-input -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j ufw-logging-deny
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT"""
UFW_TAIL = """\
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-before-output -o lo -j ACCEPT
-A ufw-before-output -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-output -j ufw-user-output
-A ufw-logging-deny -m conntrack --ctstate INVALID -m limit --limit 3/min --limit-burst 10 -j RETURN
-A ufw-logging-deny -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-skip-to-policy-input -j DROP
-A ufw-track-output -p tcp -m conntrack --ctstate NEW -j ACCEPT
-A ufw-user-limit -m limit --limit 3/min -j LOG --log-prefix "[UFW LIMIT BLOCK] "
-A ufw-user-limit -j REJECT --reject-with icmp-port-unreachable
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --set --name DEFAULT --rsource
-A ufw-user-input -p tcp -m tcp --dport 22 -m conntrack --ctstate NEW -m recent --update --seconds 30 -j ufw-user-limit
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT"""


def ufw(*rules: str) -> tuple[Chains, ...]:
    """`ufw enable`, with these in before.rules and by `ufw allow`."""
    return iptables([*UFW_HEAD.splitlines(), *rules, *UFW_TAIL.splitlines(), "COMMIT"])


def found(tables: tuple[Chains, ...], host: str, mode: Mode = Mode.DR) -> dict[str, str]:
    """By what is dropped."""
    each = ((str(n), dropped_by(tables, n.hook, n.packet)) for n in needed(Variant(mode).blueprint, host))
    return {what: rule for what, rule in each if rule}


@pytest.mark.parametrize("mode", list(Mode))
def test_ufw_that_lets_all_in(mode: Mode) -> None:
    assert found(ufw(SQL, *CHECKS, TUNNEL), "db1", mode) == {}


def test_ufw_of_a_director() -> None:
    assert found(ufw(*OF_DIRECTOR), "lb1") == {}


def test_ufw_that_forgets_the_checks() -> None:
    dropped = "policy drop of INPUT"
    assert found(ufw(SQL), "db1") == {"TCP 9200 from lb1": dropped, "TCP 9200 from lb2": dropped}


def test_ufw_that_forgets_clients_the_tunnel_and_the_other_director() -> None:
    assert found(ufw(*CHECKS), "db1", Mode.TUN).keys() == {
        *("TCP 3306 from clients", "IPIP (protocol 4) from lb1", "IPIP (protocol 4) from lb2")
    }
    assert "VRRP (protocol 112) from lb2" in found(ufw(*OF_DIRECTOR[1:]), "lb1")


DOCKER = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-FORWARD -m set --match-set docker-ext-bridges-v4 dst -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -o docker0 -j DOCKER
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT"""


def docker(*rules: str, without: str = "match-set") -> tuple[Chains, ...]:
    lines = [line for line in DOCKER.splitlines() if without not in line]
    place = lines.index("-A DOCKER-USER -j RETURN")
    return iptables([*lines[:place], *rules, *lines[place:]])


@pytest.mark.parametrize("mode", [Mode.DR, Mode.TUN])
def test_docker_forwards_nothing_and_that_is_nothing_to_dr_and_tun(mode: Mode) -> None:
    for host in ("lb1", "db1"):
        assert found(docker(), host, mode) == {}


def test_docker_on_a_director_in_nat() -> None:
    assert set(found(docker(), "lb1", Mode.NAT).values()) == {"policy drop of FORWARD"}
    assert found(docker("-A DOCKER-USER -i eth0 -o eth0 -j ACCEPT"), "lb1", Mode.NAT) == {}
    # Newer Docker asks a set of bridges (what is in it is not known), and of those lets through what conntrack has seen begin.
    assert set(found(docker(without="-" * 9), "lb1", Mode.NAT).values()) == {"policy drop of FORWARD"}


FIREWALLD = """\
table inet firewalld {{
	ct helper helper-netbios-ns-udp {{
		type "netbios-ns" protocol udp
		l3proto ip
	}}

	chain mangle_PREROUTING {{
		type filter hook prerouting priority mangle + 10; policy accept;
		jump mangle_PREROUTING_ZONES
	}}

	chain filter_INPUT {{
		type filter hook input priority filter + 10; policy accept;
		ct state {{ established, related }} accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		jump filter_INPUT_ZONES
		reject with icmpx admin-prohibited
	}}

	chain filter_FORWARD {{
		type filter hook forward priority filter + 10; policy accept;
		ct state {{ established, related }} accept
		ct status dnat accept
		iifname "lo" accept
		ct state invalid drop
		ip6 daddr {{ ::/96, ::ffff:0.0.0.0/96 }} reject with icmpv6 addr-unreachable
		jump filter_FORWARD_ZONES
		reject with icmpx admin-prohibited
	}}

	chain filter_OUTPUT {{
		type filter hook output priority filter + 10; policy accept;
		ct state {{ established, related }} accept
		oifname "lo" accept
		ip6 daddr {{ ::/96, ::ffff:0.0.0.0/96 }} reject with icmpv6 addr-unreachable
	}}

	chain filter_INPUT_ZONES {{
{zones}
		iifname "eth0" goto filter_IN_public
		goto filter_IN_public
	}}

	chain filter_FORWARD_ZONES {{
		goto filter_FWD_public
	}}

	chain filter_FWD_public {{
		reject with icmpx admin-prohibited
	}}

	chain filter_IN_public {{
		jump filter_IN_public_allow
		meta l4proto {{ icmp, ipv6-icmp }} accept
		reject with icmpx admin-prohibited
	}}

	chain filter_IN_public_allow {{
		tcp dport 22 accept
		ip6 daddr fe80::/64 udp dport 546 accept
		{public}
	}}

	chain filter_IN_cluster {{
		tcp dport 9200 accept
		tcp dport 3306 accept
		meta l4proto {{ icmp, ipv6-icmp }} accept
		reject with icmpx admin-prohibited
	}}
}}
table ip firewalld {{
	chain nat_PREROUTING {{
		type nat hook prerouting priority dstnat + 10; policy accept;
	}}
}}
table ip6 firewalld {{
	chain filter_INPUT {{
		type filter hook input priority filter + 10; policy drop;
		icmpv6 type {{ nd-router-advert, nd-neighbor-solicit }} accept
	}}
}}"""


def firewalld(zones: str = "", public: str = "") -> tuple[Chains, ...]:
    return nft(FIREWALLD.format(zones=zones, public=public).splitlines())


def test_firewalld_with_a_zone_for_a_source() -> None:
    assert found(firewalld("ip saddr 10.0.0.0/24 goto filter_IN_cluster"), "db1") == {}


def test_firewalld_with_open_ports() -> None:
    assert found(firewalld(public="tcp dport { 3306, 9200 } accept"), "db1") == {}


def test_firewalld_that_forgets_the_checks() -> None:
    dropped = "reject with icmpx admin-prohibited"
    assert found(firewalld(public="tcp dport 3306 accept"), "db1") == {
        "TCP 9200 from lb1": dropped,
        "TCP 9200 from lb2": dropped,
    }


HAND = """\
table inet filter {{
	set trusted {{
		type ipv4_addr
		flags interval
		elements = {{ 10.0.0.0/24,
			192.0.2.0/24 }}
	}}

	chain input {{
		type filter hook input priority filter; policy drop;
		ct state vmap {{ established : accept, related : accept, invalid : drop }}
		iif "lo" accept
		icmp type echo-request limit rate 5/second accept
		{rules}
		limit rate 3/minute burst 5 packets log prefix "in: "
	}}

	chain forward {{
		type filter hook forward priority filter; policy drop;
	}}

	chain output {{
		type filter hook output priority filter; policy accept;
	}}

	set later {{
		typeof ip saddr . tcp dport
	}}
}}
table bridge filter {{
	chain input {{
		type filter hook input priority filter; policy drop;
		tcp dport 3306 drop
	}}
}}"""


def by_hand(rules: Iterable[str]) -> tuple[Chains, ...]:
    return nft(HAND.format(rules="\n\t\t".join(rules)).splitlines())


@pytest.mark.parametrize(
    "rules",
    [
        ["ip saddr @trusted tcp dport { 3306, 9200 } accept"],
        ["ip saddr 10.0.0.0/8 tcp dport 3306 accept", "ip saddr { 10.0.0.4, 10.0.0.6 } tcp dport 9200 accept"],
        ["ip saddr . tcp dport @later accept"],
        ["meta l4proto tcp th dport { 22, 3306, 9200 } accept"],
    ],
)
def test_a_handwritten_one(rules: list[str]) -> None:
    assert found(by_hand(rules), "db1") == {}


def test_a_handwritten_one_that_forgets_the_checks() -> None:
    dropped = "policy drop of input"
    assert found(by_hand(["ip saddr @trusted tcp dport 3306 accept"]), "db1") == {
        "TCP 9200 from lb1": dropped,
        "TCP 9200 from lb2": dropped,
    }


def test_a_handwritten_one_of_a_director() -> None:
    rules = [
        *("ip daddr 224.0.0.18 ip protocol vrrp accept", "ip daddr 224.0.0.81 udp dport 8848 accept"),
        "ip daddr { 10.0.0.10, 10.0.0.11 } tcp dport 3306 accept",
    ]
    assert found(by_hand(rules), "lb1") == {}
    assert found(by_hand(rules[2:]), "lb1").keys() == {"VRRP (protocol 112) from lb2", "UDP 8848 from lb2"}


def test_nothing_that_a_line_says_is_an_error() -> None:
    """Each line cut off after each word, and each word of it replaced."""
    by_iptables = f"{UFW_HEAD}\n{UFW_TAIL}\n{DOCKER}".splitlines()
    by_nft = (FIREWALLD + HAND).format(zones="", public="tcp dport vmap { 22 : accept }", rules="").splitlines()
    for read, lines in ((iptables, by_iptables), (nft, by_nft)):
        for number, line in enumerate(lines):
            words = line.split()
            for place in range(len(words)):
                for other in ([], ["!"], ["@x", *words[place + 1 :]], [".", *words[place:]]):
                    changed = " ".join([*words[:place], *other])
                    tables = read([*lines[:number], changed, *lines[number + 1 :]])
                    assert dropped_by(tables, "input", MAYBE) in {None, *map(str.strip, lines), changed, *POLICIES}


MAYBE = Packet(TCP, 9200, None, "eth0")
POLICIES = [f"policy drop of {name}" for name in ("INPUT", "input", "filter_INPUT")]
