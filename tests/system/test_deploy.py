"""From bare machines through every form of a cluster, each deployed over the one before it."""

import itertools

import pytest

from cluster.keepalived import floating_addresses
from cluster.vocabulary import Mode, ReturnPath
from lab.topology import CLIENT
from tests.system.machines import Cluster, Run
from tests.variants import MATRIX, WRITERS, Variant

pytestmark = pytest.mark.lab

# Each mode is entered from each other one, first with two directors, then with one; at the end lb2 joins again.
_MODES = ["dr", "tun", "nat", "dr", "nat", "tun", "dr", "tun", "nat"]
_WRITERS = [writer for writer in WRITERS for _ in range(3)]
PATH = [Variant(Mode(m), w, n) for n in (2, 1) for m, w in zip(_MODES, _WRITERS, strict=True)]


def test_path_has_every_form_and_every_change_of_mode() -> None:
    assert set(PATH) == set(MATRIX)
    with_two = [v.mode for v in PATH if v.directors == 2]
    changes = set(itertools.pairwise(with_two))
    assert changes >= {(a, b) for a in Mode for b in Mode if a is not b}


def deployed(run: Run) -> None:
    assert run.status == 0, run.output
    assert run.rows, run.output
    assert not any(row.error for row in run.rows), run.output


def serves(cluster: Cluster, variant: Variant) -> None:
    """What clients and neighbours see, and what the kernels do."""
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    active = cluster.active()
    for endpoint in cluster.endpoints("read"):
        cluster.rotates(endpoint)
        hidden = variant.mode is Mode.NAT and variant.return_path is ReturnPath.SNAT
        seen = cluster.address_seen(endpoint)
        assert seen == str(cluster.declaration.director[active].address if hidden else CLIENT)
    writers = {cluster.sticks(endpoint) for endpoint in cluster.endpoints("write")}
    expected = {"persistent": writers, "elected": {cluster.first_member()}, "ranked": {"db1"}}[variant.writer]
    assert writers == expected
    floating = floating_addresses(cluster.declaration)
    assert cluster.who_answers_arp(floating) == {address: {cluster.mac(active)} for address in floating}


def is_accepted(cluster: Cluster) -> None:
    for director in cluster.declaration.director:
        cluster.on(director, "keepalived --config-test -f /etc/keepalived/keepalived.conf 2>&1")  # raises, unless 0


def changes_nothing(cluster: Cluster) -> None:
    """The second run of plain pyinfra."""
    cluster.mark()
    again = cluster.pyinfra()
    deployed(again)
    assert again.changed == []
    assert cluster.newer() == {}


def says_that_nothing_changed(run: Run) -> None:
    assert run.status == 0, run.output
    assert "No host was changed." in run.output


@pytest.mark.parametrize("variant", PATH, ids=lambda variant: variant.name)
def test_deploy(cluster: Cluster, variant: Variant) -> None:
    """Over what is there. Every other one is deployed by lbctl: both end in the same state, and either's second run says so."""
    cluster.declare(variant)
    if PATH.index(variant) % 2:
        by_lbctl = cluster.lbctl("deploy", "--yes")
        assert by_lbctl.status == 0, by_lbctl.output
        assert "changed on" in by_lbctl.output
    else:
        deployed(cluster.pyinfra())
    is_accepted(cluster)
    serves(cluster, variant)
    changes_nothing(cluster)
    if variant.writer == "elected" and variant.mode is Mode.TUN:
        says_that_nothing_changed(cluster.lbctl("deploy", "--yes"))
        assert cluster.newer() == {}


# A password is what test_secrets.py deploys.
OTHERS = [
    Variant(Mode.NAT, "ranked", 2, return_path=ReturnPath.FWMARK),
    Variant(Mode.NAT, "ranked", 2, vrrp="unicast", return_path=ReturnPath.SNAT),
]


@pytest.mark.parametrize("variant", OTHERS, ids=lambda variant: variant.name)
def test_other_ways(cluster: Cluster, variant: Variant) -> None:
    """Return paths, and what directors must agree on, changed on a pair that serves."""
    cluster.declare(variant)
    deployed(cluster.pyinfra())
    is_accepted(cluster)
    serves(cluster, variant)
    changes_nothing(cluster)
