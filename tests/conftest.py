"""What all rooms share: one booted lab for the whole run, and the option that rewrites golden files."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.system.machines import Cluster, booted

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores it and so would what the tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


LONGEST = (
    "test_deploy.py",
    "test_deploy_alone.py",
    "test_faults.py",
    "test_tour.py",
    "test_secrets.py",
    "test_pools.py",
    "test_failover.py",
    "test_boot.py",
    "test_lab_machines.py",
)
"""Two workers take whole files, in this order, then others with machines, then what takes seconds: what begins last should not
be what lasts longest.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    with_machines = {item.path for item in items if item.get_closest_marker("lab")}

    def place(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.name
        return LONGEST.index(name) if name in LONGEST else len(LONGEST), item.path not in with_machines

    items.sort(key=place)


@pytest.fixture(scope="session")
def galera(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two directors and a formed Galera cluster, booted once. Taken down at the end, also after Ctrl-C."""
    kept = request.config.getoption("--lab")
    with booted(kept or f"test-{os.getpid()}", keep=bool(kept)) as lab:
        yield lab


@pytest.fixture
def cluster(galera: Lab, tmp_path: Path) -> Cluster:
    """The lab's machines as a cluster to declare, deploy and ask."""
    return Cluster(galera, tmp_path)
