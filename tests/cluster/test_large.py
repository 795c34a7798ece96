"""Large packets: what is made of those that are lost."""

import pytest

from cluster.findings import Outcome, of_verify
from cluster.large import REQUEST, judge_large, large_probe
from cluster.reading import read
from cluster.units import amount, size
from cluster.verification import TIMED_OUT, Answer, Pattern, Probe, probes
from tests.cluster.sample import LAB

MB4 = 4_000_000


def probe(place: str = "10.0.0.10:3306", text: str = LAB) -> Probe:
    declared = probes(read(text, "lab.toml"), count=12)
    return large_probe(next(p for p in declared if str(p.endpoint) == place), MB4)


def whole(*names: str) -> list[Answer]:
    return [Answer(name, "10.0.0.5", sent=REQUEST, received=MB4) for name in names]


def test_once_at_each_server_that_takes_a_turn() -> None:
    assert probe().count == 3
    assert probe("10.0.0.11:3306").count == 1
    heavy = LAB.replace("nat_port = 5506", 'scheduler = "wrr"').replace('"10.0.0.1"', '"10.0.0.1"\nweight = 200')
    assert probe(text=heavy).pattern is Pattern.ROTATES
    assert probe(text=heavy).count == 12


def test_all_of_it_arrives() -> None:
    verdict = judge_large(probe(), whole("db1", "db2", "db3"))
    assert verdict.healthy
    assert verdict.answers == {"db1": 1, "db2": 1, "db3": 1}
    assert verdict.remarks == ()


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer("db2", error=TIMED_OUT), "db2: a request of 8 kB hangs where small ones pass"),
        (Answer("db2", error=TIMED_OUT, sent=REQUEST), "db2: an answer of 4 MB hangs where small ones pass"),
        (
            Answer("db2", error="ERROR 2013", sent=REQUEST),
            "db2: an answer of 4 MB fails where small ones pass: ERROR 2013",
        ),
        (Answer("db2", sent=REQUEST, received=17), "db2: 17 bytes of an answer of 4 MB came"),
        (Answer("db2", sent=5, received=MB4), "db2: 5 bytes of a request of 8 kB arrived"),
        (Answer(error="ERROR 2003"), "1 of 2 connections failed: ERROR 2003"),
    ],
)
def test_what_is_lost_and_which_way(answer: Answer, fault: str) -> None:
    verdict = judge_large(probe(), [*whole("db1"), answer])
    (found,) = verdict.faults
    assert found.startswith(fault)
    assert verdict.answers == {"db1": 1}
    assert ("lbctl doctor" in found) is (answer.error == TIMED_OUT)


@pytest.mark.parametrize(
    "answer",
    [
        Answer("db2", sent=REQUEST, received=0),
        Answer("db2", error="ERROR 2020: Got packet bigger than 'max_allowed_packet' bytes", sent=REQUEST),
    ],
)
def test_a_limit_of_the_servers_own_is_no_fault(answer: Answer) -> None:
    verdict = judge_large(probe(), [*whole("db1"), answer])
    assert verdict.healthy
    assert "max_allowed_packet" in verdict.remarks[0]


def test_where_all_servers_refuse_nothing_was_tried() -> None:
    refused = [Answer(name, sent=REQUEST, received=0) for name in ("db1", "db2")]
    refused.append(Answer("db3", error="ERROR 2020: Got packet bigger than 'max_allowed_packet' bytes", sent=REQUEST))
    verdict = judge_large(probe(), refused)
    assert (verdict.healthy, verdict.tried) == (True, False)
    assert judge_large(probe(), [*refused, *whole("db1")]).tried
    (finding, *_) = of_verify([verdict], (), by="anna", place="here").findings
    assert (finding.outcome, finding.text) == (Outcome.UNKNOWN, "read 10.0.0.10:3306 (large): not tried")


def test_a_server_that_had_no_turn_is_named() -> None:
    verdict = judge_large(probe(), whole("db1", "db2", "db1"))
    assert verdict.remarks == ("db3 had no turn: whether large packets pass there is not known",)
    assert judge_large(probe("10.0.0.11:3306"), whole("db1")).remarks == ()


@pytest.mark.parametrize(
    ("text", "octets", "said"),
    [("4MB", MB4, "4 MB"), ("500 kB", 500_000, "500 kB"), ("1.5m", 1_500_000, "1.5 MB"), ("0", 0, "0 bytes")],
)
def test_sizes(text: str, octets: int, said: str) -> None:
    assert size(text) == octets
    assert amount(octets) == said


@pytest.mark.parametrize("text", ["", "MB", "-1", "4 elephants"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        size(text)
