"""Figures over time, from several looks."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Address

from cluster.course import Rate, course
from cluster.pulse import Traffic
from cluster.status import Answers, Status, status
from tests.cluster.watched import AT, blueprint, changed, healthy, out

PLAN = blueprint()
WELL = healthy(PLAN)
READS = ("10.0.0.10:3306", "db1")


def at(seconds: float, connections: int, answers: Answers = WELL) -> Status:
    """All servers have been given so many connections of 100 bytes."""
    for name in ("lb1", "lb2"):
        totals = {key: Traffic(connections, 0, 0, connections * 100) for key in answers.pulses[name].totals}
        answers = changed(answers, name, totals=totals)
    return status(PLAN, replace(answers, at=AT + timedelta(seconds=seconds)))


def test_counters_are_compared() -> None:
    found = course([at(0, 100), at(2, 104), at(6, 104)])
    assert list(found.seconds) == [0, 2, 6]
    assert found.rates[READS] == (Rate(2, 200, 0), Rate(0, 0, 0))
    assert found.established[READS] == (4, 4, 4)
    assert found.length == 6


def test_one_look_has_no_rates() -> None:
    found = course([at(0, 100)])
    assert found.rates[READS] == ()
    assert found.looks == 1


def test_endpoints_of_a_server_are_put_together() -> None:
    found = course([at(0, 100), at(2, 104)])
    assert found.by_server()["db1"] == (Rate(4, 400, 0),)
    assert found.established_by_server()["db1"] == (8, 8)


def test_another_director_counts_for_itself() -> None:
    moved = changed(changed(WELL, "lb1", addresses=frozenset()), "lb2", addresses=WELL.pulses["lb1"].addresses)
    found = course([at(0, 100), at(1, 5, moved), at(2, 7, moved)])
    assert found.rates[READS] == (None, Rate(2, 200, 0))


def test_a_server_that_comes_back_is_counted_anew() -> None:
    gone = out(WELL, PLAN, "db1")
    found = course([at(0, 100), at(1, 101, gone), at(2, 3), at(3, 5)])
    # Who is out gets nothing; what it had when it came back is not known.
    assert found.rates[READS] == (Rate(0, 0, 0), None, Rate(2, 200, 0))
    assert found.by_server()["db1"][1] is None


def test_counters_that_were_set_to_nothing() -> None:
    assert course([at(0, 100), at(1, 3)]).rates[READS] == (None,)


def test_a_server_of_a_later_look() -> None:
    """Somebody added it meanwhile."""
    stranger = IPv4Address("10.0.0.99")
    service = WELL.pulses["lb1"].services[0]
    more = replace(service, destinations=(*service.destinations, replace(service.destinations[0], address=stranger)))
    later = changed(WELL, "lb1", services=(more, *WELL.pulses["lb1"].services[1:]))
    found = course([at(0, 100), at(1, 101, later)])
    assert found.rates["10.0.0.10:3306", "10.0.0.99"] == (None,)
    assert found.established["10.0.0.10:3306", "10.0.0.99"] == (0, 4)


def test_average() -> None:
    """A long moment counts for more than a short one; one of which nothing is known, for nothing."""
    found = course([at(0, 100), at(1, 105), at(4, 114), at(5, 3)])
    assert found.rates[READS] == (Rate(5, 500, 0), Rate(3, 300, 0), None)
    assert found.average(found.rates[READS]) == Rate(3.5, 350, 0)
    assert found.average((None, None, None)) is None
