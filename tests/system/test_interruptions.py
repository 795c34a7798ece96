"""Stopped anywhere, run again, done: the operator killed, a connection cut, a host without power, at each change of a deploy.

What stands for an undisturbed run is what such a run left on the same machines. All the while a client reads through the virtual
addresses (`reader.py`); which change it was, and that it was reached, comes from `stopping.py`.
"""

import itertools
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from cluster.difference import Action, Difference
from cluster.errors import Exit
from cluster.parts import Thing
from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.topology import DATABASES
from operations.commands import script
from tests.system.interrupted import Interrupted, differing, reading
from tests.system.machines import PATIENT, Cluster, booted, wait_until
from tests.variants import Variant

KILLED = -9


def declare(cluster: Cluster, mode: Mode, vrrp: str = "plain") -> None:
    cluster.declare(Variant(mode, "ranked", vrrp=vrrp), **PATIENT)


@pytest.fixture
def interrupted(cluster: Cluster) -> Interrupted:
    """Deployed in dr, serving, and with nothing left over."""
    found = Interrupted(cluster)
    declare(cluster, Mode.DR)
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    settle(cluster)
    for name in DATABASES:
        # Whoever used this lab before may have declared other routes: in a table without use only known ones are taken away.
        cluster.on(name, "ip route flush table 100; ip route flush table 101", check=False)
    return found


def settle(cluster: Cluster) -> None:
    for director in cluster.declaration.director:
        cluster.table_settles(director)


@pytest.mark.soak
@pytest.mark.parametrize(("how", "place", "program"), [("during", 4, "lbctl"), ("during", 2, "pyinfra")])
def test_operator_killed_in_a_change_of_mode(interrupted: Interrupted, how: str, place: int, program: str) -> None:
    """While the first director is at it; and while servers are. The connections of a client outlast it, too."""
    cluster = interrupted.cluster
    declare(cluster, Mode.TUN)
    with reading(cluster, "held"):
        status, changes = interrupted.stopped(how, place, program)
        assert (status, len(changes) >= place) == (KILLED, True)
        done = interrupted.run(program)
        assert done.status == Exit.DONE, done.output
        settle(cluster)
    interrupted.finishes(program)  # what the held connection kept in place goes


@pytest.mark.soak
def test_connection_cut_in_a_change_of_mode(interrupted: Interrupted) -> None:
    """That host fails and is named; the others go on as far as is safe; what was sent whole is carried out all the same."""
    cluster = interrupted.cluster
    declare(cluster, Mode.NAT)
    with reading(cluster):
        status, changes = interrupted.stopped("cut", 2, "lbctl")
        (_, host, _) = next(change for change in changes if change[2] == "cut")
        said = (cluster.folder / "stopped.log").read_text()
        assert status == Exit.FAILED, said
        assert f"{host} is not as declared: " in said
        interrupted.finishes("lbctl")
        settle(cluster)


CONF = "/etc/keepalived/keepalived.conf"


@pytest.mark.soak
def test_written_and_not_loaded_while_a_server_is_dead(interrupted: Interrupted) -> None:
    """The reload that was cut off would have put the dead server back (`cluster.order.left_out`); so would a later one."""
    cluster = interrupted.cluster
    cluster.declare(Variant(Mode.TUN, "ranked"))  # whose checks find in time that a server is dead
    alive = ["db1", "db2"]
    cluster.on(
        "db3", "mariadb -e 'SET GLOBAL wsrep_desync = 1'"
    )  # its health service says so, and directors take it out
    try:
        for director in cluster.declaration.director:
            wait_until(lambda d=director: "10.0.0.3" not in str(cluster.table(d)), "db3 is out of rotation")  # type: ignore[misc]
            file = cluster.variant.blueprint.keepalived_conf(director)
            cluster.on(director, f"cat >{CONF}", stdin=file.text)
        with reading(cluster):
            done = cluster.lbctl("deploy", "--yes")
            assert done.status == Exit.DONE, done.output
            for director in cluster.declaration.director:
                cluster.table_settles(director, alive=alive)
    finally:
        cluster.on("db3", "mariadb -e 'SET GLOBAL wsrep_desync = 0'")
    settle(cluster)
    interrupted.finishes("lbctl")


@pytest.mark.soak
def test_passive_director_that_stood_down_is_booted_meanwhile(interrupted: Interrupted) -> None:
    """On the old terms it would hold the addresses beside the active one, should that be on the new ones by then."""
    cluster = interrupted.cluster
    active = cluster.active()
    declare(cluster, Mode.DR, vrrp="unicast")
    with reading(cluster, "held"):
        status, changes = interrupted.stopped("after", 2, "lbctl")
        assert (status, [change[1] == active for change in changes]) == (KILLED, [False, True])
        passive = changes[0][1]
        cluster.lab.reboot(passive)
        assert cluster.on(passive, "systemctl is-active keepalived", check=False) == "inactive"
        assert cluster.holders() == [active]
        interrupted.finishes("lbctl")
        settle(cluster)
        assert cluster.holders() == [active]


EDGES = {
    "dr tun nat": (Mode.DR, Mode.TUN, Mode.NAT),
    "dr nat tun": (Mode.DR, Mode.NAT, Mode.TUN),
}
"""Round and round: every change of mode."""


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize(
    ("how", "program"),
    [
        ("during", "lbctl"),
        ("during", "pyinfra"),
        ("before", "pyinfra"),
        ("after", "lbctl"),
        ("cut", "lbctl"),
        ("power", "lbctl"),
    ],
)
@pytest.mark.parametrize("edges", EDGES)
def test_stopped_at_each_change_of_a_change_of_mode(
    interrupted: Interrupted, how: str, program: str, edges: str
) -> None:
    """Place by place, each change of mode is stopped there once, until it has no such place any more."""
    cluster = interrupted.cluster
    round_ = EDGES[edges]
    undisturbed = {}
    for mode in (*round_[1:], round_[0]):
        declare(cluster, mode)
        interrupted.finishes(program)
        undisturbed[mode] = interrupted.traces()
    longer = set(round_)
    wrong: list[str] = []
    for place in range(1, 40):
        for mode in (*round_[1:], round_[0]):
            declare(cluster, mode)
            try:
                if not once(interrupted, how, place, program):
                    longer.discard(mode)
                assert differing(interrupted.traces(), undisturbed[mode]) == []
            except AssertionError as error:
                # An hour's work: the other places are looked at all the same.
                wrong.append(f"{mode}, place {place}: {error}")
                print(wrong[-1], flush=True)
        if not longer:
            break
    assert place > 5
    assert (longer, wrong) == (set(), [])


def once(interrupted: Interrupted, how: str, place: int, program: str, *, read: bool = True) -> bool:
    """One interrupted run and the one after it; whether there was that place."""
    cluster = interrupted.cluster
    # A host without power cuts its own connections: that is no fault of ours, and not looked at here.
    with reading(cluster) if read and how != "power" else nullcontext():
        status, changes = interrupted.stopped(how, place, program)
        hit = [change for change in changes if change[2] == how]
        print(
            f"{cluster.variant.mode} {program} {how} {place}: {hit or 'not reached'}, ended with {status}", flush=True
        )
        if hit and how == "power":
            back(cluster, hit[0][1])
        if hit and how in {"before", "during", "after"}:
            assert status == KILLED
        interrupted.converges(program)
        settle(cluster)
    interrupted.drains(program)
    return bool(hit)


def back(cluster: Cluster, host: str) -> None:
    """The host has power again, and the database cluster is whole."""
    cluster.lab.power_on(host)
    cluster.lab.wait(host)
    cluster.lab.galera_start()


def by_stopped_runs(interrupted: Interrupted, how: str) -> None:
    """Runs that are each stopped at their first change, until one finds nothing to change."""
    cluster = interrupted.cluster
    for run in itertools.count(1):
        status, changes = interrupted.stopped(how, 1, "lbctl")
        print(f"{cluster.variant.mode} {how}, run {run}: {changes}, ended with {status}", flush=True)
        if not changes:
            break
        if how == "power":
            back(cluster, changes[0][1])
        assert run < 60
    assert status == Exit.DONE, (cluster.folder / "stopped.log").read_text()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("how", ["during", "after", "cut", "power"])
def test_change_of_mode_by_runs_that_are_each_stopped(interrupted: Interrupted, how: str) -> None:
    """What a run that was stopped has left, at every place, another one goes on from: only the last one ends undisturbed."""
    cluster = interrupted.cluster
    undisturbed = {}
    for mode in (Mode.TUN, Mode.NAT, Mode.DR):
        declare(cluster, mode)
        interrupted.finishes("lbctl")
        undisturbed[mode] = interrupted.traces()
    for mode, traces in undisturbed.items():
        declare(cluster, mode)
        with reading(cluster) if how != "power" else nullcontext():
            by_stopped_runs(interrupted, how)
            settle(cluster)
        interrupted.drains("lbctl")
        assert differing(interrupted.traces(), traces) == [], mode


def undisturbed_first_deploy(mode: Mode, folder: Path) -> dict[str, str]:
    with booted(f"first-{os.getpid()}") as lab:
        interrupted = Interrupted(Cluster(lab, folder))
        declare(interrupted.cluster, mode)
        interrupted.finishes("lbctl")
        settle(interrupted.cluster)
        return interrupted.traces()


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("how", ["after", "power"])
@pytest.mark.parametrize("mode", list(Mode))
def test_first_deploy_by_runs_that_are_each_stopped(tmp_path: Path, mode: Mode, how: str) -> None:
    """Each run is stopped at its first change: what the one before began, this one finds and goes on from."""
    with booted(f"first-{os.getpid()}") as lab:
        interrupted = Interrupted(Cluster(lab, tmp_path))
        declare(interrupted.cluster, mode)
        by_stopped_runs(interrupted, how)
        interrupted.finishes("lbctl")
        settle(interrupted.cluster)
        found = interrupted.traces()
    assert differing(found, undisturbed_first_deploy(mode, tmp_path)) == []


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("program", ["lbctl", "pyinfra"])
@pytest.mark.parametrize("mode", list(Mode))
def test_first_deploy_stopped_at_each_change(tmp_path: Path, mode: Mode, program: str) -> None:
    """Place by place, on machines of their own each time."""
    wanted = undisturbed_first_deploy(mode, tmp_path)
    for place in itertools.count(1):
        with booted(f"first-{os.getpid()}") as lab:
            interrupted = Interrupted(Cluster(lab, tmp_path))
            declare(interrupted.cluster, mode)
            hit = once(interrupted, "during", place, program, read=False)
            assert differing(interrupted.traces(), wanted) == [], f"place {place}"
        if not hit:
            break
    assert place > 10


INSTALL = (
    "apt-get -q -y install --no-install-recommends sudo >/run/install.log 2>&1 & sleep {delay}; kill -0 $! || echo done"
)
KILL = "pkill -KILL -x 'apt-get|dpkg|dpkg-deb'; pkill -KILL -f /var/lib/dpkg/; sleep 0.2; dpkg --audit"


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_apt_killed_at_many_moments(galera: Lab) -> None:
    """Sometimes dpkg's journal has to be worked off first, sometimes a package is half there."""
    script_text = script([Difference(Thing.KEEPALIVED, Action.BUILD, "sudo", "package", "")])
    damaged = 0
    for tenths in itertools.count(4, 2):
        galera.exec("db2", "apt-get -q -y purge sudo", timeout=180)
        began = galera.exec("db2", f"({INSTALL.format(delay=tenths / 10)}); {KILL}", check=False)
        audit = began.stdout.replace("done\n", "")
        damaged += bool(audit)
        print(f"killed after {tenths / 10} s: {audit.splitlines()[:1] or 'nothing half-way'}", flush=True)
        galera.exec("db2", "sh -s", stdin=script_text, timeout=300)
        status = galera.exec("db2", "dpkg-query -W -f '${db:Status-Status}' sudo; dpkg --audit").stdout
        assert status == "installed"
        if "done" in began.stdout:
            break
    assert damaged > 0
