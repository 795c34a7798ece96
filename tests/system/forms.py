"""What every form of a cluster must show on machines, and the order in which forms follow one another."""

from cluster.keepalived import floating_addresses
from cluster.vocabulary import Mode, ReturnPath
from lab.topology import CLIENT
from tests.system.machines import PATIENT, Cluster, Run
from tests.variants import WRITERS, Variant

# Each mode is entered from each other one.
_MODES = ["dr", "tun", "nat", "dr", "nat", "tun", "dr", "tun", "nat"]
_WRITERS = [writer for writer in WRITERS for _ in range(3)]

# Between them each mode with each writer once, and each change of mode. What runs on the same machines afterwards begins where
# they end.
_SHORT = {
    2: [("dr", "persistent"), ("tun", "elected"), ("dr", "elected"), ("tun", "ranked"), ("nat", "persistent")],
    1: [("nat", "elected"), ("dr", "ranked"), ("nat", "ranked"), ("tun", "persistent")],
}


def path(directors: int) -> list[Variant]:
    """Each form with so many directors, deployed over the one before it."""
    return [Variant(Mode(m), w, directors) for m, w in zip(_MODES, _WRITERS, strict=True)]


def short_path(directors: int) -> list[Variant]:
    """Those of them that `make test` has time for."""
    return [Variant(Mode(m), w, directors) for m, w in _SHORT[directors]]


def declares(cluster: Cluster, variant: Variant) -> None:
    """With health checks that are in no hurry: usual ones take a fifth of a processor for each lab, and are what others test."""
    cluster.declare(variant, **PATIENT)


def deployed(run: Run) -> None:
    assert run.status == 0, run.output
    assert run.rows, run.output
    assert not any(row.error for row in run.rows), run.output


def serves(cluster: Cluster, variant: Variant) -> None:
    """What clients and neighbours see, and what the kernels do."""
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    active = cluster.active()
    floating = floating_addresses(cluster.declaration)
    who_answers_arp = cluster.asks_by_arp(floating)  # while clients ask for more
    for endpoint in cluster.endpoints("read"):
        cluster.rotates(endpoint)
        hidden = variant.mode is Mode.NAT and variant.return_path is ReturnPath.SNAT
        seen = cluster.address_seen(endpoint)
        assert seen == str(cluster.declaration.director[active].address if hidden else CLIENT)
    writers = {cluster.sticks(endpoint) for endpoint in cluster.endpoints("write")}
    expected = {"persistent": writers, "elected": {cluster.first_member()}, "ranked": {"db1"}}[variant.writer]
    assert writers == expected
    assert who_answers_arp() == {address: {cluster.mac(active)} for address in floating}


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


def deploys(cluster: Cluster, variant: Variant, *, by_lbctl: bool) -> None:
    """Over what is there. By lbctl or by plain pyinfra: both end in the same state, and either's second run says so."""
    declares(cluster, variant)
    if by_lbctl:
        done = cluster.lbctl("deploy", "--yes")
        assert done.status == 0, done.output
        assert "changed on" in done.output
    else:
        deployed(cluster.pyinfra())
    is_accepted(cluster)
    serves(cluster, variant)
    changes_nothing(cluster)
    if variant.writer == "elected" and variant.mode is Mode.TUN:
        says_that_nothing_changed(cluster.lbctl("deploy", "--yes"))
        assert cluster.newer() == {}
