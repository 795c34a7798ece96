"""Which files of ours a deploy must not replace unasked. Pure."""

from dataclasses import dataclass

from cluster.difference import Difference
from cluster.observed import HostState


@dataclass(frozen=True)
class NotReplaced:
    """A guarded file that stays as it is until somebody asks for more."""

    what: str
    """ "PATH was edited by hand"."""
    of_another_cluster: bool = False
    """It is not a person's work that would be lost: perhaps the wrong declaration was named."""


def not_replaced(difference: Difference, state: HostState | None, cluster: str) -> NotReplaced | None:
    """Why a deploy of `cluster` must not do this on a host unasked; None where it may."""
    path = difference.item.path if difference.kind == "file" and difference.item.guarded else None
    there = state.files.get(path) if state and path else None
    if not there:
        return None
    if there.guard != "kept":
        return NotReplaced(f"{path} {'was edited by hand' if there.guard else 'was not written by lbctl'}")
    if there.cluster in {"", cluster}:
        return None
    return NotReplaced(f"{path} is of cluster {there.cluster}, not of {cluster}", of_another_cluster=True)
