"""Software: on all hosts side by side, before anything else, because nothing takes longer."""

from pyinfra import host
from pyinfra.api import deploy

from operations import thing
from operations.inventory import modes_in_use_now


@deploy("all hosts")
def install() -> None:
    """What every thing of the footprint needs from Debian."""
    thing.software(name="software", modes=modes_in_use_now(host))
