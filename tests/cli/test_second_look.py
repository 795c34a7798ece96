"""Until the lock is taken somebody else may have been at work: what hosts show under it decides. The hosts are made up."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import Result

from cli.changing import Asked, _change, _takes_away
from cluster.change import Drain
from cluster.errors import Exit
from cluster.failover import Cost
from cluster.footprint import Blueprint
from cluster.history import History
from cluster.observed import HostState
from cluster.parts import Address
from cluster.plan import Plan
from cluster.vocabulary import Mode
from fleet import change, deployment, failover, history, lock, recorded, session, trial
from fleet.change import Outcome
from tests.cli.shop import SAMPLE, Lbctl
from tests.cluster.states import IFUPDOWN, as_declared, director, with_connections
from tests.cluster.watched import blueprint

PLAN = blueprint(SAMPLE)
D = PLAN.declaration
Seen = Mapping[str, HostState | None]
BARE: Seen = dict.fromkeys(D.hosts(), IFUPDOWN)


def running(active: str, **others: HostState | None) -> Seen:
    """All as declared, but for the hosts that are named."""
    servers = {name: as_declared(PLAN, name, {Mode.DR}) for name in D.real_server}
    return {name: director(PLAN, name, Mode.DR, active=name == active) for name in D.director} | servers | others


@dataclass
class Hosts:
    """A session whose looks are given, the last one for ever; what happens, in `log`, each look and the lock among it."""

    log: list[str] = field(default_factory=list)
    looks: list[Seen] = field(default_factory=list)
    blueprint: Blueprint = PLAN
    unreachable: dict[str, str] = field(default_factory=dict)
    given: Any = None
    """What the last thing that changes hosts was called with."""

    def observe(self, *_: Any, **__: Any) -> Seen:
        seen = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        self.log.append("look")
        self.unreachable = {name: "no route to host" for name, state in seen.items() if state is None}
        return dict(seen)

    def lines(self) -> dict[str, Any]:
        return {}

    @contextmanager
    def held(self, *_: Any) -> Iterator[None]:
        self.log.append("lock")
        yield

    def notes(self, what: str, result: Any = None) -> Callable[..., Any]:
        def call(*given: Any, **_: Any) -> Any:
            self.log.append(what)
            self.given = given
            return result

        return call


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Hosts:
    made = Hosts()
    # The real one changes the whole process, which is pytest's.
    monkeypatch.setitem(sys.modules, "fleet.green", ModuleType("fleet.green"))
    done = Outcome(deployment.Report({}, {}, Plan(())), declared=True)
    for where, name, instead in (
        (session, "Session", lambda *_, **__: nullcontext(made)),
        (lock, "held", made.held),
        (history, "read", lambda _: History()),
        (history, "begin", made.notes("written down", nullcontext())),
        (history, "last_text", lambda *_: None),
        (failover, "carry_out", made.notes("failover", Cost(0.5, 3, 3))),
        (trial, "start", made.notes("trial")),
        (trial, "clear", made.notes("cleared")),
        (trial, "tell", made.notes("table", ())),
        (deployment, "preflight", lambda *_, **__: None),
        (change, "carry_out", made.notes("without the lock", done)),
        (recorded, "carry_out", made.notes("under the lock", done)),
    ):
        monkeypatch.setattr(where, name, instead)
    return made


Called = Callable[..., Result]


@pytest.fixture
def called(lbctl: Lbctl, declaration: Path, hosts: Hosts) -> Called:
    """`called("failover", looks=[first, second])`."""

    def call(*words: str | Path, looks: list[Seen]) -> Result:
        hosts.looks = list(looks)
        return lbctl("-c", declaration, *words, "--yes")

    return call


# Failover


def test_a_failover_goes_by_what_is_seen_under_the_lock(called: Called, hosts: Hosts) -> None:
    busy = with_connections(as_declared(PLAN, "db1", {Mode.DR}), ("10.0.0.10", "10.0.0.20"))
    done = called("failover", looks=[running("lb1"), running("lb1", db1=busy)])
    assert done.exit_code == Exit.DONE, done.stderr
    assert hosts.log == ["look", "lock", "look", "written down", "failover"]
    assert hosts.given[2]["db1"] == busy


@pytest.mark.parametrize(
    ("second", "why"),
    [
        pytest.param(running("lb2"), "the directors have changed meanwhile", id="the other one has taken over"),
        pytest.param(running("lb1", lb2=None), "there is no other director that runs", id="the heir is gone"),
        pytest.param(running("lb1", lb2=IFUPDOWN), "there is no other director that runs", id="the heir was taken out"),
        pytest.param(running(""), "no director that can be asked holds the virtual addresses", id="nobody serves"),
    ],
)
def test_a_failover_that_is_none_any_more_is_not_begun(second: Seen, why: str, called: Called, hosts: Hosts) -> None:
    done = called("failover", looks=[running("lb1"), second])
    assert done.exit_code == Exit.REFUSED, done.output
    assert why in done.stderr
    assert hosts.log == ["look", "lock", "look"]


# Trial

TRIED = replace(IFUPDOWN, addresses=frozenset({Address("eth0", D.vips[0])}))
TABLE = "-A -t 10.0.0.10:3306 -s rr\n"
MEANWHILE = [
    pytest.param(running("lb1"), Exit.REFUSED, "keepalived runs on lb1", id="a deploy"),
    pytest.param({**BARE, "lb2": TRIED}, Exit.REFUSED, "there is a trial on lb2 already", id="a trial elsewhere"),
    pytest.param({**BARE, "lb1": None}, Exit.FAILED, "lb1 cannot be reached; nothing was changed", id="it is gone"),
]


@pytest.mark.parametrize(("second", "code", "why"), MEANWHILE)
@pytest.mark.parametrize("command", ["start", "restore"])
def test_a_trial_that_must_not_be_any_more_is_not_begun(
    command: str, second: Seen, code: Exit, why: str, *, called: Called, hosts: Hosts, tmp_path: Path
) -> None:
    table = tmp_path / "trial.ipvs"
    table.write_text(TABLE)
    done = called("trial", command, *([table] if command == "restore" else []), looks=[BARE, second])
    assert done.exit_code == code, done.output
    assert why in done.stderr
    assert hosts.log == ["look", "lock", "look"]


def test_a_trial_does_not_begin_without_a_server_that_was_there_before(called: Called, hosts: Hosts) -> None:
    done = called("trial", "start", looks=[BARE, {**BARE, "db2": None}])
    assert done.exit_code == Exit.FAILED
    assert "hosts that the trial needs cannot be reached; nothing was changed\n  db2: no route to host" in done.stderr
    assert hosts.log == ["look", "lock", "look"]


def test_a_trial_does_what_is_left_to_do(called: Called, hosts: Hosts) -> None:
    """Somebody has prepared a server meanwhile."""
    done = called("trial", "start", looks=[BARE, {**BARE, "db1": as_declared(PLAN, "db1", {Mode.DR})}])
    assert done.exit_code == Exit.DONE, done.output
    assert hosts.log == ["look", "lock", "look", "trial"]
    assert set(hosts.given[1].hosts) == {"lb1", "db2"}


def test_a_trial_is_taken_away_where_it_is_by_then(called: Called, hosts: Hosts) -> None:
    """What keepalived serves by then is none."""
    done = called("trial", "clear", looks=[{**BARE, "lb1": TRIED, "lb2": TRIED}, {**running("lb1"), "lb2": TRIED}])
    assert done.exit_code == Exit.DONE, done.output
    assert hosts.log == ["look", "lock", "look", "cleared"]
    assert set(hosts.given[1]) == {"lb2"}


# A change by whose plan nothing is left to do

BOTH = as_declared(PLAN, "db1", {Mode.DR, Mode.NAT})
HELD = with_connections(BOTH, ("10.0.0.1", "10.0.0.20"))
"""Of the mode before something is there still, because a client is connected by it."""


@pytest.mark.parametrize(
    ("drain", "db1", "takes"),
    [
        pytest.param(Drain(600), HELD, True, id="it waits, and then takes that away"),
        pytest.param(Drain(None), HELD, True, id="for as long as it takes"),
        pytest.param(Drain(0, cut=True), HELD, True, id="it cuts"),
        pytest.param(Drain(0), HELD, False, id="what is used stays"),
        pytest.param(Drain(600), as_declared(PLAN, "db1", {Mode.DR}), False, id="there is nothing"),
    ],
)
def test_what_takes_something_away_later(drain: Drain, db1: HostState, takes: bool, declaration: Path) -> None:  # noqa: FBT001
    asked = _change(declaration, SAMPLE, Asked("a test", drain=drain))
    assert _takes_away(asked, running("lb1", db1=db1)) is takes


@pytest.mark.parametrize(
    ("db1", "words", "how"),
    [
        (HELD, (), "under the lock"),
        (HELD, ("--drain", "0"), "without the lock"),
        (HELD, ("--drain", "0", "--cut"), "under the lock"),
        (as_declared(PLAN, "db1", {Mode.DR}), (), "without the lock"),
    ],
)
def test_it_is_done_under_the_lock(
    db1: HostState, words: tuple[str, ...], how: str, *, called: Called, hosts: Hosts
) -> None:
    """Another operator may go back to that mode meanwhile."""
    done = called("switch-mode", "dr", *words, looks=[running("lb1", db1=db1)])
    assert done.exit_code == Exit.DONE, done.output
    assert hosts.log == ["look", how]
