"""One SSH connection: the way there, the handshake, the login."""

import contextlib
import itertools
import logging
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from paramiko import PKey, ProxyCommand, SSHException, Transport
from paramiko import SSHClient as ParamikoClient
from paramiko.agent import AgentRequestHandler
from pyinfra.connectors.ssh_util import _patch_paramiko_sk_key_support
from pyinfra.connectors.sshuserclient.client import SSHClient

from transports.errors import Reason, UnreachableError, in_words
from transports.host_key import HostKeyCheck
from transports.login import Login
from transports.route import Route
from transports.sockets import Line, dial

SECONDS_FOR_CHANNEL = 20
SECONDS_FOR_LOGIN = 20
SECONDS_BETWEEN_LOOKS = 2

# With nobody listening, Python prints paramiko's log of errors, tracebacks and all. The errors here say it in words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

Dial = Callable[[Route], Any]


class Client(SSHClient):
    """pyinfra's client for what pyinfra does with one, with a way of connecting of our own.

    Theirs checks no host key of a jump host, asks on the terminal, and waits without end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connection: Any = None
        self.hops: list[Client] = []

    def reach(
        self,
        route: Route,
        dial: Dial = dial,
        *,
        loaded: MutableMapping[str, PKey] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Connects, or raises `UnreachableError` and leaves nothing open."""
        loaded = {} if loaded is None else loaded
        try:
            self.connection = self.way_in(route, dial, loaded)
            self.handshake(route, loaded, options or {})
        except BaseException:
            self.close()
            raise

    def way_in(self, route: Route, dial: Dial, loaded: MutableMapping[str, PKey]) -> Any:
        if route.proxy_command:
            return _proxy(route)
        for hop, beyond in itertools.pairwise((*route.hops, route)):
            client = Client()
            client.reach(hop, dial, loaded=loaded)
            self.hops.append(client)
            dial = client.to(beyond)
        return dial(route)

    def to(self, beyond: Route) -> Dial:
        """How to dial through this host, which is a jump host."""

        def through(_: Route) -> Any:
            try:
                return self.transport.open_channel(
                    "direct-tcpip", (beyond.hostname, beyond.port), ("127.0.0.1", 0), timeout=beyond.seconds
                )
            except (SSHException, OSError, EOFError) as error:
                raise UnreachableError(
                    beyond.name,
                    Reason.NO_ROUTE,
                    f"the jump host cannot reach {beyond.address}: {in_words(error)}",
                    cure="Is the host up, and does the jump host let connections through (AllowTcpForwarding)?",
                ) from error

        return through

    @property
    def transport(self) -> Transport:
        transport = self.get_transport()
        if transport is None:
            raise SSHException("not connected")
        return transport

    def handshake(self, route: Route, loaded: MutableMapping[str, PKey], options: Mapping[str, Any]) -> None:
        _patch_paramiko_sk_key_support()
        check = HostKeyCheck(route)
        self.set_missing_host_key_policy(check)

        def make_transport(sock: Any, **rest: Any) -> Transport:
            line: Any = Line(sock) if isinstance(sock, socket.socket) else sock
            transport = Transport(line, **rest)
            transport.banner_timeout = route.seconds
            transport.handshake_timeout = route.seconds
            transport.auth_timeout = SECONDS_FOR_LOGIN
            transport.channel_timeout = SECONDS_FOR_CHANNEL  # type: ignore[attr-defined]  # the stubs lack it
            security = transport.get_security_options()
            security.key_types = check.order(list(security.key_types))
            return transport

        started = time.monotonic()
        try:
            # paramiko's own connect, past pyinfra's.
            ParamikoClient.connect(
                self,
                route.hostname,
                route.port,
                route.user,
                sock=self.connection,
                timeout=2 * route.seconds + 1,  # a backstop: the transport gives up by itself before
                transport_factory=make_transport,
                auth_strategy=Login(route, loaded),
                **options,
            )
        except UnreachableError:
            raise
        except Exception as error:  # whatever it is, it concerns this host alone
            raise no_session(route, error, time.monotonic() - started) from error
        if isinstance(self.connection, socket.socket):
            # paramiko looks up from its reading ten times a second: for a hundred hosts that is 5 % of a CPU, for nothing.
            self.connection.settimeout(SECONDS_BETWEEN_LOOKS)

    def forward_agent(self) -> None:
        AgentRequestHandler(self.transport.open_session())

    def close(self) -> None:
        """Closes what paramiko leaves open, too: the socket of a session that never began, and the jump hosts."""
        transport = self.get_transport()
        super().close()
        if self.connection is not None:
            with contextlib.suppress(OSError, SSHException, EOFError):
                self.connection.close()
        if transport is not None and transport.is_alive():
            transport.join(1)
        while self.hops:
            self.hops.pop().close()


def _proxy(route: Route) -> ProxyCommand:
    try:
        return ProxyCommand(route.proxy_command)
    except (OSError, ValueError) as error:
        raise UnreachableError(
            route.name, Reason.SETTINGS, f"the ssh_config's ProxyCommand cannot be started: {error}"
        ) from error


def no_session(route: Route, error: Exception, elapsed: float) -> UnreachableError:
    """Why TCP worked and SSH did not. Part of what paramiko knows of it is in its wording alone."""
    said = str(error)
    if "Error reading SSH protocol banner" in said and error.__context__ is not None:
        error = error.__context__ if isinstance(error.__context__, Exception) else error
    if elapsed >= route.seconds and (isinstance(error, (EOFError, OSError)) or "No existing session" in said):
        return UnreachableError(
            route.name,
            Reason.TIMEOUT,
            f"{route.address} takes the connection and does not speak SSH within {route.seconds:g} s",
            cure="The host hangs or is out of memory, or something else listens there. Look at its console.",
        )
    if isinstance(error, (EOFError, ConnectionError)):
        return UnreachableError(
            route.name,
            Reason.LOST,
            f"{route.address} takes the connection and ends it at once",
            cure="Its sshd turns us away (MaxStartups, fail2ban), or the machine is just coming up or going down.",
        )
    if isinstance(error, (SSHException, OSError)):
        return UnreachableError(
            route.name,
            Reason.NOT_SSH,
            f"what answers at {route.address} is no SSH server that we could talk to: {said}",
            cure="Name the right port ([ssh] port). A server from the last century may also know only old algorithms.",
        )
    return UnreachableError(route.name, Reason.FAULT, f"connecting failed: {type(error).__name__}: {said}")
