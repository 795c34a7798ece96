"""One look after another, at hosts that take their time."""

from typing import Self, cast

import gevent
import gevent.event

from fleet.line import Answer
from fleet.onlooker import Onlooker
from fleet.session import Session
from tests.variants import Variant

PULSE = ("#listening", "#answers", "#end")


class Slow:
    """A session whose hosts answer at once, and one of them when it is told to."""

    def __init__(self, slow: str) -> None:
        self.slow, self.go, self.name = slow, gevent.event.Event(), ""
        self.asked: list[tuple[str, bool]] = []

    def connect(self, name: str) -> Self:
        self.name = name
        return self

    def tell(self, script: str) -> Answer:
        name, whole = self.name, script.count("\nlook() {") == 2
        self.asked.append((name, whole))
        if name == self.slow:
            self.go.wait()
        return Answer((*PULSE, "#busy") if whole else PULSE)

    def hang_up(self, name: str) -> None:
        """There is no connection."""


def looking(slow: str) -> tuple[Onlooker, Slow]:
    onlooker, hosts = Onlooker(Variant().blueprint), Slow(slow)
    onlooker._session = cast("Session", hosts)
    return onlooker, hosts


def test_a_whole_look_asks_also_whom_a_quick_question_waits_for() -> None:
    onlooker, hosts = looking("db2")
    assert "db2" not in onlooker.look(whole=False, within=0.05).pulses
    gevent.spawn_later(0.05, hosts.go.set)
    found = onlooker.look(whole=True, within=5)
    assert [whole for name, whole in hosts.asked if name == "db2"] == [False, True]
    assert set(found.unseen) == set(Variant().declaration.hosts())
    assert not onlooker._asking


def test_a_host_that_stays_silent_is_lost_with_both_questions() -> None:
    onlooker, hosts = looking("db2")
    onlooker.look(whole=False, within=0.05)
    (first,) = (asking.greenlet for asking in onlooker._asking.values())
    onlooker._limit = 0.1
    found = onlooker.look(whole=True)
    assert found.dead == {"db2": "no answer within 0 s"}
    gevent.sleep(0.05)
    assert first.ready()
    assert [whole for name, whole in hosts.asked if name == "db2"] == [False]


def test_what_was_said_at_an_earlier_look_is_marked() -> None:
    onlooker, hosts = looking("db2")
    hosts.go.set()
    assert onlooker.look(whole=False).late == {}
    hosts.go.clear()
    found = onlooker.look(whole=False, within=0.05)
    assert "db2" in found.pulses
    assert set(found.late) == {"db2"}
    assert 0 < found.late["db2"] < 5
    hosts.go.set()
    assert onlooker.look(whole=False, within=5).late == {}
