"""After a reboot all is as before: each machine, all at once, in each mode, for either of those who configure networks.

`make soak`, or: pytest -m soak -s tests/system/test_reboots.py, which prints the seconds.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.vocabulary import BootFiles, Mode
from lab.lab import Lab
from lab.topology import DATABASES
from tests.system import reboots
from tests.system.machines import Cluster
from tests.variants import Variant

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


# The scope of the session comes first in pytest's order: so each lab is booted once.
@pytest.fixture(scope="session", params=[BootFiles.IFUPDOWN, BootFiles.NETWORKD])
def machines(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two directors and three database servers whose MariaDB starts at boot."""
    kept = request.config.getoption("--lab")
    lab = Lab(f"{kept or f'test-{os.getpid()}'}-{request.param}", variant=request.param)
    try:
        lab.up([*DATABASES, "lb1", "lb2"])
        lab.galera_start()
        reboots.starts_by_itself(lab, *DATABASES)
        yield lab
    finally:
        if not kept:
            lab.down()


@pytest.fixture(scope="module", params=list(Mode))
def deployed(machines: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster in one mode, deployed by lbctl over what was there."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    cluster = Cluster(machines, folder)
    cluster.declare(Variant(request.param))
    run = cluster.lbctl("deploy", "--yes")
    assert run.status == 0, run.output
    reboots.serves_as_before(cluster)
    return cluster


def told(cluster: Cluster, what: str, events: str) -> None:
    print(f"\n{cluster.lab.variant} {cluster.declaration.mode}: {what}; since boot: {events}", flush=True)


@pytest.mark.parametrize("host", [*DATABASES, "lb1", "lb2"])
def test_a_reboot(deployed: Cluster, host: str) -> None:
    clock = reboots.reboot(deployed, host)
    told(deployed, f"{host} rebooted", reboots.is_back(deployed, clock, [host]))
    reboots.nothing_to_do(deployed)
    reboots.deploy_changes_nothing(deployed)


def test_a_power_cut_of_all(deployed: Cluster) -> None:
    clock = reboots.power_cut(deployed, deployed.hosts)
    told(deployed, "power cut of all", reboots.is_back(deployed, clock, deployed.hosts))
    reboots.nothing_to_do(deployed)
    reboots.deploy_changes_nothing(deployed)
    for director in ("lb1", "lb2"):
        reboots.has_its_routes(deployed, director)


@pytest.mark.parametrize("role", ["real server", "active director"])
def test_the_network_is_started_anew(deployed: Cluster, role: str) -> None:
    """By whoever configures it, and by hand."""
    host = "db1" if role == "real server" else deployed.active()
    for command in reboots.restarts(deployed.lab.variant, host, deployed.declaration.mode):
        reboots.detached(deployed, host, command)
        reboots.nothing_to_do(deployed)
        reboots.serves_as_before(deployed)
        if host != "db1":
            reboots.has_its_routes(deployed, host)


@pytest.mark.parametrize("machines", [BootFiles.NETWORKD], indirect=True)
def test_networkd_is_restarted_and_nobody_notices(deployed: Cluster) -> None:
    """An upgrade of the package does so. Nothing is taken away, and the active director stays it."""
    active = deployed.active()
    for host in ("db1", active):
        watch = "ip -o monitor address rule route"
        gone = deployed.on(
            host,
            f"{watch} >/run/monitor & sleep 1; systemctl restart systemd-networkd; sleep 3; networkctl reload; sleep 2; "
            "kill $!; grep Deleted /run/monitor || :",
        )
        assert gone == ""
    assert deployed.active() == active


@pytest.mark.parametrize("deployed", [Mode.NAT], indirect=True)
def test_answers_never_go_past_the_director(deployed: Cluster) -> None:
    """While the link of a server goes down and comes up, five times, under new connections."""
    endpoint = deployed.endpoints("read")[0]

    def connect() -> None:
        for _ in range(6):
            deployed.query(endpoint, "select 1")

    def flaps() -> None:
        for _ in range(5):
            reboots.detached(deployed, "db1", "ip link set eth0 down; sleep 1; ip link set eth0 up")
            connect()

    assert reboots.direct_replies(deployed, "db1", flaps) == 0
    reboots.nothing_to_do(deployed)
    reboots.serves_as_before(deployed)

    def without_return_path() -> None:
        deployed.on("db1", "systemctl stop lbctl-return-path; ip rule del pref 100")
        connect()
        deployed.on("db1", "systemctl start lbctl-return-path")

    assert reboots.direct_replies(deployed, "db1", without_return_path) > 0, "this test would not have noticed"
    reboots.nothing_to_do(deployed)


@pytest.mark.parametrize("machines", [BootFiles.NETWORKD], indirect=True)
@pytest.mark.parametrize("deployed", [Mode.NAT], indirect=True)
def test_settings_reach_a_director_that_serves(deployed: Cluster) -> None:
    """networkd ran with its defaults beside a keepalived that is active: what it would take away outlives the deploy."""
    director, other = deployed.active(), "lb2" if deployed.active() == "lb1" else "lb1"
    files = "/etc/systemd/network/*.network.d/lbctl.conf /etc/systemd/networkd.conf.d/lbctl.conf"
    deployed.on(director, f"rm {files}; systemctl restart systemd-networkd; sleep 2; systemctl restart keepalived")
    deployed.on(other, "systemctl restart keepalived")  # the addresses go to the first, and stay there
    assert deployed.active() == director
    reboots.has_its_routes(deployed, director)
    deployed.on(
        director, "systemd-run -q --collect --unit=watch sh -c 'ip -o monitor address rule route >/run/monitor'"
    )
    run = deployed.lbctl("deploy", "--yes")
    assert run.status == 0, run.output
    deployed.on(director, "systemctl stop watch")
    assert deployed.on(director, "grep Deleted /run/monitor || :") == ""
    assert deployed.active() == director
    reboots.has_its_routes(deployed, director)
    reboots.deploy_changes_nothing(deployed)
