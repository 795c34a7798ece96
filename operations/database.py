"""MySQL is restarted where it listens at a list of addresses that names a VIP which came after its start, and nowhere else.

Never two at once: before each restart every server of the cluster is seen to be Synced, and after it the restarted one is, and
is back in rotation. Directors are given time to see it go: what clients begin meanwhile is served.
"""

from collections.abc import Iterable

from pyinfra import host as current
from pyinfra import logger
from pyinfra.api import FunctionCommand, Host, State, StringCommand, operation

from cluster.binding import not_synced, why_not_restarted_now
from cluster.difference import Action, by_things
from cluster.parts import Thing
from cluster.vocabulary import Mode
from operations import observation
from operations.commands import RESTART_LIMIT, script
from operations.inventory import directors, members, states
from operations.thing import SETTLE, Commands, in_rotation, out_of_rotation, settled, watched

LEAVE = 10
"""Seconds that directors have to take a server out whose health service is silent. After that it is restarted all the same."""

_HEALTH = "lbctl-clustercheck.service"


@operation()
def restarted(modes: Iterable[Mode]) -> Commands:
    """MySQL accepts connections at every address that directors may send them to."""
    missing = by_things(observation.found(current, modes), (Thing.DATABASE,), Action.BUILD)
    if not missing:
        current.noop("listens as needed")
        return
    served_by = in_rotation(current)
    yield FunctionCommand(_all_are_well, (), {})
    health = observation.seen(current).units.get(_HEALTH)
    silent = bool(served_by and health and health.active and _health_decides(current))
    if silent:
        yield StringCommand(f"timeout 30 systemctl stop {_HEALTH}")
        yield FunctionCommand(_left, (), {})
    text = script(missing)
    if silent:
        text = f"trap 'systemctl start {_HEALTH}' EXIT\n{text}"
    try:
        yield StringCommand(f"timeout {RESTART_LIMIT + 60} sh -s", _stdin=text)
    finally:
        observation.forget(current)
    wanted = frozenset(modes)

    def lacking(where: Host) -> str | None:
        refusing = by_things(observation.found(where, wanted), (Thing.DATABASE,), Action.BUILD)
        return (
            (refusing[0].what if refusing else None)
            or not_synced(observation.seen(where))
            or out_of_rotation(where, served_by)
        )

    yield FunctionCommand(settled, ("MySQL was restarted", lacking, RESTART_LIMIT), {})


def _health_decides(host: Host) -> bool:
    """Whether every service asks the health service, so that its silence takes the server out of rotation."""
    services = observation.blueprint(host).declaration.service.values()
    return all(service.check.clustercheck_path for service in services)


def _all_are_well(state: State, host: Host) -> bool:
    del state
    reason = watched(host, _not_now, SETTLE)
    if reason:
        host.log_styled(f"MySQL is not restarted: {reason}", fg="red", log_func=logger.error)
    return reason is None


def _not_now(where: Host) -> str | None:
    for other in (*members(where, "real_servers"), *directors(where)):
        observation.forget(other)
    declared, name = observation.blueprint(where).declaration.real_server, observation.name_of(where)
    own = declared[name].address
    sending = [state for state in states(where, "directors").values() if state and own in state.destinations]
    others = {other: server.address for other, server in declared.items() if other != name and server.share}
    return why_not_restarted_now(states(where, "real_servers"), sending, others)


def _left(state: State, host: Host) -> bool:
    """Waits until no director sends connections here. One that still does is no reason to stop half-way."""

    def there(where: Host) -> str | None:
        for other in directors(where):
            observation.forget(other)
        return "in rotation" if in_rotation(where) else None

    del state
    watched(host, there, LEAVE)
    return True
