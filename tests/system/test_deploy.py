"""From bare machines through every form of a cluster with two directors, each deployed over the one before it."""

import itertools

import pytest

from cluster.vocabulary import Mode
from tests.system.forms import deploys, path
from tests.system.machines import Cluster
from tests.variants import MATRIX, Variant

pytestmark = pytest.mark.lab

PATH = path(2)


def test_paths_have_every_form_and_every_change_of_mode() -> None:
    assert {*PATH, *path(1)} == set(MATRIX)
    changes = set(itertools.pairwise(variant.mode for variant in PATH))
    assert changes >= {(a, b) for a in Mode for b in Mode if a is not b}


@pytest.mark.parametrize("variant", PATH, ids=lambda variant: variant.name)
def test_deploy(cluster: Cluster, variant: Variant) -> None:
    # Every other one by lbctl.
    deploys(cluster, variant, by_lbctl=bool(PATH.index(variant) % 2))
