"""A change that was agreed to is planned anew under the lock: it is done as hosts are then, or not at all."""

from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from cluster.change import Change, Drain
from cluster.errors import HostError, LbctlError, RefusedError
from cluster.footprint import Blueprint
from cluster.history import History
from cluster.observed import HostState
from cluster.plan import plan
from cluster.vocabulary import Mode
from fleet import change as changes
from fleet import history, lock, recorded
from fleet.change import Listener, Outcome
from fleet.recorded import Agreed
from fleet.session import Session
from tests.cluster.states import IFUPDOWN, as_declared, director
from tests.variants import Variant

PAIR = Variant(Mode.DR)
D = PAIR.blueprint.declaration
Seen = Mapping[str, HostState | None]


def running(**others: HostState | None) -> Seen:
    """All as declared, but for the hosts that are named."""
    servers = {name: as_declared(PAIR.blueprint, name, {Mode.DR}) for name in D.real_server}
    return {n: director(PAIR.blueprint, n, Mode.DR, active=n == "lb1") for n in D.director} | servers | others


@dataclass
class Hosts:
    """A session, and in `log` what was done of what there was to do: each look, and each step with its hosts."""

    blueprint: Blueprint
    second: Seen
    unreachable: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def observe(self) -> Seen:
        self.log.append("look")
        self.unreachable = {name: "no route to host" for name, state in self.second.items() if state is None}
        return self.second

    def lines(self) -> dict[str, Any]:
        return {}

    def carry_out(self, _session: Any, _change: Any, wanted: Any, *_: Any) -> Outcome:
        self.log += [f"{step.work} {', '.join(sorted(step.changes))}" for step in wanted.steps]
        return Outcome()


@contextmanager
def held(session: Hosts, *_: Any) -> Any:
    session.log.append("lock")
    yield


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(lock, "held", held)
    monkeypatch.setattr(history, "read", lambda _: History())
    monkeypatch.setattr(history, "last_text", lambda *_: None)
    monkeypatch.setattr(history, "begin", lambda session, *_, **__: session.log.append("written down") or Record())
    monkeypatch.setattr(changes, "carry_out", lambda session, *rest: session.carry_out(session, *rest))
    made = tmp_path / "cluster.toml"
    made.write_text(PAIR.text)
    return made


class Record(nullcontext[Any]):
    """Of the history."""

    def __init__(self) -> None:
        super().__init__(self)
        self.changed: set[str] = set()

    def end(self, *_: Any) -> None:
        pass


def done(file: Path, first: Seen, second: Seen, blueprint: Blueprint = PAIR.blueprint, **agreed: Any) -> list[str]:
    session = Hosts(blueprint, second)
    asked = Change("deploy", file, PAIR.text, PAIR.text, blueprint, Drain(0))
    listener = Listener(lambda _step, _results: None)
    try:
        recorded.carry_out(
            cast("Session", session), asked, Agreed(plan(blueprint, first), first, **agreed), listener, lambda _: None
        )
    except LbctlError:
        assert session.log == ["lock", "look"], "something was begun"
        raise
    return session.log


BEGUN = ["lock", "look", "written down"]


def test_what_was_agreed_to_is_done(file: Path) -> None:
    bare = running(db1=IFUPDOWN)
    assert done(file, bare, bare) == [*BEGUN, "install db1", "prepare db1"]


def test_of_what_was_agreed_to_what_is_left(file: Path) -> None:
    assert done(file, running(db1=IFUPDOWN, db2=IFUPDOWN), running(db2=IFUPDOWN)) == [
        *BEGUN,
        "install db2",
        "prepare db2",
    ]


def test_no_more_than_what_was_agreed_to(file: Path) -> None:
    with pytest.raises(RefusedError, match="the hosts have changed since the plan was made; nothing was changed now"):
        done(file, running(db1=IFUPDOWN), running(db1=IFUPDOWN, db2=IFUPDOWN))


def test_what_a_health_check_does_meanwhile_is_no_more(file: Path) -> None:
    """Nor is what is to be taken away: connections have ended."""
    dead = director(PAIR.blueprint, "lb1", Mode.DR, active=True, dead=("db3",))
    both = as_declared(PAIR.blueprint, "db2", {Mode.DR, Mode.NAT})
    assert done(file, running(), running(lb1=dead, db2=both)) == [*BEGUN, "retire db2"]


def test_nor_what_a_failover_does_to_a_table(file: Path) -> None:
    """Amid one, new connections are spread otherwise for a moment."""
    lb1 = director(PAIR.blueprint, "lb1", Mode.DR, active=True)
    otherwise = replace(lb1, services=tuple(replace(service, scheduler="sh") for service in lb1.services))
    assert done(file, running(), running(lb1=otherwise)) == [*BEGUN, "configure lb1"]


def test_not_where_it_must_not_be_any_more(file: Path) -> None:
    def judge(seen: Seen) -> None:
        if seen["db3"] is None:
            raise RefusedError("without db3 nobody would be served")

    with pytest.raises(RefusedError, match="without db3 nobody"):
        done(file, running(), running(db3=None), judge=judge)


def test_not_where_no_host_answers_any_more(file: Path) -> None:
    with pytest.raises(HostError, match="no host can be reached; nothing was changed"):
        done(file, running(), dict.fromkeys(D.hosts()))


def test_not_where_a_host_that_leaves_is_gone(file: Path) -> None:
    staying = {name: server for name, server in D.real_server.items() if name != "db3"}
    after = D.model_copy(update={"real_server": staying})
    leaving = replace(PAIR.blueprint, declaration=after, former=D, leaving=frozenset({"db3"}))
    with pytest.raises(RefusedError, match="db3 cannot be reached, so it cannot hand over or be emptied"):
        done(file, running(), running(db3=None), leaving)


def test_not_what_a_plan_refuses_by_then(file: Path) -> None:
    """Somebody has switched to nat meanwhile: its gateway would move under clients."""
    other = D.model_copy(update={"nat": D.nat.model_copy(update={"gateway": D.vips[0] + 90})})
    nat = {name: as_declared(Variant(Mode.NAT).blueprint, name, {Mode.NAT}) for name in D.real_server}
    by_nat = {n: director(Variant(Mode.NAT).blueprint, n, Mode.NAT, active=n == "lb1") for n in D.director}
    with pytest.raises(RefusedError, match="nat is in use"):
        done(file, running(), {**nat, **by_nat}, replace(PAIR.blueprint, declaration=other))
