"""The operations: one that builds a thing of the footprint, one that takes leftovers away.

Each is one remote command, and proves itself by another look at what is there.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import wraps
from typing import ParamSpec

from pyinfra import host as current
from pyinfra import logger
from pyinfra.api import FunctionCommand, Host, State, StringCommand, operation

from cluster.difference import Action, Difference, by_things
from cluster.guarded import NotReplaced, not_replaced
from cluster.order import unsettled
from cluster.parts import Thing
from cluster.still_used import modes_to_keep, way_back
from cluster.vocabulary import Mode, Role
from operations import observation
from operations.commands import WAIT, script
from operations.errors import HandEditedError, NoAnswerError
from operations.inventory import directors, states
from operations.rotation import in_rotation, out_of_rotation

Commands = Generator[StringCommand | FunctionCommand, None, None]
_P = ParamSpec("_P")

LIMIT = 300
"""Seconds for one change on one host: installing packages on a slow machine is the longest."""

SETTLE = 20
"""Seconds for what was changed to show its effect."""


def fails_alone(body: Callable[_P, Commands]) -> Callable[_P, Commands]:
    """An operation's body that fails its own host when that gives no answer: what it raised would end the run for every host."""

    @wraps(body)
    def attempted(*arguments: _P.args, **named: _P.kwargs) -> Commands:
        try:
            yield from body(*arguments, **named)
        except NoAnswerError as error:
            yield FunctionCommand(refused, (error.message,), {})

    return attempted


def refused(state: State, host: Host, reason: str) -> bool:
    """A command that does nothing but fail, with a reason."""
    del state
    host.log_styled(reason, fg="red", log_func=logger.error)
    return False


@operation()
@fails_alone
def present(things: Sequence[Thing], modes: Iterable[Mode]) -> Commands:
    """Build `things` as the footprint of `modes` wants them. Refuses (HandEditedError) to replace what a person edited."""
    refuse_hand_edited(current, modes)
    missing = by_things(observation.found(current, modes), things, Action.BUILD)
    if not missing:
        current.noop("as declared")
        return
    yield from built(things, modes, missing)


def built(things: Sequence[Thing], modes: Iterable[Mode], missing: Sequence[Difference]) -> Commands:
    """The commands that build what is missing, and the proof that it is there."""
    served_by = in_rotation(current)
    if missing:
        yield from run(missing)

    def lacking(where: Host) -> str | None:
        return _lacking(where, things, frozenset(modes)) or out_of_rotation(where, served_by)

    yield FunctionCommand(settled, (", ".join(dict.fromkeys(d.thing for d in missing) or things), lacking), {})


@operation()
@fails_alone
def software(modes: Iterable[Mode]) -> Commands:
    """The packages of all things, by one call of apt, and what must be there before."""
    missing = [d for d in observation.found(current, modes) if d.is_software]
    if missing:
        yield from run(missing)


@operation()
@fails_alone
def absent() -> Commands:
    """Take away what is ours and no mode needs that is declared or may still be in use.

    What is in use is looked up here, and so again when the operation is executed: by then directors have moved.
    """
    plan = observation.blueprint(current)
    seen_directors, seen_servers = states(current, "directors"), states(current, "real_servers")
    modes, why_kept = modes_to_keep(plan.declaration, seen_directors.values(), seen_servers.values(), plan.drained)
    leaves = observation.name_of(current) in plan.leaving
    held = () if leaves else way_back(plan.declaration, {**seen_directors, **seen_servers}, drained=plan.drained)
    gone = (d for d in observation.found(current, modes) if d.action is Action.REMOVE)
    leftovers = [d for d in gone if d.may_go(held)]
    if not leftovers:
        current.noop(f"nothing left over{f'; kept: {why_kept}' if why_kept else ''}")
        return
    yield from run(leftovers)


def run(found: Iterable[Difference]) -> Commands:
    plan = observation.blueprint(current)
    text = script(
        list(found),
        database_socket=plan.declaration.clustercheck.socket,
        checked=("/etc/keepalived/keepalived.conf",),
    )
    try:
        yield StringCommand(f"timeout -k 10 {LIMIT + WAIT} sh -s", _stdin=text, _timeout=LIMIT + WAIT + 30)
    finally:
        # Also when it failed half-way: then least of all is the host as it was seen.
        observation.forget(current)


def refuse_hand_edited(where: Host, modes: Iterable[Mode]) -> None:
    """Raises HandEditedError if a file that would be replaced was edited by hand, unless overwriting was asked for."""
    if where.data.get("overwrite"):
        return
    cluster = observation.blueprint(where).declaration.name
    for difference in observation.found(where, modes):
        if difference.action is Action.BUILD and (why := not_replaced(difference, observation.seen(where), cluster)):
            raise hand_edited(observation.name_of(where), why)


def hand_edited(name: str, found: NotReplaced) -> HandEditedError:
    """The refusal, in the same words for plan and operations."""
    if found.of_another_cluster:
        return HandEditedError(
            f"{name}: {found.what}. Nothing was changed.",
            cure="is this the declaration that you mean (--cluster FILE, LBCTL_CLUSTER)? If the cluster has another name now: "
            "deploy with --overwrite (pyinfra: --data overwrite=1)",
        )
    return HandEditedError(
        f"{name}: {found.what}; deploying would lose that. Nothing was changed.",
        cure="put what it says into the declaration, then deploy with --overwrite (pyinfra: --data overwrite=1); "
        "the file as it is now will be kept in /var/lib/lbctl/previous",
    )


def settled(
    state: State, host: Host, what: str, lacking: Callable[[Host], str | None], seconds: float = SETTLE
) -> bool:
    """Whether what was built shows in what runs: waits until `lacking` finds nothing, or says what it found.

    pyinfra hands over state and host only to parameters of these names, and only then takes a result of False as failure.
    """
    del state
    # What changed the host has had what was known of it forgotten: what is known was seen since.
    found = watched(host, lacking, seconds, anew=False)
    if found is not None:
        host.log_styled(f"{what}: changed, but after {seconds} s {found}", fg="red", log_func=logger.error)
    return found is None


def watched(host: Host, lacking: Callable[[Host], str | None], seconds: float, *, anew: bool = True) -> str | None:
    """Looks until `lacking` finds nothing, for so many seconds at most; what it found last. `anew`: already the first time."""
    deadline = time.monotonic() + seconds
    while True:
        if anew:
            observation.ask_again(host)
        try:
            found = lacking(host)
        except NoAnswerError as error:  # a busy machine: it may answer the next time
            found = error.message
        if found is None or time.monotonic() > deadline:
            return found
        anew = True
        time.sleep(0.2)


def _lacking(where: Host, things: Sequence[Thing], modes: frozenset[Mode]) -> str | None:
    missing = by_things(observation.found(where, modes), things, Action.BUILD)
    if missing:
        return f"still to do: {missing[0].what}"
    plan, name = observation.blueprint(where), observation.name_of(where)
    if Thing.KEEPALIVED in things and plan.role(name) is Role.DIRECTOR:
        others = [state for other, state in states(where, "directors").items() if state and other != name]
        seen = observation.seen(where)
        against = unsettled(plan.declaration, name, seen, others, plan.former_places(name, seen))
        if against:
            # Another one may have taken over meanwhile: it is looked at anew, too.
            for other in directors(where):
                observation.forget(other)
        return against
    return None
