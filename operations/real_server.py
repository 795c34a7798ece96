"""What a real server gets."""

from pyinfra import host
from pyinfra.api import deploy

from cluster.parts import NETWORK, Thing
from operations import database, gate, thing
from operations.inventory import modes_in_use_now, states


@deploy("real server")
def prepare() -> None:
    """All that the declared mode and those that directors use now need: nothing is taken away before directors have moved."""
    modes = modes_in_use_now(host)
    gate.gateway_is_there(name="gate: answers find a director")
    thing.present(name="network", things=NETWORK, modes=modes)
    # A health service that is restarted says nothing for a moment, and directors take its server out. So one server after the
    # other, as soon as there is one that serves.
    live = any(state and state.destinations for state in states(host, "directors").values())
    thing.present(name="clustercheck", things=(Thing.CLUSTERCHECK,), modes=modes, _serial=live)


@deploy("real server")
def restart() -> None:
    """MySQL, where it listens at a list of addresses that names a VIP which came after its start: one server after another."""
    modes = modes_in_use_now(host)
    database.restarted(name="database", modes=modes, writers=False, _serial=True)
    database.restarted(name="database of the writer", modes=modes, writers=True, _serial=True)


@deploy("real server")
def retire() -> None:
    """Leftovers of modes that nobody uses any more."""
    thing.absent(name="leftovers")
