"""One server and one director boot in the mode that has most to bring back; and the how-to's hooks are found.

All machines in all modes: test_reboots.py.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from cluster.vocabulary import Mode
from tests.system import reboots
from tests.system.machines import PATIENT, Cluster
from tests.variants import Variant

pytestmark = pytest.mark.lab


def test_after_a_boot_all_is_as_before_and_hooks_are_told_of(cluster: Cluster) -> None:
    cluster.declare(Variant(Mode.NAT), **PATIENT)
    deployed = cluster.lbctl("deploy", "--yes")
    assert deployed.status == 0, deployed.output
    active = cluster.active()
    reboots.starts_by_itself(cluster.lab, "db1")
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(reboots.reboot, cluster), ("db1", active)))
        reboots.serves_as_before(cluster)
        cluster.on("db1", f"cat >/etc/network/interfaces.d/by-hand <<'END'\n{reboots.HOOKS}END\n")
        again = cluster.lbctl("deploy", "--yes")
        assert "No host was changed." in again.output
        assert "db1: /etc/network/interfaces.d/by-hand does by hand what lbctl does now" in again.output
        assert "sed -i '4,7d' /etc/network/interfaces.d/by-hand" in again.output
    finally:
        cluster.on("db1", "systemctl -q disable mariadb 2>&1; rm -f /etc/network/interfaces.d/by-hand")
