"""What all rooms share: one booted lab for the whole run, and the option that rewrites golden files."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.topology import DATABASES
from tests.system.machines import Cluster


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/templates/golden from what is rendered"
    )
    parser.addoption(
        "--lab",
        default="",
        metavar="NAME",
        help="use this lab, left as it is at the end: for work on the tests themselves",
    )


@pytest.fixture(scope="session")
def galera(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two directors and a formed Galera cluster, booted once. Taken down at the end, also after Ctrl-C."""
    kept = request.config.getoption("--lab")
    lab = Lab(kept or f"test-{os.getpid()}")
    try:
        lab.up([*DATABASES, "lb1", "lb2"])
        lab.galera_start()
        yield lab
    finally:
        if not kept:
            lab.down()


@pytest.fixture
def cluster(galera: Lab, tmp_path: Path) -> Cluster:
    """The lab's machines as a cluster to declare, deploy and ask."""
    return Cluster(galera, tmp_path)
