"""Which directors send connections to a server, and how they are had to send it no new ones for a while."""

from collections.abc import Callable, Iterable
from functools import partial

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import Host, StringCommand

from cluster.difference import Action, Difference
from cluster.observed import HostState
from cluster.parts import Thing
from cluster.table import Mend, Weights, set_aside, taken_back, weights
from operations import observation
from operations.beside import beside_its_steps
from operations.commands import WAIT, script
from operations.inventory import directors, state_of, states

_LIMIT = 20
"""Seconds for some calls of ipvsadm."""


def in_rotation(where: Host) -> frozenset[str]:
    """The directors that send new connections to this real server now."""
    plan, name = observation.blueprint(where), observation.name_of(where)
    server = plan.declaration.real_server.get(name)
    if server is None:
        return frozenset()
    return frozenset(
        other for other, state in states(where, "directors").items() if state and server.address in state.receiving
    )


def out_of_rotation(host: Host, served_by: frozenset[str]) -> str | None:
    """A server that was in rotation must be back before the next one is touched: a restart of its health service may have
    taken it out.
    """
    for other in directors(host):
        if observation.name_of(other) in served_by:
            observation.forget(other)
    gone = served_by - in_rotation(host)
    return f"{', '.join(sorted(gone))} does not send connections here any more" if gone else None


def leave(host: Host) -> None:
    """Directors send this server no new connections, wherever another one takes them."""
    address = observation.blueprint(host).declaration.real_server[observation.name_of(host)].address
    _each_director(host, partial(set_aside, address))


def come_back(host: Host) -> None:
    """Directors send to every server in their tables again, as declared: also to those that a run cut short has left aside."""
    _each_director(host, taken_back)


def _each_director(host: Host, mends: Callable[[Weights, HostState], Iterable[Mend]]) -> None:
    """Those that can be asked. Another one notices by its health checks what happens here."""
    for director in directors(host):
        observation.forget(director)
        state = state_of(director)
        plan, name = observation.blueprint(director), observation.name_of(director)
        # One that leaves still sends, by what was declared before.
        declared = weights(plan.former if plan.former and name in plan.leaving else plan.declaration, name)
        wanted = list(mends(declared, state)) if state else []
        if wanted and not _run(director, wanted):
            director.log_styled("ipvsadm could not set weights", fg="red", log_func=logger.error)


def _run(director: Host, mends: Iterable[Mend]) -> bool:
    text = script([Difference(Thing.KEEPALIVED, Action.BUILD, mend, "table", "") for mend in mends])
    return told(director, text, _LIMIT) == ""


def told(host: Host, text: str, seconds: int) -> str:
    """Has a host run a script that changes it, in so many seconds; why it failed, or "".

    As any change, but not as a command of an operation: those are their own host's, and after one that fails nothing follows.
    """
    limit = seconds + WAIT
    try:
        done, output = host.run_shell_command(
            StringCommand(f"timeout -k 10 {limit} sh -s"), **beside_its_steps(host, text, limit + 30)
        )
    except (OSError, SSHException) as error:
        return str(error) or type(error).__name__
    finally:
        observation.forget(host)
    said = "\n".join(line for line in output.stderr_lines if line.strip())
    return "" if done else said or "it failed without a word"
