"""What can go wrong, by name, and the exit code of each: the one place where exit codes live.

An error's text says what happened, on which host, what state things are in and what to do next; operators see it as it is.
"""

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    """Done, nothing to do, healthy."""
    FAULT = 1
    """A fault in lbctl itself."""
    INVALID = 2
    """The request or the declaration is wrong; no host was touched."""
    FAILED = 3
    """A host could not be reached or a step failed."""
    TROUBLE = 4
    """Trouble found: differences, or a fault in what was looked at."""
    REFUSED = 5
    """Refused for safety."""
    INTERRUPTED = 130
    """Stopped by the operator."""


CURE = "\n  → "
"""Between what happened and what to do next."""


class LbctlError(Exception):
    """An expected failure. `exit_code` is what the process ends with; the text is for the operator.

    `cure` says what to do next, in one or two sentences or commands.
    """

    exit_code = Exit.FAULT

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}{CURE}{self.cure}" if self.cure else self.message


class RequestError(LbctlError, ValueError):
    """The request or the declaration is wrong. Nothing was touched."""

    exit_code = Exit.INVALID


class HostError(LbctlError):
    """One or more hosts could not be reached, or a step failed there."""

    exit_code = Exit.FAILED


class TroubleError(LbctlError):
    """Something that was looked at is not as it should be."""

    exit_code = Exit.TROUBLE


class RefusedError(LbctlError):
    """Refused, because doing it could hurt a service."""

    exit_code = Exit.REFUSED
