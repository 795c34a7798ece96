"""Machines that boot, and their networks that are started anew: what is asked of a cluster then."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from cluster.keepalived import Endpoint
from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.topology import DATABASES
from tests.system.machines import Cluster, settles, wait_until

WITHIN = 60
"""Seconds in which SQL must work as before: after the boot of a director, and after a database server's own MariaDB is back."""

GALERA = 600
"""Seconds that Galera may take to come back by itself: its state transfer is a shell script, and slow here."""


@dataclass
class Clock:
    """Seconds since a machine's kernel started, and what happened when."""

    began: float
    events: list[str] = field(default_factory=list)
    due: float = 0
    """The moment until which SQL must work as before."""

    def __call__(self) -> float:
        return time.monotonic() - self.began

    def note(self, what: str) -> None:
        self.events.append(f"{what} {self():.0f} s")

    def starts(self) -> None:
        """From now on it must not take longer than WITHIN."""
        self.due = max(self.due, self() + WITHIN)


HOOKS = """
# the how-to's
iface eth1 inet manual
    post-up ip addr add 10.0.0.10/32 brd 10.0.0.10 dev dummy0
    post-up ip addr add 10.0.0.11/32 brd 10.0.0.11 dev dummy0
    pre-up echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
    post-up ip rule add fwmark 1 table 1
    post-up ethtool -K eth1 gro off
"""


def starts_by_itself(lab: Lab, *servers: str) -> None:
    """As on any database server; the lab's image leaves it to whoever forms the cluster."""
    for server in servers:
        lab.exec(server, "systemctl -q enable mariadb 2>&1")


def answers(cluster: Cluster) -> None:
    """SQL works, by whichever servers there are."""
    for endpoint in (*cluster.endpoints("write"), *cluster.endpoints("read")):
        wait_until(partial(_is_answered, cluster, endpoint), f"{endpoint} answers", WITHIN)


def _is_answered(cluster: Cluster, endpoint: Endpoint) -> bool:
    return cluster.query(endpoint, "select @@hostname") in DATABASES


def _database_runs(cluster: Cluster, host: str) -> bool:
    return cluster.on(host, "systemctl is-active mariadb", check=False) == "active"


def serves_as_before(cluster: Cluster, seconds: float = 600) -> None:
    """Waits until reads rotate over all servers and writes are answered."""
    answers(cluster)
    for endpoint in cluster.endpoints("read"):
        cluster.rotates(endpoint, seconds=seconds)


def is_back(cluster: Cluster, clock: Clock, hosts: Sequence[str]) -> str:
    """Waits until SQL works as before; what happened when, for people."""
    clock.starts()
    if set(hosts) < {*DATABASES, *cluster.declaration.director}:
        answers(cluster)
        clock.note("SQL answers")
    databases = [host for host in hosts if host in DATABASES]
    for host in databases:
        wait_until(partial(_database_runs, cluster, host), f"{host}'s MariaDB is back by itself", GALERA)
    if databases:
        clock.note("MariaDB is back by itself")
        clock.starts()
    serves_as_before(cluster, max(clock.due - clock(), 1))
    clock.note("all as before")
    return ", ".join(clock.events)


def reboot(cluster: Cluster, host: str) -> Clock:
    """In an orderly way."""
    cluster.lab.reboot(host)
    return Clock(time.monotonic() - float(cluster.on(host, "cat /proc/uptime").split()[0]))


def power_cut(cluster: Cluster, hosts: Sequence[str]) -> Clock:
    """All at once, and all on again."""
    for host in hosts:
        cluster.on(host, "sync")
    for host in hosts:
        cluster.lab.power_off(host)
    clock = Clock(time.monotonic())
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(cluster.lab.power_on, hosts))
    clock.note("every sshd answers")
    return clock


def nothing_to_do(cluster: Cluster, seconds: float = 90) -> None:
    """`lbctl plan --check` finds nothing, soon."""

    def against() -> str | None:
        run = cluster.lbctl("plan", "--no-diff", "--check")
        return run.output if run.status else None

    settles(against, "every host is as declared", seconds)


def deploy_changes_nothing(cluster: Cluster) -> None:
    """Plain pyinfra."""
    again = cluster.pyinfra()
    assert again.status == 0, again.output
    assert again.changed == [], again.output


def has_its_routes(cluster: Cluster, director: str) -> None:
    """Those to each server, without which a live change of mode cuts connections."""
    wait_until(
        lambda: len(cluster.on(director, "ip route show proto keepalived").splitlines()) == len(DATABASES),
        f"{director} has its routes to servers",
    )


def detached(cluster: Cluster, host: str, command: str) -> None:
    """On a machine whose network it takes down; returns when it has ended."""
    cluster.on(host, f"systemd-run -q --collect --unit=under-test sh -c '{command}; :'")
    ended = "test $(systemctl is-active under-test) != active && echo ended"

    def has_ended() -> bool:
        # Its own connection may hang until the network is back.
        done = cluster.lab.operator(
            ["ssh", "-F", str(cluster.lab.ssh_config), "-o", "ControlPath=none", "-o", "ConnectTimeout=2", host, ended],
            check=False,
        )
        return "ended" in done.stdout

    wait_until(has_ended, f"{command} on {host} has ended")


_LISTENER = """
import socket, sys
server = socket.inet_aton(sys.argv[1])
everything = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
print("listening", flush=True)
while True:
    frame = everything.recv(65535)
    start = 14 + (frame[14] & 15) * 4
    if frame[26:30] == server and frame[23] == socket.IPPROTO_TCP and frame[start:start + 2] == (3306).to_bytes(2, "big"):
        print("packet", flush=True)
"""


def direct_replies(cluster: Cluster, server: str, while_: Callable[[], None]) -> int:
    """How many packets of the server's MySQL reach the client past the director meanwhile: from its own address."""
    words = [sys.executable, "-c", _LISTENER, str(cluster.declaration.addresses()[server])]
    with cluster.lab.client_process(words, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout
        assert watch.stdout.readline() == "listening\n"
        while_()
        time.sleep(1)
        watch.terminate()
        seen: str = watch.stdout.read()
    return seen.count("packet")


NETWORK_RESTARTS: dict[str, dict[str, str]] = {
    "ifupdown": {
        "dummy0": "ifdown dummy0; ifup dummy0",
        "tunl0": "ifdown tunl0; ifup tunl0",
        "eth0": "ifdown eth0; ifup eth0",
        "networking": "systemctl restart networking",
    },
    "networkd": {
        "reload": "networkctl reload",
        "networkd": "systemctl restart systemd-networkd",
        "eth0": "ip link set eth0 down; sleep 1; ip link set eth0 up",
    },
}
"""What administrators and upgrades do to a host's network, by who configures it."""


def restarts(kind: str, host: str, mode: Mode) -> list[str]:
    """Those that make sense on that host in that mode."""
    devices = {Mode.DR: {"dummy0"}, Mode.TUN: {"tunl0"}}.get(mode, set()) if host in DATABASES else set()
    return [words for name, words in NETWORK_RESTARTS[kind].items() if name not in {"dummy0", "tunl0"} - devices]
