"""How `lbctl plan` grows with the number of hosts, and how soon `lbctl status` has seen them, also with a dead one among them.

The hosts are real OpenSSH servers, each in a network namespace of its own.

Each host is reached by the real connector and answers the real observation script by its own shell. A namespace has no IPVS and
no systemd, so the hosts are not as declared: what is measured is what a run that changes nothing does (connect, look, compare),
with many differences to list. Servers and operator share this machine's CPUs.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory

from benchmarks.figures import Figure, report
from benchmarks.hosts import Hosts
from cluster.errors import Exit, LbctlError
from lab.host import must_be_root
from lab.lock import termination_raises

SIZES = (5, 20, 50, 100, 200)
ROUNDS = int(os.environ.get("ROUNDS") or 5)
AT_MOST = 4
"""Times the time of the smallest."""
LOOKS = ((5, 1, 3), (200, 0, 10), (200, 1, 10))
"""`lbctl status`: hosts, how many of them are dead, and at most how many seconds it may take."""
DIRECTORS = 2


def declaration(hosts: Hosts, count: int, dead: int = 0) -> str:
    """Two directors and otherwise real servers, mode dr. `dead`: 0 or 1."""
    addresses = [*hosts.addresses[: count - dead], *[hosts.dead] * dead]
    directors = "".join(
        f'[director.lb{n}]\naddress = "{address}"\npriority = {100 + n}\n'
        for n, address in enumerate(addresses[:DIRECTORS], start=1)
    )
    servers = "".join(
        f'[real_server.db{n}]\naddress = "{address}"\n' for n, address in enumerate(addresses[DIRECTORS:], start=1)
    )
    return f"""\
name = "scale"
mode = "dr"
network = "{hosts.network}"
[ssh]
user = "root"
key = "{hosts.key}"
known_hosts = "{hosts.known_hosts}"
[service.read]
vip = "10.0.254.10"
[service.write]
vip = "10.0.254.11"
persistence = {{ timeout = "1d", granularity = "0.0.0.0" }}
[vrrp]
virtual_router_id = 19
[nat]
gateway = "10.0.254.12"
{directors}{servers}"""


class Bench:
    def __init__(self, hosts: Hosts, folder: Path) -> None:
        self.hosts = hosts
        self.folder = folder

    def plan(self, count: int) -> tuple[float, float]:
        """Wall seconds, and the CPU seconds that the operator's own process took."""
        before, begun = getrusage(RUSAGE_CHILDREN), time.perf_counter()
        done = self.lbctl(declaration(self.hosts, count), "plan", "--no-diff")
        seconds, after = time.perf_counter() - begun, getrusage(RUSAGE_CHILDREN)
        if done.returncode or "cannot be reached" in done.stdout:
            raise BenchmarkError(
                f"lbctl plan of {count} hosts ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        listed = {line.split()[0] for line in done.stdout.splitlines() if line.startswith("     ")}
        if len(listed) != count:
            raise BenchmarkError(f"lbctl plan spoke of {len(listed)} hosts, not of {count}:\n{done.stdout[-2000:]}")
        return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def status(self, count: int, dead: int) -> float:
        """Seconds until all that live have been seen, and who is dead is named."""
        begun = time.perf_counter()
        done = self.lbctl(declaration(self.hosts, count, dead), "status", "--json")
        seconds = time.perf_counter() - begun
        if done.returncode != Exit.TROUBLE:
            raise BenchmarkError(f"lbctl status of {count} hosts ended with {done.returncode}:\n{done.stderr[-2000:]}")
        found = json.loads(done.stdout)
        seen = {each["host"] for each in found["drift"]}
        if (len(found["dead"]), len(seen)) != (dead, count - dead):
            raise BenchmarkError(f"of {count} hosts {len(seen)} were compared, dead are {found['dead']}, not {dead}")
        return seconds

    def lbctl(self, text: str, *words: str) -> "subprocess.CompletedProcess[str]":
        file = self.folder / "scale.toml"
        file.write_text(text)
        argv = [str(Path(sys.executable).with_name("lbctl")), "--cluster", str(file), *words]
        return subprocess.run(
            self.hosts.inside(*argv), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )

    def ssh(self, count: int) -> float:
        """`ssh HOST true` to as many, side by side: what OpenSSH's own client takes for it."""
        options = f"-F /dev/null -i {self.hosts.key} -o UserKnownHostsFile={self.hosts.known_hosts} -o StrictHostKeyChecking=yes"
        names = " ".join(self.hosts.addresses[:count])
        script = f'for h in {names}; do ssh {options} root@$h true & p="$p $!"; done; for i in $p; do wait $i || exit 1; done'
        begun = time.perf_counter()
        subprocess.run(self.hosts.inside("sh", "-c", script), check=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - begun


class BenchmarkError(Exception):
    """What was to be measured did not come about."""


@contextmanager
def bench(count: int) -> Iterator[Bench]:
    with TemporaryDirectory(prefix="lbctl-bench-") as folder, Hosts(count, Path(folder)) as hosts:
        yield Bench(hosts, Path(folder))


def measured(at: Bench) -> dict[str, list[list[float]]]:
    """By size: wall and CPU seconds of `lbctl plan`, seconds of bare ssh; sizes take turns."""
    taken: dict[str, list[list[float]]] = {str(size): [] for size in SIZES}
    at.plan(SIZES[0])  # the first one finds cold caches
    for number in range(1, ROUNDS + 1):
        print(f"round {number} of {ROUNDS}", flush=True)
        for size in SIZES:
            seconds, cpu = at.plan(size)
            bare = at.ssh(size)
            taken[str(size)].append([seconds, cpu, bare])
            print(
                f"  {size:>4} hosts  {seconds:6.2f} s, of the operator's CPU {cpu:5.2f} s; bare ssh {bare:5.2f} s",
                flush=True,
            )
    return taken


def looked(at: Bench) -> list[list[float]]:
    """Seconds of `lbctl status`, for each of `LOOKS`, in turns."""
    rounds = []
    for number in range(1, ROUNDS + 1):
        rounds.append([at.status(count, dead) for count, dead, _ in LOOKS])
        shown = ", ".join(f"{_hosts(*look)} {s:.2f} s" for look, s in zip(LOOKS, rounds[-1], strict=True))
        print(f"round {number} of {ROUNDS}, status: {shown}", flush=True)
    return [list(column) for column in zip(*rounds, strict=True)]


def _hosts(count: int, dead: int, _: float) -> str:
    return f"{count} hosts{', one of them dead' if dead else ''}"


def figures(taken: dict[str, list[list[float]]], status: list[list[float]]) -> list[Figure]:
    median = {size: [statistics.median(column) for column in zip(*rows, strict=True)] for size, rows in taken.items()}
    least, most = str(SIZES[0]), str(SIZES[-1])
    rows = []
    for size, (seconds, cpu, bare) in median.items():
        rows += [
            Figure(f"lbctl plan, {size} hosts", seconds),
            Figure("  CPU time of the operator's process", cpu),
            Figure(f"  `ssh HOST true` to all {size} at once", bare),
        ]
    return [
        *rows,
        *(
            Figure(f"lbctl status, {_hosts(*look)}", statistics.median(seconds), look[-1])
            for look, seconds in zip(LOOKS, status, strict=True)
        ),
        Figure(
            f"{most} hosts, CPU time of the operator, of that of {least}",
            median[most][1] / median[least][1],
            AT_MOST,
            "×",
        ),
        Figure(f"{most} hosts, of the time of {least}", median[most][0] / median[least][0], AT_MOST, "×"),
    ]


def main() -> int:
    try:
        must_be_root()
        with termination_raises(), bench(SIZES[-1]) as at:
            taken, status = measured(at), looked(at)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except LbctlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.FAILED
    print(f"\nmedians of {ROUNDS} rounds; SSH servers and operator share {len(os.sched_getaffinity(0))} CPUs\n")
    return report(figures(taken, status), "scale", {"columns": ["plan", "cpu", "ssh"], "seconds": taken})


if __name__ == "__main__":
    sys.exit(main())
