"""Proving to a host who we are: which keys are offered, in which order, and what became of each."""

import base64
import contextlib
import socket
from collections.abc import Generator, Iterator, MutableMapping
from pathlib import Path

from paramiko import AuthenticationException, PKey, SSHException, Transport
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey, Password, SourceResult
from paramiko.config import SSHConfig
from pyinfra.api.exceptions import PyinfraError
from pyinfra.connectors.ssh_util import load_key_with_certificate

from transports.errors import Reason, UnreachableError, in_words
from transports.known_hosts import fingerprint
from transports.route import DEFAULT_KEYS, Route

TIMED_OUT = "Authentication timeout."
"""How paramiko says it: it has no class for this."""


class Login(AuthStrategy):
    """Offers keys until the server takes one, and remembers which for the error's text.

    `loaded` keeps keys between hosts: reading a key that is encrypted takes a tenth of a second.
    """

    def __init__(self, route: Route, loaded: MutableMapping[str, PKey]) -> None:
        super().__init__(SSHConfig())
        self.route = route
        self.loaded = loaded
        self.tried: list[str] = []
        self.left_out: list[str] = []

    def authenticate(self, transport: Transport) -> list[SourceResult]:
        with contextlib.closing(self.get_sources()) as sources:
            for source in sources:
                try:
                    still_wanted = source.authenticate(transport)
                except AuthenticationException as error:
                    if str(error) == TIMED_OUT:
                        raise self.too_slow(transport) from error
                    self.tried.append(str(source))
                    if not transport.is_active():
                        raise self.refused(hung_up=True) from error
                    continue
                except (SSHException, OSError, EOFError) as error:
                    raise self.lost(error) from error
                if not still_wanted:
                    return [SourceResult(source, still_wanted)]
                self.tried.append(f"{source}: accepted, but the server wants {' and '.join(still_wanted)} too")
        raise self.refused(hung_up=False)

    def get_sources(self) -> Generator[AuthSource]:
        agent = _Agent(self.route.agent_socket)
        try:
            for label, key in self.keys(agent):
                yield _Key(self.route.user, key, label)
        finally:
            agent.close()
        if self.route.password:
            yield _Password(self.route.user, lambda: self.route.password)

    def keys(self, agent: "_Agent") -> Iterator[tuple[str, PKey]]:
        if self.route.key_file:
            yield self.named_key(agent)
            return
        for file in self.route.identity_files:
            yield from self.optional_key(file, self.route.certificate_file)
        named = {_public_half(file) for file in self.route.identity_files}
        for agent_key in agent.get_keys():
            if agent_key.asbytes() in named or not self.route.identities_only:
                yield f"{agent_key.comment or 'a key'} of the agent", agent_key
        if self.route.default_keys:
            for file in DEFAULT_KEYS:
                if Path(file).expanduser().is_file():
                    yield from self.optional_key(file)

    def named_key(self, agent: "_Agent") -> tuple[str, PKey]:
        """The key that the host's data names. If it is encrypted and its password unknown, the agent may have it."""
        file = self.route.key_file
        try:
            return file, self.load(file, self.route.key_password)
        except (PyinfraError, SSHException, OSError, ValueError) as error:
            public = _public_half(file)
            for agent_key in agent.get_keys():
                if agent_key.asbytes() == public:
                    return f"{file} in the agent", agent_key
            raise UnreachableError(
                self.route.name,
                Reason.SETTINGS,
                f"the key cannot be used: {error}",
                cure=f"Name a key file that can be read (ssh_key), or load it into the agent: ssh-add {file}",
            ) from error

    def optional_key(self, file: str, certificate: str | None = None) -> Iterator[tuple[str, PKey]]:
        try:
            yield file, self.load(file, "", certificate)
        except (PyinfraError, SSHException, OSError, ValueError) as error:
            self.left_out.append(str(error))

    def load(self, file: str, password: str, certificate: str | None = None) -> PKey:
        if file not in self.loaded:
            # No prompt: hosts are connected side by side, and there may be nobody to answer.
            self.loaded[file] = load_key_with_certificate(file, password, certificate, allow_prompt=False)
        return self.loaded[file]

    def refused(self, *, hung_up: bool) -> UnreachableError:
        route = self.route
        if self.tried:
            message = f"{route.login} accepts none of what was offered: {'; '.join(self.tried)}"
        else:
            message = f"there is no key to log in with as {route.login}"
        if hung_up:
            message += "; then it hung up"
        if self.left_out:
            message += f". Not offered: {'; '.join(self.left_out)}"
        key = f" -i {route.key_file}" if route.key_file else ""
        port = f" -p {route.port}" if "port" in route.login else ""
        return UnreachableError(
            route.name,
            Reason.AUTHENTICATION,
            message,
            cure=f"Let that key in (ssh-copy-id{key}{port} {route.user}@{route.hostname}), "
            "or name another key or user: `key`, `user` under [ssh] (plain pyinfra: ssh_key, ssh_user).",
        )

    def too_slow(self, transport: Transport) -> UnreachableError:
        return UnreachableError(
            self.route.name,
            Reason.TIMEOUT,
            f"{self.route.login} did not answer the login within {transport.auth_timeout:g} s",
            cure="The host is very busy, or its sshd waits for something (PAM, DNS). Look at its console.",
        )

    def lost(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            self.route.name,
            Reason.LOST,
            f"the connection to {self.route.address} ended during the login: {in_words(error)}",
            cure="Try again; if it stays so, the reason is in the log of the host's sshd.",
        )


class _Key(InMemoryPrivateKey):
    def __init__(self, user: str, key: PKey, label: str) -> None:
        super().__init__(user, key)
        self.label = label

    def __str__(self) -> str:
        return f"{self.label} ({self.pkey.get_name()} {fingerprint(self.pkey.asbytes())})"


class _Password(Password):
    def __str__(self) -> str:
        return "the password"


class _Agent(AgentSSH):
    """The keys of an ssh-agent at a given socket: paramiko's own `Agent` knows only the environment's.

    No agent there: no keys.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.connection: socket.socket | None = None
        if not path:
            return
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(10)  # an agent that hangs must not hold up the run
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]  # the stubs leave it out
        except (OSError, SSHException):
            connection.close()
        else:
            self.connection = connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()


def _public_half(file: str) -> bytes:
    try:
        return base64.b64decode(Path(f"{file}.pub").expanduser().read_text(encoding="utf-8").split()[1])
    except (OSError, ValueError, IndexError):
        return b""
