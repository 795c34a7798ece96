"""What can go wrong between the operator and a host: said in words for people, with a `Reason` for programs.

Two moments, two classes, because pyinfra expects it so: `UnreachableError` when connecting (a `ConnectError`: that host
is left out), and `ConnectionLostError` while a command runs (an `SSHException`: that host fails). Any other exception
would stop the run for every host.
"""

import errno
from enum import StrEnum

from paramiko import SSHException
from pyinfra.api.exceptions import ConnectError

from cluster.errors import HostError


class Reason(StrEnum):
    """Why a host could not be reached, or was lost."""

    UNRESOLVED = "unresolved"
    REFUSED = "refused"
    NO_ROUTE = "no_route"
    TIMEOUT = "timeout"
    NOT_SSH = "not_ssh"
    """Something answers there, but no SSH server that we could talk to."""
    AUTHENTICATION = "authentication"
    UNKNOWN_HOST_KEY = "unknown_host_key"
    CHANGED_HOST_KEY = "changed_host_key"
    LOST = "lost"
    """There was a connection, and it ended."""
    SETTINGS = "settings"
    """What we were told about the host makes no sense here: a key file that is missing, an option that is none."""
    LAB_DOWN = "lab_down"
    FAULT = "fault"
    """None of these: a fault in lbctl or below it."""


PASSING = frozenset({Reason.REFUSED, Reason.NO_ROUTE, Reason.TIMEOUT, Reason.LOST, Reason.UNRESOLVED})
"""Reasons that may be gone in a moment, so that trying again makes sense."""


class UnreachableError(ConnectError, HostError):
    """No connection to the host came about.

    `args[0]` carries the cure too: it is all that pyinfra prints.
    """

    def __init__(self, host: str, reason: Reason, message: str, *, cure: str = "") -> None:
        super().__init__(f"{host}: {message}", cure=cure)
        self.args = (str(self),)
        self.host = host
        self.reason = reason


class ConnectionLostError(SSHException, HostError):
    """The connection ended while it was in use. What the last command did on the host is not known."""

    reason = Reason.LOST

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"connection to {host} lost: {why}",
            cure="What the last command did there is not known. Run it again once the host answers: "
            "what is done is not done twice.",
        )
        self.host = host
        self.why = why


class CommandTimeoutError(HostError, TimeoutError):
    """A command took longer than it was given. It may still run on the host: wrap commands in `timeout` there."""

    reason = Reason.TIMEOUT

    def __init__(self, host: str, seconds: float, doing: str) -> None:
        super().__init__(
            f"{host}: no end of the command within {seconds:g} s ({doing})",
            cure="Look whether the host is busy or hangs; then run it again.",
        )
        self.host = host


def in_words(error: BaseException | None) -> str:
    """Why a connection ended, as an operator would say it."""
    if error is None or isinstance(error, EOFError):
        return "closed by the other side"
    if isinstance(error, OSError):
        said = {
            errno.ETIMEDOUT: "no answer any more",
            errno.ECONNABORTED: "no answer any more",
            errno.ECONNRESET: "reset by the other side",
            errno.EPIPE: "closed by the other side",
            errno.EHOSTUNREACH: "no route to it any more",
            errno.ENETUNREACH: "no route to it any more",
            errno.EBADF: "closed on our side",
        }
        return said.get(error.errno or 0) or error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__
