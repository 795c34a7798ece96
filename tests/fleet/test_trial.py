"""What a trial prepares, by the rules of a deploy."""

from types import SimpleNamespace
from typing import cast

import pytest

from cluster.errors import RefusedError
from cluster.observed import HostState
from fleet import trial
from fleet.session import Session
from tests.cluster.simulated_host import bare
from tests.cluster.states import IFUPDOWN
from tests.cluster.test_taken import BY_THE_OTHER_CARD, NAT, having


def test_a_trial_overrides_no_table_that_somebody_else_uses() -> None:
    seen: dict[str, HostState | None] = {name: bare(IFUPDOWN) for name in NAT.declaration.hosts()}
    session = cast("Session", SimpleNamespace(blueprint=NAT, unreachable={}))
    assert trial.preparation(session, seen, "lb1", ["db1", "db2"]).steps
    seen["db1"] = having(bare(IFUPDOWN), BY_THE_OTHER_CARD)
    with pytest.raises(RefusedError, match="db1: routing table 100"):
        trial.preparation(session, seen, "lb1", ["db1", "db2"])
    assert trial.preparation(session, seen, "lb1", ["db2"]).steps
