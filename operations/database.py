"""MySQL is restarted where it listens at a list of addresses that names a VIP which came after its start, and nowhere else.

Never two at once: before each restart every server of the cluster is seen to be Synced, and after it the restarted one is, and
is back in rotation. Directors are told to send it no new connections, and what clients began has time to end.
"""

from collections.abc import Iterable
from functools import partial

from pyinfra import host as current
from pyinfra import logger
from pyinfra.api import FunctionCommand, Host, State, operation

from cluster.binding import not_synced, why_not_restarted_now
from cluster.difference import Action, by_things
from cluster.order import only_choices
from cluster.parts import Thing
from cluster.vocabulary import Mode
from operations import observation
from operations.commands import RESTART_LIMIT, script
from operations.inventory import directors, members, states
from operations.rotation import come_back, in_rotation, leave, out_of_rotation, told
from operations.thing import SETTLE, Commands, fails_alone, settled, watched

LEAVE = 10
"""Seconds that clients have to end what they began. After that it is restarted all the same."""


@operation()
@fails_alone
def restarted(modes: Iterable[Mode], *, writers: bool) -> Commands:
    """MySQL accepts connections at every address that directors may send them to.

    `writers`: also where all new connections of a service go to. They come last, so that what moves away does so once.
    """
    missing = by_things(observation.found(current, modes), (Thing.DATABASE,), Action.BUILD)
    if not missing:
        current.noop("listens as needed")
        return
    if not writers and observation.name_of(current) in _writers(current):
        current.noop("restarted last")
        return
    served_by = in_rotation(current)
    yield FunctionCommand(_all_are_well, (), {})
    yield FunctionCommand(_left, (), {})
    yield FunctionCommand(_began_anew, (script(missing),), {})
    wanted = frozenset(modes)

    def lacking(where: Host) -> str | None:
        refusing = by_things(observation.found(where, wanted), (Thing.DATABASE,), Action.BUILD)
        return (refusing[0].what if refusing else None) or not_synced(observation.seen(where))

    yield FunctionCommand(settled, ("MySQL was restarted", lacking, RESTART_LIMIT), {})
    yield FunctionCommand(_taken_back, (), {})
    back = partial(out_of_rotation, served_by=served_by)
    yield FunctionCommand(settled, ("MySQL was restarted", back, RESTART_LIMIT), {})


def _writers(host: Host) -> frozenset[str]:
    seen = states(host, "directors").values()
    return only_choices(observation.blueprint(host).declaration, (state for state in seen if state))


def _all_are_well(state: State, host: Host) -> bool:
    del state
    come_back(host)  # a run that was cut short may have left another one aside
    reason = watched(host, _not_now, SETTLE)
    if reason:
        host.log_styled(f"MySQL is not restarted: {reason}", fg="red", log_func=logger.error)
    return reason is None


def _not_now(where: Host) -> str | None:
    for other in (*members(where, "real_servers"), *directors(where)):
        observation.ask_again(other)
    declared, name = observation.blueprint(where).declaration.real_server, observation.name_of(where)
    own = declared[name].address
    others = {other: server.address for other, server in declared.items() if other != name and server.share}
    return why_not_restarted_now(states(where, "real_servers"), states(where, "directors"), own, others)


def _left(state: State, host: Host) -> bool:
    """No new connections, and time for those that stand. One that goes on is no reason to stop half-way."""
    own = {server.address for server in observation.blueprint(host).declaration.real_server.values()}

    def there(where: Host) -> str | None:
        clients = [c for c in observation.seen(where).established if c.peer not in own]
        return f"{len(clients)} connections" if clients else None

    del state
    leave(host)
    watched(host, there, LEAVE)
    return True


def _began_anew(state: State, host: Host, text: str) -> bool:
    """Restarted, if the others are still well: while clients left another one may have gone. Else directors send here again."""
    del state
    why = _not_now(host)
    failed = f"MySQL is not restarted: {why}" if why else told(host, text, RESTART_LIMIT + 30)
    if failed:
        host.log_styled(failed, fg="red", log_func=logger.error)
        if why or watched(host, lambda where: not_synced(observation.seen(where)), SETTLE) is None:
            come_back(host)
    return not failed


def _taken_back(state: State, host: Host) -> bool:
    """Where it was so soon back that no check missed it, it still is in the table, without new connections."""
    del state
    come_back(host)
    return True
