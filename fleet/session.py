"""The hosts of one cluster, connected for as long as one command runs.

pyinfra's State serves one preparation and one execution; each step gets a fresh one, and the connections move on to it.
Programs that use a Session import `fleet.green` before everything else.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import gevent
from pyinfra.api import Config, Host, Inventory, State
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.operations import run_ops
from pyinfra.api.state import StateStage
from pyinfra.context import ctx_host, ctx_state

from cluster.errors import HostError
from cluster.footprint import Blueprint
from cluster.observed import HostState
from facts.text import texts
from fleet import source
from fleet.interrupt import Interrupts
from fleet.line import HostLine, Lines
from operations import observation
from operations.errors import NoAnswerError

CONNECT_LIMIT = 10
"""Seconds for a connection to come about."""


@dataclass
class Result:
    """What a step did on one host."""

    changed: bool = False
    failed: str | None = None
    """Why it failed; None if it did not."""
    done: list[str] = field(default_factory=list)
    """Names of the operations that changed something."""


class Session:
    """Connected hosts. Use as a context manager: connections are closed at its end."""

    def __init__(
        self,
        blueprint: Blueprint,
        *,
        overwrite: bool = False,
        groups: Sequence[str] = ("directors", "real_servers"),
        connect_limit: float = CONNECT_LIMIT,
        patience: float | None = None,
        interrupted: Callable[[], None] = lambda: None,
    ) -> None:
        self.blueprint = blueprint
        self.groups = groups
        """Whom to connect to."""
        self.unreachable: dict[str, str] = {}
        self.overwrite = overwrite
        self._connect_limit = connect_limit
        self._patience = patience
        """Seconds for TCP alone."""
        self._said = _Said()
        self.interrupts = Interrupts(interrupted)
        """`interrupted` is told that a Ctrl-C waits for the end of a step."""
        self._state = self._new_state()

    def __enter__(self) -> Self:
        self.open()
        with suppress(PyinfraError):  # "No hosts remaining!": each host says why below
            connect_all(self._state)
        for name, host in self._hosts(self._state).items():
            if not host.connected:
                self.unreachable[name] = self._why(host)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Without connecting: `connect` does, host by host."""
        self.interrupts.__enter__()
        logger = logging.getLogger("pyinfra")
        logger.addHandler(self._said)
        logger.propagate = False

    def close(self) -> None:
        disconnect_all(self._state)
        self.interrupts.__exit__(None, None, None)
        logging.getLogger("pyinfra").removeHandler(self._said)

    def connect(self, name: str) -> HostLine:
        """A line to this host, over the connection that it has, or a new one. Raises HostError with the reason."""
        host = self._host(name)
        if not host.connected:
            try:
                host.connect(show_errors=False, raise_exceptions=True)
            except ConnectError as error:
                raise HostError(self._why(host)) from error
            self._state.activate_host(host)
        return HostLine(host, name)

    def hang_up(self, name: str) -> None:
        """The connection is not good any more: the next `connect` makes a new one."""
        host = self._host(name)
        if host.connected:
            host.disconnect()

    def observe(
        self, only: Collection[str] | None = None, *, told: Callable[[HostState | None], None] = lambda _: None
    ) -> dict[str, HostState | None]:
        """Every host's state, or that of these, asked side by side; None for one that gave none (`unreachable` then says why).

        `told` hears of each state as it comes; None: one cannot be had while somebody's script is at work there.
        """

        def one(name: str, host: Host) -> HostState | None:
            observation.forget(host)
            try:
                with ctx_state.use(self._state), ctx_host.use(host):
                    found = observation.seen(host, lambda: told(None))
            except NoAnswerError as error:
                self.unreachable.setdefault(name, self._why(host, error.message.removeprefix(f"{name}: ")))
                return None
            told(found)
            return found

        hosts = {name: host for name, host in self._hosts(self._state).items() if only is None or name in only}
        looks = {name: gevent.spawn(one, name, host) for name, host in hosts.items() if host.connected}
        try:
            gevent.joinall(list(looks.values()), raise_error=True)
        finally:
            gevent.killall(list(looks.values()))  # where nobody waits for them any more
        return {name: looks[name].value if name in looks else None for name in hosts}

    def forget(self, *names: str) -> None:
        """These were changed beside the steps: what a step saw of them is no longer true."""
        for name, host in self._hosts(self._state).items():
            if name in names:
                observation.forget(host)

    def lines(self) -> Lines:
        """Lines to the directors that can be asked. They stay as they are while steps are taken."""
        hosts = self._hosts(self._state)
        return {
            name: HostLine(host, name)
            for name in self.blueprint.declaration.director
            if (host := hosts[name]).connected and name not in self.unreachable
        }

    def texts(self, paths: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        """The redacted texts of files, by host and path."""
        hosts = self._hosts(self._state)
        found = {}
        for name, wanted in paths.items():
            with ctx_state.use(self._state), ctx_host.use(hosts[name]):
                found[name] = texts(hosts[name], list(wanted))
        return found

    def run(self, names: Iterable[str], work: Callable[[], Any]) -> dict[str, Result]:
        """Adds operations by calling `work` for each of the hosts, and executes them, side by side."""
        self._renew()
        hosts = {name: self._host(name) for name in names}
        self._state.set_stage(StateStage.Prepare)
        with ctx_state.use(self._state):
            for host in hosts.values():
                with ctx_host.use(host):
                    work()
        self._state.set_stage(StateStage.Execute)
        with suppress(PyinfraError):  # "No hosts remaining!": each host's result says what failed
            run_ops(self._state)
        return {name: self._result(host) for name, host in hosts.items()}

    def _result(self, host: Host) -> Result:
        result = Result()
        for op_hash, data in self._state.ops[host].items():
            meta = data.operation_meta
            names = ", ".join(sorted(self._state.get_op_meta(op_hash).names))
            if meta.is_complete() and meta.did_change():
                result.changed = True
                result.done.append(names)
            if meta.is_complete() and not meta.did_succeed() and result.failed is None:
                said = [line for line in meta.stderr_lines if line.strip()] or self._said.about(host.name)
                result.failed = f"{names}: " + ("\n    ".join(said[-12:]) or "failed without a word")
        if host in self._state.failed_hosts and result.failed is None:
            result.failed = self._why(host)
        return result

    def _why(self, host: Host, otherwise: str = "no answer") -> str:
        failure = getattr(host.connector, "failure", None)
        if failure is not None:
            return str(failure).removeprefix(f"{observation.name_of(host)}: ")
        if complaint := getattr(host.connector, "complaint", ()):
            return "\n    ".join(line.removeprefix(f"{observation.name_of(host)}: ") for line in complaint[-12:])
        said = self._said.about(host.name)
        return said[-1] if said else otherwise

    def _new_state(self) -> State:
        groups: dict[str, tuple[list[str], dict[str, Any]]] = {}
        members = []
        for group in self.groups:
            hosts = source.hosts(self.blueprint, group)
            more = {"overwrite": self.overwrite} | ({"ssh_patience": self._patience} if self._patience else {})
            members += [(name, {**data, **more}) for name, data in hosts]
            groups[group] = ([name for name, _ in hosts], {})
        inventory = Inventory((members, {}), **groups)  # type: ignore[no-untyped-call]
        config = Config(CONNECT_TIMEOUT=self._connect_limit, FAIL_PERCENT=100)  # type: ignore[no-untyped-call]
        state = State(inventory, config, check_for_changes=False)
        state.set_stage(StateStage.Connect)
        self._names = {observation.name_of(host): host.name for host in inventory}
        return state

    def _renew(self) -> None:
        """A fresh State whose hosts have the connections of the last, and what was seen so far."""
        old, self._state = self._state, self._new_state()
        before = self._hosts(old)
        for name, host in self._hosts(self._state).items():
            if before[name].connected:
                _move_connection(before[name], host)
                self._state.activate_host(host)
                observation.inherit(before[name], host)

    @staticmethod
    def _hosts(state: State) -> dict[str, Host]:
        return {observation.name_of(host): host for host in state.inventory}

    def _host(self, name: str) -> Host:
        # Not by way of all: of many hosts each is asked for one by one.
        found: Host = self._state.inventory.get_host(self._names[name])
        return found


def _move_connection(old: Host, new: Host) -> None:
    new.connector.client = old.connector.client  # type: ignore[attr-defined]
    new.connector_data.update(old.connector_data)
    new.connected = True


class _Said(logging.Handler):
    """What pyinfra logged about each host: it raises little, and says much."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(_plain(record.getMessage()))

    def about(self, name: str) -> list[str]:
        return [m.split("]", 1)[1].strip() for m in self.messages if f"[{name}]" in m and "Error: executed" not in m]


def _plain(text: str) -> str:
    """Without the terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
