"""A host whose address is a lease is not made to give it back."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from cluster.observed import HostState
from cluster.plan import plan
from cluster.vocabulary import Mode
from tests.cluster.simulated_host import bare
from tests.cluster.states import IFUPDOWN, NETWORKD, as_declared
from tests.variants import Variant

PLAN = Variant(Mode.DR).blueprint
LEASED = replace(bare(NETWORKD), leased=frozenset({IPv4Address("10.0.0.1")}))


def refused(state: HostState) -> dict[str, str]:
    found = plan(PLAN, dict.fromkeys(PLAN.declaration.hosts(), bare(NETWORKD)) | {"db1": state})
    assert found.steps
    assert ("netplan's critical: true" in found.cure) is bool(found.refused)
    return dict(found.refused)


def test_a_restart_of_networkd_would_take_its_address() -> None:
    why = (
        "its address 10.0.0.1 is a lease (DHCP), and systemd-networkd must be restarted once, by which it is given back"
    )
    assert refused(LEASED) == {"db1": why}


@pytest.mark.parametrize(
    "state",
    [
        replace(LEASED, keeps_all=True),
        replace(LEASED, leased=frozenset({IPv4Address("192.168.1.5")})),
        replace(bare(IFUPDOWN), leased=LEASED.leased),
        replace(as_declared(PLAN, "db1", {Mode.DR}, NETWORKD), leased=LEASED.leased),
    ],
    ids=["it keeps the lease", "another address", "not networkd's", "it was restarted before"],
)
def test_where_none_is_needed_or_takes_nothing(state: HostState) -> None:
    assert refused(state) == {}
