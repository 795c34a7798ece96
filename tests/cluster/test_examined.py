"""What `lbctl doctor` reads from a host's answer."""

from ipaddress import IPv4Address, IPv4Interface

import pytest

from cluster.examined import Advert, parse
from cluster.observed import UnreadableStateError

ANSWER = """\
#clock
1000.5
#link
mac 02:00:0a:00:00:01
mtu 1500
#devices
00:00:00:00:00:00
0.0.0.0
02:00:0a:00:00:01
02:00:0a:00:00:51
#addresses
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: bond0    inet 10.0.0.1/24 brd 10.0.0.255 scope global bond0\\       valid_lft forever preferred_lft forever
#neighbours
10.0.0.10 dev eth0 lladdr 02:00:0a:00:00:04 REACHABLE
10.0.0.77 dev eth0 FAILED
#iptables
*mangle
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p tcp -m tcp --sport 3306 -j MARK --set-xmark 0x1/0xffffffff
-A OUTPUT -j SHAPED
-A OUTPUT -j LBCTL-RETURN
-A SHAPED -p udp -j MARK --set-xmark 0x5/0xffffffff
-A PREROUTING -p tcp -j MARK --set-xmark 0x7/0xffffffff
-A LBCTL-RETURN -p tcp -m tcp --sport 3306 -j MARK --set-xmark 0x1/0xffffffff
*filter
-A FORWARD -j ts-forward
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
#nft
#denied
apparmor="DENIED" profile="/usr/sbin/mariadbd"
#arp
10.0.0.10 02:00:0a:00:00:04
10.0.0.10 02:00:0a:00:00:01
#vrrp
10.0.0.4 3 101 10.0.0.12
10.0.0.6 2 100 - $5$mark
#end
"""


def test_each_section() -> None:
    found = parse(ANSWER.splitlines(), asked_at=1000, answered_at=1000.25)
    assert (found.ahead, found.vague) == (0.5, 0.25)
    assert found.macs == {"02:00:0a:00:00:01"}
    assert found.all_macs == {"02:00:0a:00:00:01", "02:00:0a:00:00:51"}
    assert found.held == ((IPv4Interface("127.0.0.1/8"), "lo"), (IPv4Interface("10.0.0.1/24"), "bond0"))
    assert found.mtu == 1500
    assert found.neighbours == {IPv4Address("10.0.0.10"): "02:00:0a:00:00:04"}
    assert found.answered == {IPv4Address("10.0.0.10"): {"02:00:0a:00:00:04", "02:00:0a:00:00:01"}}
    assert found.marks == (
        "-A OUTPUT -p tcp -m tcp --sport 3306 -j MARK --set-xmark 0x1/0xffffffff",
        "-A SHAPED -p udp -j MARK --set-xmark 0x5/0xffffffff",
    )
    assert found.adverts == (
        Advert(IPv4Address("10.0.0.4"), 3, 101, (IPv4Address("10.0.0.12"),)),
        Advert(IPv4Address("10.0.0.6"), 2, 100, (), "$5$mark"),
    )
    assert found.denied == ('apparmor="DENIED" profile="/usr/sbin/mariadbd"',)


def test_filters_of_both_variants_of_iptables_and_of_nft_each_once() -> None:
    answer = """\
#iptables
*filter
:INPUT ACCEPT [0:0]
-A INPUT -j ACCT
-A ACCT
#legacy
*filter
:INPUT DROP [0:0]
#nft
table ip filter {
chain INPUT {
type filter hook input priority filter; policy drop;
}
}
table inet filter {
chain INPUT {
type filter hook input priority filter; policy accept;
ip saddr . tcp dport @x accept
}
}
#end
"""
    found = parse(answer.splitlines())
    assert [chains["INPUT"].policy for chains in found.tables] == ["accept", "drop", "accept"]


def test_a_host_without_perl_or_iptables_has_said_what_it_can() -> None:
    found = parse(["#clock", "#link", "#arp", "#vrrp", "#iptables", "#end"])
    assert (found.ahead, found.macs, found.tables, found.adverts) == (None, frozenset(), (), ())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ANSWER.replace("#end\n", ""), "stopped half-way"),
        (ANSWER.replace("10.0.0.4 3", "10.0.0.4 x"), "cannot be read"),
    ],
)
def test_an_answer_that_is_not_whole_is_refused(answer: str, why: str) -> None:
    with pytest.raises(UnreadableStateError, match=why):
        parse(answer.splitlines())
