"""The way to a host: its data in the inventory, completed from the ssh_config, settled before a word is sent."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.connectors.sshuserclient.client import SSHClient, get_ssh_config

from transports.errors import Reason, UnreachableError
from transports.known_hosts import SSH_PORT

if TYPE_CHECKING:
    from paramiko import SSHConfig

USER_KNOWN_HOSTS = "~/.ssh/known_hosts"
SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
DEFAULT_KEYS = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


@dataclass(frozen=True, kw_only=True)
class Route:
    name: str
    """What the operator calls the host."""
    hostname: str
    port: int = SSH_PORT
    user: str

    key_file: str = ""
    """The one key to use. Without it: `identity_files`, the agent's keys, the user's default keys."""
    key_password: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_files: tuple[str, ...] = ()
    certificate_file: str | None = None
    identities_only: bool = False
    """Of the agent's keys, only those that `identity_files` name."""
    agent_socket: str = ""
    default_keys: bool = True

    known_hosts: tuple[Path, ...]
    """Files of trusted host keys. New keys go to the first."""
    accept_new: bool = False

    proxy_command: str = ""
    hops: tuple["Route", ...] = ()
    """Jump hosts, the nearest first."""
    seconds: float = 10
    """For each stage of connecting: TCP, the server's greeting, the key exchange."""

    @property
    def address(self) -> str:
        return f"{self.hostname} port {self.port}"

    @property
    def login(self) -> str:
        return f"{self.user}@{self.hostname}" + (f" port {self.port}" if self.port != SSH_PORT else "")


def route(name: str, data: Mapping[str, Any], *, seconds: float) -> Route:
    """The way that the host's data and the ssh_config describe. Data wins.

    But for the trust in host keys, where the data alone decides: a `StrictHostKeyChecking no` that somebody once put
    into an ssh_config must not weaken this.
    """
    hostname = data["ssh_hostname"] or name
    config = _Config(
        name,
        data["ssh_config_file"],
        seconds=seconds,
        accept_new=_accepts_new(name, data["ssh_strict_host_key_checking"]),
        known_hosts=data["ssh_known_hosts_file"],
    )
    found = config.route(hostname)
    return replace(
        found,
        port=int(data["ssh_port"] or found.port),
        user=data["ssh_user"] or found.user,
        key_file=data["ssh_key"] or "",
        key_password=data["ssh_key_password"] or "",
        password=data["ssh_password"] or "",
        agent_socket=found.agent_socket if data["ssh_allow_agent"] else "",
        default_keys=found.default_keys and data["ssh_look_for_keys"],
    )


def _accepts_new(name: str, value: str) -> bool:
    if value not in {"yes", "accept-new"}:
        raise UnreachableError(
            name,
            Reason.SETTINGS,
            f"ssh_strict_host_key_checking is {value!r}; it can be 'yes' or 'accept-new'",
            cure="Take 'accept-new' to trust a host at first contact. Not checking at all is not on offer.",
        )
    return value == "accept-new"


class _Config:
    """The operator's ssh_config, as far as it concerns the way to a host."""

    def __init__(
        self, name: str, file: str | None, *, seconds: float, accept_new: bool, known_hosts: str | None
    ) -> None:
        self.name = name
        self.seconds = seconds
        self.accept_new = accept_new
        self.known_hosts = [known_hosts] if known_hosts else []
        try:
            self.config: SSHConfig | None = get_ssh_config(str(Path(file).expanduser()) if file else None)
        except Exception as error:  # pyinfra and paramiko raise bare Exceptions here
            raise UnreachableError(name, Reason.SETTINGS, f"the ssh_config cannot be read: {error}") from error

    def route(self, hostname: str, via: tuple[str, ...] = ()) -> Route:
        found: dict[str, Any] = dict(self.config.lookup(hostname)) if self.config else {}
        own_known_hosts = found.get("userknownhostsfile", USER_KNOWN_HOSTS).split()
        result = Route(
            name=self.name,
            hostname=found.get("hostname", hostname),
            port=int(found.get("port", SSH_PORT)),
            user=found.get("user") or getpass.getuser(),
            identity_files=tuple(found.get("identityfile", ())),
            certificate_file=found.get("certificatefile"),
            identities_only=found.get("identitiesonly") == "yes",
            agent_socket=_agent_socket(found.get("identityagent", "SSH_AUTH_SOCK")),
            default_keys="identityfile" not in found,
            known_hosts=tuple(
                Path(file).expanduser() for file in (*self.known_hosts, *own_known_hosts, SYSTEM_KNOWN_HOSTS)
            ),
            accept_new=self.accept_new,
            proxy_command=_unless_none(found.get("proxycommand")),
            seconds=self.seconds,
        )
        jumps = _unless_none(found.get("proxyjump"))
        if self.config is None or not jumps or hostname in via:
            return result
        hops: list[Route] = []
        for jump in jumps.split(","):
            target, given = SSHClient.derive_shorthand(self.config, jump.strip())  # type: ignore[no-untyped-call]
            hop = self.route(target, (*via, hostname))
            # The first jump host may have jump hosts of its own; each of the others is reached from the one before it.
            hops += hop.hops if not hops else ()
            hops.append(
                replace(
                    hop,
                    name=f"{self.name}: jump host {target}",
                    port=int(given["port"]),
                    user=given["username"] or hop.user,
                    hops=(),
                ),
            )
        return replace(result, hops=tuple(hops), proxy_command="")


def _agent_socket(named: str) -> str:
    if named.lower() == "none":
        return ""
    if named == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK", "")
    return str(Path(os.path.expandvars(named)).expanduser())


def _unless_none(value: str | None) -> str:
    return "" if value is None or value.lower() == "none" else value
