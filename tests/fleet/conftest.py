"""SSH servers of the transports' tests, for those of this room that need some."""

from tests.transports.conftest import Machines, Program, driver, machines, servers

__all__ = ["Machines", "Program", "driver", "machines", "servers"]
