"""What a director gets."""

from pyinfra import host
from pyinfra.api import deploy

from cluster.order import modes_in_use, turns
from operations import observation, thing
from operations.inventory import states


def turn() -> int:
    """This director's place in the order of change: passive ones first, the active one last."""
    plan = observation.blueprint(host)
    seen = {name: state for name, state in states(host, "directors").items() if state}
    return turns(plan.declaration, seen).index(observation.name_of(host))


@deploy("director")
def configure() -> None:
    """keepalived and what it needs, for the declared mode and those that directors still use."""
    plan = observation.blueprint(host)
    modes = modes_in_use(plan.declaration, [state for state in states(host, "directors").values() if state])
    # Here already, before any host is changed: with -y pyinfra does not look into operations while it prepares.
    thing.refuse_hand_edited(host, modes)
    for part in observation.footprint(host, modes):
        thing.present(name=str(part.thing), thing=part.thing, modes=modes)


@deploy("director")
def retire() -> None:
    """Leftovers of modes that nobody uses any more."""
    thing.absent(name="leftovers")
