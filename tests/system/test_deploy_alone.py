"""From bare machines through forms of a cluster with one director; at the end a second one joins."""

import pytest

from cluster.vocabulary import Mode, ReturnPath
from tests.system.forms import changes_nothing, declares, deployed, deploys, is_accepted, path, serves, short_path
from tests.system.machines import Cluster
from tests.variants import Variant

pytestmark = pytest.mark.lab

PATH, SHORT = path(1), short_path(1)


@pytest.mark.parametrize("variant", SHORT, ids=lambda variant: variant.name)
def test_deploy(cluster: Cluster, variant: Variant) -> None:
    # Every other one by lbctl.
    deploys(cluster, variant, by_lbctl=not SHORT.index(variant) % 2)


@pytest.mark.soak
@pytest.mark.parametrize("variant", PATH, ids=lambda variant: variant.name)
def test_every_form(cluster: Cluster, variant: Variant) -> None:
    deploys(cluster, variant, by_lbctl=not PATH.index(variant) % 2)


# A password is what test_secrets.py deploys.
OTHERS = [
    Variant(Mode.NAT, "ranked", 2, return_path=ReturnPath.FWMARK),
    Variant(Mode.NAT, "ranked", 2, vrrp="unicast", return_path=ReturnPath.SNAT),
]


# Long: golden files, the replay and keepalived's own check of them are in every run.
@pytest.mark.soak
@pytest.mark.parametrize("variant", OTHERS, ids=lambda variant: variant.name)
def test_other_ways(cluster: Cluster, variant: Variant) -> None:
    """Return paths, and what directors must agree on, changed on a pair that serves."""
    declares(cluster, variant)
    deployed(cluster.pyinfra())
    is_accepted(cluster)
    serves(cluster, variant)
    changes_nothing(cluster)
