"""Software: on all hosts side by side, before anything else, because nothing takes longer."""

from contextlib import suppress

from pyinfra import host
from pyinfra.api import deploy

from cluster.leases import CURE, lost_lease
from cluster.taken import CURE as TAKEN
from cluster.taken import taken_tables
from operations import observation, thing
from operations.errors import LostLeaseError, NoAnswerError, TakenTableError
from operations.inventory import modes_in_use_now


def refuse_lost_lease() -> None:
    """Raises LostLeaseError where the host would lose its address for a moment, before any host is changed."""
    with suppress(NoAnswerError):
        plan, name = observation.blueprint(host), observation.name_of(host)
        if why := lost_lease(plan, name, observation.seen(host), observation.found(host, modes_in_use_now(host))):
            raise LostLeaseError(f"{name}: {why}; nothing was changed", cure=CURE)


def refuse_taken_table() -> None:
    """Raises TakenTableError where this server's own routing table is somebody else's, also where no director is in the run."""
    with suppress(NoAnswerError):
        name = observation.name_of(host)
        found = taken_tables(observation.blueprint(host), {name: observation.seen(host)}, modes_in_use_now(host))
        for why in found.values():
            raise TakenTableError(f"{name}: {why}; nothing was changed", cure=TAKEN)


@deploy("all hosts")
def install() -> None:
    """What every thing of the footprint needs from Debian."""
    thing.software(name="software", modes=modes_in_use_now(host))
