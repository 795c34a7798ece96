"""nat: while directors change places, the new one sends on no answer that it cannot translate yet.

The kernel copies a connection to the other director when it is established, some 20 ms later, and MySQL's server speaks first. A
greeting that comes to the new director before the copy has no entry there: it would be routed on as it is, from the server's own
address, and the client's machine, which knows of no such connection, would reset it. With `nat_icmp_send` the kernel drops what
comes from a real server's port without an entry (net/netfilter/ipvs/ip_vs_core.c, ip_vs_out_hook; ipvs-sysctl.rst), the server
sends it again 0.2 s later, and by then the copy is there. The ICMP message that goes with it is a hint only to a connection that
stands (net/ipv4/tcp_ipv4.c, tcp_v4_err).

Not for good: connections to a server's own port that go through this director, or are its own, have no entry either.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cluster.declaration import Declaration
from cluster.failover import untranslated_through
from fleet.line import Line, tell_all
from fleet.lock import Say

SECONDS = 60
"""After so long it is over in any case, also where the operator's machine has died."""
AFTER = 1
"""Seconds for which it lasts after the new director has the gateway's address."""
_KNOB = "/proc/sys/net/ipv4/vs/nat_icmp_send"


def dropping(address: str) -> str:
    """The shell that turns it on, and off again by itself. Says `on` unless it is somebody else's setting already."""
    return f"""\
PATH=/usr/sbin:/usr/bin:/sbin:/bin
read -r was <{_KNOB} || exit 1
[ "$was" = 0 ] || exit 0
setsid -f sh -c '
  end=$(($(date +%s) + {SECONDS}))
  while [ $(date +%s) -lt $end ] && ! ip -4 -o addr show to {address}/32 | grep -q .; do sleep 0.05; done
  sleep {AFTER}
  echo 0 >{_KNOB}' </dev/null >/dev/null 2>&1
echo 1 >{_KNOB} && echo on
"""


PASSING = f"echo 0 >{_KNOB}\n"
"""The shell that turns it off at once."""


@contextmanager
def held_back(target: Line, declaration: Declaration, say: Say) -> Iterator[None]:
    """For the block in which `target` takes over. Where it cannot be, the block is entered all the same."""
    gateway = untranslated_through(declaration)
    if gateway is None:
        yield
        return
    answer = target.tell(dropping(str(gateway)))
    if answer.failed:
        say(f"the new director may send on what it cannot translate yet: {answer.failed}")
    try:
        yield
    except BaseException:
        # Nobody may have taken over; else it ends by itself.
        if answer.lines == ("on",):
            tell_all({"": target}, {"": PASSING}, insist=True)
        raise
