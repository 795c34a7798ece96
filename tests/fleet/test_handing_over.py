"""The active director leaves a cluster: what is told to which director, and when, around the step in which it stops."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from cluster.change import Change, Drain
from cluster.errors import HostError, RefusedError
from cluster.failover import Move
from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.parts import Address
from cluster.plan import Work, plan
from cluster.vocabulary import Mode
from fleet import change, equal, failover, sticking
from fleet.change import Listener, Outcome
from fleet.line import Answer
from fleet.session import Result, Session
from operations import director as work_of_director
from tests.cluster.states import as_declared, director
from tests.variants import Variant

PAIR = Variant(Mode.DR).blueprint
D = PAIR.declaration
MOVE = Move("lb1", "lb2")
STICK, SPREAD = "-E -t 10.0.0.10:3306 -s rr -p 60 -M 255.255.255.255", "-E -t 10.0.0.10:3306 -s rr"
COPIED = "/proc/sys/net/ipv4/vs/sync_refresh_period"
BEGIN = [f"lb1: {STICK}", f"lb1: echo 1 >{COPIED}", f"lb2: {STICK}", f"lb2: echo 1 >{COPIED}"]
SELDOM = f'[ "$(cat {COPIED} 2>/dev/null)" != 1 ] || echo 60 >{COPIED}'
END = [f"lb1: {SPREAD}", f"lb1: {SELDOM}", f"lb2: {SPREAD}", f"lb2: {SELDOM}"]
CLIENT, OWN = "0A000014", "0A000004"
"""10.0.0.20, and lb1 itself."""
WRITER = "0A00000B"


def entry(client: str, port: int, server: int = 1) -> str:
    return f"TCP {client} {port:04X} 0A00000A 0CEA 0A00000{server} 0CEA ESTABLISHED     899"


def template(client: str, server: int = 1) -> str:
    """Where a client of the writer goes."""
    return f"TCP {client} 0000 {WRITER} 0CEA 0A00000{server} 0CEA NONE     299"


class Machine:
    """A host's line, and what it is told."""

    def __init__(self, name: str, log: list[str], connections: Iterable[str] = ()) -> None:
        self.name, self.log, self.connections = name, log, list(connections)
        self.table: list[str] = []
        self.failed = ""
        self.standing: list[str] = []
        """Servers: the other ends of connections that stand."""

    def tell(self, script: str, seconds: int = 0) -> Answer:
        del seconds
        if script == equal.CONNECTIONS:
            return Answer(tuple(self.connections), self.failed)
        if script == sticking.TABLE:
            return Answer(tuple(self.table))
        if script.startswith("ss "):
            asked = [place for place in self.standing if f"dst {place} " in script]
            # As of a server's socket that takes both families, which MySQL's is where it is bound to *.
            ends = (place.split(":") for place in asked)
            return Answer(tuple(f"0 0 [::ffff:10.0.0.10]:3306 [::ffff:{address}]:{port}" for address, port in ends))
        for line in script.splitlines():
            self.log.append(f"{self.name}: {line.removesuffix(' 2>/dev/null || :').removeprefix('ipvsadm ')}")
        return Answer()

    tell_afresh = tell


class Pair:
    """A session with two directors and their servers: what they are told, and the steps, in `log`."""

    def __init__(self, blueprint: Blueprint, active: str = "lb1") -> None:
        self.blueprint = blueprint
        self.unreachable: dict[str, str] = {}
        self.log: list[str] = []
        self.interrupts = SimpleNamespace(after_this=self._after_this)
        servers = {name: as_declared(PAIR, name, {Mode.DR}) for name in D.real_server}
        self.states = {name: director(PAIR, name, Mode.DR, active=name == active) for name in D.director} | servers
        self.machines = {name: Machine(name, self.log) for name in self.states}
        self.not_yet: Callable[[int], bool] = lambda _: False
        """Whether lb2 does not send to one server at this look."""
        self.looks = 0

    @contextmanager
    def _after_this(self) -> Iterator[None]:
        yield

    def connect(self, name: str) -> Machine:
        return self.machines[name]

    def observe(self, only: Collection[str] | None = None) -> dict[str, HostState | None]:
        self.looks += only is not None
        seen: dict[str, HostState | None] = dict(self.states)
        if self.not_yet(self.looks):
            seen["lb2"] = director(PAIR, "lb2", Mode.DR, active=False, dead=("db3",))
        return {name: state for name, state in seen.items() if only is None or name in only}

    def forget(self, *names: str) -> None:
        self.log.append(f"looked at anew: {', '.join(names)}")

    def run(self, names: Iterable[str], work: Callable[[], Any]) -> dict[str, Result]:
        if work is work_of_director.leave:
            (name,) = names
            self.log.append(f"{name} stops")
            unit = replace(self.states[name].units["keepalived.service"], active=False)
            left = replace(self.states[name], addresses=frozenset[Address](), units={"keepalived.service": unit})
            self.states |= {name: left, "lb2": director(PAIR, "lb2", Mode.DR, active=True)}
        return {name: Result(changed=True) for name in names}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sticking, "LEARN", 0)
    for module in (time, gevent):
        monkeypatch.setattr(module, "sleep", lambda _: None)


def leaving(*names: str) -> Blueprint:
    """The pair when these have left it; all hosts: it is uninstalled."""
    staying = {name: host for name, host in D.director.items() if name not in names}
    after = D.model_copy(update={"director": staying or D.director})
    return replace(PAIR, declaration=after, former=D, leaving=frozenset(names))


def carried_out(session: Pair) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    asked = Change("director remove", Path("none"), "", "", session.blueprint, Drain(0))
    wanted = plan(session.blueprint, session.observe())
    listener = Listener(lambda _step, _results: None, say=said.append)
    return change.carry_out(cast("Session", session), asked, wanted, listener), said


def test_both_directors_let_clients_stick_and_know_all_connections_while_the_active_one_leaves() -> None:
    session = Pair(leaving("lb1"))
    # A connection of the director's own is none of a client's, and nobody hands it over.
    session.machines["lb1"].connections = [entry(CLIENT, 40000), entry(OWN, 40001)]
    session.machines["lb2"].connections = [entry(CLIENT, 40000)]
    done, said = carried_out(session)
    assert said == ["waits until lb2 knows which client goes where, and every established connection of lb1"]
    assert session.log == [
        *BEGIN,
        "lb1 stops",
        *END,
        "looked at anew: lb1, lb2",
    ]
    assert done.declared
    assert done.report.failed == {}


def test_it_does_not_leave_while_a_connection_would_be_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal, "WITHIN", -1)
    session = Pair(leaving("lb1"))
    session.machines["lb1"].connections = [entry(CLIENT, 40000), entry(CLIENT, 40001)]
    session.machines["lb2"].connections = [entry(CLIENT, 40000)]
    session.machines["db1"].standing = ["10.0.0.20:40001"]
    with pytest.raises(RefusedError, match=r"lb2 does not know 1 of 2 connections of lb1: .* lb1 goes on serving"):
        carried_out(session)
    assert "lb1 stops" not in session.log
    assert session.log[-5:] == [*END, "looked at anew: lb1, lb2"]
    # The same command again goes on, once the connection is known.
    session.machines["lb2"].connections += session.machines["lb1"].connections[1:]
    assert carried_out(session)[0].declared


def test_it_waits_for_its_heir() -> None:
    session = Pair(leaving("lb1"))
    session.not_yet = lambda look: look in {1, 2}
    done, _ = carried_out(session)
    assert done.declared
    assert session.looks == 3
    assert "lb1 stops" in session.log


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change, "SETTLE", -1)
    session = Pair(leaving("lb1"))
    session.not_yet = lambda _: True
    with pytest.raises(RefusedError, match="lb2 cannot serve yet: it does not send connections for"):
        carried_out(session)
    assert session.log == []


@pytest.mark.parametrize(
    ("blueprint", "active"),
    [
        pytest.param(leaving("lb1"), "lb2", id="passive"),
        pytest.param(leaving(*D.hosts()), "lb1", id="uninstall"),
    ],
)
def test_where_nothing_is_handed_over_nothing_is_told(blueprint: Blueprint, active: str) -> None:
    session = Pair(blueprint, active)
    done, said = carried_out(session)
    assert done.declared
    assert said == []
    assert [line for line in session.log if not line.endswith(" stops")] == []
    assert "lb1 stops" in session.log


def test_a_failed_stop_leaves_no_client_sticking(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Pair(leaving("lb1"))
    monkeypatch.setattr(
        session, "run", lambda names, _: {name: Result(failed="no other director holds them") for name in names}
    )
    done, _ = carried_out(session)
    assert not done.declared
    assert "lb1" in done.report.failed
    assert session.log[4:] == [*END, "looked at anew: lb1, lb2"]


# The same for `lbctl failover`


def prepared(session: Pair, *, force: bool = False) -> tuple[int, list[str]]:
    """How many connections both know, and what was said."""
    said: list[str] = []
    seen: Mapping[str, HostState | None] = session.observe()
    with failover.prepared(
        cast("Session", session), session.blueprint.declaration, MOVE, seen, said.append, force=force
    ) as known:
        return len(known), said


def test_what_has_ended_at_its_server_is_not_waited_for() -> None:
    """It went on by way of another director, so this one did not see its end."""
    session = Pair(PAIR)
    session.machines["lb1"].connections = [entry(CLIENT, 40000)]
    assert prepared(session) == (1, [])


def test_a_server_that_cannot_be_asked_says_of_none_that_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equal, "WITHIN", -1)
    session = Pair(PAIR)
    session.unreachable["db1"] = "no route to host"
    del session.machines["db1"]
    session.machines["lb1"].connections = [entry(CLIENT, 40000)]
    with pytest.raises(RefusedError, match="does not know 1 of 1"):
        prepared(session)
    assert prepared(session, force=True) == (1, ["lb2 does not know 1 of 1 connections"])


UNKNOWN = "lb2 does not know where 1 of 1 clients go, which open no connection now"
OTHERWISE = "lb2 remembers another server for 1 of 1 clients"
MAY = ": through it their next connection may go to another server"


def test_a_client_whose_server_the_other_one_does_not_know_is_waited_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = Pair(PAIR)
    session.machines["lb1"].connections = [template(CLIENT)]
    waits = learns_at(monkeypatch, 5, session.machines["lb2"], template(CLIENT))
    assert prepared(session) == (0, [])
    assert len(waits) == 5
    session.machines["lb2"].connections = []
    monkeypatch.setattr(sticking, "EQUAL_WITHIN", -1)
    assert prepared(session) == (0, [UNKNOWN + MAY])


def test_one_that_it_remembers_otherwise_is_named_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel does not replace it, however often it is copied."""
    session = Pair(PAIR)
    session.machines["lb1"].connections = [template(CLIENT, server=1)]
    session.machines["lb2"].connections = [template(CLIENT, server=3)]
    waits = learns_at(monkeypatch, 0, session.machines["lb2"], "")
    assert prepared(session) == (0, [OTHERWISE + MAY])
    assert len(waits) == 1


def test_a_director_that_does_not_show_its_connections_is_not_taken_to_know_them() -> None:
    session = Pair(PAIR)
    session.machines["lb1"].connections = [template(CLIENT)]
    session.machines["lb2"].failed = "no route to host"
    with pytest.raises(HostError, match="no route to host"):
        prepared(session)
    assert session.log == [*BEGIN, *END]


def learns_at(monkeypatch: pytest.MonkeyPatch, wait: int, machine: Machine, line: str) -> list[float]:
    """At that wait the machine hears where a client goes. The waits are the answer."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == wait:
            machine.connections.append(line)

    monkeypatch.setattr(gevent, "sleep", sleep)
    return waits


SERVES = ["TCP  0A00000B:0CEA wrr persistent 300 FFFFFFFF", "  -> 0A000001:0CEA      Route   1      0          0"]


def learnt_back(session: Pair) -> list[str]:
    said: list[str] = []
    sticking.learnt_back(cast("Session", session), MOVE, said.append)
    return said


def test_the_former_active_one_learns_again_where_clients_go(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Pair(PAIR)
    for machine in session.machines.values():
        machine.table = SERVES
    session.machines["lb2"].connections = [template(CLIENT)]
    waits = learns_at(monkeypatch, 4, session.machines["lb1"], template(CLIENT))
    assert learnt_back(session) == []
    assert waits == [sticking.COPIED, 1, 1, 1]
    # Nor is a client that is silent waited for without end.
    session.machines["lb1"].connections = []
    monkeypatch.setattr(sticking, "EQUAL_WITHIN", -1)
    assert learnt_back(session) == [(UNKNOWN + MAY).replace("lb2", "lb1")]


def test_but_not_before_it_has_found_its_servers_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that comes to a service without servers is bound to none."""
    session = Pair(PAIR)
    session.machines["lb2"].table = SERVES
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            session.machines["lb1"].table = SERVES

    monkeypatch.setattr(gevent, "sleep", sleep)
    assert learnt_back(session) == []
    assert waits == [1, 1, 1, sticking.COPIED]
    session.machines["lb1"].table = []
    monkeypatch.setattr(sticking, "AT_SERVICE", -1)
    (said,) = learnt_back(session)
    assert (
        said == "lb1 cannot take over again yet: it does not send connections for 10.0.0.11:3306 to 10.0.0.1:3306 yet"
    )


def test_ctrl_c_ends_only_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gevent, "sleep", interrupted)
    assert learnt_back(Pair(PAIR)) == ["not waited for: that lb1 knows again where clients go"]


def test_without_copied_connections_there_is_nothing_to_prepare() -> None:
    vrrp = D.vrrp.model_copy(update={"synchronise_connections": False})
    session = Pair(replace(PAIR, declaration=D.model_copy(update={"vrrp": vrrp})))
    session.machines["lb1"].connections = [entry(CLIENT, 40000)]
    known, (said,) = prepared(session)
    assert known == 1
    assert "established ones are cut" in said
    assert session.log == []


def test_only_the_step_in_which_a_director_leaves_is_surrounded() -> None:
    session = Pair(leaving("lb1"))
    steps = [step for step in plan(session.blueprint, session.observe()).steps if step.work is not Work.LEAVE]
    assert steps
    for step in steps:
        with change._handing_over(cast("Session", session), step, session.log.append):
            pass
    assert (session.log, session.looks) == ([], 0)
