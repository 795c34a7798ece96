"""After `lbctl uninstall` hosts are as they were before the first deploy."""

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from tests.system.machines import Cluster
from tests.variants import Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak]

SNAPSHOT = """\
find /etc /usr/local /var/lib/lbctl /run/lbctl ! -path '/etc/.pwd.lock' ! -name '*-' -printf '%p %m %u:%g %l\\n' 2>&- | sort
find /etc /usr/local -type f ! -path '/etc/.pwd.lock' ! -name '*-' -exec sha256sum {} + | sort -k 2
ip -o -4 addr show | sed 's/valid_lft.*//'
ip rule; ip route show table all | grep -v ' proto kernel' | sort
for i in eth0 all default tunl0 dummy0; do grep -H . /proc/sys/net/ipv4/conf/$i/* 2>/dev/null; done
cd /proc/sys/net/ipv4; grep -Hs . ip_forward icmp_ratemask tcp_keepalive_* vs/*; cd /
for t in raw mangle nat filter; do iptables-save -t $t 2>/dev/null | grep -v '^#' | sed 's/ \\[.*//'; done
systemctl list-unit-files --no-legend --no-pager | sort
[ ! -r /proc/net/ip_vs ] || cat /proc/net/ip_vs
[ ! -S /run/mysqld/mysqld.sock ] || mariadb -BNe 'select user, host from mysql.global_priv order by 1, 2'"""
"""Files with mode, owner and content; addresses, rules, routes, kernel settings, netfilter, units, users."""


def seen(cluster: Cluster) -> dict[str, list[str]]:
    return {host: cluster.on(host, SNAPSHOT, check=False).splitlines() for host in cluster.hosts}


def uninstalled(cluster: Cluster) -> None:
    done = cluster.lbctl("uninstall", "--yes")
    assert done.status == Exit.DONE, done.output


def test_nothing_is_left(cluster: Cluster) -> None:
    """Software is there already: what a package brings is a package's."""
    cluster.declare(Variant(Mode.TUN))
    assert cluster.lbctl("deploy", "--yes").status == Exit.DONE
    uninstalled(cluster)
    bare = seen(cluster)
    ours = [line for lines in bare.values() for line in lines if "lbctl" in line.lower()]
    assert not ours, ours

    cluster.declare(Variant(Mode.NAT, "elected"))
    deployed = cluster.lbctl("deploy", "--yes")
    assert deployed.status == Exit.DONE, deployed.output
    assert seen(cluster) != bare
    uninstalled(cluster)
    after = seen(cluster)
    for host, lines in bare.items():
        assert sorted(set(after[host]) ^ set(lines)) == [], host
    # Nothing is left to be taken away, and a new first deploy is one.
    again = cluster.lbctl("uninstall", "--yes")
    assert again.status == Exit.DONE, again.output
    assert "No host was changed." in again.output
