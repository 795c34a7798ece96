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
from templates import render

PORTS = 8
"""Ports that the client may connect from: the first that is free."""
_FROM, _BEFORE = 20000, 32000
"""Below those that Linux gives by itself (ip-sysctl.rst, ip_local_port_range: from 32768)."""


@dataclass(frozen=True)
class Watch:
    """What captures look for, and how one speaks with them."""

    addresses: tuple[IPv4Address, ...]
    """ARP for these is seen too."""
    seconds: int
    """A capture that nobody ends does so after this time."""
    first_port: int = field(default_factory=lambda: _FROM + secrets.randbelow(_BEFORE - _FROM))
    name: str = field(default_factory=lambda: f"lbctl-trace-{secrets.token_hex(8)}")

    @property
    def last_port(self) -> int:
        return self.first_port + PORTS - 1


def capture(watch: Watch) -> str:
    """Shell (POSIX) that prints what it sees until it is told to end."""
    words = (watch.seconds, watch.name, watch.first_port, watch.last_port, *watch.addresses)
    return f"{_PATH}\n{_perl('capture.pl.j2', words)}"


def ready(watch: Watch, seconds: int) -> str:
    """Prints "heard" as soon as the capture on this host sees packets; nothing if it does not within `seconds`."""
    return _perl("capture-word.pl.j2", (seconds, watch.name, "ready"))


def stop(watch: Watch) -> str:
    """Ends the capture on this host."""
    return _perl("capture-word.pl.j2", (1, watch.name, "stop"))


def connection(watch: Watch, endpoint: Endpoint, *, seconds: int, speaks: bool) -> str:
    """For the client's machine: capture, connect once, end the capture. `seconds`: for TCP, and as long again for what the server
    says, if it `speaks` first.
    """
    words = (endpoint.address, endpoint.port, seconds, watch.first_port, watch.last_port, int(speaks))
    return "\n".join(
        (
            _PATH,
            "command -v perl >/dev/null || { echo 'attempt failed 0.0.0.0 0 there is no perl'; exit 0; }",
            _perl(
                "capture.pl.j2", (watch.seconds, watch.name, watch.first_port, watch.last_port, *watch.addresses), "&"
            ),
            ready(watch, seconds=10),
            _perl("connect.pl.j2", words),
            "sleep 0.3 2>/dev/null",  # what comes after the end, too
            stop(watch),
            "wait",
            "",
        )
    )


_PATH = "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _perl(template: str, words: Iterable[object], after: str = "") -> str:
    arguments = " ".join(quote(str(word)) for word in words)
    return f"perl - {arguments} <<'PERL' {after}\n{render(template, {})}\nPERL"
