"""The how-to's manual set-up on machines: its own table in each mode, its client's test, and no trace after a deploy."""

import re

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from tests.system.forms import serves
from tests.system.machines import Cluster, Run
from tests.variants import Variant

# Minutes, and few of them seen on the code as it is now: docs/development.md, "The long tests".
pytestmark = [pytest.mark.lab, pytest.mark.soak]


def table(method: str, *places: str) -> list[str]:
    """What the how-to's `ipvsadm -S` shows, in numbers: a rotating place and a sticking one."""
    lines = []
    for place, stuck in zip(places, ("", " -p 86400 -M 0.0.0.0"), strict=True):
        lines.append(f"-A -t {place} -s rr{stuck}")
        lines += [f"-a -t {place} -r 10.0.0.{n}:3306 {method} -w 10" for n in (1, 2, 3)]
    return lines


TABLES = {
    Mode.DR: table("-g", "10.0.0.10:3306", "10.0.0.11:3306"),
    Mode.TUN: table("-i", "10.0.0.10:3306", "10.0.0.11:3306"),
    # The how-to has no VIPs in nat; declared here, they are served beside its ports.
    Mode.NAT: table("-m", "10.0.0.10:3306", "10.0.0.11:3306") + table("-m", "10.0.0.4:5506", "10.0.0.4:5507"),
}


def well(run: Run) -> Run:
    assert run.status == Exit.DONE, run.output
    return run


def plain(text: str) -> list[str]:
    """Debian 12's ipvsadm also says how packets are tunnelled; the order is the kernel's own."""
    return sorted(line.removesuffix(" --tun-type ipip") for line in text.splitlines())


def kernel(cluster: Cluster) -> list[str]:
    return plain(cluster.on("lb1", "ipvsadm -Sn"))


def held(cluster: Cluster) -> list[str]:
    return re.findall(r"inet (10\.0\.0\.1[0-2])/32", cluster.on("lb1", "ip -4 addr show dev eth0"))


def bare(cluster: Cluster) -> None:
    """Nothing is deployed, whatever was on this lab before: a trial is refused where keepalived is configured."""
    if cluster.on("lb1", "test ! -e /etc/keepalived/keepalived.conf || echo there"):
        cluster.declare(Variant(Mode.DR))
        well(cluster.lbctl("uninstall", "--yes"))


@pytest.mark.parametrize("mode", [Mode.TUN, Mode.NAT, Mode.DR])
def test_a_trial(cluster: Cluster, mode: Mode) -> None:
    bare(cluster)
    cluster.declare(Variant(mode, directors=1))
    well(cluster.lbctl("trial", "start", "--yes"))
    assert kernel(cluster) == sorted(TABLES[mode])
    assert held(cluster) == ["10.0.0.10", "10.0.0.11"]
    for endpoint in cluster.endpoints("read"):
        cluster.rotates(endpoint)
    for endpoint in cluster.endpoints("write"):
        cluster.sticks(endpoint)

    file = cluster.folder / "trial.ipvs"
    well(cluster.lbctl("trial", "save", str(file)))
    assert plain(file.read_text()) == sorted(TABLES[mode])
    well(cluster.lbctl("trial", "start", "--servers", "db1", "--yes"))
    assert {line.split()[4] for line in kernel(cluster) if line.startswith("-a")} == {"10.0.0.1:3306"}
    well(cluster.lbctl("trial", "restore", str(file), "--yes"))
    assert kernel(cluster) == sorted(TABLES[mode])
    assert "10.0.0.10:3306 rr" in well(cluster.lbctl("trial", "show")).output

    well(cluster.lbctl("trial", "clear", "--yes"))
    assert kernel(cluster) == []
    assert held(cluster) == []
    assert cluster.lbctl("trial", "show").status == Exit.TROUBLE


@pytest.mark.parametrize("by_lbctl", [True, False], ids=["lbctl", "pyinfra"])
def test_a_deploy_leaves_no_trace_of_it(cluster: Cluster, *, by_lbctl: bool) -> None:
    nat, wanted = Variant(Mode.NAT, directors=1), Variant(Mode.DR, directors=1)
    bare(cluster)
    cluster.declare(nat)
    well(cluster.lbctl("trial", "start", "--yes"))
    cluster.declare(wanted)
    planned = cluster.lbctl("plan").output
    assert "remove 10.0.0.10/32 from eth0, which a trial left" in planned
    assert "remove 10.0.0.4:5506 from the kernel's table, which a trial left" in planned
    well(cluster.lbctl("deploy", "--yes") if by_lbctl else cluster.pyinfra())
    serves(cluster, wanted)
    assert "5506" not in cluster.on("lb1", "ipvsadm -Sn")
    assert "Nothing to do" in well(cluster.lbctl("plan", "--check")).output
    refused = cluster.lbctl("trial", "start", "--yes")
    assert refused.status == Exit.REFUSED
    assert "keepalived runs on lb1" in refused.output
