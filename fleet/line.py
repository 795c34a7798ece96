"""A line to a host beside the steps that are taken there: for what is told to directors while a change is under way.

It does not go through pyinfra's operations and facts: a host that does not answer on it is none the worse for the steps.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from shlex import quote
from typing import Protocol

import gevent
from paramiko import SSHException
from pyinfra.api import Host, StringCommand
from pyinfra.api.exceptions import ConnectError

from cluster.errors import HostError, LbctlError
from operations.beside import beside_its_steps

LIMIT = 15
"""Seconds that a director has for what it is told."""


@dataclass(frozen=True)
class Answer:
    """What a host said. `failed` says why it could not do as it was told, or could not be told."""

    lines: tuple[str, ...] = ()
    failed: str = ""

    def whole(self) -> tuple[str, ...]:
        """Its lines. Raises HostError where it failed."""
        if self.failed:
            raise HostError(self.failed)
        return self.lines


class Line(Protocol):
    """One host to tell."""

    def tell(self, script: str, seconds: int = LIMIT) -> Answer:
        """`seconds`: how long it may take."""
        ...

    def tell_afresh(self, script: str) -> Answer:
        """Once more; over a connection of its own if the one that was there has broken."""


Lines = Mapping[str, Line]
"""By the host's name, in the order of the declaration."""


BEGINS = "lbctl-begins-here"
"""What a host says before its answer. All before that is somebody else's: Debian's bash reads ~/.bashrc also for a command that
comes by SSH (bash(1), INVOCATION), and root's, unlike a user's, does not end at once where nobody reads along.
"""


def after_mark(lines: Iterable[str]) -> tuple[str, ...]:
    """The answer alone. The mark may stand at the end of a line that somebody has begun; without it nothing was answered."""
    said = tuple(lines)
    begins = next((number for number, line in enumerate(said, 1) if line.rstrip().endswith(BEGINS)), len(said))
    return said[begins:]


class HostLine:
    """Over the connection that the steps use, too: a channel of its own."""

    def __init__(self, host: Host, name: str) -> None:
        self._host, self._name = host, name

    def tell(self, script: str, seconds: int = LIMIT) -> Answer:
        # The mark is said by the command: the script stays what it is to those who tell scripts apart.
        command = f"timeout -k 5 {seconds} sh -c {quote(f'echo {BEGINS}; exec sh -s')}"
        try:
            good, output = self._host.connector.run_shell_command(
                StringCommand(command), **beside_its_steps(self._host, script, seconds + 5)
            )
        except LbctlError as error:
            return Answer(failed=error.message.removeprefix(f"{self._name}: "))
        except (SSHException, OSError, EOFError) as error:
            return Answer(failed=str(error) or type(error).__name__)
        said = " ".join(line.strip() for line in output.stderr_lines if line.strip())
        return Answer(after_mark(output.stdout_lines), "" if good else said or "it failed without a word")

    def tell_afresh(self, script: str) -> Answer:
        client = getattr(self._host.connector, "client", None)
        transport = client.get_transport() if client else None
        if transport and transport.is_active():
            return self.tell(script)  # it is not the connection: to renew it would cut off the steps
        try:
            self._host.connector.connect()
        except LbctlError as error:
            return Answer(failed=error.message.removeprefix(f"{self._name}: "))
        except ConnectError as error:
            return Answer(failed=str(error))
        try:
            return self.tell(script)
        finally:
            self._host.connector.disconnect()


def tell_all(lines: Lines, scripts: Mapping[str, str], *, insist: bool = False) -> dict[str, Answer]:
    """Tells several side by side. `insist`: at the end of a change, when a broken connection is no reason to leave traces."""

    def tell(name: str, script: str) -> Answer:
        answer = lines[name].tell(script)
        return lines[name].tell_afresh(script) if answer.failed and insist else answer

    telling = {name: gevent.spawn(tell, name, script) for name, script in scripts.items()}
    gevent.joinall(list(telling.values()), raise_error=True)
    return {name: each.value for name, each in telling.items()}
