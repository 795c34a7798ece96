"""The shell that looks at what changes by the second, run for real by Debian's sh."""

import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from socket import create_server

import pytest

from cluster.pulse import Ask, Pulse, parse
from cluster.reading import read
from facts.pulse import _ask, script
from tests.cluster.sample import LAB
from tests.operations.bare import Bare


class Objecting(BaseHTTPRequestHandler):
    """Answers as clustercheck does."""

    def do_GET(self) -> None:
        body = b"not Synced: Joined (wsrep_local_state 3)\n{}\n"
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def health_service() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), Objecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def looked(text: str) -> Pulse:
    """As director lb1 of that cluster."""
    done = subprocess.run(
        ["dash", "-s"], input=script(read(text, "lab.toml"), "lb1"), capture_output=True, text=True, check=True
    )
    return parse(done.stdout.splitlines())


def on_this_machine(check: str) -> str:
    """A cluster whose servers are this machine."""
    text = LAB.replace("10.0.0.", "127.0.0.").replace('check = "synced"\n', "")
    return text.replace('vip = "127.0.0.10"\n', f'vip = "127.0.0.10"\n{check}\n')


@pytest.mark.process
def test_asks_the_health_service_of_servers_that_are_not_in_the_table(health_service: int) -> None:
    seen = looked(on_this_machine(f'check = "http"\ncheck_path = "/up"\ncheck_port = {health_service}'))
    asked = Ask(IPv4Address("127.0.0.1"), health_service, "/up")
    assert seen.answers[asked] == "503 not Synced: Joined (wsrep_local_state 3)"


@pytest.mark.process
def test_a_connection_alone() -> None:
    with create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        seen = looked(on_this_machine(f'check = "tcp"\ncheck_port = {port}'))
    assert seen.answers[Ask(IPv4Address("127.0.0.1"), port)] == "open"
    assert seen.answers[Ask(IPv4Address("127.0.0.2"), port)] == "Connection refused"


@pytest.mark.process
def test_a_service_that_says_nothing_holds_nobody_up() -> None:
    with create_server(("127.0.0.1", 0)) as listener:  # takes connections, and never answers
        port = listener.getsockname()[1]
        seen = looked(on_this_machine(f'check = "http"\ncheck_port = {port}'))
    assert seen.answers[Ask(IPv4Address("127.0.0.1"), port, "/")] == "no answer within 1 s"
    assert seen.answers[Ask(IPv4Address("127.0.0.3"), port, "/")] == "Connection refused"


@pytest.mark.process
def test_many_silent_ones_cost_no_more_time_than_one_and_each_is_told_once(health_service: int) -> None:
    """A whole crowd in one second, among them one that answers."""
    with create_server(("0.0.0.0", 0), backlog=200) as listener:
        port = listener.getsockname()[1]
        asked = [f"127.0.1.{n} {port} /" for n in range(1, 100)]
        done = subprocess.run(
            ["dash", "-c", f"{_ask()}\nask_all"],
            input="\n".join([*asked, f"127.0.0.1 {health_service} /", ""]),
            capture_output=True,
            text=True,
            check=False,  # timeout's own word, that some were late
        )
    answers = sorted(done.stdout.splitlines())
    assert answers == sorted(
        [
            *(f"{each} no answer within 1 s" for each in asked),
            f"127.0.0.1 {health_service} / 503 not Synced: Joined (wsrep_local_state 3)",
        ]
    )


@pytest.mark.namespace
def test_a_bare_host_answers() -> None:
    with Bare() as bare:
        done = bare.sh(script(read(LAB, "lab.toml"), "lb1"))
        server = bare.sh(script(read(LAB, "lab.toml"), "db1"))
    seen = parse(done.stdout.splitlines())
    assert (seen.services, seen.priority, seen.lock, seen.history) == ((), None, None, ())
    assert Ask(IPv4Address("10.0.0.1"), 9200, "/") in seen.answers
    of_server = parse(server.stdout.splitlines())
    assert of_server.listening == frozenset()
    assert of_server.answers == {Ask(IPv4Address("127.0.0.1"), 9200, "/"): "Connection refused"}


@pytest.mark.namespace
def test_the_last_change_is_shown() -> None:
    with Bare() as bare:
        bare.run(
            "mkdir -p /var/lib/lbctl/history; cd /var/lib/lbctl/history; echo '{9}' >0009.json; echo '{10}' >0010.json"
        )
        bare.run(
            "mkdir -p /etc/keepalived; printf 'vrrp_instance lab {\\n    priority 77\\n}\\n' >/etc/keepalived/keepalived.conf"
        )
        done = bare.sh(script(read(LAB, "lab.toml"), "lb1"))
    seen = parse(done.stdout.splitlines())
    assert seen.history == ("file 0010.json", "line 0010.json:{10}")
    assert seen.priority == 77
