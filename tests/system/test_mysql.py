"""MySQL that listens at a list of addresses: restarted where that is all it needs, named where it is not, never two at once."""

import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from cluster.errors import Exit
from cluster.listening import bind
from cluster.vocabulary import Mode
from facts.state import _BIND
from lab import galera
from lab.topology import DATABASES
from tests.system.machines import Cluster, Run
from tests.variants import Variant

# The long ones are not yet seen to pass whole: docs/development.md, "The long tests".
pytestmark = pytest.mark.lab

FILE = "/etc/mysql/mariadb.conf.d/70-listed.cnf"
VIPS = ("10.0.0.10", "10.0.0.11")


def address(name: str) -> str:
    return f"10.0.0.{name[-1]}"


def listed(cluster: Cluster, *more: str) -> None:
    """What is in the file, until the next start of no consequence."""
    for name in DATABASES:
        text = f"[mysqld]\nbind-address = {','.join(('127.0.0.1', address(name), *more))}\n"
        cluster.on(name, f"cat >{FILE}", stdin=text)


def started_again(cluster: Cluster) -> None:
    """As after a power cut of all: who is stopped first lacks what the others wrote down of that, and waits for a transfer."""
    with ThreadPoolExecutor(len(DATABASES)) as pool:
        list(
            pool.map(lambda name: cluster.on(name, "systemctl kill -s KILL mariadb; systemctl stop mariadb"), DATABASES)
        )
    cluster.lab.galera_start()


def bound(cluster: Cluster, name: str) -> set[str]:
    return set(re.findall(r"(\S+):3306 ", cluster.on(name, "ss -Hltn 'sport = :3306'")))


def down(cluster: Cluster, name: str) -> tuple[float, float]:
    """From when until when its server was last not there, in seconds."""
    show = "systemctl show mariadb --timestamp=unix -p ActiveExitTimestamp -p ActiveEnterTimestamp"
    shown = dict(line.split("=@") for line in cluster.on(name, show).splitlines())
    return float(shown["ActiveExitTimestamp"]), float(shown["ActiveEnterTimestamp"])


def one_after_the_other(cluster: Cluster) -> None:
    times = sorted(down(cluster, name) for name in DATABASES)
    assert all(back <= gone for (_, back), (gone, _) in itertools.pairwise(times)), times


@contextmanager
def reading(cluster: Cluster) -> Iterator[list[str]]:
    """A client that reads through the VIP, one new connection after the other; yields what it was answered."""
    answers: list[str] = []
    over = threading.Event()
    login = ["mariadb", f"-h{VIPS[0]}", f"-u{galera.USER}", f"-p{galera.PASSWORD}", "--connect-timeout=5", "-BNe"]

    def read() -> None:
        while not over.wait(0.3):
            done = cluster.lab.client([*login, "select @@hostname"], check=False)
            answers.append(done.stdout.strip() or f"{time.time():.1f} {done.stderr.strip()}")

    client = threading.Thread(target=read)
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()


@pytest.fixture
def served_by_nat(cluster: Cluster) -> Iterator[Cluster]:
    """Servers listen at their own addresses, which nat reaches; no VIP is theirs."""
    cluster.declare(Variant(Mode.NAT, "ranked"))
    first = cluster.lbctl("deploy", "--yes")
    assert first.status == Exit.DONE, first.output
    listed(cluster)
    try:
        started_again(cluster)
        for director in cluster.declaration.director:
            cluster.table_settles(director)
        yield cluster
    finally:
        for name in DATABASES:
            cluster.on(name, f"rm -f {FILE}")
        started_again(cluster)


@pytest.mark.soak
def test_a_list_is_named_then_restarted_one_after_another(served_by_nat: Cluster) -> None:
    cluster = served_by_nat
    unchanged = cluster.lbctl("plan", "--check")
    assert unchanged.status == Exit.DONE, unchanged.output  # nat needs no VIP there

    cluster.declare(Variant(Mode.DR, "ranked"))
    cluster.mark()
    refused = cluster.lbctl("deploy", "--yes")
    assert refused.status == Exit.REFUSED, refused.output
    for name in DATABASES:
        assert f"{name}: MySQL listens on 127.0.0.1, {address(name)} only" in refused.output
    assert f"in {FILE}, line 2, instead of" in refused.output
    assert cluster.newer() == {}

    listed(cluster, *VIPS)
    is_restarted_in_order(cluster, lambda: cluster.lbctl("deploy", "--yes"))
    again = cluster.lbctl("deploy", "--yes")
    assert again.status == Exit.DONE, again.output
    assert "No host was changed." in again.output


def is_restarted_in_order(cluster: Cluster, deploy: Callable[[], Run]) -> None:
    with reading(cluster) as answers:
        done = deploy()
    assert done.status == Exit.DONE, done.output
    one_after_the_other(cluster)
    assert answers
    assert set(answers) <= set(DATABASES), [answer for answer in answers if answer not in DATABASES]
    for name in DATABASES:
        assert bound(cluster, name) == {"127.0.0.1", address(name), *VIPS}


@pytest.mark.soak
def test_plain_pyinfra_does_the_same_and_nothing_where_it_is_forbidden(served_by_nat: Cluster) -> None:
    cluster = served_by_nat
    cluster.declare(Variant(Mode.DR, "ranked"))
    plain = cluster.pyinfra()
    assert plain.status != Exit.DONE
    assert "clients would be refused by db1" in plain.output
    assert {mode for line in cluster.table("lb1").values() for mode, _ in line[3].values()} == {Mode.NAT}

    listed(cluster, *VIPS)
    text = cluster.file.read_text()
    cluster.file.write_text(f'{text}\n[mysql]\nrestart = "never"\n')
    forbidden = cluster.lbctl("deploy", "--yes")
    assert forbidden.status == Exit.REFUSED, forbidden.output
    assert forbidden.output.count('Not done here: mysql.restart is "never"') >= len(DATABASES)
    assert bound(cluster, "db1") == {"127.0.0.1", address("db1")}

    cluster.file.write_text(text)
    is_restarted_in_order(cluster, cluster.pyinfra)
    assert cluster.pyinfra().changed == []


FILES = """\
mkdir -p /run/told/more
printf '[mysqld]\\nbind-address=10.0.0.7\\n[mysqld.two]\\nbind-address=10.0.0.8\\n' >/run/told/my.cnf
printf '!include /run/told/other.cnf\\n' >/run/told/one.cnf
printf '# elsewhere\\n[mariadbd]\\nbind_address = 10.0.0.7, 127.0.0.1 # why\\n' >/run/told/other.cnf
printf '!include /run/told/other.cnf\\n!includedir /run/told/more/\\n' >/run/told/all.cnf
printf '[mysqld]\\nloose-bind-address=10.0.0.9\\n' >/run/told/more/a.cnf
"""
MY = "--defaults-file=/run/told/my.cnf"


TOLD = {
    f"mariadbd {MY}": ("10.0.0.7", "/run/told/my.cnf:2"),
    f"mariadbd {MY} --defaults-group-suffix=.two": ("10.0.0.8", "/run/told/my.cnf:4"),
    f"env MYSQL_GROUP_SUFFIX=.two mariadbd {MY}": ("10.0.0.8", "/run/told/my.cnf:4"),
    "mariadbd --defaults-extra-file=/run/told/my.cnf": ("10.0.0.7", "/run/told/my.cnf:2"),
    "mariadbd --defaults-file=/run/told/one.cnf": ("10.0.0.7, 127.0.0.1", "/run/told/other.cnf:3"),
    "mariadbd --defaults-file=/run/told/all.cnf": ("10.0.0.9", "/run/told/more/a.cnf:2"),
    f"mariadbd {MY} --bind-address=10.0.0.6": ("10.0.0.6", "the command line"),
    f"mariadbd {MY} --bind_address 10.0.0.6 --loose-bind-address=10.0.0.5": ("10.0.0.5", "the command line"),
    f"mariadbd {MY} --bind-address 10.0.0.6": ("10.0.0.6", "the command line"),
    "mariadbd --no-defaults": ("", ""),
}


@pytest.mark.soak
def test_what_it_was_told_is_read_however_it_was_told(cluster: Cluster) -> None:
    # The real program, which stands still as long as nobody reads all that it has to say. The one that serves is left alone.
    text = "".join(
        f"{{ {command} --verbose --help | sleep 60; }} >/dev/null 2>&1 &\n"
        'until p=$(pgrep -x -f "mariadbd .*--verbose --help"); do sleep 0.1; done\n'
        f"""l="LISTEN 0 80 10.0.0.3:3306 0.0.0.0:* users:((\\"mariadbd\\",pid=$p,fd=27))"\n"""
        f"{_BIND}\necho ==; kill -9 $p; while [ -e /proc/$p ]; do sleep 0.1; done\n"
        for command in TOLD
    )
    *seen, rest = cluster.on("db3", f"{FILES}{text}rm -r /run/told", check=False).split("==")
    found = [bind(lines.split("\n")) for lines in seen]
    assert [(one.told, one.place) for one in found if one] == [*TOLD.values()]
    assert not rest
