"""The active director goes, and clients stay: connections held open the whole time, and new ones."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.load import Load, Orders
from lab.load_record import Summary
from tests.system.machines import Cluster, wait_until
from tests.variants import Variant

pytestmark = pytest.mark.lab

HELD = 10


def deploy(cluster: Cluster, variant: Variant, **replaced: str) -> str:
    """Deployed and at rest: the active director's name."""
    cluster.declare(variant, **replaced)
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    return at_rest(cluster)


def at_rest(cluster: Cluster) -> str:
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster.active()


def passive_to(cluster: Cluster, active: str) -> str:
    (name,) = set(cluster.declaration.director) - {active}
    return name


def known_connections(cluster: Cluster, director: str) -> int:
    """Established connections of clients that this director's kernel knows of."""
    return int(cluster.on(director, "grep -c ESTABLISHED /proc/net/ip_vs_conn; true"))


class Seen:
    """What a load saw, once it is over."""

    summary: Summary


@contextmanager
def served(cluster: Cluster) -> Iterator[Seen]:
    """Clients on all services; the block begins when the passive director knows of all connections that are held."""
    endpoints = tuple((str(e.address), e.port) for s in cluster.declaration.service for e in cluster.endpoints(s))
    seen = Seen()
    passive = passive_to(cluster, cluster.active())
    with Load(cluster.lab, Orders(endpoints, held=HELD, new_per_second=5)) as load:
        wait_until(lambda: known_connections(cluster, passive) >= HELD, f"{passive} knows of the connections")
        yield seen
        time.sleep(2)  # of service by the new one
        seen.summary = load.stop().summary()


def nobody_was_cut(summary: Summary) -> None:
    assert summary.cut == {}, summary
    assert summary.held == HELD
    assert summary.new > summary.failures
    # One that is on its way at the very moment of the move may meet a director that has not heard of it.
    assert summary.failures <= 1, summary


@pytest.mark.soak  # planned ones are in test_tour.py
@pytest.mark.parametrize("mode", Mode)
def test_planned_and_crash(cluster: Cluster, mode: Mode) -> None:
    active = deploy(cluster, Variant(mode))
    passive = passive_to(cluster, active)
    with served(cluster) as planned:
        cluster.on(active, "systemctl stop keepalived")
        assert cluster.holders() == [passive]
    nobody_was_cut(planned.summary)
    left = cluster.on(active, "ip -br -4 addr show dev eth0; ipvsadm -Sn").split()
    assert left[2:] == [f"{cluster.declaration.director[active].address}/24"]

    cluster.on(active, "systemctl start keepalived")
    at_rest(cluster)
    with served(cluster) as crash:
        cluster.lab.power_off(passive)
        wait_until(lambda: cluster.on(active, "ip -o addr show dev eth0 to 10.0.0.10/32"), f"{active} takes over")
    cluster.lab.power_on(passive)
    assert crash.summary.cut == {}, crash.summary
    assert at_rest(cluster) == active, "the one that came back does not take over again"


@pytest.mark.soak
def test_keepalived_that_died_comes_back_as_the_passive_one(cluster: Cluster) -> None:
    active = deploy(cluster, Variant(Mode.DR))
    passive = passive_to(cluster, active)
    with served(cluster) as seen:
        cluster.on(active, "kill -KILL $(pidof keepalived)")
        wait_until(lambda: cluster.holders() == [passive], f"{passive} alone holds what floats")
        wait_until(lambda: cluster.on(active, "systemctl is-active keepalived", check=False) == "active", "it is back")
    nobody_was_cut(seen.summary)
    assert at_rest(cluster) == passive
    again = cluster.lbctl("plan", "--check")
    assert again.status == Exit.DONE, again.output


DRIFT = """\
ipvsadm -e -t 10.0.0.10:3306 -r 10.0.0.1:3306 -g -w 3
ipvsadm -E -t 10.0.0.10:3306 -s wlc
ipvsadm -a -t 10.0.0.10:3306 -r 10.0.0.9:3306 -g -w 0
ipvsadm -E -t 10.0.0.11:3306 -s rr -p 300 -M 0.0.0.0
ipvsadm -A -t 10.0.0.11:99 -s rr
ipvsadm -A -t 10.0.0.4:81 -s rr
ipvsadm -A -t 10.0.0.6:81 -s rr"""
"""Whose services on 10.0.0.4 and 10.0.0.6 are, nobody knows: they stay."""


def test_drift_of_the_kernels_table_is_found_and_mended(cluster: Cluster) -> None:
    active = deploy(cluster, Variant(Mode.DR))
    try:
        with served(cluster) as seen:
            cluster.on(active, DRIFT)
            found = cluster.lbctl("plan", "--check")
            assert found.status == Exit.TROUBLE, found.output
            for what in (
                "10.0.0.10:3306: db1: weight 3 becomes 10",
                "10.0.0.10:3306: scheduler wlc becomes rr",
                "10.0.0.10:3306: remove 10.0.0.9:3306, which is not declared",
                "10.0.0.11:3306: persistence 300 s for 0.0.0.0 becomes 86400 s for 0.0.0.0",
                "remove 10.0.0.11:99 from the kernel's table",
            ):
                assert what in found.output
            mended = cluster.pyinfra()
            assert mended.status == Exit.DONE, mended.output
            assert len(mended.changed) == 1, mended.output
        assert seen.summary.cut == {}, seen.summary
        assert seen.summary.failures == 0, seen.summary
        assert cluster.pyinfra().changed == []
        foreign = cluster.on(active, "ipvsadm -Sn | grep :81; ipvsadm -D -t 10.0.0.4:81; ipvsadm -D -t 10.0.0.6:81")
        assert len(foreign.splitlines()) == 2
    finally:
        cluster.on(active, "ipvsadm -D -t 10.0.0.4:81; ipvsadm -D -t 10.0.0.6:81", check=False)
    cluster.table_settles(active)


@pytest.mark.soak
def test_a_service_that_is_gone_from_the_table_is_back_after_a_deploy(cluster: Cluster) -> None:
    active = deploy(cluster, Variant(Mode.DR))
    cluster.on(active, "ipvsadm -D -t 10.0.0.10:3306")
    mended = cluster.lbctl("deploy", "--yes")
    assert mended.status == Exit.DONE, mended.output
    assert "10.0.0.10:3306 is not in the kernel's table" in mended.output
    at_rest(cluster)
    assert cluster.lbctl("plan", "--check").status == Exit.DONE


ROUTER = "virtual_router_id = 19"


@pytest.mark.soak
def test_a_neighbour_with_a_stale_entry_is_put_right(cluster: Cluster) -> None:
    """It missed the takeover and asks nobody: only an announcement that is repeated can reach it."""
    active = deploy(cluster, Variant(Mode.DR), **{ROUTER: f'{ROUTER}\nannounce_every = "1s"'})
    right, wrong = (cluster.mac(name) for name in (active, passive_to(cluster, active)))
    for vip in ("10.0.0.10", "10.0.0.11"):
        cluster.lab.client(["ip", "neigh", "replace", vip, "lladdr", wrong, "dev", "eth0", "nud", "stale"])
    shown = ["ip", "neigh", "show", "to", "10.0.0.8/29"]
    wait_until(lambda: cluster.lab.client(shown).stdout.count(right) >= 2, f"both addresses are {active}'s")


@pytest.mark.soak
def test_failback_with_the_usual_delay_cuts_nobody(cluster: Cluster) -> None:
    """The how-to's automatic failback. Connections of the meantime have crossed when it happens."""
    deploy(cluster, Variant(Mode.DR), **{ROUTER: f"{ROUTER}\npreempt = true"})
    wait_until(lambda: cluster.holders() == ["lb1"], "the one with the higher priority is active")
    cluster.lab.power_off("lb1")
    try:
        endpoints = tuple((str(e.address), e.port) for s in cluster.declaration.service for e in cluster.endpoints(s))
        wait_until(lambda: cluster.on("lb2", "ip -o addr show dev eth0 to 10.0.0.10/32"), "lb2 takes over")
        with Load(cluster.lab, Orders(endpoints, held=HELD, new_per_second=5)) as load:
            cluster.lab.power_on("lb1")
            assert cluster.holders() == ["lb2"], "not at once"
            wait_until(lambda: cluster.holders() == ["lb1"], "lb1 takes over again")
            time.sleep(3)
            nobody_was_cut(load.stop().summary())
    finally:
        deploy(cluster, Variant(Mode.DR))


@pytest.mark.soak
def test_unicast_peers_hand_over_as_others_do(cluster: Cluster) -> None:
    active = deploy(cluster, Variant(Mode.DR, vrrp="unicast"))
    with served(cluster) as seen:
        cluster.on(active, "systemctl stop keepalived")
    nobody_was_cut(seen.summary)
    cluster.on(active, "systemctl start keepalived")
    assert at_rest(cluster) == passive_to(cluster, active)


MISSED = ("0.75", "0.8", "0.85", "0.9", "1", "1.2")
"""Seconds for which the passive director hears nothing; it takes over after 0.72."""
COPYING = "ipvsadm -Ln --daemon | sed 's/ sync daemon.*//'"


@pytest.mark.soak
def test_a_passive_director_that_misses_some_adverts_is_passive_again(cluster: Cluster) -> None:
    """It takes over, hears the other at once, and steps back: with keepalived's own lvs_sync_daemon it hung there."""
    if deploy(cluster, Variant(Mode.DR)) != "lb1":
        assert cluster.lbctl("failover", "--to", "lb1", "--yes").status == Exit.DONE
        at_rest(cluster)
    taken_over = "journalctl -q -u keepalived --grep='MASTER STATE' | wc -l"
    before = int(cluster.on("lb2", taken_over))
    for seconds in MISSED:
        cluster.on("lb1", f"kill -STOP $(pidof keepalived); sleep {seconds}; kill -CONT $(pidof keepalived)")
        wait_until(lambda: cluster.holders() == ["lb1"], "lb2 has stepped back")
        # One that hangs is found by the next round: it does not take over.
        time.sleep(1)
    assert int(cluster.on("lb2", taken_over)) >= before + len(MISSED) - 1, (
        "lb2 took over, and stepped back, again and again"
    )
    for director in ("lb1", "lb2"):
        assert cluster.on(director, COPYING).split() == ["master", "backup"]
    with served(cluster) as seen:
        cluster.on("lb1", "systemctl stop keepalived")
        assert cluster.holders() == ["lb2"]
    nobody_was_cut(seen.summary)
    cluster.on("lb1", "systemctl start keepalived")
    at_rest(cluster)
