"""What a director gets."""

from contextlib import suppress

from pyinfra import host
from pyinfra.api import deploy

from cluster.observed import HostState
from cluster.order import standing_down, turns
from cluster.parts import NETWORK
from operations import gate, keepalived, observation, thing
from operations.errors import NoAnswerError
from operations.inventory import modes_in_use_now, states


def turn() -> int:
    """This director's place in the order of change: passive ones first, the active one last."""
    plan = observation.blueprint(host)
    return turns(plan.declaration, _directors(), plan.contract).index(observation.name_of(host))


def _directors() -> dict[str, HostState]:
    return {name: state for name, state in states(host, "directors").items() if state}


@deploy("director")
def stand_down() -> None:
    """Passive directors stop while what peers must agree on changes."""
    plan = observation.blueprint(host)
    if observation.name_of(host) in standing_down(plan.declaration, _directors(), plan.contract):
        keepalived.stopped(name="keepalived stands down")


def refuse_hand_edited() -> None:
    """Raises HandEditedError before any host is changed: with -y pyinfra does not look into operations while it prepares."""
    with suppress(NoAnswerError):  # that host fails by itself, at its first operation
        thing.refuse_hand_edited(host, modes_in_use_now(host))


@deploy("director")
def configure() -> None:
    """keepalived and what it needs, for the declared mode and those that directors still use."""
    modes = modes_in_use_now(host)
    gate.agreed(name="gate: peers agree")
    thing.present(name="network", things=NETWORK, modes=modes)
    keepalived.configured(name="keepalived", modes=modes)


@deploy("director")
def retire() -> None:
    """Leftovers of modes that nobody uses any more."""
    thing.absent(name="leftovers")
