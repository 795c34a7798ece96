"""The faults that doctor is to find: how each is made, where, in which forms of a cluster, and how it is undone."""

from dataclasses import dataclass

import pytest

from cluster.faults import Fault
from cluster.vocabulary import Mode, ReturnPath
from tests.variants import Variant

IPTABLES = "iptables -I INPUT 1 {}"
NEIGHBOUR = "ip neigh replace {} lladdr {} dev eth0 nud permanent"
WRONG_WAY = NEIGHBOUR.format("10.0.0.12", "{passive}")
# Our own watch asks for the gateway anew every two seconds, and mends that.
UNWATCHED, WATCHED = "systemctl stop lbctl-gateway-watch", "systemctl start lbctl-gateway-watch"
ALL = "$(pidof keepalived)"
THAWED = f"kill -CONT {ALL}; systemctl restart keepalived"
CONF = "/etc/keepalived/keepalived.conf"
# Loaded, and then the right file put back: as a reload that went wrong leaves it.
KEPT = f"cp -p {CONF} /run/conf"
EDIT = f"sed -i 's/delay_loop .*/delay_loop 3/' {CONF}"
LOAD = "systemctl reload keepalived; sleep 1"
BACK = f"cp -p /run/conf {CONF}"
BIND = "/etc/mysql/mariadb.conf.d/zz-bind.cnf"
DIRECTORS = "10.0.0.4 10.0.0.6"
UNDO_OUT = f"for d in {DIRECTORS}; do ip route del blackhole $d; done"
DENIED = """echo 'audit: type=1400 audit(1.1:1): apparmor="DENIED" profile="/usr/sbin/mariadbd" comm="mariadbd"' >/dev/kmsg"""


@dataclass(frozen=True)
class Made:
    """A fault that is made: by `make` at `at`, a host or "active" or "passive"; found as `fault` at `host` (default: there)."""

    fault: Fault
    at: str
    make: str
    undo: str = ""
    """Empty: what doctor names cures it."""
    host: str | None = None
    name: str = ""

    def __str__(self) -> str:
        return self.name or str(self.fault)


# The how-to's manual set-up, as far as one service goes.
HOWTO = """ip addr add 10.0.0.10/32 dev eth0; ipvsadm -C; ipvsadm -A -t 10.0.0.10:3306 -s rr
ipvsadm -a -t 10.0.0.10:3306 -r 10.0.0.1 -g"""

MARK = "OUTPUT -p tcp --sport 3306 -j MARK --set-mark 1"
EVERYWHERE = [
    Made(Fault.FIREWALL, "db3", IPTABLES.format("-p tcp --dport 9200 -j DROP"), "iptables -D INPUT 1", name="9200"),
    Made(Fault.FIREWALL, "db3", IPTABLES.format("-p tcp --dport 3306 -j REJECT"), "iptables -D INPUT 1", name="3306"),
    Made(Fault.FIREWALL, "passive", IPTABLES.format("-p vrrp -j DROP"), "iptables -D INPUT 1", name="vrrp"),
    Made(Fault.FIREWALL, "passive", IPTABLES.format("-p udp --dport 8848 -j DROP"), "iptables -D INPUT 1", name="sync"),
    Made(
        Fault.SPLIT_BRAIN, "passive", "ip addr add 10.0.0.11/32 dev eth0", "ip addr del 10.0.0.11/32 dev eth0", "both"
    ),
    Made(Fault.STOPPED, "passive", "systemctl stop keepalived"),
    # Loaded, and then the right file put back: as a reload that went wrong leaves it.
    Made(Fault.OLDER_FILE, "passive", f"{KEPT}; {EDIT}; {LOAD}; {BACK}", name="file put back"),
    Made(Fault.OLDER_FILE, "passive", f"{KEPT}; {EDIT}", BACK, name="edited, not loaded"),
    Made(Fault.OTHERWISE, "passive", f"{KEPT}; {EDIT}; {LOAD}", name="edited and loaded"),
    Made(Fault.TRIAL, "passive", f"systemctl stop keepalived; rm {CONF}; {HOWTO}"),
    Made(Fault.STOPPED, "passive", f"systemctl stop keepalived; {HOWTO}", name="stopped, and addresses by hand"),
    Made(
        Fault.FIREWALL,
        "db3",
        "iptables -I OUTPUT 1 -p tcp --sport 3306 -j DROP",
        "iptables -D OUTPUT 1",
        name="answers",
    ),
    Made(Fault.TABLE, "active", "ipvsadm -e -t 10.0.0.10:3306 -r 10.0.0.2:3306 {method} -w 3"),
    Made(Fault.CLUSTERCHECK, "db3", "systemctl stop lbctl-clustercheck"),
    Made(
        Fault.NOT_SYNCED,
        "db3",
        "mariadb -e 'set global wsrep_desync = 1'",
        "mariadb -e 'set global wsrep_desync = 0'",
    ),
    Made(Fault.CLOCK, "passive", "date -s '+90 seconds'", "date -s '-90 seconds'"),
    Made(Fault.PACKET_SIZE, "db2", "ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500"),
]
ONLY = {
    Mode.DR: [
        Made(Fault.ARP, "db1", "sysctl -qw net.ipv4.conf.all.arp_ignore=0 net.ipv4.conf.eth0.arp_ignore=0"),
        Made(Fault.VIP_MISSING, "db2", "ip addr del 10.0.0.10/32 dev dummy0"),
        Made(Fault.NEIGHBOUR, "passive", NEIGHBOUR.format("10.0.0.10", "{db1}"), "ip neigh del 10.0.0.10 dev eth0"),
        Made(Fault.DATABASE_DOWN, "db3", "systemctl stop mariadb", "systemctl start mariadb"),
        Made(
            Fault.BOUND,
            "db3",
            f"printf '[mysqld]\\nbind-address=127.0.0.1,10.0.0.3\\n' >{BIND}; systemctl restart mariadb",
            f"rm {BIND}; systemctl restart mariadb",
        ),
        # One that runs puts its address back at once.
        Made(Fault.NOBODY, "both", f"kill -STOP {ALL}; ip addr del 10.0.0.11/32 dev eth0 || :", THAWED, host=""),
        # What keeps directors' checks from being answered, and is no firewall.
        Made(
            Fault.OUT, "db3", f"for d in {DIRECTORS}; do ip route add blackhole $d; done", UNDO_OUT, name="no way back"
        ),
        Made(Fault.DENIED, "db1", DENIED, "journalctl -q --rotate; journalctl -q --vacuum-time=1s"),
    ],
    Mode.TUN: [
        Made(Fault.TUNNEL, "db1", "ip link set tunl0 down"),
        Made(Fault.MODULE, "db1", "ip link set tunl0 down; rmmod ipip"),
        Made(Fault.RP_FILTER, "db1", "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.tunl0.rp_filter=1"),
        Made(Fault.FIREWALL, "db1", IPTABLES.format("-p 4 -j DROP"), "iptables -D INPUT 1", name="ipip"),
    ],
    Mode.NAT: [
        Made(Fault.RETURN_PATH, "db1", "systemctl stop lbctl-return-path; ip rule del pref 100"),
        Made(
            Fault.RETURN_PATH_DOUBLED,
            "db1",
            "ip rule add pref 101 from 10.0.0.1 ipproto tcp sport 3306 lookup 100",
            name="doubled rule",
        ),
        Made(
            Fault.RETURN_PATH_DOUBLED,
            "db1",
            f"iptables -t mangle -A {MARK}; ip route add default via 10.0.0.12 table 7; ip rule add fwmark 1 table 7",
            f"iptables -t mangle -D {MARK}; ip rule del fwmark 1 table 7; ip route flush table 7",
            name="how-to's mark",
        ),
        Made(Fault.GATEWAY, "db1", f"{UNWATCHED}; {WRONG_WAY}", f"ip neigh del 10.0.0.12 dev eth0; {WATCHED}"),
        Made(
            Fault.FIREWALL,
            "active",
            "iptables -I FORWARD 1 -p tcp --sport 3306 -j DROP",
            "iptables -D FORWARD 1",
            name="forward",
        ),
        # conntrack has not seen what servers answer: it calls that invalid, and not established.
        Made(
            Fault.FIREWALL,
            "active",
            "iptables -I FORWARD 1 -m conntrack --ctstate INVALID -j DROP",
            "iptables -D FORWARD 1",
            name="invalid",
        ),
        Made(
            Fault.FIREWALL,
            "active",
            "iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; iptables -P FORWARD DROP",
            "iptables -P FORWARD ACCEPT; iptables -D FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            name="established only",
        ),
        Made(
            Fault.FIREWALL,
            "active",
            "iptables -I OUTPUT 1 -p tcp --dport 3306 -m conntrack --ctstate UNTRACKED -j DROP",
            "iptables -D OUTPUT 1",
            name="untracked",
        ),
        Made(
            Fault.REDIRECTS,
            "active",
            "sysctl -qw net.ipv4.conf.all.send_redirects=1 net.ipv4.conf.eth0.send_redirects=1",
        ),
        Made(Fault.FORWARDING, "passive", "sysctl -qw net.ipv4.ip_forward=0"),
        Made(Fault.MASQUERADE, "passive", "systemctl stop lbctl-masquerade; iptables -t nat -F LBCTL-MASQUERADE"),
    ],
}
MARKED = [
    Made(
        Fault.RETURN_PATH,
        "db1",
        "systemctl stop lbctl-return-path; iptables -t mangle -F LBCTL-RETURN",
        name="mark missing",
    ),
    Made(
        Fault.RETURN_PATH, "db2", "systemctl stop lbctl-return-path; ip rule del fwmark 1", name="fwmark rule missing"
    ),
    Made(Fault.RETURN_PATH_DOUBLED, "db1", "ip rule add pref 90 fwmark 1 lookup 1", name="fwmark rule doubled"),
]
# The password of one director differs, and it was started with it.
PASSWORDS = [
    Made(
        Fault.VRRP_TERMS,
        "passive",
        f"{KEPT}; sed -i 's/auth_pass .*/auth_pass other/' {CONF}; {LOAD}",
        name="password",
    )
]
CASES = [
    pytest.param(variant, made, id=f"{variant.name}-{made}")
    for variant, all_made in (
        (Variant(), [*EVERYWHERE, *ONLY[Mode.DR]]),
        (Variant(Mode.TUN), ONLY[Mode.TUN]),
        (Variant(Mode.NAT), ONLY[Mode.NAT]),
        (Variant(Mode.NAT, return_path=ReturnPath.FWMARK), MARKED),
        (Variant(vrrp="password"), PASSWORDS),
    )
    for made in all_made
]
