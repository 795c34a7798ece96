"""What a real server gets."""

from pyinfra import host
from pyinfra.api import deploy

from cluster.order import modes_in_use
from operations import observation, thing
from operations.inventory import states


@deploy("real server")
def prepare() -> None:
    """All that the declared mode and those that directors use now need: nothing is taken away before directors have moved."""
    plan = observation.blueprint(host)
    modes = modes_in_use(plan.declaration, [state for state in states(host, "directors").values() if state])
    for part in observation.footprint(host, modes):
        thing.present(name=str(part.thing), thing=part.thing, modes=modes)


@deploy("real server")
def retire() -> None:
    """Leftovers of modes that nobody uses any more."""
    thing.absent(name="leftovers")
