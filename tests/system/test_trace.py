"""One connection is followed on real machines: whole where all is well, and to the right hop where a fault was made."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Exit
from cluster.faults import Fault
from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.topology import DATABASES
from tests.system.machines import Cluster, Run, settles
from tests.variants import ROOT, Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(900)]

IPTABLES = "iptables {} 1 {}"
THERE = ["client out", "director in", "director out", "server in"]
TUNNEL = ["tunnel's end in"]
DIRECT = ["server out", "client in"]
THROUGH = ["server out", "director in", "director out", "client in"]
PLACES = {
    Mode.DR: [*THERE, *DIRECT] * 2,
    Mode.TUN: [*THERE, *TUNNEL, *DIRECT] * 2,
    Mode.NAT: [*THERE, *THROUGH] * 2,
}
NOTHING_LEFT = "grep -c lbctl-trace /proc/net/unix || :"


@dataclass(frozen=True)
class Made:
    """A fault: made and undone at the server that `write` sticks to, or at the active director; where it ends, and its name."""

    name: str
    make: str
    undo: str
    ends: str
    fault: Fault
    at_director: bool = False
    certain: bool = True
    """The reason was seen, and is told alone."""

    def __str__(self) -> str:
        return self.name


def filtered(name: str, rule: str, ends: str, *, at_director: bool = False, certain: bool = False) -> Made:
    chain = rule.split(maxsplit=1)[0]
    return Made(
        name,
        f"iptables -I {chain} 1 {rule.removeprefix(chain)}",
        f"iptables -D {chain} 1",
        ends,
        Fault.FIREWALL,
        at_director=at_director,
        certain=certain,
    )


FAULTS = {
    Mode.DR: [
        Made(
            "no VIP",
            "ip addr del 10.0.0.11/32 dev dummy0",
            "ip addr add 10.0.0.11/32 dev dummy0",
            "server out",
            Fault.VIP_MISSING,
        ),
        filtered("dropped", "INPUT -p tcp --dport 3306 -j DROP", "server out"),
        filtered(
            "rejected",
            "INPUT -p tcp --dport 3306 -j REJECT --reject-with tcp-reset",
            "server out",
            certain=True,
        ),
        filtered("dropped by the director", "INPUT -p tcp --dport 3306 -j DROP", "director out", at_director=True),
        Made("empty table", "ipvsadm -C", "DEPLOY", "director out", Fault.TABLE, at_director=True),
    ],
    Mode.TUN: [
        filtered("IPIP dropped", "INPUT -p 4 -j DROP", "tunnel's end in"),
        Made("tunnel down", "ip link set tunl0 down", "ip link set tunl0 up", "tunnel's end in", Fault.TUNNEL),
        Made(
            "rp_filter",
            "sysctl -qw net.ipv4.conf.all.rp_filter=1",
            "sysctl -qw net.ipv4.conf.all.rp_filter=0",
            "server out",
            Fault.RP_FILTER,
        ),
    ],
    Mode.NAT: [
        Made(
            "no return path",
            "systemctl stop lbctl-return-path; ip rule del pref 100",
            "DEPLOY",
            "director in",
            Fault.RETURN_PATH,
        ),
        Made(
            "no forwarding",
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.ip_forward=1",
            "director out",
            Fault.FORWARDING,
            at_director=True,
        ),
        filtered("forward dropped", "FORWARD -p tcp --sport 3306 -j DROP", "director out", at_director=True),
    ],
}
CASES = [pytest.param(mode, made, id=f"{mode}-{made}") for mode in Mode for made in FAULTS[mode]]


@pytest.fixture(scope="module")
def deployed(galera: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster in one mode, in which a connection works."""
    folder: Path = tmp_path_factory.mktemp("trace")
    cluster = Cluster(galera, folder)
    cluster.declare(Variant(request.param))
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    cluster.table_settles(cluster.active())
    return cluster


def traced(cluster: Cluster, *words: str) -> tuple[Run, dict[str, Any]]:
    run = cluster.lbctl("doctor", "trace", *words, "--json", "--connect-timeout", "3")
    assert "{" in run.output, run.output
    return run, json.loads(run.output[run.output.index("{") :])


def works(cluster: Cluster, *words: str) -> dict[str, Any]:
    """Within some attempts: a check that misses once on a busy machine takes a server out for a second."""
    found: dict[str, Any] = {}

    def against() -> str | None:
        run, seen = traced(cluster, *words)
        found.clear()
        found.update(seen)
        return None if run.status == Exit.DONE else run.output

    settles(against, "a connection works", 120)
    return found


def places(found: dict[str, Any]) -> list[str]:
    return [f"{hop['at']} {hop['direction']}" for hop in found["hops"]]


@pytest.mark.parametrize(
    ("deployed", "words"),
    [
        (Mode.DR, ["read"]),
        (Mode.DR, ["write"]),
        (Mode.TUN, ["read"]),
        (Mode.NAT, ["read"]),
        (Mode.NAT, ["read", "--by", "nat-port"]),
    ],
    indirect=["deployed"],
)
def test_the_whole_way(deployed: Cluster, words: list[str]) -> None:
    found = works(deployed, *words)
    mode = deployed.declaration.mode
    assert found["mode"] == mode
    assert found["director"] == deployed.active()
    assert found["server"] in DATABASES
    assert "MariaDB" in found["attempt"]["greeting"]
    assert places(found) == PLACES[mode]
    assert all(hop["seen"] for hop in found["hops"]), found["hops"]
    times = [hop["milliseconds"] for hop in found["hops"][: len(PLACES[mode]) // 2]]
    assert times == sorted(times)
    sent = next(hop for hop in found["hops"] if hop["at"] == "director" and hop["direction"] == "out")
    address = deployed.declaration.addresses()[found["server"]]
    assert sent["to_mac"] == deployed.mac(found["server"])
    assert (f"→ {address}:3306" in sent["packet"]) == (mode is Mode.NAT)
    assert (f"IPIP {deployed.declaration.addresses()[found['director']]} → {address}" in sent["packet"]) == (
        mode is Mode.TUN
    )


@pytest.mark.parametrize("deployed", [Mode.DR], indirect=True)
def test_reads_rotate_and_each_is_followed(deployed: Cluster) -> None:
    seen: set[str] = set()

    def against() -> str | None:
        seen.add(works(deployed, "read")["server"])
        return None if seen == set(DATABASES) else f"{seen}"

    settles(against, "each server was reached")


@pytest.mark.parametrize(("deployed", "made"), CASES, indirect=["deployed"])
def test_it_dies_at_the_right_hop(deployed: Cluster, made: Made) -> None:
    server = works(deployed, "write")["server"]
    at = deployed.active() if made.at_director else server
    deployed.on(at, made.make)
    try:
        run, found = traced(deployed, "write")
    finally:
        if made.undo != "DEPLOY":
            deployed.on(at, made.undo)
        else:
            done = deployed.lbctl("deploy", "--yes")
            assert done.status == Exit.DONE, done.output
    assert run.status == Exit.TROUBLE
    assert found["ends_at"] == at, found
    unseen = next(hop for hop in found["hops"] if hop["seen"] is False)
    assert f"{unseen['at']} {unseen['direction']}" == made.ends
    assert made.fault in [reason["fault"] for reason in found["reasons"]], found
    assert all(reason["seen"] for reason in found["reasons"]) == made.certain
    works(deployed, "write")


@pytest.mark.parametrize("deployed", [Mode.DR], indirect=True)
def test_mysql_is_stopped(deployed: Cluster) -> None:
    """Keepalived's checks stand still meanwhile: it would take the server out at once."""
    server, active = works(deployed, "write")["server"], deployed.active()
    checks = deployed.on(active, "cat /run/checkers.pid")
    assert checks.isdigit()
    deployed.on(active, f"kill -STOP {checks}")
    try:
        deployed.on(server, "systemctl stop mariadb")
        run, found = traced(deployed, "write")
    finally:
        deployed.on(server, "systemctl start mariadb")
        deployed.on(active, f"kill -CONT {checks}")
    assert run.status == Exit.TROUBLE
    assert found["ends_at"] == server
    assert [reason["fault"] for reason in found["reasons"]] == [Fault.DATABASE_DOWN]
    assert found["attempt"]["word"] == "refused"
    works(deployed, "write")


@pytest.mark.parametrize("deployed", [Mode.DR], indirect=True)
def test_a_dead_host_stops_nobody(deployed: Cluster) -> None:
    passive = next(name for name in deployed.declaration.director if name != deployed.active())
    deployed.lab.link(passive, up=False)
    try:
        found = works(deployed, "read")
    finally:
        deployed.lab.link(passive, up=True)
    assert any(note.startswith(f"{passive} could not be watched") for note in found["notes"])


@pytest.mark.parametrize("deployed", [Mode.DR], indirect=True)
def test_a_file_for_wireshark(deployed: Cluster) -> None:
    file = deployed.folder / "read.pcapng"
    works(deployed, "read", "--pcap", str(file))
    assert file.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"


@pytest.mark.parametrize("deployed", [Mode.DR], indirect=True)
def test_nothing_is_left(deployed: Cluster) -> None:
    """After an ordinary end, and after Ctrl-C in the middle: no file, no process, no socket."""
    deployed.mark()
    works(deployed, "read")
    assert set(deployed.on_each(NOTHING_LEFT).values()) == {"0"}
    active = deployed.active()
    deployed.on(active, "iptables -I INPUT 1 -p tcp --dport 3306 -j DROP")
    try:
        argv = ["doctor", "trace", "read", "--connect-timeout", "60"]
        with subprocess.Popen(
            [str(Path(sys.executable).parent / "lbctl"), *argv],
            cwd=ROOT,
            env=deployed.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as tracing:
            settles(lambda: None if deployed.on("db1", NOTHING_LEFT) != "0" else "nothing", "a capture begins")
            tracing.send_signal(signal.SIGINT)
            _, said = tracing.communicate(timeout=60)
    finally:
        deployed.on(active, "iptables -D INPUT 1")
    assert tracing.returncode == Exit.INTERRUPTED
    assert "nothing was changed" in said
    settles(
        lambda: None if set(deployed.on_each(NOTHING_LEFT).values()) == {"0"} else "a socket", "captures have ended", 30
    )
    assert deployed.newer() == {}
