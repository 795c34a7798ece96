"""Pulse and state of a host come in one answer, and the second may be missing."""

from typing import Self, cast

import pytest

from cluster.status import BUSY
from fleet.line import Answer
from fleet.onlooker import Onlooker
from fleet.session import Session
from tests.variants import Variant

FIRST_HALF = ("#listening", "#answers", "#end", "#files")
"""Of a server's answer: the pulse is whole, the state is not."""


@pytest.mark.parametrize(
    ("answer", "dead", "unseen"),
    [
        (Answer(FIRST_HALF, "it took longer than 15 s"), {}, {"db1": "it took longer than 15 s"}),
        (Answer(FIRST_HALF), {}, {"db1": "its answer stopped half-way"}),
        (Answer((*FIRST_HALF[:-1], "#busy")), {}, {"db1": BUSY}),
        (Answer(FIRST_HALF[:1], "it took longer than 15 s"), {"db1": "it took longer than 15 s"}, {}),
        (Answer(FIRST_HALF[:1]), {"db1": "its answer stopped half-way"}, {}),
    ],
)
def test_what_a_host_said_before_it_failed_is_good(
    answer: Answer, dead: dict[str, str], unseen: dict[str, str]
) -> None:
    onlooker = Onlooker(Variant().blueprint)
    onlooker._session = cast("Session", Silent(answer))
    onlooker._one("db1", whole=True)
    assert (onlooker._dead, onlooker._unseen) == (dead, unseen)
    assert set(onlooker._pulses) == {"db1"} - set(dead)


class Silent:
    """A session whose hosts say one thing, and no more."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def connect(self, name: str) -> Self:
        del name
        return self

    def tell(self, script: str) -> Answer:
        assert script.count("\nlook() {") == 2
        return self.answer

    def hang_up(self, name: str) -> None:
        """There is no connection."""
