"""The same state by Ansible and by this tool, on machines that start alike; and a run that changes nothing beside bare ssh.

Each round boots the same snapshot once for each tool, so that each first deploy meets fresh machines. What the tools left there
is compared before anything is timed further: the same addresses, settings, table and answers.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.figures import HOUSE, Figure, report
from cluster.errors import Exit, LbctlError
from lab import judgement
from lab.lab import Lab
from lab.lock import termination_raises
from lab.topology import DATABASES

ROUNDS = int(os.environ.get("ROUNDS") or 3)
NO_OPS = 3
"""Runs that change nothing, in each round and for each tool."""
VARIANT = "python"
"""Ansible needs Python on the machines; these have it, for both."""
SNAPSHOT = "bench-converge"
ANSIBLE = HOUSE / "benchmarks" / "ansible"
SETTLES_WITHIN = 60
DECLARATION = HOUSE / "inventory" / "lab.toml"
LIMIT = 600

AT_MOST_OF_ANSIBLE = 0.1
AT_MOST_OF_ANSIBLE_AT_FIRST = 0.5
AT_MOST_OF_SSH = 2

TIDY = r"sed -E 's/[ \t]*#.*//; s/^[ \t]+//; s/[ \t]+$//; /^$/d'"
LOOKS = {
    "db": f"""
        ip -o -4 addr show dev dummy0 up | awk '{{print $4}}' | sort
        sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce
        sysctl net.ipv4.tcp_keepalive_time net.ipv4.tcp_keepalive_intvl
        bash -c 'exec 3<>/dev/tcp/127.0.0.1/9200; printf "GET / HTTP/1.0\\r\\n\\r\\n" >&3; head -1 <&3' | tr -d '\\r'
        cat /etc/sysctl.d/90-virtual-ips.conf /etc/sysctl.d/zz-lbctl-* 2>/dev/null | {TIDY} | sort
        grep -hoE 'ip addr replace [0-9./]+' /etc/network/interfaces.d/* | sort
        mariadb -BNe "SELECT User, Host, plugin FROM mysql.user WHERE User = 'clustercheck'"
        systemctl list-unit-files --no-legend '*clustercheck.service' | awk '{{print $2}}'""",  # noqa: S608 (a constant)
    "lb": f"""
        {TIDY} /etc/keepalived/keepalived.conf
        sysctl net.ipv4.icmp_ratemask
        sysctl net.ipv4.vs | grep -E 'sloppy_tcp|expire|sync_(threshold|refresh)'
        cat /usr/local/lib/*/hand-over /usr/local/lib/*/synchronise | sha256sum
        ipvsadm -Ln --daemon; ps -o args= -C keepalived | sort -u
        cat /etc/sysctl.d/90-ipvs.conf /etc/sysctl.d/zz-lbctl-* /etc/modules-load.d/*.conf 2>/dev/null | {TIDY} | sort
        ipvsadm -Sn
        systemctl is-enabled keepalived; systemctl is-active keepalived""",
}
"""What the result is, whoever made it: comments, file names and names of units aside."""


class Bench:
    def __init__(self, lab: Lab, home: Path) -> None:
        self.lab = lab
        self.home = home
        self.states: dict[str, dict[str, str]] = {}
        self.taken: dict[str, list[float]] = {}

    def prepare(self) -> None:
        """The snapshot that every deploy starts from: a Galera cluster, and directors without keepalived."""
        self.lab.up()
        self.lab.galera_start()
        self.lab.snapshot(SNAPSHOT)

    def fresh(self) -> None:
        self.lab.down()
        self.lab.up_from(SNAPSHOT, progress=lambda _: None)
        self.lab.galera_start()

    # The tools, as one types them

    def ansible(self) -> str:
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self.home),
            # Ansible's own options, and the lab's keys. Its connections stay open for a minute, also for the next run.
            "ANSIBLE_SSH_ARGS": f"-F {self.lab.ssh_config} -C -o ControlMaster=auto -o ControlPersist=60s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.home / "cp"),
            "ANSIBLE_NOCOLOR": "1",
        }
        program = HOUSE / ".venv-bench" / "bin" / "ansible-playbook"
        argv = self.lab.operator_argv([str(program), "site.yml"])
        return self._ran(argv, cwd=ANSIBLE, env=environment)

    def pyinfra(self) -> str:
        return self._ours("pyinfra", "inventory.py", "deploy.py", "-y")

    def lbctl(self) -> str:
        return self._ours("lbctl", "deploy", "--yes")

    def _ours(self, program: str, *words: str) -> str:
        environment = {**os.environ, "LBCTL_CLUSTER": str(DECLARATION), "LBCTL_LAB": self.lab.name, "NO_COLOR": "1"}
        return self._ran([str(Path(sys.executable).with_name(program)), *words], cwd=HOUSE, env=environment)

    def ssh(self) -> str:
        """`ssh HOST true` to all machines, each with a new connection, side by side."""
        options = f"-F {self.lab.ssh_config} -o ControlMaster=no -o ControlPath=none"
        hosts = " ".join(self.lab.machines())
        script = (
            f'for h in {hosts}; do ssh {options} $h true & p="$p $!"; done; for i in $p; do wait $i || exit 1; done'
        )
        return self._ran(self.lab.operator_argv(["sh", "-c", script]), cwd=HOUSE, env=os.environ)

    @staticmethod
    def _ran(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> str:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=LIMIT,
        )
        if done.returncode:
            raise BenchmarkError(f"{' '.join(argv[-3:])} ended with {done.returncode}:\n{done.stdout[-4000:]}")
        return done.stdout

    # Measuring

    def timed(self, name: str, work: Callable[[], str], unchanged: Callable[[str], bool] | None = None) -> None:
        begun = time.perf_counter()
        output = work()
        seconds = time.perf_counter() - begun
        if unchanged and not unchanged(output):
            raise BenchmarkError(f"{name}: something was changed:\n{output[-4000:]}")
        self.taken.setdefault(name, []).append(seconds)
        print(f"  {name:<24} {seconds:7.2f} s", flush=True)

    def no_ops(self, *tools: str) -> None:
        for _ in range(NO_OPS):
            for tool in tools:
                self.timed(f"no-op, {tool}", getattr(self, tool), UNCHANGED[tool])
            self.timed("bare ssh", self.ssh)

    def round(self) -> None:
        for tool, others in (("ansible", ()), ("pyinfra", ("lbctl",)), ("lbctl", ("pyinfra",))):
            self.fresh()
            self.timed(f"first deploy, {tool}", getattr(self, tool))
            self.states[tool] = self.settled(tool)
            self.no_ops(tool, *others)

    def settled(self, tool: str) -> dict[str, str]:
        """What is on the machines when all real servers are in rotation; it must be what the tool before left there."""
        deadline = time.monotonic() + SETTLES_WITHIN
        while True:
            found = {host: self._look(host) for host in self.lab.machines()}
            against = self.against(found)
            if against is None:
                return found
            if time.monotonic() > deadline:
                raise BenchmarkError(f"after {tool}: {against}")
            time.sleep(0.5)

    def _look(self, host: str) -> str:
        text = self.lab.exec(host, LOOKS[host[:2]], check=False).stdout
        return re.sub(r" +", " ", text).strip()

    def against(self, found: Mapping[str, str]) -> str | None:
        for host, text in found.items():
            wanted = "HTTP/1.0 200" if host in DATABASES else "-r 10.0.0.3:3306 -g"
            if wanted not in text:
                return f"{host} has no {wanted!r}:\n{text}"
            for other, state in self.states.items():
                if state[host] != text:
                    return f"{host} is not as {other} left it:\n{state[host]}\n--- but\n{text}"
        return None


class BenchmarkError(Exception):
    """What was to be measured did not come about."""


UNCHANGED: Mapping[str, Callable[[str], bool]] = {
    "ansible": lambda output: len(re.findall(r"changed=0 .*failed=0", output)) == len(DATABASES) + 2,
    "pyinfra": lambda output: judgement.changed_again(judgement.results(output), 0) is None,
    "lbctl": lambda output: "Nothing to do" in output,
}
"""Whether a run says that it changed nothing."""


def figures(taken: Mapping[str, Sequence[float]]) -> list[Figure]:
    median = {name: statistics.median(times) for name, times in taken.items()}
    rows = [
        Figure("first deploy, Ansible", median["first deploy, ansible"]),
        Figure("no-op, Ansible", median["no-op, ansible"]),
        Figure("`ssh HOST true` to all five at once", median["bare ssh"]),
    ]
    for tool, typed in (("pyinfra", "pyinfra inventory.py deploy.py -y"), ("lbctl", "lbctl deploy --yes")):
        first, again = median[f"first deploy, {tool}"], median[f"no-op, {tool}"]
        rows += [
            Figure(f"first deploy, {typed}", first),
            Figure("  of Ansible's", first / median["first deploy, ansible"], AT_MOST_OF_ANSIBLE_AT_FIRST, "×"),
            Figure(f"no-op, {typed}", again),
            Figure("  of Ansible's", again / median["no-op, ansible"], AT_MOST_OF_ANSIBLE, "×"),
            Figure("  of bare ssh", again / median["bare ssh"], AT_MOST_OF_SSH, "×"),
        ]
    return rows


def main() -> int:
    lab = Lab(f"bench-{os.getpid()}", variant=VARIANT)
    with termination_raises(), TemporaryDirectory(prefix="lbctl-bench-") as home:
        bench = Bench(lab, Path(home))
        try:
            bench.prepare()
            for number in range(1, ROUNDS + 1):
                print(f"round {number} of {ROUNDS}", flush=True)
                bench.round()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return Exit.INTERRUPTED
        except (BenchmarkError, LbctlError) as error:
            print(f"error: {error}", file=sys.stderr)
            return Exit.FAILED
        finally:
            lab.down()
            with suppress(LbctlError):
                Lab.remove_snapshot(SNAPSHOT, variant=VARIANT)
    print(
        f"\nmedians of {ROUNDS} rounds; every tool left the same addresses, settings, keepalived.conf, table and answers\n"
    )
    return report(figures(bench.taken), "converge", {"seconds": bench.taken})


if __name__ == "__main__":
    sys.exit(main())
