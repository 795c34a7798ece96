"""Errors of operations: ours for lbctl, and pyinfra's at once, so that plain pyinfra shows them without a traceback."""

from pyinfra.api.exceptions import OperationError

from cluster.errors import HostError, RefusedError


class HandEditedError(RefusedError, OperationError):
    """A file that we would replace was edited by hand, or is somebody else's."""


class NoAnswerError(HostError, OperationError):
    """A host's state could not be read."""


class MovingGatewayError(RefusedError, OperationError):
    """nat's gateway would move under those who come by nat."""


class OtherFileError(RefusedError, OperationError):
    """keepalived is told to read another file than ours."""


class TakenTableError(RefusedError, OperationError):
    """A routing table that a server would get is somebody else's."""


class LostLeaseError(RefusedError, OperationError):
    """A host would lose its address for a moment."""


class LockedError(RefusedError, OperationError):
    """Another operator's command is changing the cluster."""
