"""pyinfra's inventory, made from the cluster's declaration.

Which one: the environment's LBCTL_CLUSTER, else inventory/galera.toml. Run as `pyinfra inventory.py deploy.py`.
"""

import sys

from cluster.errors import LbctlError
from fleet import installed, source, which

installed.read_once()

try:
    _plan = source.blueprint(which.path_of())
except LbctlError as error:
    # pyinfra would show a traceback for what is a mistake in a file.
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)

directors = source.hosts(_plan, "directors")
real_servers = source.hosts(_plan, "real_servers")
