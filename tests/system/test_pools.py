"""Connections that live long, clients that come directly, and what becomes of both when something dies: in nat, the hardest.

Times are scaled down: directors forget a connection after 6 s, servers ask a silent client after 3 s.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.errors import Exit
from cluster.keepalived import Endpoint
from cluster.vocabulary import MYSQL_PORT, Mode
from lab.topology import DATABASES
from tests.system.clients import Place, attempts, held
from tests.system.machines import PATIENCE, Cluster, wait_until
from tests.variants import Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak]

IDLE = 6
"""Seconds."""

POOLS = f"""\
[connections]
idle = "{IDLE}s"
closing = "3s"
keepalive = "2s"
keepalive_retry = "1s"
copy_every = "1s"

[nat]
direct = ["10.0.0.254"]
"""


@pytest.fixture
def pooled(cluster: Cluster) -> Cluster:
    """Deployed once; after that there is nothing to do."""
    cluster.declare(Variant(Mode.NAT, "ranked"), **{"[nat]\n": POOLS})
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster


def writes(cluster: Cluster) -> Endpoint:
    return cluster.endpoints("write")[0]


def known_to(cluster: Cluster, director: str) -> list[str]:
    """Established connections in a director's table."""
    page = cluster.on(director, "grep ESTABLISHED /proc/net/ip_vs_conn || :")
    return page.splitlines()


def the_other(cluster: Cluster, director: str) -> str:
    (name,) = set(cluster.declaration.director) - {director}
    return name


def takes_over(cluster: Cluster, director: str) -> None:
    """Only this one is asked: the other one cannot be reached."""
    held_there = "ip -o addr show dev eth0 to 10.0.0.12/32"
    wait_until(lambda: cluster.on(director, held_there), f"{director} takes over")


@contextmanager
def stopped(cluster: Cluster, *directors: str) -> Iterator[None]:
    """The machines are there, and forward nothing: as good as switched off, and sooner back."""
    for name in directors:
        cluster.lab.link(name, up=False)
    try:
        yield
    finally:
        for name in directors:
            cluster.lab.link(name, up=True)
        for name in directors:
            cluster.lab.wait(name)
            cluster.table_settles(name)
        cluster.active()


def test_idle_and_slow_connections_outlive_the_directors_clock(pooled: Cluster) -> None:
    """One says nothing for three times as long as directors remember, one waits as long for its answer, and both survive a
    failover afterwards: the passive director knew of them all the while.
    """
    endpoint = writes(pooled)
    with held(pooled.lab, endpoint) as silent, held(pooled.lab, endpoint) as slow:
        own = silent.ask("SELECT CONNECTION_ID()")
        assert own
        answer = slow.ask(f"SELECT SLEEP({3 * IDLE})", seconds=PATIENCE)
        assert answer == "0"
        assert silent.ask("SELECT CONNECTION_ID()") == own
        time.sleep(3 * IDLE)
        active = pooled.active()
        assert len(known_to(pooled, the_other(pooled, active))) >= 2
        with stopped(pooled, active):
            takes_over(pooled, the_other(pooled, active))
            assert silent.ask("SELECT CONNECTION_ID()", seconds=PATIENCE) == own
            assert slow.ask("SELECT 1", seconds=PATIENCE) == "1"


def test_by_the_kernels_own_rule_the_passive_director_forgets(pooled: Cluster) -> None:
    """What it would be like: copied with every fiftieth packet, and keepalives are one or two. (If not, the test above shows
    nothing.)
    """
    own_rule = "sysctl -q -w net.ipv4.vs.sync_threshold='3 50' net.ipv4.vs.sync_refresh_period=0"
    with held(pooled.lab, writes(pooled)) as silent:
        own = silent.ask("SELECT CONNECTION_ID()")
        active = pooled.active()
        passive = the_other(pooled, active)
        wait_until(lambda: known_to(pooled, passive), "the passive director knows of it")
        for director in (active, passive):
            pooled.on(director, own_rule)
        wait_until(lambda: not known_to(pooled, passive), "the passive director has forgotten it")
        assert len(known_to(pooled, active)) == 1
        assert own == silent.ask("SELECT CONNECTION_ID()") != ""


def greets(cluster: Cluster, place: Place, host: str) -> bool:
    address = cluster.declaration.real_server[host].address
    return attempts(place, address, MYSQL_PORT) == ["greeting"]


def test_direct_connections(pooled: Cluster) -> None:
    """Everybody reaches a server's own address: with directors and, as soon as servers see that there is none, without."""
    lab, client, operator = pooled.lab, pooled.lab.client_argv, pooled.lab.operator_argv
    ask = "mariadb -h10.0.0.2 -ulab -plab --connect-timeout=5 -BNe 'select @@hostname'"
    assert all(greets(pooled, client, name) and greets(pooled, operator, name) for name in DATABASES)
    assert lab.exec("db1", ask).stdout.strip() == "db2"
    with stopped(pooled, *pooled.declaration.director):
        assert all(greets(pooled, operator, name) for name in DATABASES)
        assert lab.exec("db1", ask).stdout.strip() == "db2"
        wait_until(lambda: all(greets(pooled, client, name) for name in DATABASES), "answers go directly")
    wait_until(lambda: not any(pooled.on(name, "ip rule show pref 99") for name in DATABASES), "they go back")
    pooled.sticks(writes(pooled))
    assert all(greets(pooled, client, name) for name in DATABASES)


def test_a_server_that_is_cut_off_keeps_the_return_path(pooled: Cluster) -> None:
    """It hears nobody and cannot tell whether directors live: it writes down what it does, and waits."""
    seen = "(for i in $(seq 30); do ip rule show pref 99; sleep 1; done) >/run/rules 2>&1 </dev/null &"
    pooled.on("db3", seen)
    pooled.lab.link("db3", up=False)
    time.sleep(25)
    pooled.lab.link("db3", up=True)
    pooled.lab.wait("db3")
    time.sleep(8)
    assert pooled.on("db3", "cat /run/rules") == ""
    for director in pooled.declaration.director:
        pooled.table_settles(director)


_LISTENER = """
import socket
with socket.create_server(("", 7777)) as server:
    server.settimeout(20)
    print(server.accept()[1][0])
"""


def test_masquerade_moves_with_the_gateway(pooled: Cluster) -> None:
    """What a server starts itself through the gateway leaves with the active director's address."""
    lab = pooled.lab

    def seen() -> str:
        argv = lab.operator_argv([sys.executable, "-c", _LISTENER])
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as listener:
            wait_until(lambda: lab.operator(["ss", "-Hltn", "sport = :7777"]).stdout, "it listens")
            lab.exec("db1", "timeout 5 bash -c '</dev/tcp/10.0.0.254/7777' || :")
            return listener.communicate()[0].strip()

    lab.exec(
        "db1",
        "ip route replace default via 10.0.0.12 dev eth0 onlink table 90; "
        "ip rule add pref 90 to 10.0.0.254 ipproto tcp dport 7777 lookup 90",
    )
    try:
        active = pooled.active()
        assert seen() == str(pooled.declaration.director[active].address)
        other = the_other(pooled, active)
        with stopped(pooled, active):
            takes_over(pooled, other)
            wait_until(lambda: seen() == str(pooled.declaration.director[other].address), "it masquerades")
    finally:
        lab.exec("db1", "ip rule del pref 90; ip route flush table 90")


def test_everybody_is_refused_while_no_server_is_alive(pooled: Cluster) -> None:
    endpoint = writes(pooled)
    for name in DATABASES:
        pooled.on(name, "systemctl stop lbctl-clustercheck")
    try:
        for director in pooled.declaration.director:
            pooled.table_settles(director, alive=[])
        assert set(attempts(pooled.lab.client_argv, endpoint.address, endpoint.port, 30)) == {"ConnectionRefusedError"}
    finally:
        for name in DATABASES:
            pooled.on(name, "systemctl start lbctl-clustercheck")
    for director in pooled.declaration.director:
        pooled.table_settles(director)


def test_a_client_of_a_server_that_was_taken_out_is_told(pooled: Cluster) -> None:
    endpoint = writes(pooled)
    with held(pooled.lab, endpoint) as client:
        assert client.ask("SELECT @@hostname") == "db1"
        pooled.on("db1", "systemctl stop lbctl-clustercheck")
        try:
            for director in pooled.declaration.director:
                pooled.table_settles(director, alive=["db2", "db3"])
            started = time.monotonic()
            assert client.ask("SELECT 1", seconds=PATIENCE) == ""
            assert time.monotonic() - started < PATIENCE  # a reset, not our own patience
        finally:
            pooled.on("db1", "systemctl start lbctl-clustercheck")
    for director in pooled.declaration.director:
        pooled.table_settles(director)
