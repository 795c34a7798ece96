"""Lock and history on bare hosts in namespaces, which stand for directors: the shell runs for real."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cluster.errors import HostError, RefusedError
from cluster.history import DECLARATIONS, HISTORY, KEPT, LOCK_FILE, Entry, Lock, text_hash, unfinished
from cluster.observed import parse
from facts import here
from facts.state import script as look
from fleet import history, lock
from fleet.line import Answer
from operations import keeping
from operations.observation import asked_of
from tests.operations.bare import Bare
from tests.operations.test_cut_short import cut
from tests.variants import Variant

pytestmark = pytest.mark.namespace


class Director:
    """A line into a bare host."""

    def __init__(self, bare: Bare) -> None:
        self.bare = bare
        self.silent = ""
        """Why it cannot be told anything; empty: it can."""
        self.mended = True
        """A new connection would come about."""

    def tell(self, script: str, seconds: int = 60) -> Answer:
        del seconds
        if self.silent:
            return Answer(failed=self.silent)
        done = self.bare.sh(script)
        return Answer(tuple(done.stdout.splitlines()), "" if done.returncode == 0 else done.stderr or "?")

    def tell_afresh(self, script: str) -> Answer:
        if self.mended:
            self.silent = ""
        return self.tell(script)

    def files(self) -> dict[str, str]:
        shown = self.bare.run("find /var/lib/lbctl -type f -printf '%m %p\\n' 2>/dev/null || :")
        return {path.removeprefix("/var/lib/lbctl/"): mode for mode, path in map(str.split, shown.splitlines())}


Directors = dict[str, Director]


@pytest.fixture
def lines() -> Iterator[Directors]:
    with ExitStack() as stack:
        yield {name: Director(stack.enter_context(Bare())) for name in ("lb1", "lb2")}


@pytest.fixture
def lb1() -> Iterator[Director]:
    with Bare() as bare:
        yield Director(bare)


ELSEWHERE = replace(lock.owner("switch-mode nat"), user="bert", host="roof", machine="another")
MINE = lock.owner("deploy")


def locked(line: Director, owner: str = ELSEWHERE.write(), silent_for: int = 0) -> None:
    assert line.tell(keeping.take(owner)).lines == ("taken",)
    line.bare.run(f"touch -d '-{silent_for} seconds' {LOCK_FILE}")


# The lock


def test_held_on_every_director_and_let_go(lines: Directors) -> None:
    with lock.held_on(lines, "deploy", {}) as holding:
        assert holding.directors == ["lb1", "lb2"]
        (found,) = lock.found_on(lines, {})
        assert (found.owner, found.directors) == (holding.owner, ("lb1", "lb2"))
        assert lock.why_stale(found) == ""
        assert [line.files() for line in lines.values()] == [{"lock": "600"}] * 2
        holding.check()
    assert [line.files() for line in lines.values()] == [{}] * 2
    assert lock.found_on(lines, {}) == ()


@pytest.mark.parametrize("where", ["lb1", "lb2"])
def test_held_by_another_anywhere(lines: Directors, where: str) -> None:
    """All or nothing: what was taken before the other's lock was met is given back."""
    locked(lines[where])
    with pytest.raises(RefusedError) as refused, lock.held_on(lines, "deploy", {}):
        raise AssertionError
    message = str(refused.value)
    assert f"locked (on {where}) by bert on roof (process {os.getpid()}) since " in message
    assert "UTC: switch-mode nat; last sign of life " in message
    assert "nothing was changed" in message
    assert {name: list(line.files()) for name, line in lines.items() if line.files()} == {where: ["lock"]}
    (found,) = lock.found_on(lines, {})
    assert found.owner == ELSEWHERE


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_let_go_whatever_happens(lb1: Director, error: type[BaseException]) -> None:
    with pytest.raises(error), lock.held_on({"lb1": lb1}, "deploy", {}):
        raise error
    assert lb1.files() == {}


def test_a_connection_that_broke_leaves_no_lock_and_one_that_cannot_be_mended_is_named(lines: Directors) -> None:
    notes: list[str] = []
    with lock.held_on(lines, "deploy", {}, notes.append):
        for line in lines.values():
            line.silent = "connection lost"
        lines["lb2"].mended = False
    assert lines["lb1"].files() == {}
    (note,) = notes
    assert note.startswith("lb2 still has the cluster's lock (connection lost)")


def test_a_director_that_cannot_be_asked_does_not_stop_it(lines: Directors) -> None:
    notes: list[str] = []
    lines["lb1"].silent, lines["lb1"].mended = "no answer", False
    with lock.held_on(lines, "deploy", {"lb3": "no route"}, notes.append) as holding:
        assert holding.directors == ["lb2"]
    assert [note.split(":")[0] + note.rpartition(":")[2] for note in notes] == [
        "lb3 does not hold the cluster's lock no route",
        "lb1 does not hold the cluster's lock no answer",
    ]


def test_unless_none_can(lb1: Director) -> None:
    lb1.bare.run("mkdir -p /var/lib/lbctl; mount -t tmpfs -o size=4k,ro full /var/lib/lbctl")
    for lines, unreachable in (({}, {"lb1": "no route"}), ({"lb1": lb1}, {})):
        with pytest.raises(HostError, match="no director can hold the cluster's lock") as error:  # noqa: SIM117
            with lock.held_on(lines, "deploy", unreachable):
                raise AssertionError
        assert "no route" in str(error.value) or "Read-only" in str(error.value)


def test_of_many_at_the_same_moment_one_gets_it(lb1: Director) -> None:
    owners = [replace(ELSEWHERE, pid=pid).write() for pid in range(1, 13)]
    racing = [
        subprocess.Popen(lb1.bare.inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in owners
    ]
    for process, owner in zip(racing, owners, strict=True):
        assert process.stdin
        # All wait for the same moment.
        process.stdin.write("until [ -e /run/test/go ]; do :; done\n" + keeping.take(owner))
        process.stdin.close()
        process.stdin = None
    lb1.bare.run("touch /run/test/go")
    said = [process.communicate(timeout=60)[0].split()[0] for process in racing]
    assert sorted(said) == ["held"] * 11 + ["taken"]
    assert lb1.bare.run(f"cat {LOCK_FILE}").strip() == owners[said.index("taken")]
    assert list(lb1.files()) == ["lock"]


def test_signs_of_life(lb1: Director) -> None:
    with lock.held_on({"lb1": lb1}, "deploy", {}) as holding:
        lb1.bare.run(f"touch -d '-50 seconds' {LOCK_FILE}")
        assert lock.found_on({"lb1": lb1}, {})[0].silent_for >= 50
        holding.give_sign()
        assert lock.found_on({"lb1": lb1}, {})[0].silent_for < 50
        holding.check()


def test_a_lock_that_was_taken_away_stops_its_owner_and_is_not_made_anew(lb1: Director) -> None:
    with lock.held_on({"lb1": lb1}, "deploy", {}) as holding:
        lb1.bare.run(f"rm {LOCK_FILE}")
        locked(lb1)  # by another
        holding.give_sign()
        with pytest.raises(RefusedError, match="somebody took the cluster's lock away"):
            holding.check()
    assert lock.found_on({"lb1": lb1}, {})[0].owner == ELSEWHERE


def only(lb1: Director) -> Lock:
    (found,) = lock.found_on({"lb1": lb1}, {})
    return found


def test_a_stale_one_is_told_and_taken_away(lb1: Director) -> None:
    locked(lb1, silent_for=75)
    with pytest.raises(RefusedError, match="but no sign of life for ") as refused:  # noqa: SIM117
        with lock.held_on({"lb1": lb1}, "deploy", {}):
            raise AssertionError
    assert "`lbctl unlock`" in refused.value.cure
    assert lock.take_away({"lb1": lb1}, only(lb1)) == {}
    assert lock.found_on({"lb1": lb1}, {}) == ()


def test_only_the_lock_that_was_seen_is_taken_away(lb1: Director) -> None:
    locked(lb1, silent_for=75)
    old = only(lb1)
    lb1.bare.run(f"rm {LOCK_FILE}")
    locked(lb1, MINE.write())
    lock.take_away({"lb1": lb1}, old)
    assert only(lb1).owner == MINE


@pytest.mark.parametrize("text", ["", "{", "\x07 \n two lines\n", "#end\n"])
def test_a_lock_that_cannot_be_read(lb1: Director, text: str) -> None:
    lb1.bare.run(f"mkdir -p /var/lib/lbctl; printf '%s' '{text}' >{LOCK_FILE}")
    fresh = only(lb1)
    assert (fresh.owner, lock.why_stale(fresh)) == (None, "")
    with pytest.raises(RefusedError, match="a lock that cannot be read"), lock.held_on({"lb1": lb1}, "deploy", {}):
        raise AssertionError
    lb1.bare.run(f"touch -d '-75 seconds' {LOCK_FILE}")
    stale = only(lb1)
    assert lock.why_stale(stale)
    lock.take_away({"lb1": lb1}, stale)
    assert lock.found_on({"lb1": lb1}, {}) == ()


def test_whoever_holds_it_can_be_read(lb1: Director) -> None:
    """There is a backslash in the names of users of a Windows domain."""
    locked(lb1, replace(ELSEWHERE, user="SHOP\\anna").write())
    owner = only(lb1).owner
    assert owner
    assert owner.user == "SHOP\\anna"


def test_every_look_at_a_director_sees_it(lb1: Director) -> None:
    """So that plain pyinfra can refuse while a command is under way."""
    question = look(asked_of(Variant().blueprint, "lb1"))
    assert parse(lb1.bare.run(question)).lock is None
    locked(lb1, silent_for=5)
    seen = parse(lb1.bare.run(question)).lock
    assert seen
    assert (seen.text, 5 <= seen.silent_for < 60) == (ELSEWHERE.write(), True)
    lb1.bare.run(f"echo '#end' >{LOCK_FILE}")
    assert parse(lb1.bare.run(question)).lock is not None
    assert "lock" not in look(asked_of(Variant().blueprint, "db1")).replace("flock", "").replace("lbctl.lock", "")


def test_power_fails_while_the_lock_is_taken(lb1: Director) -> None:
    """At each command: it is there whole, or not at all."""
    text = keeping.take(MINE.write())
    place = 0
    while True:
        place += 1
        done = not cut(lb1.bare, text, place)
        left = lb1.bare.run(f"cat {LOCK_FILE} 2>/dev/null || :").strip()
        assert left in {"", MINE.write()}
        if done:
            break
        lb1.bare.run(f"rm -f {LOCK_FILE}")
    assert place > 5
    assert left == MINE.write()
    # What was left beside it is forgotten later.
    assert any(name.startswith(".lock.") for name in lb1.files())
    lb1.bare.run(f"rm {LOCK_FILE}; find /var/lib/lbctl -name '.lock.*' -exec touch -d '-10 min' {{}} +")
    locked(lb1)
    assert list(lb1.files()) == ["lock"]


# The history

OLD = 'name = "shop" # it\'s $HOME `id` \\n\n'
NEW = "no newline at the end\tä"


def ran(lines: Directors, before: str | None, after: str, result: str = "done") -> None:
    past = history.read_on(lines, {})
    history.begin_on(lines, "deploy", before, after, past=past).end(result, ["db2", "db1"])


def test_changes_are_written_down_on_every_director(lines: Directors) -> None:
    ran(lines, None, OLD)
    with history.begin_on(lines, "deploy", OLD, NEW, past=history.read_on(lines, {})):
        found = history.read_on(lines, {})
        assert unfinished(found.entries) == found.last
    found = history.read_on(lines, {})
    first, second = found.entries
    assert (first.number, first.before, first.after) == (1, None, text_hash(OLD))
    assert (second.number, second.before, second.after) == (2, text_hash(OLD), text_hash(NEW))
    assert (first.result, first.changed, second.result, second.changed) == ("done", ("db1", "db2"), "done", ())
    assert (first.by, first.host) == (here.user(), here.name())
    assert found.broken == {}
    assert found.texts == {text_hash(text): ("lb1", "lb2") for text in (OLD, NEW)}
    assert [history.text_on(lines, text_hash(text)) for text in (OLD, NEW)] == [OLD, NEW]
    wanted = ["history/0001.json", "history/0002.json", *(f"declarations/{text_hash(t)}.toml" for t in (OLD, NEW))]
    for line in lines.values():
        assert line.files() == dict.fromkeys(wanted, "600")
        assert line.bare.run(f"stat -c %a {HISTORY} {DECLARATIONS} /var/lib/lbctl").split() == ["700", "700", "755"]


@pytest.mark.parametrize(("error", "result"), [(KeyboardInterrupt(), "interrupted"), (HostError("no"), "failed")])
def test_an_end_that_nobody_foresaw(lb1: Director, error: BaseException, result: str) -> None:
    lines = {"lb1": lb1}
    with (
        suppress(type(error)),
        history.begin_on(lines, "deploy", None, OLD, past=history.read_on(lines, {})) as record,
    ):
        record.changed.add("db1")
        raise error
    last = history.read_on(lines, {}).last
    assert last
    assert (last.result, last.changed, last.is_finished) == (result, ("db1",), True)


def test_a_director_that_was_down_meanwhile(lines: Directors) -> None:
    ran(lines, None, OLD)
    lines["lb1"].silent, lines["lb1"].mended = "no answer", False
    notes: list[str] = []
    unreachable: dict[str, str] = {}
    past = history.read_on(lines, unreachable)
    assert unreachable == {"lb1": "no answer"}
    history.begin_on(lines, "deploy", OLD, NEW, notes.append, past=past).end("done", [])
    assert notes == ["lb1 does not keep this change in its history: no answer"]
    lines["lb1"].silent = ""
    ran(lines, NEW, OLD)
    found = history.read_on(lines, {})
    assert [entry.number for entry in found.entries] == [1, 2, 3]
    assert found.texts[text_hash(NEW)] == ("lb1", "lb2")  # it got the text that the third change came from
    assert "history/0002.json" not in lines["lb1"].files()


def test_a_director_that_joins_leaves_its_former_history_behind(lines: Directors) -> None:
    joining = {"lb2": lines["lb2"]}
    for _ in range(3):
        ran(joining, OLD, NEW)
    notes: list[str] = []
    for _ in range(2):  # the second time it has none
        history.begin_anew(joining, notes.append)
    assert [note.split(" from ")[0] for note in notes] == ["lb2 has a history"]
    assert history.read_on(lines, {}).entries == ()


def test_no_director_to_ask_or_to_write_to(lb1: Director) -> None:
    with pytest.raises(HostError, match="no route"):
        history.read_on({}, {"lb1": "no route"})
    lines = {"lb1": lb1}
    past = history.read_on(lines, {})
    lb1.bare.run("mkdir -p /var/lib/lbctl; mount -t tmpfs -o ro full /var/lib/lbctl")
    with pytest.raises(HostError, match=r"no director can keep the history(?s:.*)Read-only"):
        history.begin_on(lines, "deploy", None, OLD, past=past)


def test_a_text_that_is_damaged_or_gone_is_not_shown(lines: Directors) -> None:
    ran(lines, None, OLD)
    lines["lb1"].bare.run(f"echo more >>{DECLARATIONS}/{text_hash(OLD)}.toml")
    assert history.text_on(lines, text_hash(OLD)) == OLD
    lines["lb2"].bare.run(f"rm {DECLARATIONS}/{text_hash(OLD)}.toml")
    with pytest.raises(HostError, match="has the declaration"):
        history.text_on(lines, text_hash(OLD))


def test_the_oldest_are_forgotten_and_their_texts_with_them(lb1: Director) -> None:
    lines = {"lb1": lb1}
    ran(lines, None, OLD)
    entry = Entry(1, "deploy", "anna", "desk", datetime.now(UTC), after=text_hash(NEW))
    texts = [replace(entry, number=number) for number in range(9_900, 9_900 + KEPT)]
    lb1.bare.run("".join(f"echo '{each.write()}' >{HISTORY}/{each.file}\n" for each in texts))
    ran(lines, None, NEW)
    found = history.read_on(lines, {})
    assert [entry.number for entry in found.entries] == list(range(9_901, 9_901 + KEPT))
    assert found.broken == {}
    assert list(found.texts) == [text_hash(NEW)]


def test_power_fails_while_history_is_written(lb1: Director) -> None:
    """At each command: the entry and its text are there whole, or not at all; and a text that it names is there."""
    lines = {"lb1": lb1}
    entry = Entry(1, "deploy", "anna", "desk", datetime.now(UTC), after=text_hash(NEW))
    text = keeping.remember(entry.file, entry.write(), {text_hash(NEW): NEW})
    place = 0
    while True:
        place += 1
        done = not cut(lb1.bare, text, place)
        found = history.read_on(lines, {})
        assert (found.entries, found.broken) in [((), {}), ((entry,), {})]
        if found.entries or found.texts:
            assert history.text_on(lines, text_hash(NEW)) == NEW
        if done:
            break
        lb1.bare.run("rm -rf /var/lib/lbctl")
    assert place > 8
    assert found.entries == (entry,)
