"""A director looks at itself: its kernel by netlink, the rest by a shell of its own. No SSH, and no other host is asked."""

import subprocess
from datetime import UTC, datetime
from ipaddress import IPv4Address
from types import TracebackType
from typing import Self

from cluster.declaration import Declaration
from cluster.errors import HostError, RequestError
from cluster.footprint import Blueprint
from cluster.observed import BusyError, HostState, parse
from cluster.pulse import parse as pulse_of
from cluster.status import BUSY, Answers
from facts import kernel, pulse, state
from operations.observation import asked_of

LIMIT = 20
"""Seconds for the shell."""


def director_here(declaration: Declaration) -> str:
    """The director that this machine is. Raises RequestError."""
    # The end mark is what makes it an answer.
    own = {
        address.address for address in pulse_of(_told("echo '#addresses'; ip -4 -o addr show; echo '#end'")).addresses
    }
    return director_with(declaration, own)


def director_with(declaration: Declaration, own: set[IPv4Address]) -> str:
    """The director that has one of these addresses. Raises RequestError."""
    for name, director in declaration.director.items():
        if director.address in own:
            return name
    known = ", ".join(f"{name} {director.address}" for name, director in declaration.director.items())
    raise RequestError(
        "this machine is none of the cluster's directors: it has none of their addresses",
        cure=f"leave --here out (declared: {known})",
    )


class Here:
    """As `fleet.onlooker.Onlooker`, of this machine alone."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.name = director_here(blueprint.declaration)
        self._state: HostState | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left open."""

    def look(self, *, whole: bool = True, within: float | None = None) -> Answers:
        """Raises HostError if this machine does not answer itself."""
        del within  # there is nobody to wait for
        asked = pulse.script(self.blueprint.declaration, self.name, kernel=False)
        found = kernel.with_table(pulse_of(_told(asked)))
        unseen = self._look_whole() if whole else {}
        states = {self.name: self._state} if self._state else {}
        return Answers(datetime.now(UTC), {self.name: found}, states, {}, unseen)

    def _look_whole(self) -> dict[str, str]:
        try:
            self._state = parse("\n".join(_told(state.script(asked_of(self.blueprint, self.name)))))
        except BusyError:
            self._state = None
            return {self.name: BUSY}
        return {}


def _told(script: str) -> list[str]:
    try:
        # What a host says of itself may be in another encoding: a name in a file, an error in Latin-1.
        done = subprocess.run(
            ["sh", "-s"], input=script, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"this machine gives no answer: {error}") from error
    return done.stdout.splitlines()
