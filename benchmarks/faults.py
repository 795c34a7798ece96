"""What is done to a machine while clients work, and how it is undone."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.system.machines import Cluster


@dataclass(frozen=True)
class Fault:
    """What happens to a host, and the way back, which is not measured."""

    name: str
    strike: Callable[[Cluster, str], None]
    mend: Callable[[Cluster, str], None]
