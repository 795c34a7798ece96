"""The first look at the hosts shows the cluster's lock, too: whether a command goes on, waits, or is refused."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import gevent
import pytest

from cluster.errors import RefusedError
from cluster.history import SeenLock
from cluster.observed import HostState
from fleet import lock
from fleet.line import Answer
from fleet.session import Session
from operations import keeping
from tests.variants import Variant

PAIR = Variant().blueprint
ELSEWHERE = replace(lock.owner("switch-mode nat"), user="bert", host="roof", machine="another")
ENDED = replace(lock.owner("deploy"), pid=2**22 + 1)
"""Of this machine, and no process has that number."""
HELD = SeenLock(2, ELSEWHERE.write())


class Director:
    """Says, when it is asked for nothing else, what lock it has."""

    def __init__(self, there: SeenLock | None) -> None:
        self.there, self.asked = there, 0

    def tell(self, script: str, seconds: int = 0) -> Answer:
        del seconds
        assert script == keeping.look()
        self.asked += 1
        return Answer((f"{self.there.silent_for} {self.there.text}",) if self.there else ())

    tell_afresh = tell


Tell = Callable[[HostState | None], None]


class Hosts:
    """A session. Each look has `events`: a state that a host gives, None where it is busy, or seconds that pass."""

    def __init__(self, there: SeenLock | None, *looks: list[HostState | float | None]) -> None:
        self.blueprint = PAIR
        self.directors = {name: Director(there) for name in PAIR.declaration.director}
        self.left = list(looks)

    def lines(self) -> dict[str, Director]:
        return self.directors

    def observe(self, *, told: Tell = lambda _: None) -> dict[str, HostState | None]:
        events = self.left.pop(0)
        for event in events:
            if isinstance(event, float):
                gevent.sleep(event)
            else:
                told(event)
        states = iter(event for event in events if isinstance(event, HostState))
        return dict.fromkeys(PAIR.declaration.hosts()) | dict(zip(PAIR.declaration.director, states, strict=False))

    @property
    def asked(self) -> list[int]:
        return [director.asked for director in self.directors.values()]


FREE = HostState()
LOCKED = HostState(lock=HELD)


def first_look(hosts: Hosts) -> lock.Seen:
    return lock.observe_unless_held(cast("Session", hosts))


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    with gevent.Timeout(20):
        yield


def test_where_it_is_free_nobody_is_asked_for_it() -> None:
    hosts = Hosts(None, [FREE, FREE])
    assert first_look(hosts)["lb1"] is FREE
    assert hosts.asked == [0, 0]


@pytest.mark.parametrize("first", [LOCKED, None])
def test_held_by_another_it_is_refused_at_once(first: HostState | None) -> None:
    """Also while hosts that this one is at work on (None) let one wait. All directors are asked: one look is not all of them."""
    hosts = Hosts(HELD, [first, 600.0, LOCKED])
    with pytest.raises(RefusedError) as refused:
        first_look(hosts)
    told = f"the cluster is locked (on lb1, lb2) by bert on roof (process {os.getpid()}) since "
    assert told in refused.value.message
    assert refused.value.message.endswith("; nothing was changed")
    assert hosts.asked == [1, 1]


def test_one_that_nobody_gives_signs_for_is_refused_as_such() -> None:
    stale = SeenLock(75, ELSEWHERE.write())
    with pytest.raises(RefusedError, match="but no sign of life for ") as refused:
        first_look(Hosts(stale, [HostState(lock=stale)]))
    assert "`lbctl unlock`" in refused.value.cure


def test_one_whose_process_has_ended_here_stops_nobody() -> None:
    ended = SeenLock(2, ENDED.write())
    hosts = Hosts(ended, [HostState(lock=ended)])
    assert first_look(hosts)["lb1"]
    assert hosts.asked == [0, 0]


def test_a_host_that_is_busy_without_a_lock_is_waited_for() -> None:
    """Such as with a script whose command was killed."""
    hosts = Hosts(None, [None, None, 0.1, FREE])
    assert first_look(hosts)["lb1"] is FREE
    assert hosts.asked == [1, 1]


def test_let_go_meanwhile_hosts_are_looked_at_anew() -> None:
    """What was seen was of a moment amid the other's change."""
    hosts = Hosts(None, [LOCKED, FREE], [FREE, FREE])
    assert first_look(hosts)["lb1"] is FREE
    assert hosts.left == []


def test_what_was_seen_decides_where_hosts_were_looked_at_before() -> None:
    session = cast("Session", Hosts(None))
    lock.refuse_if_held(session, {"lb1": FREE, "lb2": None})
    with pytest.raises(RefusedError, match=r"locked \(on lb2\) by bert on roof"):
        lock.refuse_if_held(session, {"lb1": FREE, "lb2": LOCKED})
