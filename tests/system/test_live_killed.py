"""The operator of a live change is killed after each of its changes on a host: clients go on, and one can go on or go back.

A command has ten to twenty of them, and each costs minutes. `PLACES=3 make soak-live_killed` takes so many of them, spread over
all: every way to go on or back is gone then, but not from everywhere.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count, cycle

import pytest

from cluster.errors import Exit
from cluster.reading import read
from cluster.vocabulary import Mode
from lab.topology import DATABASES
from tests.system.interrupted import Interrupted
from tests.system.live import at_work, nobody_noticed, nobody_owned_twice
from tests.system.machines import PATIENT, Cluster, Run
from tests.variants import Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(2 * 3600)]

KILLED = -9
AT_MOST = 60
"""Changes that a command makes: a loop without end would be a fault of the test's."""
PLACES = int(os.environ.get("PLACES") or 0)

ABORT, RESUME, DEPLOY, AGAIN = "--abort", "--resume", "deploy", "the same command"
"""What an operator may do next (docs/live-changes.md, "Stopped half-way")."""
DR, RANKED, FEWER = Variant(Mode.DR), Variant(Mode.DR, "ranked"), Variant(Mode.DR, servers=DATABASES[:-1])


def well(run: Run) -> Run:
    assert run.status == Exit.DONE, run.output
    return run


def as_deployed(cluster: Cluster) -> None:
    """Nothing more has happened before the change."""


def drained(cluster: Cluster) -> None:
    well(cluster.lbctl("real-server", "drain", "db3", "--yes", "--drain", "0"))


def led_by_lb1(cluster: Cluster) -> None:
    if cluster.active() != "lb1":
        well(cluster.lbctl("failover", "--to", "lb1", "--yes"))
        tables_settle(cluster)


def lb2_is_dead(cluster: Cluster) -> None:
    """The passive one, so that what its death itself costs is over before clients are looked at."""
    led_by_lb1(cluster)
    cluster.lab.power_off("lb2")


@dataclass(frozen=True)
class Change:
    """A command, and the cluster that it is given to."""

    words: str
    variant: Variant = DR
    first: Callable[[Cluster], None] = as_deployed
    """What happens between the deploy and the command."""
    ways: tuple[str, ...] = (ABORT, RESUME, DEPLOY)
    """How one goes on, in turns."""
    how: str = "after"
    """When it is killed (`stopping.py`)."""
    held: int = 5
    """Connections that are held open. None where the command is to cut them."""

    @property
    def argv(self) -> list[str]:
        return ["lbctl", *self.words.split(), "--yes"]

    @property
    def is_of_a_dead_host(self) -> bool:
        return "--dead" in self.words


CHANGES = {
    "switch-mode": Change("switch-mode nat --drain 0"),
    "director-add": Change("director add lb2 --address 10.0.0.6 --gateway 10.0.0.12", Variant(Mode.NAT, directors=1)),
    "director-remove-active": Change("director remove lb1", first=led_by_lb1),
    "director-remove-passive": Change("director remove lb2", first=led_by_lb1),
    # There is no way back to a director that is gone for good.
    "director-remove-dead": Change("director remove lb2 --dead", first=lb2_is_dead, ways=(RESUME, DEPLOY)),
    "failover": Change("failover"),
    "failover-during": Change("failover", how="during"),
    "failover-before": Change("failover", how="before"),
    "real-server-drain": Change("real-server drain db3 --drain 0", RANKED),
    "real-server-undrain": Change("real-server undrain db3", RANKED, first=drained),
    "real-server-remove": Change("real-server remove db3 --drain 5s --cut", RANKED, held=0),
    "real-server-add": Change("real-server add db3 --address 10.0.0.3", FEWER),
}


def begin_with(cluster: Cluster, change: Change, before: str = "") -> str:
    """The cluster before the change: the text of its declaration, which is `before` where one has gone back to it."""
    if cluster.file.exists() and cluster.file.read_text() == before:
        change.first(cluster)
        cluster.reread()
        return before
    whole = replace(change.variant, directors=2, servers=DATABASES)
    if change.variant != whole:
        # Who is to come had its part in an earlier round, and is to come with nothing of ours.
        deployed(cluster, whole)
        for kind, names, there in (
            ("director", whole.declaration.director, change.variant.declaration.director),
            ("real-server", whole.declaration.real_server, change.variant.declaration.real_server),
        ):
            for name in names.keys() - there.keys():
                cut = ["--drain", "5s", "--cut"] if kind == "real-server" else []
                well(cluster.lbctl(kind, "remove", name, "--yes", *cut))
    deployed(cluster, change.variant)
    change.first(cluster)
    cluster.reread()
    return cluster.file.read_text()


def deployed(cluster: Cluster, variant: Variant) -> None:
    cluster.declare(variant, **PATIENT)
    well(cluster.lbctl("deploy", "--yes"))
    tables_settle(cluster)


def tables_settle(cluster: Cluster) -> None:
    for director in cluster.declaration.director:
        cluster.table_settles(director)


def at_rest(cluster: Cluster) -> None:
    """One director is active, and nothing is left to do once nobody is connected any more."""
    cluster.reread()
    well(cluster.lbctl("deploy", "--yes"))
    well(cluster.lbctl("plan", "--check"))
    tables_settle(cluster)
    assert cluster.active() in cluster.declaration.director


def goes_on(cluster: Cluster, change: Change, way: str, before: str, after: str) -> str:
    """Until the cluster is as it was or as it was to be: the text that the declaration must have then."""
    there = cluster.file.read_text()
    if change.is_of_a_dead_host and there == before:
        # Whoever is declared is asked: only the command itself says that one is dead.
        way = AGAIN
    if way == DEPLOY:
        deploy = cluster.lbctl("deploy", "--yes")
        if deploy.status != Exit.REFUSED:
            well(deploy)
            return there
        # A host that comes or goes is named by one of the two declarations only, and that is not the file now.
        assert "lbctl switch-mode --resume or --abort" in deploy.output, deploy.output
        way = RESUME
    if way == AGAIN:
        well(cluster.lbctl(*change.argv[1:]))
        return after
    dead = ["--dead"] if change.is_of_a_dead_host else []
    well(cluster.lbctl("switch-mode", way, "--yes", "--drain", "5s", *dead))
    if way == RESUME and change.words.startswith("real-server remove") and cluster.file.read_text() != after:
        # It drains first, which is a change of its own. The same command goes on.
        well(cluster.lbctl(*change.argv[1:]))
    return before if way == ABORT else after


def once(cluster: Cluster, name: str, place: int, way: str, *, before: str, after: str) -> bool:
    """Killed at its Nth change, and gone on from there; whether it was killed: else it came to its end."""
    change = CHANGES[name]
    before = begin_with(cluster, change, before)
    with at_work(cluster, held=change.held, new_per_second=5) as seen:
        status, begun = Interrupted(cluster).command_stopped(change.how, place, change.argv)
        killed = status == KILLED
        print(
            f"\n{name}, killed {change.how} change {place}: {begun[-1:]}, {way if killed else 'not reached'}",
            flush=True,
        )
        assert killed or status == Exit.DONE, (cluster.folder / "stopped.log").read_text()
        wanted = goes_on(cluster, change, way, before, after) if killed else after
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    cluster.reread()
    # Not by its text: the history, which one goes back by, keeps none that differs in nothing but blank lines.
    assert cluster.declaration == read(wanted, str(cluster.file))
    if not change.is_of_a_dead_host:
        assert running(cluster) <= set(cluster.declaration.director)
    return killed


def running(cluster: Cluster) -> set[str]:
    """Where keepalived runs. One that no declaration names would take the addresses as soon as it misses the others."""
    ask = "systemctl is-active keepalived || :"
    return {name for name, said in cluster.on_each(ask, *DR.declaration.director).items() if said == "active"}


def places(changes: int) -> Iterable[int]:
    """At which changes it is killed. All: until it came to its end, for on a busy machine there may be one more or fewer."""
    return sorted({1 + changes * (2 * n + 1) // (2 * PLACES) for n in range(PLACES)}) if PLACES else count(1)


@pytest.mark.parametrize("name", CHANGES)
def test_it_goes_on_or_back_from_wherever_it_was_killed(cluster: Cluster, name: str) -> None:
    try:
        before = begin_with(cluster, CHANGES[name])
        status, begun = Interrupted(cluster).command_stopped("nothing", 0, CHANGES[name].argv)
        assert status == Exit.DONE, (cluster.folder / "stopped.log").read_text()
        print(f"{name}, undisturbed: {len(begun)} changes", flush=True)
        after = cluster.file.read_text()
        back(cluster)
        ways = cycle(CHANGES[name].ways)
        for place in places(len(begun)):
            assert place <= AT_MOST
            killed = once(cluster, name, place, next(ways), before=before, after=after)
            back(cluster)
            at_rest(cluster)
            if not killed:
                break
        assert place > 1 or killed, "it was never killed"
    finally:
        back(cluster)


def back(cluster: Cluster) -> None:
    """A director that is dead has power again."""
    if not cluster.lab.machines()["lb2"].pid:
        cluster.lab.power_on("lb2")
