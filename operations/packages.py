"""Software: on all hosts side by side, before anything else, because nothing takes longer."""

from contextlib import suppress

from pyinfra import host
from pyinfra.api import deploy

from cluster.leases import CURE, has_lease_to_lose, lost_lease
from cluster.taken import CURE as TAKEN
from cluster.taken import taken_tables
from cluster.vocabulary import Role
from operations import observation, thing
from operations.errors import LostLeaseError, NoAnswerError, TakenTableError
from operations.inventory import modes_in_use_now, states


def refuse_lost_lease() -> None:
    """Raises LostLeaseError where the host would lose its address for a moment, before any host is changed."""
    with suppress(NoAnswerError):
        plan, name, seen = observation.blueprint(host), observation.name_of(host), observation.seen(host)
        if not has_lease_to_lose(plan, name, seen):
            return  # of most hosts, without comparing them once more
        if why := lost_lease(plan, name, seen, observation.found(host, modes_in_use_now(host))):
            raise LostLeaseError(f"{name}: {why}; nothing was changed", cure=CURE)


def refuse_taken_tables() -> None:
    """Raises TakenTableError where a server's routing table is somebody else's, before any host is changed. Each server looks at
    itself, for a run need not have a director in it; a director looks at them all, for a run need not have them.
    """
    with suppress(NoAnswerError):
        plan, name = observation.blueprint(host), observation.name_of(host)
        directs = plan.role(name) is Role.DIRECTOR
        seen = states(host, "real_servers") if directs else {name: observation.seen(host)}
        if found := taken_tables(plan, seen, modes_in_use_now(host)):
            reasons = "; ".join(f"{server}: {why}" for server, why in found.items())
            raise TakenTableError(f"{reasons}; nothing was changed", cure=TAKEN)


@deploy("all hosts")
def install() -> None:
    """What every thing of the footprint needs from Debian."""
    thing.software(name="software", modes=modes_in_use_now(host))
