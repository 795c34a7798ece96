"""pyinfra's SSH connector, made to hold: hosts named `@lbctl/NAME`.

A dead host fails alone, with the reason; nothing waits for ever; host keys are checked; what goes to a command's
standard input is seen by that command only.
"""

import random
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Unpack

from paramiko import SSHException, Transport
from pyinfra import logger
from pyinfra.api.arguments import ConnectorArguments
from pyinfra.api.command import StringCommand
from pyinfra.api.output import echo
from pyinfra.connectors.base import DataMeta
from pyinfra.connectors.ssh import ConnectorData as SSHConnectorData
from pyinfra.connectors.ssh import SSHConnector, connector_data_meta
from pyinfra.connectors.util import (
    SUDO_PASSWORD_REQUIRED_LINES,
    CommandOutput,
    OutputLine,
    extract_control_arguments,
    make_unix_command_for_host,
    remove_any_sudo_askpass_file,
)

from transports.client import Client
from transports.conversation import NO_STATUS, Conversation
from transports.errors import PASSING, CommandTimeoutError, ConnectionLostError, Reason, UnreachableError, in_words
from transports.route import Route, route
from transports.sockets import dial

OUT_OF_TIME = 124
"""timeout(1), which commands are wrapped in, says so when it had to end one."""


class ConnectorData(SSHConnectorData):
    ssh_patience: float


class Connector(SSHConnector):
    """Host data is that of pyinfra's `@ssh`, but that host keys are checked unless `accept-new` is asked for."""

    data_cls: type[Any] = ConnectorData
    data_meta = {  # noqa: RUF012 - pyinfra's own is as plain
        **connector_data_meta,
        "ssh_strict_host_key_checking": DataMeta("`yes`, or `accept-new` to trust a host at first contact", "yes"),
        "ssh_patience": DataMeta("Seconds for TCP alone; less than for the greeting and the login of a busy host"),
    }

    client: Client | None = None
    failure: UnreachableError | ConnectionLostError | CommandTimeoutError | None = None
    """What last went wrong with the connection. pyinfra tells its callers only that the host failed."""

    complaint: tuple[str, ...] = ()
    """What the last command wrote to standard error, if it failed. pyinfra logs which fact failed, not why."""

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield f"@lbctl/{name}", {"ssh_hostname": name}, []

    @property
    def name(self) -> str:
        """What the operator calls the host."""
        return self.host.name.removeprefix("@").split("/", 1)[-1]

    def route(self) -> Route:
        return route(self.name, self.data, seconds=self.state.config.CONNECT_TIMEOUT)

    def dial(self, route: Route) -> socket.socket:
        return dial(self.impatient(route))

    def impatient(self, route: Route) -> Route:
        """For TCP alone: a machine that is up answers at once, however busy it is."""
        return replace(route, seconds=min(route.seconds, self.host.data.get("ssh_patience") or route.seconds))

    def connect(self) -> None:
        self.hang_up()
        self.failure = None
        tries_left = self.data["ssh_connect_retries"]
        while True:
            try:
                self.connect_or_say_why()
            except UnreachableError as error:
                self.failure = error
                if tries_left <= 0 or error.reason not in PASSING:
                    raise
                tries_left -= 1
                shortest, longest = self.data["ssh_connect_retry_min_delay"], self.data["ssh_connect_retry_max_delay"]
                pause = random.uniform(shortest, longest)  # noqa: S311 - spreads the load, keeps no secret
                logger.debug("Trying %s again in %.1f s: %s", self.name, pause, error.message)
                time.sleep(pause)
            else:
                self.failure = None
                return

    def connect_or_say_why(self) -> None:
        try:
            self.connect_once()
        except UnreachableError:
            raise
        except Exception as error:  # a fault of ours, but one that must not stop the run for the other hosts
            logger.debug("Connecting to %s failed", self.name, exc_info=True)
            raise UnreachableError(
                self.name, Reason.FAULT, f"connecting failed: {type(error).__name__}: {error}"
            ) from error

    def connect_once(self) -> None:
        route = self.route()
        logger.debug("Connecting to %s: %r", self.name, route)
        client = Client()
        client.reach(
            route,
            self.dial,
            loaded=self.state.private_keys,
            options=self.data["ssh_paramiko_connect_kwargs"],
        )
        if self.data["ssh_forward_agent"]:
            client.forward_agent()
        self.client = client

    def disconnect(self) -> None:
        # pyinfra does this after disconnecting, when it is too late: the file would stay on the host.
        remove_any_sudo_askpass_file(self.host)
        super().disconnect()
        self.hang_up()

    def hang_up(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            client.close()

    def run_shell_command(
        self,
        command: StringCommand,
        print_output: bool = False,  # noqa: FBT001, FBT002 - pyinfra's signature
        print_input: bool = False,  # noqa: FBT001, FBT002
        **arguments: Unpack[ConnectorArguments],
    ) -> tuple[bool, CommandOutput]:
        control = extract_control_arguments(arguments)
        expected = control.get("_success_exit_codes") or [0]
        unix_command = make_unix_command_for_host(self.state, self.host, command, **arguments)
        logger.debug("Running command on %s: (pty=%s) %s", self.host.name, control.get("_get_pty"), unix_command)
        if print_input:
            echo(f"{self.host.print_prefix}>>> {unix_command}", err=True)

        transport = self.transport()
        conversation = Conversation(
            transport,
            unix_command.get_raw_value(),
            stdin=_encoded(control.get("_stdin")),
            pty=bool(control.get("_get_pty")),
            show_as=self.host.print_prefix if print_output else None,
        )
        seconds = control.get("_timeout") or None
        if not conversation.run(seconds):
            self.failure = CommandTimeoutError(self.name, seconds or 0, conversation.doing)
            raise self.failure
        self.check(transport, conversation, expected)
        logger.debug("Command exit status: %i", conversation.status)
        self.complaint = ()
        if conversation.status not in expected:
            conversation.output.combined_lines += self.hints(conversation)
            self.complaint = tuple(line for line in conversation.output.stderr_lines if line.strip())
        return conversation.status in expected, conversation.output

    def transport(self) -> Transport:
        transport = self.client.get_transport() if self.client else None
        if transport is None:
            raise self.lost("it is closed")
        if not transport.is_active():
            raise self.lost(in_words(transport.saved_exception))
        return transport

    def check(self, transport: Transport, conversation: Conversation, expected: Iterable[int]) -> None:
        """Tells the end of a connection from the end of a command."""
        error = conversation.error
        if error is None and conversation.status != NO_STATUS:
            return
        transport.join(0.2)  # the channels are told a moment before the transport calls itself dead
        cause = transport.saved_exception or error
        if not transport.is_active() or isinstance(error, EOFError):
            if error is None and NO_STATUS in expected:  # a reboot ends like that, and says so beforehand
                return
            raise self.lost(in_words(cause)) from cause
        if isinstance(error, (SSHException, OSError)):
            raise error
        if error is not None:  # pyinfra copes with those two kinds; any other would stop the run for every host
            raise SSHException(f"{type(error).__name__}: {error}") from error

    def lost(self, why: str) -> ConnectionLostError:
        """The first cause stays the reason: after it everything fails, and says less and less about why."""
        if not isinstance(self.failure, ConnectionLostError):
            self.failure = ConnectionLostError(self.name, why)
        return ConnectionLostError(self.name, self.failure.why)

    def hints(self, conversation: Conversation) -> Iterator[OutputLine]:
        """What the operator should know beside what the command printed."""
        if conversation.status == NO_STATUS:
            yield OutputLine("stderr", f"{self.name}: the command ended without an exit status: something killed it")
        if conversation.status == OUT_OF_TIME:
            yield OutputLine("stderr", f"{self.name}: it took longer than it may, and was ended there")
        if any(line.line.strip() in SUDO_PASSWORD_REQUIRED_LINES for line in conversation.output.combined_lines):
            user = self.data["ssh_user"] or "USER"
            yield OutputLine(
                "stderr",
                f"{self.name}: sudo wants a password, and there is nobody to ask. "
                'Log in as root (user = "root" under [ssh]), '
                f"or allow it without: `{user} ALL=(ALL) NOPASSWD: ALL` in /etc/sudoers.d",
            )

    def put_file(self, *arguments: Any, **named: Any) -> bool:
        try:
            return bool(super().put_file(*arguments, **named))
        except EOFError as error:
            raise self.lost(in_words(error)) from error

    def get_file(self, *arguments: Any, **named: Any) -> bool:
        try:
            return bool(super().get_file(*arguments, **named))
        except EOFError as error:
            raise self.lost(in_words(error)) from error


def _encoded(stdin: Any) -> bytes:
    """As pyinfra does it: text, or lines, each ended by a newline. Bytes go as they are."""
    if not stdin:
        return b""
    if isinstance(stdin, bytes):
        return stdin
    lines = [stdin] if isinstance(stdin, str) else list(stdin)
    return b"".join(line if isinstance(line, bytes) else _ended(line).encode() for line in lines)


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"
