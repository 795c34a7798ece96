"""Each fault that doctor knows is made on real machines: it is found, on the right host, nothing beside it; its cure cures."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.faults import BY_HAND, DEPLOY, Fault
from cluster.history import LOCK_FILE, Owner
from lab.lab import Lab
from operations import keeping
from tests.system.faults_made import CASES, CONF, KEPT, Made
from tests.system.interrupted import Interrupted
from tests.system.machines import PATIENT, Cluster, settles
from tests.system.reboots import HOOKS
from tests.variants import Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak, pytest.mark.timeout(900)]

DR = pytest.mark.parametrize("deployed", [Variant()], indirect=True, ids=["dr"])


@pytest.fixture(scope="module")
def deployed(galera: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster in one form, in which doctor finds nothing."""
    folder: Path = tmp_path_factory.mktemp("doctor")
    cluster = Cluster(galera, folder)
    cluster.declare(request.param, **PATIENT)
    done = cluster.lbctl("deploy", "--yes", "--overwrite")
    assert done.status == Exit.DONE, done.output
    finds(cluster, set())
    return cluster


def finds(cluster: Cluster, wanted: set[tuple[str, str]], seconds: float = 180) -> list[dict[str, str]]:
    """Waits until doctor finds exactly these (fault, host)."""
    found: list[dict[str, str]] = []

    def against() -> str | None:
        run = cluster.lbctl("doctor", "--json")
        found[:] = json.loads(run.output[run.output.index("{") :])["findings"]
        assert run.status == (Exit.TROUBLE if found else Exit.DONE), run.output
        return None if {(each["fault"], each["host"]) for each in found} == wanted else run.output

    settles(against, f"doctor finds {wanted or 'nothing'}", seconds)
    return found


def told(record: Callable[[str, object], None], cluster: Cluster, fault: Fault, host: str, make: str) -> None:
    """For the table in docs/doctor.md."""
    for name, value in (("fault", fault), ("cluster", cluster.variant.name), ("host", host), ("make", make)):
        record(name, str(value))


def place(cluster: Cluster, at: str, active: str) -> str:
    passive = next(name for name in cluster.declaration.director if name != active)
    return {"active": active, "passive": passive, "both": "lb1 and lb2"}.get(at, at)


@DR
def test_keepalived_runs_nowhere(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    told(record_property, deployed, Fault.STOPPED, "lb1 and lb2", "systemctl stop keepalived")
    deployed.on_each("systemctl stop keepalived", "lb1", "lb2")
    finds(deployed, {(str(Fault.STOPPED), "lb1"), (str(Fault.STOPPED), "lb2")})
    fixed = deployed.lbctl("doctor", "--fix", "--yes")
    assert "changed on" in fixed.output, fixed.output
    finds(deployed, set())


@DR
def test_a_stranger_has_a_virtual_address(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    """The lab's client takes it, and answers for it by ARP."""
    told(record_property, deployed, Fault.ADDRESS_TAKEN, "client", "ip addr add 10.0.0.10/32 dev eth0")
    deployed.lab.client(["ip", "addr", "add", "10.0.0.10/32", "dev", "eth0"])
    try:
        (found,) = finds(deployed, {(str(Fault.ADDRESS_TAKEN), "")})
        assert deployed.client_mac() in str(found["evidence"])
    finally:
        deployed.lab.client(["ip", "addr", "del", "10.0.0.10/32", "dev", "eth0"])
    finds(deployed, set())


@pytest.mark.parametrize(("deployed", "made"), CASES, indirect=["deployed"])
def test_a_fault_is_found_named_and_cured(
    deployed: Cluster, made: Made, record_property: Callable[[str, object], None]
) -> None:
    active = deployed.active()
    at = place(deployed, made.at, active)
    host = at if made.host is None else place(deployed, made.host, active)
    macs = {name: deployed.mac(name) for name in ("db1", place(deployed, "passive", active))}
    words = made.make.replace("{method}", deployed.declaration.mode.ipvsadm_option)
    words = words.replace("{db1}", macs["db1"]).replace("{passive}", macs[place(deployed, "passive", active)])
    told(record_property, deployed, made.fault, at, words)
    places = at.split(" and ")
    deployed.on_each(words, *places)
    try:
        (found,) = finds(deployed, {(str(made.fault), host)})
        assert found["evidence"]
    finally:
        if made.undo:
            deployed.on_each(made.undo, *places)
    if not made.undo:
        assert found["cure"] in {DEPLOY, BY_HAND}
        fixed = deployed.lbctl("doctor", "--fix", "--yes", *(["--overwrite"] if found["cure"] == BY_HAND else []))
        assert "changed on" in fixed.output, fixed.output
    finds(deployed, set())


LEFT_BY_HAND = {
    "the how-to's hooks": ("/etc/network/interfaces.d/by-hand", HOOKS, "/etc/network/by-hand.before-lbctl"),
    "a setting that is read later": (
        "/etc/sysctl.d/zzz-other.conf",
        "vm.swappiness = 10\nnet.ipv4.conf.all.arp_ignore = 0\n",
        "/etc/sysctl.d/zzz-other.conf.before-lbctl",
    ),
}


@DR
@pytest.mark.parametrize("what", LEFT_BY_HAND)
def test_what_counts_at_the_next_boot_goes_by_the_command_that_is_named(
    deployed: Cluster, what: str, record_property: Callable[[str, object], None]
) -> None:
    path, text, kept = LEFT_BY_HAND[what]
    told(record_property, deployed, Fault.NEXT_BOOT, "db1", f"{what} in {path}")
    deployed.on("db1", f"cat >{path} <<'END'\n{text}END")
    try:
        (found,) = finds(deployed, {(str(Fault.NEXT_BOOT), "db1")})
        assert "sed -i" in found["cure"], found
        checked = deployed.lbctl("plan", "--check")
        assert checked.status == Exit.TROUBLE, checked.output
        deployed.on("db1", found["cure"])
        assert "arp_ignore" not in deployed.on("db1", f"cat {path}")
        finds(deployed, set())
    finally:
        deployed.on("db1", f"rm -f {path} {kept}")
    finds(deployed, set())


@DR
def test_a_dead_host_is_all_that_is_found(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    told(record_property, deployed, Fault.DEAD_HOST, "db3", "its cable is pulled")
    deployed.lab.link("db3", up=False)
    try:
        finds(deployed, {(str(Fault.DEAD_HOST), "db3")})
    finally:
        deployed.lab.link("db3", up=True)
    finds(deployed, set())


@DR
def test_a_host_that_answers_and_does_not_say_how_it_is(
    deployed: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """What reads its files does not start; it logs in, and its services are seen."""
    awk = deployed.on("db3", "readlink -f /usr/bin/awk")
    told(record_property, deployed, Fault.UNSEEN_HOST, "db3", f"chmod a-x {awk}")
    deployed.on("db3", f"chmod a-x {awk}")
    try:
        finds(deployed, {(str(Fault.UNSEEN_HOST), "db3")})
    finally:
        deployed.on("db3", f"chmod a+x {awk}")
    finds(deployed, set())


@DR
def test_a_command_that_was_killed(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    """Before it changed anything: its lock is left, and a change that came to no end. Nothing else is wrong."""
    told(record_property, deployed, Fault.LOCK, "", "kill -9 of lbctl failover")
    status, _ = Interrupted(deployed).command_stopped("before", 1, ["lbctl", "failover", "--yes"])
    assert status == -signal.SIGKILL
    found = finds(deployed, {(str(Fault.LOCK), ""), (str(Fault.UNFINISHED), "")})
    assert {each["fault"]: each["cure"] for each in found}[str(Fault.LOCK)] == "lbctl unlock"
    unlocked = deployed.lbctl("unlock", "--yes")
    assert unlocked.status == Exit.DONE, unlocked.output
    finds(deployed, {(str(Fault.UNFINISHED), "")})
    done = deployed.lbctl("deploy", "--yes")
    assert "No host was changed." in done.output, done.output
    finds(deployed, set())


@DR
def test_a_change_that_was_never_finished(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    """Killed, and the lock went with another command's end."""
    told(record_property, deployed, Fault.UNFINISHED, "", "kill -9 of lbctl failover; lbctl unlock")
    status, _ = Interrupted(deployed).command_stopped("before", 1, ["lbctl", "failover", "--yes"])
    assert status == -signal.SIGKILL
    assert deployed.lbctl("unlock", "--yes").status == Exit.DONE
    finds(deployed, {(str(Fault.UNFINISHED), "")})
    resumed = deployed.lbctl("switch-mode", "--resume", "--yes")
    assert resumed.status == Exit.DONE, resumed.output
    finds(deployed, set())


@DR
def test_the_lock_of_somebody_whose_machine_is_gone(
    deployed: Cluster, record_property: Callable[[str, object], None]
) -> None:
    """Nobody here can tell whether that process runs: it gives no signs of life."""
    owner = Owner("bert", "elsewhere", 4711, datetime.now(UTC), "deploy", "another")
    told(record_property, deployed, Fault.LOCK, "", "a lock of another machine's, silent for two minutes")
    for director in deployed.declaration.director:
        assert deployed.on(director, keeping.take(owner.write())) == "taken"
        deployed.on(director, f"touch -d '-2 minutes' {LOCK_FILE}")
    try:
        (found,) = finds(deployed, {(str(Fault.LOCK), "")})
        assert "bert on elsewhere" in str(found["evidence"])
        unlocked = deployed.lbctl("unlock", "--yes")
        assert unlocked.status == Exit.DONE, unlocked.output
    finally:
        deployed.on_each(f"rm -f {LOCK_FILE}", *deployed.declaration.director)
    finds(deployed, set())


STRANGER = """
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.0.0.5"))
sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
packet = bytes([0x31, 19, 50, 1, 0, 20, 0, 0]) + socket.inet_aton("10.0.0.77")
while True:
    sender.sendto(packet, ("224.0.0.18", 0))
    time.sleep(0.2)
"""


@DR
def test_a_stranger_with_the_same_vrrp_id(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    told(record_property, deployed, Fault.VRRP_STRANGER, "client", "advertises id 19, priority 50")
    with deployed.lab.client_process([sys.executable, "-c", STRANGER], stdout=subprocess.DEVNULL) as stranger:
        try:
            (found,) = finds(deployed, {(str(Fault.VRRP_STRANGER), "")})
            assert "10.0.0.5 advertises id 19" in str(found["evidence"])
        finally:
            stranger.terminate()
    finds(deployed, set())


@DR
def test_other_addresses_on_one_director(deployed: Cluster, record_property: Callable[[str, object], None]) -> None:
    """Edited by hand and started anew: both hold the addresses, and that is why."""
    active = deployed.active()
    passive = place(deployed, "passive", active)
    make = f"{KEPT}; sed -i 's|10.0.0.12/32|10.0.0.13/32|' {CONF}; systemctl restart keepalived"
    told(record_property, deployed, Fault.VRRP_TERMS, passive, make)
    deployed.on(passive, make)
    try:
        (found,) = finds(deployed, {(str(Fault.VRRP_TERMS), passive)})
        assert "it advertises 10.0.0.13, not 10.0.0.12" in str(found["evidence"])
    finally:
        deployed.on(
            passive, f"cp -p /run/conf {CONF}; systemctl restart keepalived; ip addr del 10.0.0.13/32 dev eth0 || :"
        )
    finds(deployed, set())
