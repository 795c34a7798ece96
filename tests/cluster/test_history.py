"""Lock and history as directors keep them: read strictly, put together from several."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cluster.history import (
    BrokenError,
    Entry,
    History,
    Owner,
    SeenLock,
    history,
    locks,
    merged,
    next_number,
    refusal,
    span,
    text_hash,
    tidy,
    unfinished,
)

WHEN = datetime(2026, 11, 25, 0, 20, 3, 250_000, tzinfo=UTC)
OWNER = Owner("anna", "desk", 4711, WHEN, "deploy", "0123456789abcdef")
ENTRY = Entry(7, "deploy", "anna", "desk", WHEN, before=text_hash("old"), after=text_hash("new"))
ENDED = replace(ENTRY, ended=WHEN + timedelta(seconds=40), result="done", changed=("db1", "lb1"))


@pytest.mark.parametrize("entry", [ENTRY, ENDED, Entry(1, "deploy", "root", "a", WHEN)])
def test_what_is_written_is_read_again(entry: Entry) -> None:
    text = entry.write()
    assert "\n" not in text
    assert text.isascii()
    assert Entry.read(text) == entry


@pytest.mark.parametrize("text", ["failed: " + "x" * 600, "a\nb\x1b[2J", "ä", ""])
def test_whatever_is_to_be_written_can_be_read(text: str) -> None:
    assert Entry.read(replace(ENDED, result=tidy(text)).write()).result.startswith(text[:1])


def test_an_owner_is_read_again() -> None:
    odd = replace(OWNER, user="Jürgen 'x' $(id)", what='switch-mode "nat"')
    assert Owner.read(odd.write()) == odd


def changed(text: str, **values: object) -> str:
    return json.dumps({**json.loads(text), **values})


BROKEN = {
    "": "it is empty",
    "\n": "it is empty",
    '{"number": 7': "it is not JSON",
    "[" * 100_000: "it is not JSON",
    "[]": "it is not a JSON object",
    "{}": "keys that are missing",
    changed(ENTRY.write(), more=1): "'more'",
    changed(ENTRY.write(), number=0): "number is no positive number",
    changed(ENTRY.write(), number=True): "number is no positive number",
    changed(ENTRY.write(), number="7"): "number is no positive number",
    changed(ENTRY.write(), began="yesterday"): "began is ",
    changed(ENTRY.write(), began="2026-11-25T00:20:03"): "without its zone",
    changed(ENTRY.write(), began=None): "began is no line of text",
    changed(ENTRY.write(), what="\x1b[2J"): "what is no line of text",
    changed(ENTRY.write(), by="a\nb"): "by is no line of text",
    changed(ENTRY.write(), result="x" * 501): "result is no line of text",
    changed(ENTRY.write(), after="../../etc/shadow"): "after is no hash",
    changed(ENTRY.write(), after="g" * 64): "after is no hash",
    changed(ENTRY.write(), changed="db1"): "changed is no list",
    changed(ENTRY.write(), changed=[1]): "changed is no line of text",
}


@pytest.mark.parametrize("text", list(BROKEN), ids=[why[:30] for why in BROKEN.values()])
def test_what_is_broken_is_said(text: str) -> None:
    with pytest.raises(BrokenError, match=BROKEN[text]):
        Entry.read(text)


# The lock


def seen(silent_for: int = 3, owner: Owner = OWNER) -> SeenLock:
    return SeenLock(silent_for, owner.write())


def test_a_lock_as_a_director_prints_it() -> None:
    assert SeenLock.read(f"12 {OWNER.write()}\n") == seen(12)
    assert SeenLock.read("-3 ") == SeenLock(-3, "")
    assert SeenLock.read("Welcome to lb1") is SeenLock.read("") is None


def test_one_lock_on_two_directors_is_as_lively_as_the_livelier() -> None:
    (lock,) = locks({"lb1": seen(70), "lb2": seen(3), "lb3": None})
    assert (lock.owner, lock.silent_for, lock.directors) == (OWNER, 3, ("lb1", "lb2"))
    assert lock.why_stale("elsewhere", lambda _: False) == ""


def test_two_operators_who_did_not_reach_the_same_directors() -> None:
    other = replace(OWNER, user="bert")
    assert [(lock.owner, lock.directors) for lock in locks({"lb1": seen(), "lb2": seen(1, other)})] == [
        (OWNER, ("lb1",)),
        (other, ("lb2",)),
    ]


STALE = [
    (60, "elsewhere", True, ""),
    (61, "elsewhere", True, "no sign of life for 61 s"),
    (61, "elsewhere", False, "no sign of life for 61 s"),
    (1, "elsewhere", False, ""),
    (1, OWNER.machine, True, ""),
    (1, OWNER.machine, False, "its process 4711 on this machine has ended"),
    (-5, OWNER.machine, True, ""),
]


@pytest.mark.parametrize(("silent_for", "here", "runs", "why"), STALE)
def test_when_a_lock_is_stale(silent_for: int, here: str, runs: bool, why: str) -> None:  # noqa: FBT001
    (lock,) = locks({"lb1": seen(silent_for)})
    assert lock.why_stale(here, lambda pid: pid == 4711 and runs) == why


def test_a_machine_that_cannot_be_told_is_no_reason() -> None:
    (lock,) = locks({"lb1": seen(1, replace(OWNER, machine=""))})
    assert lock.why_stale("", lambda _: False) == ""


def test_a_lock_that_cannot_be_read_is_one() -> None:
    (lock,) = locks({"lb1": SeenLock(5, "garbage")})
    assert (lock.owner, lock.why_stale(OWNER.machine, lambda _: False)) == (None, "")
    assert "it is not JSON" in refusal(lock, "")[0]
    (old,) = locks({"lb1": SeenLock(500, "garbage")})
    assert old.why_stale("", lambda _: True) == "no sign of life for 8 min"


def test_the_refusal_says_who_since_when_and_whether_they_are_at_work() -> None:
    (lock,) = locks({"lb1": seen(), "lb2": seen()})
    message, cure = refusal(lock, "")
    assert message == (
        "the cluster is locked (on lb1, lb2) by anna on desk (process 4711) since 2026-11-25 00:20:03 UTC: deploy; "
        "last sign of life 3 s ago"
    )
    assert cure == "wait until that is done, or ask anna"
    message, cure = refusal(lock, "no sign of life for 75 s")
    assert message.endswith("deploy; but no sign of life for 75 s")
    assert "`lbctl unlock`" in cure


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 days")]
)
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words


# The history


def printed(*entries: Entry, texts: tuple[str, ...] = ()) -> list[str]:
    """As `facts.kept.HISTORY_ALL` prints it."""
    files = [f"file {entry.file}" for entry in entries]
    return files + [f"line {entry.file}:{entry.write()}" for entry in entries] + [f"text {name}.toml" for name in texts]


def numbered(number: int, minutes: int, *, ended: bool = True) -> Entry:
    began = WHEN + timedelta(minutes=minutes)
    return replace(ENDED if ended else ENTRY, number=number, began=began)


def test_a_director_that_was_down_meanwhile() -> None:
    """It lacks what came then, and does not know how the one ended during which it went down."""
    whole = [numbered(1, 0), numbered(2, 1), numbered(3, 2)]
    behind = [numbered(1, 0), numbered(2, 1, ended=False)]
    for told in ({"lb1": printed(*whole), "lb2": printed(*behind)}, {"lb2": printed(*behind), "lb1": printed(*whole)}):
        found = history(told, {})
        assert list(found.entries) == whole
        assert next_number(found.entries) == 4
        assert unfinished(found.entries) is None
    alone = history({"lb2": printed(*behind)}, {"lb1": "no route"})
    assert next_number(alone.entries) == 3
    assert unfinished(alone.entries) == behind[1]
    assert dict(alone.unreachable) == {"lb1": "no route"}


def test_one_number_twice() -> None:
    """lb2 was asked alone while lb1 was down, and did not know of lb1's number 2: both happened."""
    first, second = numbered(2, 1), numbered(2, 9)
    found = history({"lb1": printed(numbered(1, 0), first), "lb2": printed(numbered(1, 0), second)}, {})
    assert found.entries == (numbered(1, 0), first, second)
    assert (found.last, found.numbered(2), next_number(found.entries)) == (second, second, 3)


def test_nothing_yet() -> None:
    found = history({"lb1": []}, {})
    assert (found.entries, found.last, next_number(()), unfinished(())) == ((), None, 1, None)
    assert found.numbered(1) is None


def test_broken_and_foreign_files_are_named_and_the_rest_is_read() -> None:
    lines = [
        *printed(numbered(1, 0), texts=("abc",)),
        "file 0002.json",
        "file 0003.json",
        "line 0003.json:{",
        'line 0003.json:  "number": 3}',
        "file 0009.json",
        f"line 0009.json:{numbered(4, 4).write()}",
    ]
    found = history({"lb1": lines}, {})
    assert found.entries == (numbered(1, 0),)
    assert {name.rpartition("/")[2]: why[:27] for name, why in found.broken.items()} == {
        "0002.json": "it is empty",
        "0003.json": "keys that are missing, or t",
        "0009.json": "it says that it is number 4",
    }
    assert dict(found.texts) == {"abc": ("lb1",)}


def test_merging_keeps_what_is_finished() -> None:
    assert merged([ENTRY, ENDED, ENTRY]) == (ENDED,)


def test_the_last_change_of_the_declaration_is_not_the_deploy_that_finished_it() -> None:
    switch = replace(ENDED, number=8, what="switch-mode nat")
    deploy = replace(ENDED, number=9, before=switch.after)
    past = History((ENTRY, switch, deploy))
    assert past.last == deploy
    assert past.last_to_another == switch
    assert History((deploy,)).last_to_another is None
