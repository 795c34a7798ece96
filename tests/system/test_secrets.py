"""VRRP's password: it reaches the directors, and nothing else anywhere."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.lab import Lab
from tests.system.machines import Cluster, Run
from tests.variants import PASSWORD, Variant

pytestmark = pytest.mark.lab

# Prints the command lines and environments in which the password stands; the pattern comes on standard input.
WATCH = """\
cat >/run/pattern; while [ ! -e /run/enough ]; do
grep -alFf /run/pattern /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; sleep 0.5; done
rm -f /run/pattern /run/enough"""


@contextmanager
def watched(lab: Lab, hosts: list[str]) -> Iterator[list[str]]:
    """What the password was seen in meanwhile, in the process lists of these hosts and of the operator."""
    seen: list[str] = []
    enough = threading.Event()

    def there(host: str) -> None:
        seen.extend(lab.exec(host, WATCH, stdin=f"{PASSWORD}\n", timeout=600).stdout.split())

    def here() -> None:
        while not enough.wait(0.05):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = file.read_bytes()
                except OSError:
                    continue  # it has ended meanwhile
                if PASSWORD.encode() in words:
                    seen.append(words.decode(errors="replace"))

    threads = [threading.Thread(target=there, args=(host,)) for host in hosts] + [threading.Thread(target=here)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        enough.set()
        for host in hosts:
            lab.exec(host, "touch /run/enough")
        for thread in threads:
            thread.join()


SHOWN = [
    ("debug-inventory",),
    ("deploy.py", "--debug-operations"),
    ("deploy.py", "--debug-facts"),
    ("deploy.py", "--dry", "-vv", "--debug-all"),
]
"""All that pyinfra shows of what it holds, without doing it."""

# Something that nobody foresaw, at the moment when the whole plan is at hand.
FAULT = """\
import fleet.green
from fleet import deployment
def broken(session, wanted, progress): raise RuntimeError(f"not foreseen, with {wanted!r} and {session.blueprint!r}")
broken.__code__ = broken.__code__.replace(co_name="carry_out")
deployment.carry_out = broken
from cli.main import main
main()"""


def with_a_fault(cluster: Cluster) -> tuple[Run, str]:
    """lbctl with a fault of its own: what it says, with --debug, and what it keeps in the file for developers."""
    run = cluster.run("python", "-c", FAULT, "--debug", "deploy", "--yes")
    (file,) = (file for file in (cluster.folder / "state/lbctl").iterdir() if file.is_file())
    return run, file.read_text()


def declared_with_password(cluster: Cluster) -> list[str]:
    """Directors that have none yet are to get one: their names."""
    cluster.declare(Variant(Mode.NAT, "persistent"))
    before = cluster.lbctl("deploy", "--yes")
    assert before.status == Exit.DONE, before.output
    cluster.declare(Variant(Mode.NAT, "persistent", vrrp="password"))
    return list(cluster.declaration.director)


def nowhere(*runs: Run) -> None:
    for run in runs:
        assert len(run.output) > 100, run.output
        assert PASSWORD not in run.output


@pytest.mark.soak  # three minutes; what is printed and written is looked at without machines as well
def test_password(cluster: Cluster) -> None:
    directors = declared_with_password(cluster)
    with watched(cluster.lab, directors) as seen:
        plan = cluster.lbctl("--debug", "plan")
        deploy = cluster.pyinfra("-vvv", "--debug", "--diff")
    assert seen == []
    assert "auth_pass ***" in plan.output
    assert deploy.status == Exit.DONE, deploy.output
    nowhere(plan, deploy)

    for host in directors:
        conf = "/etc/keepalived/keepalived.conf"
        assert cluster.on(host, f"stat -c '%a %U' {conf}") == "600 root"
        assert f"auth_pass {PASSWORD}" in cluster.on(host, f"cat {conf}")
        assert PASSWORD not in cluster.on(host, "journalctl --no-pager")
        # It stands in no file that anybody else can read. (journald's are binary, and were read above.)
        having = (
            "find /etc /run /tmp /usr/local /var -xdev -type f -perm /077 ! -name '*.journal' -exec grep -lFf - {} +"
        )
        assert cluster.on(host, having, check=False, stdin=f"{PASSWORD}\n") == ""
    active = cluster.active()
    cluster.table_settles(active)

    # Back again: the copy of the previous file that is kept has the password, and is root's alone.
    cluster.declare(Variant(Mode.NAT, "persistent"))
    after = cluster.lbctl("deploy", "--yes", "--json")
    assert after.status == Exit.DONE, after.output
    assert PASSWORD not in after.output
    for host in directors:
        kept = "/var/lib/lbctl/previous/etc:keepalived:keepalived.conf"
        assert cluster.on(host, f"stat -c '%a %U' {kept}; grep -c {PASSWORD} {kept}").split() == ["600", "root", "1"]
    cluster.active()


@pytest.mark.soak
def test_whatever_is_shown(cluster: Cluster) -> None:
    """All that lbctl and pyinfra can be told to show, a fault of lbctl's own, and the history of the cluster."""
    directors = declared_with_password(cluster)
    with watched(cluster.lab, directors) as seen:
        plans = [cluster.lbctl("plan", how) for how in ("--json", "--diff")]
        shown = [cluster.run("pyinfra", "inventory.py", *how) for how in SHOWN]
        fault, kept = with_a_fault(cluster)
        deploy = cluster.lbctl("--debug", "deploy", "--yes")
        told = [cluster.lbctl(*words) for words in (("history",), ("history", "show", "1"), ("status", "--json"))]
    assert seen == []
    assert "a fault in lbctl itself: RuntimeError" in fault.output
    assert "in carry_out" in kept
    assert deploy.status == Exit.DONE, deploy.output
    nowhere(*plans, *shown, fault, deploy, *told)
    assert PASSWORD not in kept
