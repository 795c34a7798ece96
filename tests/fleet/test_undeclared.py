"""The history is asked for hosts that are declared no more while hosts are looked at."""

import base64
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from cluster.history import DONE, Entry, text_hash
from facts import kept
from fleet import undeclared
from fleet.line import Answer
from tests.variants import Variant

PAIR, ALONE = Variant(), Variant(directors=1)
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
ENDED = Entry(7, "deploy", "ann", "desk", NOON, NOON, DONE, after=text_hash(PAIR.text))
ADDED = Entry(8, "director add lb2", "ann", "desk", NOON, before=text_hash(ALONE.text), after=text_hash(PAIR.text))


class Director:
    """Remembers one change, and the texts of these declarations."""

    def __init__(self, entry: Entry | None, *texts: str) -> None:
        self.entry, self.texts = entry, {text_hash(text): text for text in texts}
        self.asked: list[str] = []
        self.silent = ""

    def tell(self, script: str, seconds: int = 0) -> Answer:
        del seconds
        self.asked.append(script)
        gevent.sleep(0.01)
        if self.silent:
            return Answer(failed=self.silent)
        if script.strip() == kept.HISTORY_ALL.strip():
            told = [f"line {self.entry.file}:{self.entry.write()}"] if self.entry else []
            return Answer((*told, *(f"text {name}.toml" for name in self.texts), "end"))
        (name,) = (name for name in self.texts if f"{kept.text(name)}\n" == script)
        return Answer((base64.b64encode(self.texts[name].encode()).decode(),))

    tell_afresh = tell


def session(director: Director) -> Any:
    return SimpleNamespace(blueprint=ALONE.blueprint, unreachable={}, lines=lambda: {"lb1": director})


def found(director: Director, now: Variant) -> list[str]:
    with undeclared.asked(session(director), now.text) as told:
        return list(told(now.declaration))


def test_who_was_taken_out_by_hand() -> None:
    assert found(Director(ENDED, PAIR.text), ALONE) == ["lb2"]
    assert found(Director(ENDED, PAIR.text), PAIR) == []


@pytest.mark.parametrize("now", [ALONE, PAIR])
def test_a_change_that_was_stopped_tells_of_both_its_sides(now: Variant) -> None:
    """One who comes, where the file does not name it yet; one who goes, where it does not any more."""
    added, removed = ADDED, replace(ADDED, before=ADDED.after, after=ADDED.before)
    for entry in (added, removed):
        assert found(Director(entry, PAIR.text, ALONE.text), now) == (["lb2"] if now is ALONE else [])


def test_what_the_last_change_led_to_is_not_asked_for_where_it_is_the_file() -> None:
    """So a deploy with nothing to do costs one question, which nobody waits for."""
    director = Director(ENDED, PAIR.text)
    assert found(director, PAIR) == []
    assert len(director.asked) == 1


def test_where_nothing_can_be_learnt_nobody_is_stopped() -> None:
    silent = Director(ENDED, PAIR.text)
    silent.silent = "no route"
    no_declaration = "name = 7\n"
    for director in (
        silent,
        Director(None),
        Director(ENDED),
        Director(replace(ENDED, after=text_hash(no_declaration)), no_declaration),
    ):
        assert found(director, ALONE) == []


def test_it_is_asked_beside_the_look_and_nobody_waits_for_it_where_that_ends_the_command() -> None:
    director = Director(ENDED, PAIR.text)

    def look() -> None:
        gevent.sleep(0.001)
        assert director.asked
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), undeclared.asked(session(director), ALONE.text):
        look()
    gevent.sleep(0.05)
    assert len(director.asked) == 1
