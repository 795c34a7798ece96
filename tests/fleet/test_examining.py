"""How long a host may take for what `lbctl doctor` asks."""

import pytest

from cluster.footprint import Blueprint
from cluster.pulse import Pulse
from cluster.reading import read
from facts.examination import listens
from fleet.line import Answer
from fleet.onlooker import Onlooker
from templates import render
from tests.cluster.sample import LAB


class Session:
    """Whose hosts all answer at once; it keeps how long they had been given."""

    def __init__(self) -> None:
        self.limits: list[int] = []

    def connect(self, _: str) -> "Session":
        return self

    def tell(self, _: str, limit: int) -> Answer:
        self.limits.append(limit)
        return Answer(("#end",), "")


@pytest.mark.parametrize("every", ["200ms", "10s", "40s"])
def test_a_director_may_listen_for_as_long_as_advertisements_take(every: str) -> None:
    text = LAB.replace("[vrrp]\n", f'[vrrp]\nadvertise_every = "{every}"\n')
    onlooker, session = Onlooker(Blueprint(read(text, "lab.toml"), render)), Session()
    onlooker._session = session  # type: ignore[assignment]  # only what is asked of it
    onlooker._pulses = dict.fromkeys(onlooker.blueprint.declaration.hosts(), Pulse())
    assert onlooker.examine().keys() == set(onlooker.blueprint.declaration.hosts())
    assert min(session.limits) >= listens(onlooker.blueprint.declaration) + 10
