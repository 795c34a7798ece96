"""Watches all hosts at once while one connection is opened, and brings back what each saw.

Programs that use it import `fleet.green` before everything else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gevent

from cluster.declaration import Declaration
from cluster.errors import HostError
from cluster.footprint import Blueprint
from cluster.keepalived import Endpoint, floating_addresses
from cluster.packets import Attempt, Capture, attempt, parse
from cluster.trace import CLIENT, Case
from cluster.verification import speaks_sql
from facts import capture
from facts.capture import Watch
from fleet.line import Answer, Line
from fleet.onlooker import HOSTS_A_SECOND, LOGIN_LIMIT, PATIENCE
from fleet.session import Session
from fleet.verify import Client

READY = 10
"""Seconds for a host's capture to begin, once it is logged in."""
AFTER = 20
"""Seconds that captures go on by themselves when nobody ends them, after the connection may have ended."""


@dataclass
class _Watched:
    """A host whose packets are seen."""

    line: Line
    capturing: Any
    """A greenlet: what the capture printed, when it has ended."""


def trace(blueprint: Blueprint, endpoint: Endpoint, client: Client, *, connect_timeout: int = 5) -> Case:
    """One connection to an endpoint, watched everywhere. A host that cannot be asked is named in `unasked`.

    Raises HostError if the client cannot be used.
    """
    declaration = blueprint.declaration
    speaks = speaks_sql(declaration.service[endpoint.service])
    watch = _watch(declaration, connect_timeout)
    crowd = len(list(declaration.hosts())) / HOSTS_A_SECOND
    with Session(blueprint, connect_limit=LOGIN_LIMIT + crowd, patience=PATIENCE + crowd) as session:
        hosts = _Hosts(session, watch, LOGIN_LIMIT + PATIENCE + READY + 2 * crowd)
        try:
            hosts.begin(list(declaration.hosts()))
            script = capture.connection(watch, endpoint, seconds=connect_timeout, speaks=speaks)
            heard = client(script, watch.seconds)
        finally:
            hosts.end()
        seen = hosts.seen()
    own, said = _of_client(heard.stdout, heard.stderr)
    ports = range(watch.first_port, watch.last_port + 1)
    return Case(declaration, endpoint, said, {**seen, CLIENT: own}, ports, speaks, hosts.unasked)


def _watch(declaration: Declaration, connect_timeout: int) -> Watch:
    router = [declaration.router] if declaration.router else []
    addresses = (*floating_addresses(declaration), *declaration.vips, *declaration.addresses().values(), *router)
    return Watch(tuple(dict.fromkeys(addresses)), seconds=2 * connect_timeout + READY + AFTER)


def _of_client(stdout: str, stderr: str) -> tuple[Capture, Attempt]:
    try:
        said = attempt(stdout.splitlines())
    except HostError as error:
        raise HostError(f"{error.message} {stderr.strip()}".rstrip()) from error
    if said.word == "failed":
        raise HostError(f"the client could not try to connect: {said.why}")
    try:
        return parse(CLIENT, stdout.splitlines()), said
    except HostError as error:
        return Capture(CLIENT, unable=error.message), said


class _Hosts:
    """The cluster's hosts, side by side."""

    def __init__(self, session: Session, watch: Watch, seconds: float) -> None:
        self.unasked: dict[str, str] = {}
        self._session = session
        self._watch = watch
        self._limit = seconds
        """For a host until it sees packets."""
        self._watched: dict[str, _Watched] = {}

    def begin(self, names: list[str]) -> None:
        """Returns when every host that answers sees packets."""
        beginning = {name: gevent.spawn(self._begin, name) for name in names}
        try:
            gevent.joinall(list(beginning.values()), timeout=self._limit)
            for name, each in beginning.items():
                if each.ready():
                    each.get()  # a fault of ours is not silence
                else:
                    self.unasked[name] = "no answer in time"
        finally:
            gevent.killall(list(beginning.values()), block=False)

    def _begin(self, name: str) -> None:
        try:
            line = self._session.connect(name)
            # From now on it is to be ended, whatever it says.
            limit = self._watch.seconds + READY
            capturing = gevent.spawn(line.tell, capture.capture(self._watch, name), limit)
            self._watched[name] = _Watched(line, capturing)
            heard = line.tell(capture.ready(self._watch, name, READY), READY + 2)
        except HostError as error:
            self.unasked[name] = error.message.splitlines()[0]
            return
        if heard.lines != ("heard",):
            began: Answer = capturing.get() if capturing.ready() else Answer()
            self.unasked[name] = began.failed or heard.failed or "its capture did not begin"

    def end(self) -> None:
        """Captures end, also those that have not begun to see."""
        telling = [
            gevent.spawn(each.line.tell, capture.stop(self._watch, name), 5) for name, each in self._watched.items()
        ]
        gevent.joinall(telling, timeout=10)

    def seen(self) -> Mapping[str, Capture]:
        """What hosts saw; why one did not is in `unasked`."""
        gevent.joinall([each.capturing for each in self._watched.values()], timeout=READY)
        found: dict[str, Capture] = {}
        for name, each in self._watched.items():
            if name in self.unasked:
                continue
            answer: Answer = each.capturing.get() if each.capturing.ready() else Answer(failed="no answer in time")
            try:
                found[name] = parse(name, answer.whole())
            except HostError as error:
                self.unasked[name] = error.message
        return found
