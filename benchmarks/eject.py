"""A database is killed, frozen or cut off: how soon no director sends connections there, and what a client stuck to it gets."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.figures import Figure, report
from benchmarks.machines import arguments, at_rest, deployed, machines
from cluster.keepalived import Endpoint
from tests.system.machines import PATIENCE, Cluster, wait_until

AT_MOST = 2.0
"""Seconds."""
_STATE = "mariadb --connect-timeout=2 -BNe \"show status like 'wsrep_local_state_comment'\""


# systemd must not start it again while we look.
_KILL = "kill -KILL $pid; systemctl --no-block stop mariadb"
_FREEZE = "kill -STOP $pid"


@dataclass(frozen=True)
class Fault:
    """What happens to a database, and the way back, which is not measured."""

    name: str
    arm: Callable[[Cluster, str], Callable[[], None]]
    """Makes all ready; what it returns strikes at once: a login takes longer than some of what is measured."""
    mend: Callable[[Cluster, str], None]


def _armed(cluster: Cluster, host: str, command: str) -> Callable[[], None]:
    argv = cluster.lab.ssh_argv(host, [f"pid=$(pidof mariadbd); echo armed; read x; {command}"])
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not process.stdout or process.stdout.readline() != "armed\n":
        raise SystemExit(f"no login to {host}")

    def strike() -> None:
        if process.stdin:
            process.stdin.write("\n")
            process.stdin.flush()

    return strike


def _start(cluster: Cluster, host: str) -> None:
    cluster.on(host, "systemctl stop mariadb; systemctl start mariadb")


def _thaw(cluster: Cluster, host: str) -> None:
    cluster.on(host, "kill -CONT $(pidof mariadbd)")


def _cut(cluster: Cluster, host: str) -> Callable[[], None]:
    return lambda: cluster.lab.link(host, up=False)


def _plug(cluster: Cluster, host: str) -> None:
    cluster.lab.link(host, up=True)


FAULTS = (
    Fault("killed", partial(_armed, command=_KILL), _start),
    Fault("frozen", partial(_armed, command=_FREEZE), _thaw),
    Fault("cut off", _cut, _plug),
)


def _watched(cluster: Cluster, director: str, address: str) -> "subprocess.Popen[bytes]":
    """Ends when a server that was in this director's table is out of it: seen on the machine itself, 20 times a second."""
    hexadecimal = f"{int.from_bytes(bytes(map(int, address.split('.')))):08X}"
    look = f"i=0; while [ $i -lt 600 ] && grep -q {hexadecimal}: /proc/net/ip_vs; do sleep 0.05; i=$((i+1)); done"
    return subprocess.Popen(cluster.lab.ssh_argv(director, [look]), stdin=subprocess.DEVNULL)


def struck(cluster: Cluster, fault: Fault, writes: Endpoint) -> tuple[float, str, str]:
    """Seconds until the writer was out of both tables, its name, and who answered the next connection of a client stuck to it."""
    at_rest(cluster)
    writer = cluster.sticks(writes)
    address = str(cluster.declaration.addresses()[writer])
    watches = [_watched(cluster, director, address) for director in cluster.declaration.director]
    strike = fault.arm(cluster, writer)
    time.sleep(1)
    moment = time.monotonic()
    strike()
    for watch in watches:
        watch.wait(PATIENCE)
    took = time.monotonic() - moment
    answer = cluster.query(writes, "select @@hostname")
    fault.mend(cluster, writer)
    wait_until(lambda: "Synced" in cluster.on(writer, _STATE, check=False), f"{writer} is Synced again")
    at_rest(cluster)
    return took, writer, answer


def main() -> int:
    options = arguments(main.__doc__ or "")
    rows: list[Figure] = []
    with machines(options.lab) as cluster:
        for mode in options.modes:
            deployed(cluster, mode)
            writes = cluster.endpoints("write")[0]
            for fault in FAULTS:
                seen = [struck(cluster, fault, writes) for _ in range(options.rounds)]
                for took, writer, answer in seen:
                    print(
                        f"{mode}: {writer} {fault.name}: out after {took:.2f} s; next connection: {answer}", flush=True
                    )
                rows.append(Figure(f"{mode}, {fault.name}: out of rotation", max(took for took, _, _ in seen), AT_MOST))
                wrong = sum(
                    answer == writer or answer not in cluster.declaration.real_server for _, writer, answer in seen
                )
                rows.append(Figure(f"{mode}, {fault.name}: next connection not served", wrong, 0, unit=""))
    return report(rows, "eject")


if __name__ == "__main__":
    sys.exit(main())
