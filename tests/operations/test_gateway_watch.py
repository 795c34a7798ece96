"""The program that lets a server answer directly while there is no director, on three machines that are network namespaces."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster.vocabulary import Mode
from tests.variants import Variant

pytestmark = pytest.mark.namespace

GATEWAY, NEIGHBOUR = "10.0.0.12", "10.0.0.4"


def until(look: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.2)


class Net:
    """A switch, and on it the server, the gateway and a neighbour."""

    def __init__(self, folder: Path) -> None:
        self.name = f"watch{os.getpid()}"
        (text,) = (
            file.text
            for part in Variant(Mode.NAT).blueprint.footprint("db1", {Mode.NAT})
            for file in part.files
            if file.path.endswith("/gateway-watch")
        )
        self.program = folder / "gateway-watch"
        self.program.write_text(text)
        self.program.chmod(0o755)

    def ip(self, machine: str, words: str) -> str:
        return subprocess.run(
            ["ip", "-n", f"{self.name}-{machine}", *words.split()], check=True, capture_output=True, text=True
        ).stdout

    def build(self) -> None:
        for machine in ("switch", "server", "gateway", "neighbour"):
            subprocess.run(["ip", "netns", "add", f"{self.name}-{machine}"], check=True)
        self.ip("switch", "link add name br0 type bridge")
        self.ip("switch", "link set br0 up")
        for machine, address in (("server", "10.0.0.1"), ("gateway", GATEWAY), ("neighbour", NEIGHBOUR)):
            self.ip("switch", f"link add name {machine} type veth peer name eth0 netns {self.name}-{machine}")
            self.plug(machine)
            self.ip(machine, f"addr add {address}/24 dev eth0")
            self.ip(machine, "link set eth0 up")

    def remove(self) -> None:
        for machine in ("server", "gateway", "neighbour", "switch"):
            subprocess.run(["ip", "netns", "del", f"{self.name}-{machine}"], check=False, capture_output=True)

    def plug(self, machine: str) -> None:
        self.ip("switch", f"link set {machine} master br0 up")

    def unplug(self, machine: str) -> None:
        self.ip("switch", f"link set {machine} nomaster")

    def rules(self) -> list[str]:
        return self.ip("server", "rule show pref 99").splitlines()

    def watch(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", f"{self.name}-server", str(self.program), *words]


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    found = Net(tmp_path)
    found.build()
    try:
        yield found
    finally:
        found.remove()


def test_answers_go_directly_only_while_the_gateway_alone_is_gone(net: Net) -> None:
    with subprocess.Popen(net.watch()) as watch:
        try:
            net.unplug("gateway")
            until(net.rules)
            assert [rule.split() for rule in net.rules()] == [
                ["99:", "from", "10.0.0.1", "ipproto", "tcp", "sport", "3306", "lookup", "main"]
            ]
            net.plug("gateway")
            until(lambda: not net.rules())
            # The server is cut off: it cannot know, and waits.
            net.unplug("server")
            for _ in range(30):
                time.sleep(0.5)
                assert net.rules() == []
            net.plug("server")
            net.unplug("gateway")
            until(net.rules)
        finally:
            watch.kill()
    # What systemd runs when the service stops, however it ended.
    subprocess.run(net.watch("stop"), check=True)
    assert net.rules() == []
