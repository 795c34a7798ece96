#!/usr/bin/python3 -IB
"""Tells a load balancer over HTTP whether the local Galera node may be sent connections.

One process, one thread, one connection: every 250 ms it asks the local server, over a client that stays connected by the unix
socket, and it answers from memory. A check costs the server nothing, and a server that hangs delays no answer. No password is
needed (the server knows the system user behind a unix socket), and nothing but the standard library.

    /           200 while the node serves: ready, in the primary component, Synced, not told to reject queries
    /writable   that, and neither read_only nor super_read_only
    /master     that, and wsrep_local_index is 0

Whatever is not a fresh "yes" is 503, and the first line of the body says why. Where the rules come from:

- Galera's documentation, "Checking the Node Status": a node takes part when wsrep_ready is ON, wsrep_cluster_status is Primary
  and wsrep_local_state is 4, Synced. One that is cut off goes to state 0, non-Primary, not ready, **and to wsrep_local_index 0**
  (measured, MariaDB 10.11): the index counts only in a node that serves.
- wsrep_reject_queries (ALL, ALL_KILL: clients are refused, measured) and Percona's pxc_maint_mode show in none of these three.
- wsrep_desync, and giving a state transfer, show as state 2, Donor/Desynced. With --serve-donor that serves, for of two nodes,
  one joining and one giving, none would be left; but not with wsrep_sst_donor_rejects_queries, which wsrep_ready may not show.
- wsrep_local_index is a rank in the member list: it moves with every join and leave, and a joining node takes 0 before it serves
  (measured). Hence /writable, for a director that chooses the writer by weight.
- A value that is missing never counts as good, but for super_read_only and pxc_maint_mode, which not every server has.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import ipaddress
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PATIENCE = 5.0  # seconds until a silent connection is given up; not at once: a server that hangs would gather them, and may go on
PAUSE = 1.0  # seconds before the client is started again; none after one that had answers: somebody may have killed it
ANSWER_BYTES = 65536  # from the server, at most; there are 300
REQUEST_BYTES, REQUEST_SECONDS = 8192, 1.0  # a second to send a request, and again to take the answer and close
VISITORS, KEPT = 64, 3  # at once; the file descriptor that systemd hands over
LOG_LINES, LOG_SECONDS = 20, 10.0  # twenty lines at once, then one every ten seconds
TAKES_PART = {"wsrep_cluster_status": "PRIMARY", "wsrep_local_state": "4", "wsrep_ready": "ON"}  # most telling first
SERVES = {**TAKES_PART, "wsrep_reject_queries": "NONE", "pxc_maint_mode": "DISABLED"}
WRITABLE = {**SERVES, "read_only": "OFF", "super_read_only": "OFF"}
RULES = {"/": SERVES, "/writable": WRITABLE, "/master": {**WRITABLE, "wsrep_local_index": "0"}}
OBJECTIONS = {  # to a value that is not the wanted one, where "NAME is VALUE" would not say it all
    "wsrep_cluster_status": "not in the primary component (wsrep_cluster_status is {value})",
    "wsrep_local_state": "not Synced: {comment} (wsrep_local_state {value})",
    "wsrep_local_index": "wsrep_local_index is {value}, the master is index 0",
}
# SHOW and not information_schema: MySQL has moved those tables. A server that is not ready refuses neither.
QUERY = b"""\
SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_status','wsrep_local_index','wsrep_local_state',
'wsrep_local_state_comment','wsrep_ready');
SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only','super_read_only','wsrep_reject_queries',
'wsrep_sst_donor_rejects_queries','pxc_maint_mode');
SELECT 'END';
"""
END = b"END\n"
# Where wsrep_sync_wait is set for all (Nextcloud, ownCloud) an answer waits for what is yet to be applied: during an ALTER, or
# flow control, on every node. A server without Galera does not know it, and the client ends there: the next one leaves it out.
AT_ONCE = b"SET SESSION wsrep_sync_wait = 0;\n"
# Nobody's my.cnf changes what is asked; a connection that was lost must show, so the client is not to mend it silently.
CLIENT = ("--no-defaults", "--skip-reconnect", "--batch", "--skip-column-names", "--unbuffered", "--user=clustercheck")
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # no HOME with a .mylogin.cnf, no MYSQL_PWD, no NOTIFY_SOCKET


class Options(NamedTuple):
    listen: str = ""
    port: int = 9200
    socket: str = "/run/mysqld/mysqld.sock"
    every: float = 0.25
    stale: float = 1.0
    allow: str = ""
    serve_donor: bool = False


class Look(NamedTuple):
    """What is known of the server: its values, asked for at `at`; without a connection to it, `broken` says why."""

    values: Mapping[str, str]
    at: float
    broken: str = ""


# The pure room, down to allowed(): what is true of a look, and what to say.
def verdict(path: str, values: Mapping[str, str], options: Options) -> tuple[bool, str]:
    """Whether a server with these values serves what `path` stands for, and the reason in plain words."""
    values = {"super_read_only": "OFF", "pxc_maint_mode": "DISABLED", **values}
    state, comment = (values.get(name, "not known") for name in ("wsrep_local_state", "wsrep_local_state_comment"))
    donates = options.serve_donor and state == "2"
    for name, wanted in RULES[path].items():
        value = values.get(name, "not known")
        if value.upper() != wanted and not (donates and name == "wsrep_local_state"):
            return False, OBJECTIONS.get(name, "{name} is {value}").format(name=name, value=value, comment=comment)
    if donates and values.get("wsrep_sst_donor_rejects_queries", "OFF").upper() != "OFF":
        return False, "Donor/Desynced, and wsrep_sst_donor_rejects_queries is ON"
    return True, f"{comment}, which serves by --serve-donor" if donates else "Synced"


def judge(path: str, look: Look, now: float, options: Options) -> tuple[bool, str]:
    """The verdict on a look that may be too old, or have no connection behind it."""
    if look.broken:
        return False, f"no connection to the server: {look.broken}"
    if now - look.at > options.stale:
        return False, f"no answer from the server for {now - look.at:.1f} s"
    if not look.values:
        return False, "the first look at the server is under way"
    return verdict(path, look.values, options)


def summary(look: Look, now: float, options: Options) -> str:
    """One line for the journal: serving or not; and if it is, what a writer would object to."""
    verdicts = [(path, *judge(path, look, now, options)) for path in RULES]
    _, serving, reason = verdicts[0]
    objection = next((f"; not {path}: {why}" for path, good, why in verdicts if not good), "")
    return f"serving: {reason}{objection}" if serving else f"not serving: {reason}"


def response(request: bytes, look: Look, now: float, options: Options) -> bytes:
    """The whole answer to a whole request, or to one that is too long."""
    method, target, version = [*request.split(b"\n", 1)[0].decode("latin-1").split(), "", "", ""][:3]
    path = target.partition("?")[0]
    refusals = {
        431: len(request) > REQUEST_BYTES and f"a request has at most {REQUEST_BYTES} bytes",
        400: not version.startswith("HTTP/") and "this is not an HTTP request",
        405: method not in ("GET", "HEAD") and "only GET and HEAD are answered",
        404: path not in RULES and f"there are {', '.join(RULES)}",
    }
    status, body = next(((status, text) for status, text in refusals.items() if text), (0, ""))
    if not status:
        good, reason = judge(path, look, now, options)
        status, body = 200 if good else 503, f"{reason}\n{json.dumps(look.values, sort_keys=True)}"
    content = f"{body}\n".encode()
    head = f"HTTP/1.0 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nAllow: GET, HEAD\r\n"
    head += f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if method == "HEAD" else content)


def last_words(output: bytes) -> str:
    """Why a client ended, by the last line that is no row of an answer; short enough for an answer and the journal."""
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if "\t" not in line]
    return next((line[:300] for line in reversed(lines) if line), "the client ended without a word")


def allowed(host: str, networks: Sequence[Network]) -> bool:
    address = ipaddress.ip_address(host)
    # One socket listens for both families, and IPv4 arrives there as ::ffff:10.0.0.4.
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


def named(path: str, before: tuple[Network, ...]) -> tuple[Network, ...]:
    """Who may ask, as the file says now: to change it needs no restart. One that cannot be read changes nothing."""
    with contextlib.suppress(OSError, ValueError), open(path) as file:  # noqa: PTH123 (pathlib takes long to import)
        return tuple(map(ipaddress.ip_network, file.read().split()))
    return before


# The edge: the client, the visitors, systemd. Nothing waits but pass_on(), which waits for all of them.
class Looker:
    """Keeps a client connected to the server, and `look` as fresh as the server allows."""

    def __init__(self, options: Options, selector: selectors.BaseSelector) -> None:
        self.options, self.selector = options, selector
        self.look = Look({}, time.monotonic())
        self.client: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self.asked_at: float | None = None  # None: no look is under way
        self.output, self.next_at, self.opening = b"", 0.0, AT_ONCE

    def turn(self, now: float) -> float:
        """Does what is due; says when something will be again."""
        if self.asked_at is not None and now >= self.asked_at + PATIENCE:
            self.drop(now, "")
        if self.asked_at is None and now >= self.next_at:
            self.ask(now)
        return self.next_at if self.asked_at is None else self.asked_at + PATIENCE

    def start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        program = shutil.which("mariadb") or shutil.which("mysql") or "mariadb"
        ours, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()  # for errors too: the last line before the end is the reason for it
            arguments = [program, *CLIENT, f"--socket={self.options.socket}"]
            process = subprocess.Popen(arguments, stdin=end, stdout=end, stderr=end, env=ENVIRONMENT)
        ours.settimeout(0)
        self.selector.register(ours, selectors.EVENT_READ, (0, lambda: self.read(ours)))
        return process, ours

    def ask(self, now: float) -> None:
        question = QUERY if self.client else self.opening + QUERY
        try:
            self.client = self.client or self.start()
        except OSError as error:
            self.drop(now, str(error))
            return
        self.asked_at, self.next_at = now, now + self.options.every
        with contextlib.suppress(OSError):  # it ended: then there is an end to read, and the reason before it
            self.client[1].send(question)

    def read(self, client: socket.socket) -> None:
        piece = b""
        with contextlib.suppress(OSError):  # reset: it ended with our question unread
            piece = client.recv(ANSWER_BYTES)
        self.output += piece
        if not piece or len(self.output) > ANSWER_BYTES:
            self.drop(time.monotonic(), last_words(self.output))
        elif self.asked_at is not None and self.output.endswith(END):
            rows = [line.partition("\t") for line in self.output.decode("utf-8", "replace").splitlines()]
            self.look = Look({name: value for name, tab, value in rows if tab}, self.asked_at)
            self.asked_at, self.output = None, b""

    def drop(self, now: float, broken: str) -> None:
        """Gives the connection up; another is tried. Empty `broken`: it stands, but nothing comes."""
        self.next_at = now if self.look.values else now + PAUSE
        self.look = Look({}, self.look.at, broken)
        self.opening = b"" if b"'wsrep_sync_wait'" in self.output else AT_ONCE
        self.asked_at, self.output = None, b""
        if self.client is not None:
            (process, ours), self.client = self.client, None
            with process, ours:  # what was killed is waited for: it does not take long, and leaves no zombie
                self.selector.unregister(ours)
                process.kill()


class Visitor(NamedTuple):
    connection: socket.socket
    until: float
    request: bytes = b""
    answered: bool = False


class Door:
    """Answers HTTP. Nobody holds it up: a visitor has a second to ask and one to leave, and the eldest makes room."""

    def __init__(self, listener: socket.socket, looker: Looker) -> None:
        self.listener, self.looker, self.selector = listener, looker, looker.selector
        self.guests: tuple[Network, ...] = ()
        self.visitors: dict[int, Visitor] = {}  # by file descriptor, the eldest first
        self.closed = True

    def turn(self, now: float, *, ending: bool) -> None:
        look = self.looker.look
        # Who comes before the first look is over waits for it: "not known yet" is no reason to send nobody here.
        if self.closed and not ending and (look.values or look.broken or now > look.at + self.looker.options.stale):
            self.closed = self.selector.register(self.listener, selectors.EVENT_READ, (2, self.let_in)) is None
        for number in [number for number, visitor in self.visitors.items() if visitor.until <= now]:
            self.dismiss(number)

    def waited_for(self) -> bool:
        """At the end: whether somebody who came in has no answer yet. Who comes now is let in by the next run."""
        if not self.closed:
            self.closed = bool(self.selector.unregister(self.listener))
        return any(not visitor.answered for visitor in self.visitors.values())

    def let_in(self) -> None:
        try:
            connection, (host, *_) = self.listener.accept()
        except OSError:  # gone again already
            return
        self.guests = named(self.looker.options.allow, self.guests)
        if self.looker.options.allow and not allowed(host, self.guests):
            connection.close()
            return
        if len(self.visitors) >= VISITORS:
            self.dismiss(next(iter(self.visitors)))
        connection.settimeout(0)
        number = connection.fileno()
        self.visitors[number] = Visitor(connection, time.monotonic() + REQUEST_SECONDS)
        self.selector.register(connection, selectors.EVENT_READ, (1, lambda: self.hear(number)))

    def hear(self, number: int) -> None:
        connection, _, request, answered = self.visitors[number]
        try:
            piece = connection.recv(REQUEST_BYTES)
            if not piece:
                self.dismiss(number)
            elif not answered:
                self.answer(number, request + piece)
        except OSError:
            self.dismiss(number)

    def answer(self, number: int, request: bytes) -> None:
        visitor = self.visitors[number]._replace(request=request)
        if b"\r\n\r\n" in request or b"\n\n" in request or len(request) > REQUEST_BYTES:
            now = time.monotonic()
            # One call is enough: an answer is shorter than what a new connection takes at once.
            visitor.connection.send(response(request, self.looker.look, now, self.looker.options))
            # To close with anything unread would send RST, which can overtake the answer: read until the client closes.
            visitor.connection.shutdown(socket.SHUT_WR)
            visitor = visitor._replace(answered=True, until=now + REQUEST_SECONDS)
        self.visitors[number] = visitor

    def dismiss(self, number: int) -> None:
        with self.visitors.pop(number).connection as connection:
            self.selector.unregister(connection)


class Journal:
    """A line when the verdict changes, but not many: the last state is written in the end, however fast it changed."""

    written, full_until = "", 0.0

    def turn(self, line: str, now: float) -> None:
        kind = line.partition(" for ")[0]  # "for 1.2 s" and "for 1.5 s" are one verdict
        if kind != self.written and self.full_until - now <= (LOG_LINES - 1) * LOG_SECONDS:
            self.written, self.full_until = kind, max(self.full_until, now) + LOG_SECONDS
            tell(f"STATUS={line}", line)


def tell(state: str, line: str = "", kept: Sequence[int] = ()) -> None:
    """Tells systemd, if it asked for it (sd_notify(3)), and the journal. `kept`: file descriptors for systemd to keep."""
    with contextlib.suppress(OSError):
        print(line, end="\n" if line else "", file=sys.stderr, flush=True)
    if address := os.environ.get("NOTIFY_SOCKET", ""):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.settimeout(0)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", kept))] if kept else []
            systemd.sendmsg([state.encode()], rights, 0, "\0" + address[1:] if address[0] == "@" else address)


def listen(options: Options) -> socket.socket:
    """What systemd has kept (sd_listen_fds(3)), or a new one for it to keep: checks wait there, not refused, over a restart."""
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        return socket.socket(fileno=KEPT)
    both = not options.listen and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both or ":" in options.listen else socket.AF_INET
    new = socket.create_server((options.listen, options.port), family=family, backlog=128, dualstack_ipv6=both)
    tell("FDSTORE=1", kept=[new.fileno()])
    return new


def pass_on(selector: selectors.BaseSelector, seconds: float) -> None:
    """Waits for events and calls who waits for them."""
    # The server's news first: answers are fresh. The door last: to let one in it may dismiss another, who had news too.
    for key, _ in sorted(selector.select(max(0.0, seconds)), key=lambda event: int(event[0].data[0])):
        key.data[1]()


def serve(options: Options) -> None:
    stopping: list[bytes] = []
    woken, wake = socket.socketpair()
    wake.settimeout(0)
    with woken, wake, selectors.DefaultSelector() as selector, listen(options) as listener:
        listener.settimeout(0)
        # A signal comes as an event like others: nothing is interrupted half-way, so no child is left behind.
        selector.register(woken, selectors.EVENT_READ, (0, lambda: stopping.append(woken.recv(9))))
        signal.set_wakeup_fd(wake.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        looker = Looker(options, selector)
        door, journal = Door(listener, looker), Journal()
        tell("READY=1", f"listening on {options.listen or 'all addresses'}, port {listener.getsockname()[1]}")
        ping_every, ping_at = int(os.environ.get("WATCHDOG_USEC", "0")) / 3e6, 0.0
        while not stopping or door.waited_for():
            now = time.monotonic()
            next_at = looker.turn(now)
            door.turn(now, ending=bool(stopping))
            journal.turn(summary(looker.look, now, options), now)
            # systemd is told from the loop that looks and answers. A server that hangs does not stop it; a fault would.
            if ping_every and now >= ping_at:
                ping_at = now + ping_every
                tell("WATCHDOG=1")
            # Never longer than from one look to the next: a look grows stale, and a visitor too old, without any event.
            pass_on(selector, min(next_at - now, options.every))
        looker.drop(0.0, "")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Answers 200 or 503 for the Galera node on this host.")
    default, add = Options(), parser.add_argument
    add("--listen", metavar="ADDRESS", default="", help="one of this host's (default: all, IPv4 and IPv6)")
    add("--port", type=int, default=default.port, help="default: %(default)s; 0 takes a free one and names it")
    add("--socket", metavar="PATH", default=default.socket, help="of the server (default: %(default)s)")
    add("--every", metavar="SECONDS", type=float, default=default.every, help="between looks (default: %(default)s)")
    add("--stale", metavar="SECONDS", type=float, default=default.stale, help="a look's life (default: %(default)s)")
    add("--allow", metavar="PATH", default="", help="of who may ask, a CIDR a line; may change (default: all)")
    add("--serve-donor", action="store_true", help="a node in state 2, Donor/Desynced, serves")
    options = Options(**vars(parser.parse_args(arguments)))
    if not 0 < options.every < options.stale <= PATIENCE:
        parser.error(f"it must be 0 < --every < --stale <= {PATIENCE}: a look is good until the next one comes")
    if options.allow and not named(options.allow, ()):
        parser.error(f"--allow: there are no addresses in {options.allow}")
    serve(options)


if __name__ == "__main__":
    main()
