"""A host that vanishes without a word, in network namespaces where that can be arranged."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from pyroute2 import IPRoute, NetNS, netns

from tests.transports.conftest import Machines, Program

pytestmark = pytest.mark.process

NEAR, FAR = "192.0.2.1", "192.0.2.2"


@dataclass
class Cable:
    """Two namespaces and the cable between them."""

    near: str
    far: str

    def pull(self) -> None:
        """The far end goes down; so does the carrier at the near one."""
        with NetNS(self.far) as there:
            there.link("set", ifname="cable", state="down")

    def swallow(self) -> None:
        """Everything looks well, and no answer gets out."""
        subprocess.run([*inside(self.far), "ip", "route", "add", "blackhole", f"{NEAR}/32"], check=True)


def inside(namespace: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{namespace}", "--"]


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable(f"lbctl-test-{os.getpid()}-near", f"lbctl-test-{os.getpid()}-far")
    try:
        for name in (made.near, made.far):
            netns.create(name)
        with NetNS(made.near) as here, NetNS(made.far) as there:
            here.link("add", ifname="cable", kind="veth", peer={"ifname": "cable", "net_ns_fd": made.far})
            for end, address in ((here, NEAR), (there, FAR)):
                set_up(end, address)
        yield made
    finally:
        for name in (made.near, made.far):
            if name in netns.listnetns():
                netns.remove(name)


def set_up(end: IPRoute, address: str) -> None:
    (index,) = end.link_lookup(ifname="cable")
    end.addr("add", index=index, address=address, prefixlen=24)
    end.link("set", index=index, state="up")
    end.link("set", index=1, state="up")


def wait_until(it_is_so: Callable[[], bool]) -> None:
    limit = time.monotonic() + 60
    while not it_is_so():
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.05)


@pytest.mark.namespace
@pytest.mark.parametrize("vanish", [Cable.pull, Cable.swallow])
def test_a_host_that_vanishes_is_given_up_and_the_others_finish(
    machines: Machines, cable: Cable, vanish: Callable[[Cable], None]
) -> None:
    programs = [
        far := Program("server.py", *inside(cable.far)),
        near := Program("server.py", *inside(cable.near)),
        driver := Program("drive.py", *inside(cable.near)),
    ]
    try:
        started = machines.directory / "started"
        gone = replace(machines, servers=far).serve(address=FAR, NAP="300", STARTED=str(started))
        good = replace(machines, servers=near, count=1).serve(NAP="1", STARTED=str(machines.directory / "other"))
        operator = replace(machines, driver=driver)
        operator.begin(
            {"gone": machines.data(gone), "good": machines.data(good)},
            ["connect"],
            ["operation", "touch $STARTED; sleep $NAP; echo finished"],
            ["command", "echo more"],
            ["disconnect"],
            impatient=True,
        )
        wait_until(started.exists)
        vanish(cable)
        report = operator.report()
    finally:
        for program in programs:
            program.end()
    assert report.failed == ["@lbctl/gone"]
    operation = report.results[1]
    assert operation["@lbctl/good"]["stdout"] == "finished"
    assert operation["@lbctl/gone"]["failure"]["reason"] == "lost"
    assert "no answer any more" in report.printed or "no route to it any more" in report.printed
    assert 2 < operation["seconds"] < 60
    assert report.results[2]["@lbctl/good"]["stdout"] == "more"
    assert report.sockets_left == 0
