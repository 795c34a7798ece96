"""nat: while directors change places, the new one leads to the old one the answers that it cannot translate.

The kernel copies a connection to the other director some 20 ms after it was established, and keepalived ends the copying when
it stops: of those that begin just before the other one takes over some are never copied. Their clients' next packet makes an
entry there (fleet.sticking), but a client that waits for its server sends none, and MySQL's server speaks first. Its packet comes
to the new director, which has no entry, and would be routed on as it is, from the server's own address: the client's machine
knows of no such connection.

So packets that come from a service's port at a server are routed to the old director, which still has the entry. Not those that
the new one translates: the kernel looks their route up again, by their new source (ipvs-sysctl.rst, snat_reroute). Nor those for
the new director itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.declaration import Declaration
from cluster.failover import Move, answers_through
from fleet.line import tell_all
from fleet.lock import Say
from fleet.session import Session

SECONDS = 60
"""After so long it is over in any case, also where the operator's machine has died."""
AFTER = 5
"""Seconds for which it lasts after the new director has the gateway's address: clients have sent something by then."""
TABLE = 27746
"""Of routes, and the preference of the rules: "lb" in ASCII, so that it is nobody else's."""

_PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
_STOP = f"while ip rule del pref {TABLE}; do :; done 2>/dev/null; ip route flush table {TABLE} 2>/dev/null"
STRAIGHT = f"{_PATH}\n{_STOP}\n:\n"
"""The shell that ends it at once."""


def leading(declaration: Declaration, move: Move) -> str | None:
    """The shell that begins it, on the new director; it ends by itself. None where no answers go through a gateway."""
    found = answers_through(declaration)
    if found is None:
        return None
    gateway, ends = found
    old, device = declaration.director[move.source].address, declaration.director[move.target].interface
    rules = "\n".join(
        f"ip rule add pref {TABLE} from {address} ipproto {protocol} sport {port} lookup {TABLE}"
        for address, protocol, port in ends
    )
    return f"""\
{_PATH}
{_STOP}
set -e
ip route replace default via {old} dev {device} onlink table {TABLE}
{rules}
setsid -f sh -c '
  end=$(($(date +%s) + {SECONDS}))
  while [ $(date +%s) -lt $end ] && ! ip -4 -o addr show to {gateway}/32 | grep -q .; do sleep 0.1; done
  sleep {AFTER}
  {_STOP}' </dev/null >/dev/null 2>&1
"""


@contextmanager
def led_on(session: Session, declaration: Declaration, move: Move, say: Say) -> Iterator[None]:
    """For the block in which the directors change places. Where it cannot be, the block is entered all the same."""
    script = leading(declaration, move)
    if script is None:
        yield
        return
    lines = {name: session.connect(name) for name in (move.source, move.target)}
    # What an earlier move may have left, that other way round, would send packets back and forth.
    answers = tell_all(lines, {move.source: STRAIGHT, move.target: script})
    if failed := answers[move.target].failed:
        say(f"{move.target} cannot lead answers to {move.source}: some of the newest connections may be cut: {failed}")
    try:
        yield
    except BaseException:
        # Nobody may have taken over; else it ends by itself.
        tell_all(lines, {move.target: STRAIGHT}, insist=True)
        raise
