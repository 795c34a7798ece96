"""A lab for one benchmark, deployed as an operator does it, in the words of the system tests."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.load import Load, Orders
from lab.topology import DATABASES
from tests.system.machines import Cluster
from tests.variants import Variant


def arguments(about: str) -> argparse.Namespace:
    """Options that benchmarks on machines have in common: `modes`, `lab`, `rounds`."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--modes", default=",".join(Mode), help="which forwarding methods, with commas")
    parser.add_argument("--lab", default="", help="use this lab, and leave it as it is")
    parser.add_argument("--rounds", type=int, default=2, help="how often each thing is done in each mode")
    found = parser.parse_args()
    found.modes = [Mode(word) for word in found.modes.split(",")]
    return found


@contextmanager
def machines(kept: str) -> Iterator[Cluster]:
    """Two directors and a Galera cluster: in a lab of their own, or in the one that is kept."""
    lab = Lab(kept or f"bench-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            lab.up([*DATABASES, "lb1", "lb2"])
            lab.galera_start()
            yield Cluster(lab, Path(folder))
        finally:
            if not kept:
                lab.down()


def deployed(cluster: Cluster, mode: Mode) -> None:
    """In this mode, and at rest."""
    cluster.declare(Variant(mode))
    done = cluster.lbctl("deploy", "--yes")
    if done.status:
        raise SystemExit(f"the deploy failed:\n{done.output}")
    at_rest(cluster)


def at_rest(cluster: Cluster) -> str:
    """Both tables as declared, and one active director: its name."""
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster.active()


def load(cluster: Cluster, *, held: int = 20, new_per_second: float = 50) -> Load:
    """On all of the cluster's services at once."""
    endpoints = tuple((str(e.address), e.port) for s in cluster.declaration.service for e in cluster.endpoints(s))
    return Load(cluster.lab, Orders(endpoints, held=held, new_per_second=new_per_second))
