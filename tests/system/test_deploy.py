"""From bare machines through forms of a cluster with two directors, each deployed over the one before it."""

import itertools

import pytest

from cluster.vocabulary import Mode
from tests.system.forms import deploys, path, short_path
from tests.system.machines import Cluster
from tests.variants import MATRIX, Variant

pytestmark = pytest.mark.lab

PATH, SHORT = path(2), short_path(2)


def changes(*paths: list[Variant]) -> set[tuple[Mode, Mode]]:
    return {pair for each in paths for pair in itertools.pairwise(variant.mode for variant in each)}


def test_paths_have_every_form_and_every_change_of_mode() -> None:
    every = {(a, b) for a in Mode for b in Mode if a is not b}
    assert {*PATH, *path(1)} == set(MATRIX)
    assert changes(PATH) >= every
    short = [*SHORT, *short_path(1)]
    assert len(short) == len({(variant.mode, variant.writer) for variant in short}) == len(MATRIX) / 2
    assert changes(SHORT, short_path(1)) >= every


@pytest.mark.parametrize("variant", SHORT, ids=lambda variant: variant.name)
def test_deploy(cluster: Cluster, variant: Variant) -> None:
    # Every other one by lbctl.
    deploys(cluster, variant, by_lbctl=bool(SHORT.index(variant) % 2))


@pytest.mark.soak
@pytest.mark.parametrize("variant", PATH, ids=lambda variant: variant.name)
def test_every_form(cluster: Cluster, variant: Variant) -> None:
    deploys(cluster, variant, by_lbctl=bool(PATH.index(variant) % 2))
