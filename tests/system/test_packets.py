"""Large requests and answers, byte for byte: through the tunnel, which has no room for a full packet, and through each mode."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.topology import DATABASES
from tests.system.clients import read_bytes, remove_bytes, write_bytes
from tests.system.machines import PATIENCE, PATIENT, Cluster, wait_until
from tests.variants import Variant

MEGABYTE = 2**20


def deployed(cluster: Cluster, mode: Mode, tables: str = "") -> None:
    cluster.declare(Variant(mode, "ranked"), **{after: f"{tables}{text}" for after, text in PATIENT.items()})
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)


@contextmanager
def without_icmp(cluster: Cluster) -> Iterator[None]:
    """A firewall between directors and clients drops "fragmentation needed"."""
    rule = "OUTPUT -p icmp --icmp-type fragmentation-needed -j DROP"
    for name in cluster.declaration.director:
        cluster.on(name, f"apt-get -q -y install iptables >/dev/null 2>&1; iptables -w 10 -I {rule}")
    # What clients have heard before.
    cluster.lab.client(["ip", "route", "flush", "cache"])
    try:
        yield
    finally:
        for name in cluster.declaration.director:
            cluster.on(name, f"iptables -w 10 -D {rule}; modprobe -q -r iptable_filter || :")


def pieces(cluster: Cluster, director: str) -> int:
    """How many pieces of packets this director has made (FragCreates)."""
    names, values = (line.split() for line in cluster.on(director, "grep ^Ip: /proc/net/snmp").splitlines())
    return int(dict(zip(names, values, strict=True))["FragCreates"])


def pass_unchanged(cluster: Cluster, count: int, seconds: float = PATIENCE) -> None:
    """Written through the writer's endpoint, read through the readers'."""
    (writes, reads) = (cluster.endpoints(name)[0] for name in ("write", "read"))
    sent = write_bytes(cluster.lab, writes, count, seconds)
    assert sent, f"{count} bytes did not pass within {seconds} s, or the connection was cut"
    try:
        applied(cluster)
        assert read_bytes(cluster.lab, reads, count) == sent
    finally:
        remove_bytes(cluster.lab, writes)


def applied(cluster: Cluster) -> None:
    """Galera: a server may answer before it has applied what another one has taken."""
    rows = "mariadb -BNe 'SELECT COUNT(*) FROM lab.bulk'"
    written = cluster.on("db1", rows)
    wait_until(lambda: {cluster.on(name, rows, check=False) for name in DATABASES} == {written}, "all have all rows")


@pytest.mark.soak
def test_large_packets_in_the_tunnel_without_icmp(cluster: Cluster) -> None:
    """Clients are asked for packets that fit; and what is too large all the same travels in pieces."""
    deployed(cluster, Mode.TUN)
    with without_icmp(cluster):
        active = cluster.active()
        before = pieces(cluster, active)
        pass_unchanged(cluster, 3 * MEGABYTE)
        assert pieces(cluster, active) == before
        for name in DATABASES:
            cluster.on(name, "systemctl stop lbctl-segment-size; while ip rule del pref 101 2>/dev/null; do :; done")
        pass_unchanged(cluster, 3 * MEGABYTE)
        assert pieces(cluster, active) > before
    planned = cluster.lbctl("plan", "--check")
    assert planned.status == Exit.TROUBLE, planned.output
    deployed(cluster, Mode.TUN)
    assert all(cluster.on(name, "ip rule show pref 101") for name in DATABASES)
    # Smaller packets on the way to one server: it asks for smaller ones still.
    cluster.on("db2", "ip link set eth0 mtu 1400")
    try:
        deployed(cluster, Mode.TUN)
        assert "advmss 1340" in cluster.on("db2", "ip route show table 101")
        assert "advmss 1440" in cluster.on("db1", "ip route show table 101")
    finally:
        cluster.on("db2", "ip link set eth0 mtu 1500")
    # Routes go when the interface goes down, and are back by themselves.
    cluster.on("db3", "ip link set eth0 down; ip link set eth0 up")
    wait_until(lambda: "advmss 1440" in cluster.on("db3", "ip route show table 101"), "the route is back")
    deployed(cluster, Mode.TUN)


@pytest.mark.soak
def test_the_tunnel_without_icmp_and_without_any_of_that(cluster: Cluster) -> None:
    """What it would be like: a large request hangs for good. (If not, the tests here show nothing.)"""
    deployed(cluster, Mode.TUN, "[tun]\nfragment = false\n\n")
    with without_icmp(cluster):
        pass_unchanged(cluster, MEGABYTE)  # packets that fit are enough
        for name in DATABASES:
            cluster.on(name, "systemctl stop lbctl-segment-size; while ip rule del pref 101 2>/dev/null; do :; done")
        assert write_bytes(cluster.lab, cluster.endpoints("write")[0], MEGABYTE, seconds=30) == ""
    deployed(cluster, Mode.TUN)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", list(Mode))
def test_a_hundred_megabytes(cluster: Cluster, mode: Mode) -> None:
    deployed(cluster, mode)
    pass_unchanged(cluster, 100 * MEGABYTE, seconds=1200)
