"""The programs that watch and connect, run for real in a network of their own."""

import os
import subprocess
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address

import pytest

from cluster.keepalived import Endpoint
from cluster.packets import Capture, attempt, parse
from cluster.trace import CLIENT
from facts import capture
from facts.capture import Watch

pytestmark = pytest.mark.namespace

HERE = IPv4Address("127.0.0.1")
ENDPOINT = Endpoint("read", HERE, 3306)
GREETS = """
use Socket;
socket my $l, AF_INET, SOCK_STREAM, 0; bind $l, sockaddr_in(3306, INADDR_LOOPBACK) or die; listen $l, 1; $| = 1; print "up\\n";
while (accept my $c, $l) { syswrite $c, "GREETING"; sysread $c, my $end, 1 }
"""

Shell = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """Starts a shell in there that has read its script."""
    name = f"capture{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *prefix: str) -> "subprocess.Popen[str]":
        argv = ["ip", "netns", "exec", name, *prefix, "dash", "-s"]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdin
        process.stdin.write(script)
        process.stdin.close()
        process.stdin = None
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def watch() -> Watch:
    return Watch((HERE,), seconds=30)


def said(process: "subprocess.Popen[str]") -> str:
    return process.communicate(timeout=40)[0]


def server(shell: Shell, program: str = GREETS) -> None:
    process = shell(f"exec perl -e '{program}'")
    assert process.stdout
    assert process.stdout.readline() == "up\n"


def words(seen: Capture) -> list[str]:
    return [f"{p.frame.direction} {p.kind}" for p in seen.packets]


def test_a_connection_is_seen_from_its_first_packet_to_its_end(shell: Shell, watch: Watch) -> None:
    server(shell)
    watching = shell(capture.capture(watch, "db1"))
    assert said(shell(capture.ready(watch, "db1", 10))) == "heard\n"
    heard = said(shell(capture.connection(watch, ENDPOINT, seconds=5, speaks=True)))
    assert said(shell(capture.stop(watch, "db1"))) == "heard\n"
    made = attempt(heard.splitlines())
    assert (made.word, made.port, made.said) == ("connected", watch.first_port, b"GREETING")
    for seen in (parse("db1", said(watching).splitlines()), parse(CLIENT, heard.splitlines())):
        assert words(seen)[:8] == [
            "out SYN",
            "in SYN",
            "out SYN-ACK",
            "in SYN-ACK",
            "out ACK",
            "in ACK",
            "out 8 bytes",
            "in 8 bytes",
        ]
        assert (HERE, 3306) in seen.listens
        assert seen.addresses == {HERE: "lo"}
        assert not any(b"GREETING" in p.frame.data for p in seen.packets), "headers only"


def test_others_are_not_seen(shell: Shell, watch: Watch) -> None:
    server(shell)
    watching = shell(capture.capture(watch, "db1"))
    assert said(shell(capture.ready(watch, "db1", 10)))
    other = Watch((HERE,), 30, first_port=watch.first_port + 100)
    assert attempt(said(shell(capture.connection(other, ENDPOINT, seconds=5, speaks=True))).splitlines()).connected
    said(shell(capture.stop(watch, "db1")))
    assert parse("db1", said(watching).splitlines()).frames() == []


def test_refused(shell: Shell, watch: Watch) -> None:
    heard = said(shell(capture.connection(watch, ENDPOINT, seconds=5, speaks=True))).splitlines()
    assert (attempt(heard).word, attempt(heard).why) == ("refused", "Connection refused")
    assert words(parse(CLIENT, heard)) == ["out SYN", "in SYN", "out RST", "in RST"]


def test_a_server_that_says_nothing(shell: Shell, watch: Watch) -> None:
    server(shell, GREETS.replace('syswrite $c, "GREETING";', ""))
    heard = said(shell(capture.connection(watch, ENDPOINT, seconds=1, speaks=True))).splitlines()
    assert attempt(heard).word == "silent"


def test_a_port_in_use_is_passed_over(shell: Shell, watch: Watch) -> None:
    server(shell)
    server(shell, GREETS.replace("3306", str(watch.first_port)))
    heard = said(shell(capture.connection(watch, ENDPOINT, seconds=5, speaks=True))).splitlines()
    assert attempt(heard).port == watch.first_port + 1


def test_it_ends_by_itself(shell: Shell) -> None:
    short = Watch((HERE,), seconds=2)
    assert said(shell(capture.capture(short, "db1"))).splitlines()[-1] == "end"


def test_it_ends_when_nobody_reads(shell: Shell, watch: Watch) -> None:
    """As after `kill -9` of the operator's program: long before its time."""
    watching = shell(capture.capture(watch, "db1"))
    assert said(shell(capture.ready(watch, "db1", 10)))
    assert watching.stdout
    watching.stdout.close()
    assert watching.wait(timeout=10) != 0


def test_one_who_may_not_look_says_so_and_connects(shell: Shell, watch: Watch) -> None:
    server(shell)
    script = capture.connection(watch, ENDPOINT, seconds=5, speaks=True)
    heard = said(shell(script, "setpriv", "--reuid=65534", "--clear-groups")).splitlines()
    assert attempt(heard).connected
    seen = parse(CLIENT, heard)
    assert seen.unable == "Operation not permitted"
    assert seen.packets == ()
