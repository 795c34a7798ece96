"""A trial of virtual services, on a director, by one remote command."""

from collections.abc import Iterable, Mapping, Sequence

from pyinfra.api import FactBase, Host

from cluster.keepalived import Endpoint
from cluster.trial import CONNECTIONS, read

ANSWER = 5
"""Seconds in which a connection must come about."""

_HELD = 2
"""Seconds that each is held, so that all of an endpoint stand at once, and a scheduler that counts them spreads them."""

LIMIT = 60


class Trial(FactBase[Mapping[str, int]]):
    """How many connections to each of some virtual services came about, from the director itself."""

    def command(self, places: tuple[str, ...]) -> str:
        del places
        return f"timeout -k 5 {LIMIT} bash -s"

    def process(self, output: Iterable[str]) -> Mapping[str, int]:
        return read(output)

    @staticmethod
    def default() -> Mapping[str, int]:
        return {}


def attempt(host: Host, wanted: Sequence[Endpoint]) -> Mapping[str, int]:
    """Connects to each of `wanted` from `host`. Nothing when the host gave no answer."""
    places = tuple(map(str, wanted))
    found: Mapping[str, int] = host.get_fact(Trial, places, _stdin=script(wanted), _timeout=LIMIT + 10)
    return found


def script(wanted: Sequence[Endpoint]) -> str:
    """bash (every Debian has it), for its /dev/tcp: nothing need be installed."""
    lines = ["export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin", _FUNCTIONS]
    # All at once: what each of them waits for takes longer than what it does.
    lines += [f"attempt {endpoint.address} {endpoint.port} &" for endpoint in wanted]
    return "\n".join([*lines, "wait", ""])


_FUNCTIONS = f"""\
one() {{ # opens a connection and holds it
  exec 3<>"/dev/tcp/$1/$2" && echo "open $1:$2" && exec sleep {_HELD}
}}
attempt() {{ # ADDRESS PORT
  # No process more than these: a director may be a small machine, and time is short.
  pids=
  for i in {{1..{CONNECTIONS}}}; do one "$1" "$2" 2>/dev/null & pids="$pids $!"; done
  (sleep {ANSWER + _HELD}; kill $pids) >/dev/null 2>&1 & limit=$!
  {{ wait $pids; kill $limit; wait $limit; }} 2>/dev/null
}}
"""
