"""What happened between two looks."""

from dataclasses import replace

import pytest

from cluster.history import Owner, SeenLock
from cluster.status import Answers, status
from cluster.vocabulary import Mode
from cluster.watching import Course, Event, Tone, events, sparkline
from tests.cluster.sample import LAB
from tests.cluster.test_status import edited
from tests.cluster.watched import AT, ONLY_A_WRITER, blueprint, changed, elected, healthy, out, standing_by, without

PLAN = blueprint()
WELL = healthy(PLAN)


def between(before: Answers, after: Answers) -> list[tuple[Tone, str]]:
    return [(e.tone, e.text) for e in events(status(PLAN, before), status(PLAN, after))]


def moved(answers: Answers) -> Answers:
    held = answers.pulses["lb1"].addresses
    return changed(changed(answers, "lb1", addresses=frozenset()), "lb2", addresses=held)


def test_nothing_happened() -> None:
    assert between(WELL, replace(WELL, at=AT.replace(hour=4))) == []


def test_a_failover_is_one_event() -> None:
    assert between(WELL, moved(WELL)) == [(Tone.NEWS, "failover: lb1 → lb2 active")]


def test_the_active_director_died() -> None:
    died = without(changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses), "lb1", "no answer")
    assert between(WELL, died) == [
        (Tone.NEWS, "failover: lb1 → lb2 active"),
        (Tone.BAD, "lb1: active → dead (no answer)"),
    ]
    assert between(died, moved(WELL)) == [(Tone.GOOD, "lb1: dead → backup")]


def test_a_director_that_lost_its_power_holds_nothing_while_its_last_answer_is_remembered() -> None:
    """For up to 17 s watch knows no more of it than what it said before; its peer has taken over after 4."""
    taken = changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses)
    late = replace(taken, late={"lb1": 4.2})
    assert between(WELL, late) == [
        (Tone.NEWS, "failover: lb1 → lb2 active"),
        (Tone.BAD, "lb1: active → silent (no answer for 4 s, and lb2 took over)"),
    ]
    found = status(PLAN, late)
    assert found.serving == "lb2"
    assert found.troubles == ("lb1: no answer for 4 s, and lb2 took over",)
    assert between(late, without(late, "lb1", "no answer")) == [(Tone.BAD, "lb1: silent → dead (no answer)")]


def test_a_director_that_is_slow_for_one_look_stays_what_it_was() -> None:
    assert between(WELL, replace(WELL, late={"lb1": 2.5, "lb2": 2.5})) == []
    both = changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses)
    assert between(both, replace(both, late={"lb1": 2.5, "lb2": 2.5})) == []


def test_both_are_active_and_nobody_is() -> None:
    both = changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses)
    nobody = changed(WELL, "lb1", addresses=frozenset())
    assert between(WELL, both) == [(Tone.BAD, "failover: lb1 → lb1 and lb2 active")]
    assert between(WELL, nobody) == [(Tone.BAD, "failover: lb1 → nobody active")]


def test_a_server_goes_and_comes_back() -> None:
    gone = out(WELL, PLAN, "db3", "Connection refused")
    why = "clustercheck at 10.0.0.3:9200/: connection refused"
    assert between(WELL, gone) == [
        (Tone.BAD, f"read 10.0.0.10:3306: db3 serving → out: {why}"),
        (Tone.BAD, f"write 10.0.0.11:3306: db3 serving → out: {why}"),
    ]
    assert between(gone, WELL) == [
        (Tone.GOOD, "read 10.0.0.10:3306: db3 out → serving"),
        (Tone.GOOD, "write 10.0.0.11:3306: db3 out → serving"),
    ]


def test_another_writer_is_news() -> None:
    plan = blueprint(ONLY_A_WRITER)
    new = standing_by(
        healthy(plan), plan, dict.fromkeys(("db1", "db3"), "503 wsrep_local_index is 2, the master is index 0")
    )
    seen = events(status(plan, elected(plan)), status(plan, new))
    assert [(e.tone, e.text.split(": ", 1)[1].split(":")[0]) for e in seen] == [
        (Tone.NEWS, "db1 serving → standby"),
        (Tone.GOOD, "db2 standby → serving"),
    ]


def test_a_weight_and_a_mode() -> None:
    assert between(WELL, edited(WELL, weight=3)) == [(Tone.NEWS, "read 10.0.0.10:3306: db1 weight 10 → 3")]
    assert between(WELL, edited(WELL, mode=Mode.TUN)) == [(Tone.NEWS, "read 10.0.0.10:3306: db1 mode dr → tun")]


def test_a_drained_server() -> None:
    drained = blueprint(LAB + "drained = true\n")
    after = status(drained, healthy(drained))
    assert Event(Tone.NEWS, "read 10.0.0.10:3306: db3 serving → drained") in list(events(status(PLAN, WELL), after))


def test_a_server_that_cannot_be_asked_any_more() -> None:
    assert between(WELL, without(WELL, "db2", "silence")) == [(Tone.BAD, "db2 cannot be asked: silence")]
    assert between(without(WELL, "db2"), WELL) == [(Tone.GOOD, "db2 answers again")]


def test_a_change_begins_and_ends() -> None:
    owner = Owner("anna", "desk", 77, AT, "switch-mode nat")
    busy = changed(WELL, "lb1", lock=SeenLock(1, owner.write()))
    assert between(WELL, busy) == [
        (Tone.NEWS, "a change began: anna on desk (process 77) since 2026-11-25 03:14:15 UTC: switch-mode nat")
    ]
    # Another sign of life is no news.
    assert between(busy, changed(WELL, "lb1", lock=SeenLock(9, owner.write()))) == []
    assert between(busy, WELL) == [(Tone.NEWS, "the lock is free: switch-mode nat")]


@pytest.mark.parametrize(
    ("values", "line"),
    [([], ""), ([0, 0], "▁▁"), ([1], "█"), ([0, 1, 100], "▁▂█"), ([1, 2, 3, 4, 5, 6, 7], "▂▃▄▅▆▇█")],
)
def test_sparkline(values: list[int], line: str) -> None:
    assert sparkline(values) == line


def test_the_course_is_of_each_server_and_has_an_end() -> None:
    course = Course(length=3)
    found = status(PLAN, WELL)
    for _ in range(5):
        course.add(found)
    endpoint = found.endpoints[0]
    assert course.of(endpoint, endpoint.servers[0]) == "███"
    course.add(status(PLAN, out(WELL, PLAN, "db1")))
    assert course.of(endpoint, endpoint.servers[0]) == "██▁"
    assert course.of(endpoint, endpoint.servers[1]) == "███"
