"""Two directors that somebody configured by hand after the how-to become lbctl's, while clients are served."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.lab import Lab
from tests.cluster.test_importing import HERE
from tests.system.live import at_work, nobody_noticed, nobody_owned_twice
from tests.system.machines import Cluster, Run, booted, wait_until

# Minutes each: docs/development.md, "The long tests".
pytestmark = [pytest.mark.lab, pytest.mark.soak]

HOW_TO = (HERE / "how-to.conf").read_text()
ON_SERVERS = """
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore; echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
{device}
ip addr add 10.0.0.10/32 brd 10.0.0.10 dev {name}; ip addr add 10.0.0.11/32 brd 10.0.0.11 dev {name}
"""
DEVICES = {
    Mode.DR: ("dummy0", "ip link add dummy0 type dummy; ip link set up dummy0"),
    Mode.TUN: ("tunl0", "modprobe ipip; ip link set up tunl0; sysctl -w net.ipv4.conf.tunl0.rp_filter=0"),
}


@pytest.fixture
def untouched(tmp_path: Path) -> Iterator[Cluster]:
    """Machines on which lbctl never was."""
    with booted(f"adopting-{os.getpid()}") as lab:
        yield Cluster(lab, tmp_path)


def well(run: Run) -> Run:
    assert run.status == Exit.DONE, run.output
    return run


AS_THE_HOW_TO = "10.0.0.{n}/32 dev eth0"
AS_MANY_DO = "10.0.0.{n}/24 dev eth0 label eth0:{n}"


def files(folder: Path, mode: Mode, written: str) -> tuple[Path, Path]:
    """The how-to's keepalived.conf for the first director, and for the second as it says."""
    first = HOW_TO.replace("lb_kind TUN", f"lb_kind {mode.upper()}")
    for n in (10, 11):
        assert AS_THE_HOW_TO.format(n=n) in first
        first = first.replace(AS_THE_HOW_TO.format(n=n), written.format(n=n))
    second = first.replace("router_id galera-lb", "router_id lb2").replace("state MASTER", "state BACKUP")
    paths = folder / "lb1.conf", folder / "lb2.conf"
    for path, text in zip(paths, (first, second.replace("priority 101", "priority 100")), strict=True):
        path.write_text(text)
    return paths


def set_up_by_hand(lab: Lab, mode: Mode, confs: tuple[Path, Path]) -> None:
    name, device = DEVICES[mode]
    for server in ("db1", "db2", "db3"):
        lab.exec(server, ON_SERVERS.format(name=name, device=device))
    for director, conf in zip(("lb1", "lb2"), confs, strict=True):
        lab.exec(director, "apt-get -q update; apt-get -q -y install keepalived ipvsadm", timeout=300)
        lab.exec(director, "cat >/etc/keepalived/keepalived.conf", stdin=conf.read_text())
        lab.exec(director, "systemctl restart keepalived")


@pytest.mark.parametrize(("mode", "written"), [*((mode, AS_THE_HOW_TO) for mode in DEVICES), (Mode.DR, AS_MANY_DO)])
def test_a_pair_that_was_made_by_hand(untouched: Cluster, mode: Mode, written: str) -> None:
    cluster = untouched
    confs = files(cluster.folder, mode, written)
    set_up_by_hand(cluster.lab, mode, confs)
    named = ("--director", "lb1=10.0.0.4", "--director", "lb2=10.0.0.6")
    well(cluster.lbctl("import", *map(str, confs), *named, "--output", str(cluster.file)))
    text = cluster.file.read_text().replace(f'mode = "{mode}"\n', f'mode = "{mode}"\ntransport = "lab"\n')
    cluster.file.write_text(text)
    cluster.reread()
    wait_until(lambda: cluster.holders() == ["lb1"], "the hand-made pair serves")
    refused = cluster.lbctl("deploy", "--yes")
    assert refused.status == Exit.REFUSED
    assert "was not written by lbctl" in refused.output
    with at_work(cluster, new_per_second=20) as seen:
        well(cluster.lbctl("deploy", "--yes", "--overwrite"))
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    assert cluster.active() == "lb1"
    # Those with a length of their own are gone: keepalived takes them for other addresses.
    left = (
        cluster.on(name, "ip -4 -o addr show dev eth0 | grep -E '10[.]0[.]0[.]1[01]/24' || :")
        for name in ("lb1", "lb2")
    )
    assert not any(left)
    well(cluster.lbctl("verify"))
    assert "Nothing to do" in well(cluster.lbctl("plan", "--check")).output
