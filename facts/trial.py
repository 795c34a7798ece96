"""A trial of virtual services, on a director, by one remote command."""

from collections.abc import Iterable, Sequence

from pyinfra.api import FactBase, Host

from cluster.keepalived import Endpoint
from cluster.trial import CONNECTIONS, Attempt, read

ANSWER = 5
"""Seconds in which a connection must come about."""

_HELD = 2
"""Seconds that each is held, so that all of an endpoint stand at once, and a scheduler that counts them spreads them."""

LIMIT = 60


class Trial(FactBase[tuple[Attempt, ...]]):
    """What came of connections to virtual services, from the director itself."""

    def command(self, places: tuple[str, ...]) -> str:
        del places
        return f"timeout -k 5 {LIMIT} bash -s"

    def process(self, output: Iterable[str]) -> tuple[Attempt, ...]:
        return read(output)

    @staticmethod
    def default() -> tuple[Attempt, ...]:
        return ()


def attempt(host: Host, wanted: Sequence[Endpoint]) -> tuple[Attempt, ...]:
    """Connects to each of `wanted` from `host`. Nothing when the host gave no answer."""
    places = tuple(map(str, wanted))
    found: tuple[Attempt, ...] = host.get_fact(Trial, places, _stdin=script(wanted), _timeout=LIMIT + 10)
    return found


def script(wanted: Sequence[Endpoint]) -> str:
    """bash (every Debian has it), for its /dev/tcp: nothing need be installed."""
    lines = ["export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin", _FUNCTIONS]
    lines += [f"attempt {endpoint.address} {endpoint.port}" for endpoint in wanted]
    return "\n".join([*lines, ""])


_FUNCTIONS = f"""\
one() {{ # a process of its own, which the time limit ends
  timeout {ANSWER + _HELD} bash -c 'exec 3<>"/dev/tcp/$0/$1" && echo "open $0:$1" && sleep {_HELD}' "$1" "$2" 2>/dev/null
}}
attempt() {{ # ADDRESS PORT
  echo "try $1:$2"
  for i in $(seq {CONNECTIONS}); do one "$1" "$2" & done
  sleep 1
  # TCP, from, its port, to, its port, server, its port, state: hexadecimal (net/netfilter/ipvs/ip_vs_conn.c).
  to=$(printf '%02X%02X%02X%02X %04X' ${{1//./ }} "$2")
  grep -F " $to " /proc/net/ip_vs_conn | while read -r _ _ _ _ _ server _ state _; do
    [ "$state" = ESTABLISHED ] || continue
    echo "by $1:$2 $((16#${{server:0:2}})).$((16#${{server:2:2}})).$((16#${{server:4:2}})).$((16#${{server:6:2}}))"
  done
  wait
}}
"""
