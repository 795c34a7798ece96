"""What all rooms share: one booted lab for the whole run, and the option that rewrites golden files."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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


LABS = (
    (
        "test_deploy.py",
        "test_boot.py",
        "test_doors.py",
        "test_tour.py",
        "test_on_machines.py",
        "test_lab_machine.py",
    ),
    ("test_deploy_alone.py", "test_faults.py", "test_failover.py", "test_acceptance.py"),
    ("test_lab_machines.py",),
)
"""What `make test` runs one after the other on the machines of one lab, in this order. The order is fixed: what a test finds on
the machines is what the one before it left there.
"""


class ByLab(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """xdist's way to give whole files to workers, with the files of one lab as one.

    Its own groups (`--dist loadgroup`) have no effect with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        name = path.rpartition("/")[2]
        return next((names[0] for names in LABS if name in names), path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByLab:
    return ByLab(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Labs first, each a worker's; the other files go to who has nothing to do."""
    order = [name for lab in LABS for name in lab]

    def place(item: pytest.Item) -> tuple[int, bool]:
        name = item.path.name
        return order.index(name) if name in order else len(order), not item.get_closest_marker("lab")

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
