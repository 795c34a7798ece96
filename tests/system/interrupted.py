"""A deploy that is interrupted while a client reads: what `stopping.py` and `reader.py` do, as tests ask for it."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import Exit
from tests.system.machines import Cluster, Run
from tests.variants import ROOT

HERE = Path(__file__).parent

# All that a deploy leaves, but for what only tells of the way there: earlier versions of files, and values from before.
TRACES = """\
find /etc/keepalived /etc/sysctl.d /etc/modules-load.d /etc/network /etc/systemd /usr/local /run/lbctl \\
  \\( -type f -exec sha256sum {} + \\) -o \\( -type l -printf '%p -> %l\\n' \\) | sort
for i in dummy0 tunl0; do ip -o -4 addr show dev $i 2>/dev/null; done | sed 's/^[0-9]*: //'
ip rule; ip route show table 100; ip route show table 101
for t in raw mangle nat; do iptables-save -t $t 2>/dev/null | grep LBCTL | sed 's/ \\[.*//'; done
systemctl is-active keepalived lbctl-clustercheck lbctl-return-path lbctl-masquerade
dpkg -l keepalived ipvsadm python3 2>/dev/null | tail -n +6; dpkg --audit"""


class Interrupted:
    """A cluster whose deploys are interrupted."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.changes = cluster.folder / "changes"

    def stopped(self, how: str, place: int, program: str) -> tuple[int, list[list[str]]]:
        """A run to which that happens at its Nth change: how it ended, and [number, host, what] of each change that began."""
        words = ["lbctl", "deploy", "--yes"] if program == "lbctl" else ["pyinfra", "inventory.py", "deploy.py", "-y"]
        return self.command_stopped(how, place, words)

    def command_stopped(self, how: str, place: int, words: list[str]) -> tuple[int, list[list[str]]]:
        """The same of any command."""
        self.changes.write_text("")
        done = subprocess.run(
            [sys.executable, str(HERE / "stopping.py"), how, str(place), str(self.changes), *words],
            cwd=ROOT,
            env={**self.cluster.environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        (self.cluster.folder / "stopped.log").write_text(done.stdout)
        return done.returncode, [line.split() for line in self.changes.read_text().splitlines()]

    def converges(self, program: str) -> None:
        done = self.run(program)
        assert done.status == Exit.DONE, done.output

    def finishes(self, program: str) -> None:
        """The next run converges: the one after it has nothing to do."""
        self.converges(program)
        again = self.cluster.lbctl("plan", "--check")
        assert again.status == Exit.DONE, again.output

    def drains(self, program: str) -> None:
        """What the connections of clients kept in place goes, now that there are none."""
        if self.cluster.lbctl("plan", "--check").status != Exit.DONE:
            self.finishes(program)

    def run(self, program: str) -> Run:
        return self.cluster.lbctl("deploy", "--yes") if program == "lbctl" else self.cluster.pyinfra()

    def traces(self) -> dict[str, str]:
        hosts = self.cluster.hosts
        with ThreadPoolExecutor() as pool:
            return dict(
                zip(hosts, pool.map(lambda host: self.cluster.on(host, TRACES, check=False), hosts), strict=True)
            )


def differing(found: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Traces that are there and should not be (+), and the other way round (-)."""
    lines = {host: (set(found[host].splitlines()), set(wanted[host].splitlines())) for host in wanted}
    more = [f"{host} +{line}" for host, (there, due) in lines.items() for line in sorted(there - due)]
    return more + [f"{host} -{line}" for host, (there, due) in lines.items() for line in sorted(due - there)]


@contextmanager
def reading(cluster: Cluster, *options: str) -> Iterator[Path]:
    """A client reads meanwhile. Its failures are an AssertionError at the end."""
    log = cluster.folder / f"reads-{time.monotonic_ns()}"
    addresses = ["10.0.0.10:3306", "10.0.0.11:3306"]  # the VIPs: endpoints in every mode
    began = time.time()
    client = cluster.lab.client_process([sys.executable, str(HERE / "reader.py"), str(log), *options, *addresses])
    try:
        yield log
        time.sleep(1)
    finally:
        client.kill()
        client.wait()
    lines = log.read_text().splitlines()
    for address in addresses:
        assert any(address in line and " ok " in line for line in lines), f"nothing was read at {address}"
    failures = [line for line in lines if " ok " not in line]
    assert failures == [], f"{failures} of {len(lines)}; meanwhile directors said:\n{journals(cluster, began)}"


def journals(cluster: Cluster, began: float) -> str:
    ask = f"journalctl -q --no-pager -u keepalived -o short-unix --since=@{began:.0f}"
    return "\n".join(cluster.on(director, ask) for director in cluster.declaration.director)
