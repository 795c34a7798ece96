"""Shell that sees the packets of one connection on a host, and shell that opens it. It changes nothing.

What they print is read by `cluster.packets`. A capture runs until it is told to end at its door, a socket without a file
(unix(7), abstract): so nothing is left on a host, however the operator's program ends.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from shlex import quote

from cluster.keepalived import Endpoint
from cluster.trace import CLIENT
from facts.environment import ENVIRONMENT
from templates import render

PORTS = 8
"""Ports that the client may connect from: the first that is free."""
_FROM, _BEFORE = 20000, 32000
"""Below those that Linux gives by itself (ip-sysctl.rst, ip_local_port_range: from 32768)."""


@dataclass(frozen=True)
class Watch:
    """What the captures of one trace look for, and how one speaks with them."""

    addresses: tuple[IPv4Address, ...]
    """ARP for these is seen too."""
    seconds: int
    """A capture that nobody ends does so after this time."""
    first_port: int = field(default_factory=lambda: _FROM + secrets.randbelow(_BEFORE - _FROM))
    name: str = field(default_factory=lambda: f"lbctl-trace-{secrets.token_hex(8)}")

    @property
    def last_port(self) -> int:
        return self.first_port + PORTS - 1


def capture(watch: Watch, host: str) -> str:
    """Shell (POSIX) that prints what `host` sees until it is told to end."""
    return f"{ENVIRONMENT}\n{_capture(watch, host)}"


def ready(watch: Watch, host: str, seconds: int) -> str:
    """Prints "heard" as soon as the capture on this host sees packets; nothing if it does not within `seconds`."""
    return _perl("capture-word.pl.j2", (seconds, _door(watch, host), "ready"))


def stop(watch: Watch, host: str) -> str:
    """Ends the capture on this host."""
    return _perl("capture-word.pl.j2", (1, _door(watch, host), "stop"))


def connection(watch: Watch, endpoint: Endpoint, *, seconds: int, speaks: bool) -> str:
    """For the client's machine: capture, connect once, end the capture. `seconds`: for TCP, and as long again for what the server
    says, if it `speaks` first.
    """
    words = (endpoint.address, endpoint.port, seconds, watch.first_port, watch.last_port, int(speaks))
    return "\n".join(
        (
            ENVIRONMENT,
            "command -v perl >/dev/null || { echo 'attempt failed 0.0.0.0 0 there is no perl'; exit 0; }",
            _capture(watch, CLIENT, "&"),
            ready(watch, CLIENT, seconds=10),
            _perl("connect.pl.j2", words),
            "sleep 0.3 2>/dev/null",  # what comes after the end, too
            stop(watch, CLIENT),
            "wait",
            "",
        )
    )


def _capture(watch: Watch, host: str, after: str = "") -> str:
    words = (watch.seconds, _door(watch, host), watch.first_port, watch.last_port, *watch.addresses)
    return _perl("capture.pl.j2", words, after)


def _door(watch: Watch, host: str) -> str:
    """The host's own: two of them may be one machine."""
    return f"{watch.name}-{host}"


def _perl(template: str, words: Iterable[object], after: str = "") -> str:
    arguments = " ".join(quote(str(word)) for word in words)
    return f"perl - {arguments} <<'PERL' {after}\n{render(template, {})}\nPERL"
