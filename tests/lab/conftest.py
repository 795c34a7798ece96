"""A lab of this test run's own."""

from collections.abc import Iterator

import pytest

from lab.lab import Lab
from tests.lab.lab_traces import new_name, traces


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """db1 and lb1, with their power on."""
    lab = Lab(new_name())
    lab.up(["db1", "lb1"])
    yield lab
    lab.down()
    assert traces(lab.name) == set()


@pytest.fixture
def another() -> Iterator[Lab]:
    """One that is not up yet."""
    lab = Lab(new_name())
    yield lab
    lab.down()
    assert traces(lab.name) == set()
