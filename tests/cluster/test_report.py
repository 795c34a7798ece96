"""What a report says."""

from dataclasses import replace
from datetime import timedelta

from cluster.findings import Check, Finding, Outcome, of_verify
from cluster.history import Entry, History, text_hash
from cluster.report import CHANGES, Conditions, Report, report
from cluster.status import Answers, status
from cluster.verification import Verdict, probes
from cluster.watching import Tone
from tests.cluster.sample import LAB
from tests.cluster.watched import AT, ONLY_A_WRITER, blueprint, changed, elected, healthy, out, without
from tests.variants import Variant

PLAN = blueprint()
WELL = healthy(PLAN)
HERE = Conditions("anna@desk", "0.1.0", "lab.toml", LAB)
DAY = timedelta(days=1)


def entry(number: int, **fields: object) -> Entry:
    began = AT - DAY + timedelta(minutes=number)
    known = Entry(number, "deploy", "anna", "desk", began, began + timedelta(seconds=30), "done", None, "a" * 64)
    return replace(known, **fields)  # type: ignore[arg-type]


def reported(*looks: Answers, past: History | None = None, checks: dict[str, Check | None] | None = None) -> Report:
    seen = [status(PLAN, each) for each in looks or (WELL,)]
    return report(PLAN.declaration, seen, past or History(), checks or {}, HERE)


def test_figures_of_the_whole() -> None:
    found = reported()
    assert found.active == ("lb1",)
    assert found.serving == (3, 3)
    assert found.established == 2 * 3 * 4
    assert found.rate is None  # of one look nothing is known
    assert list(found.services) == ["read", "write"]


def test_servers_in_rotation() -> None:
    assert reported(out(WELL, PLAN, "db3")).serving == (2, 3)
    rests = blueprint(f"{LAB}drained = true\n")
    seen = status(rests, healthy(rests))
    assert report(rests.declaration, [seen], History(), {}, HERE).serving == (2, 2)


def test_who_stands_by_everywhere_is_not_missed_in_rotation() -> None:
    alone = blueprint(ONLY_A_WRITER)
    assert report(alone.declaration, [status(alone, elected(alone))], History(), {}, HERE).serving == (1, 1)
    both = Variant(writer="elected")
    found = report(both.declaration, [status(both.blueprint, elected(both.blueprint))], History(), {}, HERE)
    assert found.serving == (3, 3)


def test_what_happened_between_looks() -> None:
    later = replace(out(WELL, PLAN, "db3", "Connection refused"), at=AT + timedelta(seconds=5))
    found = reported(WELL, later)
    assert [event.at for event in found.happened] == [later.at, later.at]
    assert "db3 serving → out" in found.happened[0].text
    assert found.status.at == later.at


def test_changes_are_told_with_how_they_ended() -> None:
    failed = entry(2, result="failed: db1")
    begun = entry(3, ended=None, result="")
    found = reported(past=History((entry(1), failed, begun)))
    assert [(each.entry.number, each.result, each.tone) for each in found.changes] == [
        (3, "unfinished", Tone.BAD),
        (2, "failed: db1", Tone.BAD),
        (1, "done", Tone.GOOD),
    ]
    assert [each.seconds for each in found.changes] == [None, 30, 30]


def test_old_changes_are_counted() -> None:
    many = History(tuple(entry(number) for number in range(1, CHANGES + 4)))
    found = reported(past=many)
    assert len(found.changes) == CHANGES
    assert found.changes[0].entry.number == CHANGES + 3
    assert found.changes_before == 3


def test_directors_whose_history_is_not_known_are_named() -> None:
    past = History((entry(1),), {}, {"lb2": "no route"}, {"lb1:/x/0001.json": "it is empty"})
    assert reported(past=past).history_gaps == {"lb2": "no route", "lb1:/x/0001.json": "it is empty"}


def test_how_the_declaration_stands_to_the_last_change() -> None:
    same = entry(1, after=text_hash(LAB))
    assert reported(past=History((same,))).deployed == "the same as at change 1, the last"
    assert reported(past=History((same, entry(2)))).deployed == "not the one of change 2, the last"
    assert reported().deployed == "no change was written down yet"


def test_a_check_has_its_age_and_what_came_after_it() -> None:
    check = Check(name="verify", at=AT - DAY + timedelta(minutes=2), by="anna@desk")
    past = History((entry(1), entry(2), entry(3)))
    verify, doctor = reported(past=past, checks={"verify": check, "doctor": None}).checks
    assert verify.check == check
    assert verify.age == (DAY - timedelta(minutes=2)).total_seconds()
    # The second was under way when the check was made.
    assert verify.before == entry(2)
    assert doctor.check is None
    fresh = check.model_copy(update={"at": AT})
    assert reported(past=past, checks={"verify": fresh}).checks[0].before is None


def test_nothing_is_known() -> None:
    dead = Answers(AT, {}, dead=dict.fromkeys(PLAN.declaration.hosts(), "no route"))
    found = reported(dead, dead)
    assert found.active == ()
    assert found.serving == (0, 3)
    assert found.established == 0


def test_two_owners() -> None:
    found = reported(changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses))
    assert found.active == ("lb1", "lb2")
    assert any(trouble.startswith("split brain") for trouble in found.status.troubles)


def test_a_dead_director_has_no_figures() -> None:
    assert reported(without(WELL, "lb2")).established == 2 * 3 * 4


def test_verify_becomes_findings() -> None:
    reads, writes = probes(PLAN.declaration, count=6)[:2]
    good = Verdict(reads, {"db2": 2, "db1": 2, "db3": 2}, remarks=("uneven",))
    bad = Verdict(writes, {"db1": 3, "db2": 3}, faults=("db1 and db2 answered: all must go to one",))
    check = of_verify([good, bad], ("write sticks to different servers",), by="anna@desk", place="here")
    assert not check.healthy
    assert check.findings == (
        Finding(outcome=Outcome.OK, text="read 10.0.0.10:3306 (rotates): db1 2, db2 2, db3 2"),
        Finding(outcome=Outcome.NOTE, text="read 10.0.0.10:3306: uneven"),
        Finding(
            outcome=Outcome.BAD,
            text="write 10.0.0.11:3306 (sticks): db1 3, db2 3; db1 and db2 answered: all must go to one",
        ),
        Finding(outcome=Outcome.NOTE, text="write sticks to different servers"),
    )
    assert Check.model_validate_json(check.model_dump_json()) == check
