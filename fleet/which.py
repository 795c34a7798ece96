"""Which declaration is meant. Apart from reading it (`fleet.source`): a shell that completes a name must not wait for that."""

import os
from pathlib import Path

DEFAULT = "inventory/galera.toml"
VARIABLE = "LBCTL_CLUSTER"


def path_of(given: str | None = None) -> Path:
    """The declaration that is meant: the one given, else the environment's LBCTL_CLUSTER, else inventory/galera.toml."""
    return Path(given or os.environ.get(VARIABLE) or DEFAULT)
