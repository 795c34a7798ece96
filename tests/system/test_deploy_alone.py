"""From bare machines through every form of a cluster with one director; at the end a second one joins."""

import pytest

from cluster.vocabulary import Mode, ReturnPath
from tests.system.forms import changes_nothing, declares, deployed, deploys, is_accepted, path, serves
from tests.system.machines import Cluster
from tests.variants import Variant

pytestmark = pytest.mark.lab

PATH = path(1)


@pytest.mark.parametrize("variant", PATH, ids=lambda variant: variant.name)
def test_deploy(cluster: Cluster, variant: Variant) -> None:
    # Every other one by lbctl.
    deploys(cluster, variant, by_lbctl=not PATH.index(variant) % 2)


# A password is what test_secrets.py deploys.
OTHERS = [
    Variant(Mode.NAT, "ranked", 2, return_path=ReturnPath.FWMARK),
    Variant(Mode.NAT, "ranked", 2, vrrp="unicast", return_path=ReturnPath.SNAT),
]


@pytest.mark.parametrize("variant", OTHERS, ids=lambda variant: variant.name)
def test_other_ways(cluster: Cluster, variant: Variant) -> None:
    """Return paths, and what directors must agree on, changed on a pair that serves."""
    declares(cluster, variant)
    deployed(cluster.pyinfra())
    is_accepted(cluster)
    serves(cluster, variant)
    changes_nothing(cluster)
