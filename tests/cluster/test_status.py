"""The view of a cluster: healthy in every variant, and each thing that can be wrong found, once, on the right host."""

from dataclasses import replace
from datetime import timedelta

import pytest

from cluster.history import Entry, Owner, SeenLock
from cluster.parts import Address
from cluster.pulse import Ask
from cluster.status import BUSY, NOT_YET, Answers, Health, Part, ServerView, Status, status
from cluster.vocabulary import Mode
from cluster.why import LOOPBACK
from tests.cluster.sample import LAB
from tests.cluster.watched import AT, blueprint, changed, director_pulse, healthy, out, without
from tests.variants import MATRIX, Variant

PLAN = blueprint()
WELL = healthy(PLAN)
OWNER = Owner("anna", "desk", 77, AT, "switch-mode nat", "machine")


def server(found: Status, name: str, service: str = "read") -> ServerView:
    (endpoint, *_) = (each for each in found.endpoints if each.service == service)
    return next(each for each in endpoint.servers if each.name == name)


def parts(found: Status) -> dict[str, Part]:
    return {each.name: each.part for each in found.directors}


@pytest.mark.parametrize("variant", MATRIX, ids=lambda variant: variant.name)
def test_a_cluster_as_declared_has_no_trouble(variant: Variant) -> None:
    found = status(variant.blueprint, healthy(variant.blueprint))
    assert found.troubles == ()
    assert found.drift == ()
    assert {each.health for endpoint in found.endpoints for each in endpoint.servers} == {Health.SERVING}


def test_what_is_shown_of_a_server() -> None:
    found = status(PLAN, WELL)
    row = server(found, "db2")
    assert (row.weight, row.declared, row.mode, row.active, row.inactive) == (10, 10, Mode.DR, 4, 2)
    assert (row.total.connections, row.rate.bytes_in) == (700, 12_345)
    assert found.serving == "lb1"
    assert parts(found) == {"lb1": Part.ACTIVE, "lb2": Part.BACKUP}
    assert [each.connections for each in found.directors] == [24, 24]


def test_the_table_shown_is_that_of_whoever_is_active() -> None:
    moved = changed(WELL, "lb1", addresses=frozenset())
    moved = changed(moved, "lb2", addresses=WELL.pulses["lb1"].addresses)
    found = status(PLAN, moved)
    assert (found.serving, found.troubles) == ("lb2", ())


def test_a_director_that_takes_its_leave_is_active_until_it_has_gone() -> None:
    """As a failover shows it for a second or two."""
    found = status(PLAN, changed(WELL, "lb1", keepalived="deactivating"))
    assert (parts(found)["lb1"], found.troubles) == (Part.ACTIVE, ())


# Servers


REFUSED = "Connection refused"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("503 not Synced: Donor/Desynced (wsrep_local_state 2)", "clustercheck: not Synced: Donor/Desynced"),
        (REFUSED, "clustercheck at 10.0.0.3:9200/: connection refused"),
        ("no answer within 1 s", "clustercheck at 10.0.0.3:9200/: no answer within 1 s"),
        ("404 there are /", "10.0.0.3:9200/ answers 404"),
        ("200 Synced", "its check passes, and keepalived has not put it back yet"),
        ("", "keepalived took it out, and nothing says why"),
    ],
)
def test_why_a_server_is_out(told: str, why: str) -> None:
    silent = changed(out(WELL, PLAN, "db3", told), "db3", answers={})
    found = status(PLAN, silent)
    row = server(found, "db3")
    assert (row.health, row.weight) == (Health.OUT, None)
    assert row.why.startswith(why)
    assert found.troubles == (f"db3 is out of read 10.0.0.10:3306, write 10.0.0.11:3306: {row.why}",)


def test_a_server_that_no_director_asked_says_itself_why() -> None:
    own = {Ask(LOOPBACK, 9200, "/"): "503 no connection to the server: gone"}
    row = server(status(PLAN, changed(out(WELL, PLAN, "db3"), "db3", answers=own)), "db3")
    assert row.why == "clustercheck: no connection to the server: gone"


def test_mysql_is_down() -> None:
    down = changed(out(WELL, PLAN, "db3", "503 no connection to the server: gone"), "db3", listening=frozenset())
    row = server(status(PLAN, down), "db3")
    assert row.why == "nothing listens at port 3306; clustercheck: no connection to the server: gone"


def test_mysql_hangs() -> None:
    hangs = out(WELL, PLAN, "db3", REFUSED)
    hangs = replace(hangs, states={**hangs.states, "db3": replace(hangs.states["db3"], database="down")})
    row = server(status(PLAN, hangs), "db3")
    assert row.why == "MySQL does not answer; clustercheck at 10.0.0.3:9200/: connection refused"


def test_a_node_without_its_primary_component() -> None:
    """It takes no login of ours, and says itself why."""
    alone = out(WELL, PLAN, "db3", "503 not in the primary component (wsrep_cluster_status is non-Primary)")
    alone = replace(alone, states={**alone.states, "db3": replace(alone.states["db3"], database="down")})
    row = server(status(PLAN, alone), "db3")
    assert row.why == "clustercheck: not in the primary component (wsrep_cluster_status is non-Primary)"


def test_a_dead_server() -> None:
    found = status(PLAN, without(out(WELL, PLAN, "db3", "no answer within 1 s"), "db3"))
    assert server(found, "db3").why == "the host does not answer"
    assert found.troubles[0] == "db3 cannot be asked: no answer from 10.0.0.99 port 22 within 2 s"
    assert found.drift == ()


def test_a_server_that_serves_though_it_cannot_be_asked() -> None:
    found = status(PLAN, without(WELL, "db3"))
    assert server(found, "db3").health is Health.SERVING
    assert found.troubles == ("db3 cannot be asked: no answer from 10.0.0.99 port 22 within 2 s",)


def test_a_server_in_rotation_that_objects() -> None:
    own = {Ask(LOOPBACK, 9200, "/"): "503 not Synced: Joined (wsrep_local_state 3)"}
    found = status(PLAN, changed(WELL, "db3", answers=own))
    assert found.troubles == (
        "db3 is in rotation in read 10.0.0.10:3306, write 10.0.0.11:3306, but "
        "clustercheck: not Synced: Joined (wsrep_local_state 3)",
    )


def test_a_drained_server_is_no_trouble() -> None:
    plan = blueprint(LAB + "drained = true\n")
    found = status(plan, healthy(plan))
    assert (server(found, "db3").health, server(found, "db3").weight) == (Health.DRAINED, 0)
    assert found.troubles == ()


def test_a_drained_server_may_be_down() -> None:
    plan = blueprint(LAB + "drained = true\n")
    found = status(plan, out(healthy(plan), plan, "db3", REFUSED))
    assert server(found, "db3").health is Health.DRAINED
    assert "connection refused" in server(found, "db3").why
    assert found.troubles == ()


def edited(answers: Answers, **fields: object) -> Answers:
    """Somebody has been at the first server of the first service, on the active director."""
    first, *rest = answers.pulses["lb1"].services
    one, *others = first.destinations
    service = replace(first, destinations=(replace(one, **fields), *others))  # type: ignore[arg-type]
    return changed(answers, "lb1", services=(service, *rest))


def test_another_weight_in_the_kernel() -> None:
    found = status(PLAN, edited(WELL, weight=3))
    assert found.troubles == ("read 10.0.0.10:3306: db1 has weight 3, declared is 10",)


def test_weight_zero_in_the_kernel() -> None:
    found = status(PLAN, edited(WELL, weight=0))
    assert found.troubles == ("db1 is out of read 10.0.0.10:3306: its weight in the kernel is 0",)


def test_another_mode_in_the_kernel() -> None:
    found = status(PLAN, edited(WELL, mode=Mode.NAT))
    assert found.troubles == ("read 10.0.0.10:3306: db1 is served by nat, declared is dr",)
    assert found.endpoints[0].modes == (Mode.DR, Mode.NAT)


def test_a_stranger_in_the_table() -> None:
    found = status(PLAN, edited(WELL, address=WELL.pulses["lb1"].services[0].destinations[0].address + 76))
    assert server(found, "10.0.0.77").health is Health.STRANGER
    assert "read 10.0.0.10:3306: 10.0.0.77 gets connections and is not declared" in found.troubles


def test_nobody_serves() -> None:
    answers = WELL
    pulse = director_pulse(PLAN, "lb1", active=True, dead=("db1", "db2", "db3"))
    found = status(PLAN, replace(answers, pulses={**answers.pulses, "lb1": pulse}))
    assert "read 10.0.0.10:3306: nobody serves it" in found.troubles


def test_a_service_that_is_not_in_the_table() -> None:
    found = status(PLAN, changed(WELL, "lb1", services=WELL.pulses["lb1"].services[1:]))
    assert found.troubles == ("read 10.0.0.10:3306 is not in the kernel's table of lb1",)


# Directors


def test_dead_hosts_stand_in_the_declarations_order() -> None:
    names = list(PLAN.declaration.hosts())
    found = status(PLAN, Answers(AT, {}, dead=dict.fromkeys(reversed(names), "no route")))
    assert list(found.dead) == names
    assert found.troubles[0] == f"{names[0]} cannot be asked: no route"


def test_a_dead_passive_director() -> None:
    found = status(PLAN, without(WELL, "lb2"))
    assert parts(found) == {"lb1": Part.ACTIVE, "lb2": Part.DEAD}
    assert found.troubles == ("lb2 cannot be asked: no answer from 10.0.0.99 port 22 within 2 s",)


def test_a_dead_active_director_whose_peer_took_over() -> None:
    taken = changed(without(WELL, "lb1"), "lb2", addresses=WELL.pulses["lb1"].addresses)
    found = status(PLAN, taken)
    assert (found.serving, found.drift) == ("lb2", ())
    assert found.troubles == ("lb1 cannot be asked: no answer from 10.0.0.99 port 22 within 2 s",)


def test_a_dead_active_director_and_nobody_took_over() -> None:
    found = status(PLAN, without(WELL, "lb1"))
    assert found.troubles[1] == "no director that could be asked holds 10.0.0.12, 10.0.0.10, 10.0.0.11"


def test_nobody_is_active() -> None:
    found = status(PLAN, changed(WELL, "lb1", addresses=frozenset()))
    assert found.troubles == ("no director holds 10.0.0.12, 10.0.0.10, 10.0.0.11",)


def test_split_brain() -> None:
    found = status(PLAN, changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses))
    assert found.troubles == ("split brain: lb1 and lb2 hold 10.0.0.12, 10.0.0.10, 10.0.0.11",)


def test_an_address_on_a_silent_device_is_held_by_nobody() -> None:
    silent = frozenset(Address("dummy0", a.address) for a in WELL.pulses["lb1"].addresses)
    assert parts(status(PLAN, changed(WELL, "lb2", addresses=silent)))["lb2"] is Part.BACKUP


def test_a_director_whose_keepalived_stopped() -> None:
    found = status(PLAN, changed(WELL, "lb2", keepalived="failed"))
    assert parts(found)["lb2"] is Part.STOPPED
    assert found.troubles == ("lb2: keepalived is failed",)


def test_a_director_whose_keepalived_was_killed_goes_on_forwarding() -> None:
    found = status(PLAN, changed(WELL, "lb1", keepalived="failed"))
    assert (parts(found)["lb1"], found.serving) == (Part.STRAY, "lb1")
    assert found.troubles == ("lb1: keepalived is failed and it holds addresses all the same",)


def test_another_priority() -> None:
    found = status(PLAN, changed(WELL, "lb2", priority=150))
    assert found.troubles == ("lb2: its priority is 150, declared is 100",)


def test_nobody_can_be_asked() -> None:
    answers = WELL
    for host in PLAN.declaration.hosts():
        answers = without(answers, host)
    found = status(PLAN, answers)
    assert len([t for t in found.troubles if "cannot be asked" in t]) == 5
    assert {each.health for each in found.endpoints[0].servers} == {Health.UNKNOWN}


def test_hosts_that_were_not_asked_are_no_trouble() -> None:
    found = status(PLAN, Answers(AT, {"lb2": WELL.pulses["lb2"]}, {"lb2": WELL.states["lb2"]}))
    assert parts(found) == {"lb1": Part.NOT_ASKED, "lb2": Part.BACKUP}
    assert found.troubles == ()


# Drift and changes


def test_drift() -> None:
    bare = replace(WELL.states["db2"], links={}, addresses=frozenset())
    found = status(PLAN, replace(WELL, states={**WELL.states, "db2": bare}))
    assert ("db2", "create device dummy0") in found.drift
    assert found.troubles == (f"{len(found.drift)} differences from the declaration on db2 (lbctl plan)",)


BEGUN = Entry(12, "switch-mode nat", "anna", "desk", AT - timedelta(seconds=30))


def kept(entry: Entry) -> tuple[str, ...]:
    return (f"file {entry.file}", f"line {entry.file}:{entry.write()}")


def locked(answers: Answers, silent_for: int) -> Answers:
    for name in PLAN.declaration.director:
        answers = changed(answers, name, lock=SeenLock(silent_for, OWNER.write()), history=kept(BEGUN))
    return answers


def test_a_change_that_is_under_way_is_no_trouble() -> None:
    half_way = edited(changed(WELL, "lb2", priority=99), mode=Mode.NAT)
    bare = replace(WELL.states["db2"], links={}, addresses=frozenset())
    busy = replace(locked(half_way, 3), unseen={"db1": BUSY}, states={**WELL.states, "db2": bare})
    found = status(PLAN, busy)
    assert found.drift
    assert found.under_way
    assert found.unfinished == BEGUN
    assert found.troubles == ()
    ((lock, stale),) = found.locks
    assert (lock.owner, lock.directors, stale) == (OWNER, ("lb1", "lb2"), "")


def test_what_clients_feel_is_trouble_also_while_a_change_is_under_way() -> None:
    found = status(PLAN, without(locked(out(WELL, PLAN, "db3", REFUSED), 3), "lb2"))
    assert [t.split(":")[0] for t in found.troubles] == ["lb2 cannot be asked", "db3 is out of read 10.0.0.10"]


def test_a_run_of_plain_pyinfra_is_no_trouble() -> None:
    """It holds the lock of the host, and not the cluster's."""
    assert status(PLAN, replace(WELL, unseen={"db1": BUSY})).troubles == ()


def test_a_lock_that_was_left_behind() -> None:
    found = status(PLAN, locked(WELL, 600))
    assert found.troubles == (
        "change 12 (switch-mode nat) was never finished (lbctl deploy)",
        f"a lock was left behind by {found.locks[0][0]}: no sign of life for 10 min (lbctl unlock)",
    )


def test_a_change_that_was_never_finished() -> None:
    found = status(PLAN, changed(WELL, "lb1", history=kept(BEGUN)))
    assert found.troubles == ("change 12 (switch-mode nat) was never finished (lbctl deploy)",)
    to_nat = replace(BEGUN, before="1" * 64, after="2" * 64)
    (said,) = status(PLAN, changed(WELL, "lb1", history=kept(to_nat))).troubles
    assert said.endswith("was never finished (lbctl switch-mode --resume goes on, --abort goes back)")


def test_a_director_that_missed_the_end_of_a_change_is_not_believed() -> None:
    ended = replace(BEGUN, ended=AT, result="done")
    found = status(PLAN, changed(changed(WELL, "lb1", history=kept(BEGUN)), "lb2", history=kept(ended)))
    assert (found.unfinished, found.troubles) == (None, ())


def test_a_host_that_could_not_be_compared() -> None:
    found = status(PLAN, replace(WELL, unseen={"db1": "its answer stopped half-way"}))
    assert found.troubles == ("db1 could not be compared: its answer stopped half-way",)


def test_a_host_whose_state_did_not_come_is_not_taken_for_as_declared() -> None:
    states = {name: state for name, state in WELL.states.items() if name != "db1"}
    found = status(PLAN, replace(WELL, states=states))
    assert (found.drift_unknown, found.troubles) == ({"db1": NOT_YET}, ())
    # A quick look compares nothing, and says so of nobody.
    assert status(PLAN, replace(WELL, states={})).drift_unknown == {}
