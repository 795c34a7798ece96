"""A day of a cluster in `make test`: a change of mode, a failover, the way back, under a light load, and what is asked meanwhile.

Each by itself, under the whole load, in all modes, with all that can go wrong: test_live.py, test_live_killed.py, test_doctor.py.
"""

import json

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from tests.system.live import at_work, nobody_noticed, nobody_owned_twice
from tests.system.machines import PATIENT, Cluster, Run, settles
from tests.variants import Variant

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]


def well(run: Run) -> Run:
    assert run.status == Exit.DONE, run.output
    return run


def at_rest(cluster: Cluster) -> str:
    """Both tables as declared: the active director's name."""
    cluster.reread()
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster.active()


def nothing_is_wrong(cluster: Cluster) -> None:
    """`status` and `doctor` say so. A check that misses once on a busy machine takes a server out for a second."""

    def against(*words: str) -> str | None:
        run = cluster.lbctl(*words, "--patience", "8", "--json")
        if run.status == Exit.DONE:
            return None
        said = json.loads(run.output[run.output.index("{") :])
        return str(said.get("findings") or said.get("troubles") or said)

    settles(lambda: against("status"), "status finds nothing")
    settles(lambda: against("doctor"), "doctor finds nothing", 180)


def test_a_day_of_changes_that_nobody_notices(cluster: Cluster) -> None:
    cluster.declare(Variant(Mode.NAT), **PATIENT)
    well(cluster.lbctl("deploy", "--yes"))
    first, before = at_rest(cluster), cluster.declaration
    (second,) = set(cluster.declaration.director) - {first}
    with at_work(cluster, held=5, new_per_second=10) as seen:
        well(cluster.lbctl("switch-mode", "dr", "--yes", "--drain", "0"))
        assert 'mode = "dr"' in cluster.file.read_text()
        assert at_rest(cluster) == first
        nothing_is_wrong(cluster)

        said = well(cluster.lbctl("failover", "--yes")).output
        assert f"{second} holds the addresses" in said
        assert at_rest(cluster) == second

        well(cluster.lbctl("rollback", "--yes", "--drain", "0"))
        assert at_rest(cluster) == second
    nobody_noticed(seen)
    nobody_owned_twice(seen)
    assert cluster.declaration == before

    # What only the clients' connections kept goes with them, and then there is nothing to do.
    well(cluster.lbctl("deploy", "--yes"))
    assert "Nothing to do" in well(cluster.lbctl("plan", "--check")).output
    at_rest(cluster)
