"""What an operation needs to know of its host: the footprint and what was seen, with as few looks as is safe.

pyinfra runs each operation's body once to prepare and once to execute, and keeps no facts: every look would be a remote command.
Here one look serves all operations of a host until one of them changes something, or it is too old.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from gevent.lock import RLock
from pyinfra.api import Host, State

from cluster.difference import Difference, differences
from cluster.footprint import Blueprint
from cluster.observed import BusyError, HostState
from cluster.parts import Footprint
from cluster.question import Question, question
from cluster.vocabulary import Mode, Role
from facts.state import look
from operations.errors import NoAnswerError

FRESH = 30
"""Seconds that a look stays good. An operator may think that long about pyinfra's question before the run goes on."""


@dataclass
class _Memory:
    lock: RLock = field(default_factory=RLock)
    at: float = 0
    state: HostState | None = None
    silent: str | None = None
    """Why it gave no answer. It is not asked again in this run: each time costs all others half a minute."""


# By run and name: pyinfra hands operations a stand-in for the host, one and the same for all hosts.
_memories: WeakKeyDictionary[State, dict[str, _Memory]] = WeakKeyDictionary()


def _memory(host: Host) -> _Memory:
    return _memories.setdefault(host.state, {}).setdefault(host.name, _Memory())


def blueprint(host: Host) -> Blueprint:
    """The blueprint that the inventory gave this host."""
    found = host.data.blueprint
    assert isinstance(found, Blueprint)  # noqa: S101 (inventory.py and fleet both set it)
    return found


def name_of(host: Host) -> str:
    """The host's name in the declaration: pyinfra's has the connector before it."""
    return str(host.name).rsplit("/", 1)[-1]


def asked_of(plan: Blueprint, name: str) -> Question:
    """What to ask a host: all that any mode could have left there."""
    declaration = plan.declaration
    return question(
        plan.known(name),
        director=plan.role(name) is Role.DIRECTOR,
        interface=plan.host(name).interface,
        database_socket=declaration.clustercheck.socket,
        ports=sorted({service.port_at_servers for service in declaration.service.values()}),
    )


def seen(host: Host, busy: Callable[[], None] = lambda: None) -> HostState:
    """The host's state: from memory while it is good. Raises NoAnswerError. `busy`: as of `facts.state.look`."""
    memory = _memory(host)
    with memory.lock:
        if memory.silent:
            raise NoAnswerError(memory.silent)
        if memory.state is None or time.monotonic() - memory.at > FRESH:
            try:
                memory.state = look(host, asked_of(blueprint(host), name_of(host)), busy)
            except BusyError as error:
                memory.state, memory.silent = None, f"{name_of(host)}: {error}; nothing was changed by this one"
                raise NoAnswerError(memory.silent) from error
            memory.at = time.monotonic()
        if memory.state is None:
            memory.silent = f"{name_of(host)}: its state could not be read; nothing was changed there since"
            raise NoAnswerError(memory.silent)
        return memory.state


def known(host: Host) -> bool:
    """Whether `seen` need not look."""
    memory = _memory(host)
    return bool(memory.silent) or (memory.state is not None and time.monotonic() - memory.at <= FRESH)


def inherit(before: Host, after: Host) -> None:
    """The same host in the next run: what was seen of it is still good for as long as it would have been."""
    old, new = _memory(before), _memory(after)
    new.state, new.at, new.silent = old.state, old.at, old.silent


def forget(host: Host) -> None:
    """Something was changed: what was seen is no longer true."""
    _memory(host).state = None


def ask_again(host: Host) -> None:
    """Also if it gave no answer: whoever waits for it asks until its own patience ends."""
    memory = _memory(host)
    memory.state = memory.silent = None


def footprint(host: Host, modes: Iterable[Mode]) -> Footprint:
    return blueprint(host).footprint(name_of(host), frozenset(modes), seen(host))


def found(host: Host, modes: Iterable[Mode]) -> tuple[Difference, ...]:
    """How the host differs from the footprint of `modes`."""
    return differences(footprint(host, modes), blueprint(host).known(name_of(host)), seen(host))
