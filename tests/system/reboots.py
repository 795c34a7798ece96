"""Machines that boot, and their networks that are started anew: what is asked of a cluster then."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.topology import DATABASES
from tests.system.machines import Cluster, settles, wait_until

WITHIN = 60
"""Seconds after boot in which SQL must work as before."""

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


def serves_as_before(cluster: Cluster, since: Callable[[], float], within: float = WITHIN) -> float:
    """Waits until reads rotate over all servers and writes are answered; seconds since boot."""

    def left() -> float:
        return max(within - since(), 1)

    for endpoint in cluster.endpoints("write"):
        wait_until(lambda e=endpoint: cluster.query(e, "select @@hostname") in DATABASES, f"{endpoint} answers", left())  # type: ignore[misc]
    for endpoint in cluster.endpoints("read"):
        settles(
            lambda e=endpoint: None if set(cluster.answers(e)) == set(DATABASES) else f"{cluster.answers(e)}",  # type: ignore[misc]
            f"{endpoint} rotates",
            left(),
        )
    return since()


def booted(cluster: Cluster, host: str) -> Callable[[], float]:
    """A clock of seconds since this machine's kernel started."""
    began = time.monotonic() - float(cluster.on(host, "cat /proc/uptime").split()[0])
    return lambda: time.monotonic() - began


def reboot(cluster: Cluster, host: str) -> Callable[[], float]:
    """In an orderly way; a clock since its kernel started anew."""
    cluster.lab.reboot(host)
    return booted(cluster, host)


def power_cut(cluster: Cluster, hosts: Sequence[str]) -> Callable[[], float]:
    """All at once, and all on again; a clock since then."""
    for host in hosts:
        cluster.on(host, "sync")
    for host in hosts:
        cluster.lab.power_off(host)
    began = time.monotonic()
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(cluster.lab.power_on, hosts))
    return lambda: time.monotonic() - began


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
