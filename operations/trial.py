"""The how-to's manual set-up on a director: its shell, and the operation that takes away what is left of it."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address

from pyinfra import host
from pyinfra import host as current
from pyinfra.api import FunctionCommand, Host, StringCommand, deploy, operation

from cluster.keepalived import Endpoint
from cluster.manual import Leftovers, leftovers
from cluster.parts import NETWORK
from operations import observation, thing
from operations.inventory import modes_in_use_now
from operations.thing import Commands, fails_alone, settled

_BEGIN = "set -eu; export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
_ANNOUNCED = 2
"""Announcements of an address, for who remembers it elsewhere."""
_ASKED = 2
"""Questions on the network whether somebody has an address, and seconds for the answers."""


def start_script(lines: Sequence[str], ours: Iterable[Endpoint], addresses: Iterable[IPv4Address], device: str) -> str:
    """The table first, then the addresses: nobody is refused between them. What was there of our services goes."""
    addresses = tuple(addresses)
    script = _BEGIN + _free(addresses, device) + _table(lines, ours)
    for address in addresses:
        # Without arping a client that remembers the address elsewhere finds it after a while.
        script += (
            f"ip addr replace {address}/32 dev {device}\n"
            f"! command -v arping >/dev/null || arping -q -A -c {_ANNOUNCED} -w {_ANNOUNCED} -I {device} {address} || :\n"
        )
    return script


def _free(addresses: Iterable[IPv4Address], device: str) -> str:
    """Stops where another host answers for one of these addresses: a director that is not declared, or anything else.

    By iputils' arping (arping(8), -D: exit status 1 where there is an answer); that of another package would say the opposite.
    """
    return "".join(
        f"if arping -V 2>/dev/null | grep -q iputils && ! ip -o addr show dev {device} to {address} | grep -q .; then\n"
        f"  s=0; arping -q -D -c {_ASKED} -w {_ASKED} -I {device} {address} >/dev/null 2>&1 || s=$?\n"
        f"  [ $s -ne 1 ] || {{ echo '{address} is on another host already; nothing was changed here' >&2; exit 1; }}\n"
        "fi\n"
        for address in addresses
    )


def restore_script(lines: Sequence[str], ours: Iterable[Endpoint]) -> str:
    return _BEGIN + _table(lines, ours)


def _table(lines: Sequence[str], ours: Iterable[Endpoint]) -> str:
    gone = "".join(f"ipvsadm -D {_named(place)} 2>/dev/null || :\n" for place in ours)
    return f"{gone}ipvsadm -R <<'TABLE'\n" + "".join(f"{line}\n" for line in lines) + "TABLE\n"


def clear_script(left: Leftovers) -> str:
    """Addresses first: nobody is to find one that nothing is behind."""
    script = _BEGIN
    for a in left.addresses:
        script += f"ip addr del {a.address}/{a.length} dev {a.device}\n"
    for place in left.services:
        script += f"ipvsadm -D {_named(place)}\n"
    return script


def _named(place: Endpoint) -> str:
    return f"{'-u' if place.protocol == 'udp' else '-t'} {place}"


SHOW = f"{_BEGIN}ipvsadm -Ln\n"
SAVE = f"{_BEGIN}ipvsadm -Sn\n"


@operation()
@fails_alone
def cleared() -> Commands:
    """No trial is left on this director."""
    left = _left(current)
    if not left:
        current.noop("no trial was left here")
        return
    try:
        yield StringCommand("timeout -k 5 30 sh -s", _stdin=clear_script(left), _timeout=45)
    finally:
        observation.forget(current)

    def lacking(where: Host) -> str | None:
        return next(iter(_left(where).what), None)

    yield FunctionCommand(settled, ("what a trial left", lacking), {})


def _left(where: Host) -> Leftovers:
    plan, name = observation.blueprint(where), observation.name_of(where)
    declaration = plan.former if plan.former and name in plan.leaving else plan.declaration
    return leftovers(declaration, name, observation.seen(where))


@deploy("before everything else")
def clear() -> None:
    """What a trial left on a director."""
    cleared(name="what a trial left")


@deploy("trial")
def network() -> None:
    """What a director needs besides keepalived, for the trial's mode."""
    thing.present(name="network", things=NETWORK, modes=modes_in_use_now(host))
