"""The cluster's other hosts, as one host's operations see them."""

import gevent
from pyinfra.api import Host
from pyinfra.context import ctx_host, ctx_state

from cluster.observed import HostState
from cluster.still_used import modes_now
from cluster.vocabulary import Mode
from operations import observation
from operations.errors import NoAnswerError


def members(host: Host, name: str) -> list[Host]:
    """A group of the inventory, "directors" or "real_servers"; empty where there is none."""
    inventory = host.state.inventory
    return list(inventory.get_group(name)) if name in inventory.groups else []


def modes_in_use_now(host: Host) -> frozenset[Mode]:
    """The declared mode, those that directors use, and those that clients still use."""
    return modes_now(observation.blueprint(host), states(host, "directors"))


def directors(host: Host) -> list[Host]:
    """The directors that there is a connection to."""
    return [other for other in members(host, "directors") if other.connected]


def states(host: Host, name: str) -> dict[str, HostState | None]:
    """What was seen on each host of a group, "directors" or "real_servers"; None for one that cannot be asked.

    Those that must be looked at are asked side by side.
    """
    group = members(host, name)
    unknown = [other for other in group if other.connected and not observation.known(other)]
    if len(unknown) > 1:
        gevent.joinall([gevent.spawn(_beside, other) for other in unknown], raise_error=True)
    return {observation.name_of(other): state_of(other) for other in group}


def _beside(host: Host) -> HostState | None:
    with ctx_state.use(host.state), ctx_host.use(host):
        return state_of(host)


def state_of(host: Host) -> HostState | None:
    """What was seen on a host; None if it cannot be asked. A host on which something failed can still be looked at."""
    if not host.connected:
        return None
    try:
        return observation.seen(host)
    except NoAnswerError:
        return None


def failed(host: Host) -> list[str]:
    """Hosts that there is a connection to and on which an operation failed in this run."""
    return [observation.name_of(other) for other in host.state.failed_hosts if other.connected]
