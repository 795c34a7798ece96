"""What keepalived thinks of a configuration before anything is changed."""

from collections.abc import Generator

from pyinfra import host as current
from pyinfra.api import StringCommand, deploy, operation

from cluster.parts import Thing
from operations import observation
from operations.commands import check_script


@operation()
def accepted() -> Generator[StringCommand, None, None]:
    """keepalived --config-test of what this director would get; fails with its words if it is rejected."""
    modes = {observation.blueprint(current).declaration.mode}
    part = next(part for part in observation.footprint(current, modes) if part.thing is Thing.KEEPALIVED)
    for file in part.files:
        if file.guarded:
            yield StringCommand("timeout 60 sh -s", _stdin=check_script(file))


@deploy("before any change")
def accepted_deploy() -> None:
    accepted(name="keepalived accepts it")
