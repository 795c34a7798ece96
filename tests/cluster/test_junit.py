"""Verdicts as CI servers read them."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

from cluster.junit import broken, junit
from cluster.reading import read
from cluster.verification import Verdict, probes
from tests.cluster.sample import LAB

AT = datetime(2026, 11, 25, 3, 14, 15, tzinfo=UTC)
READS, WRITES = probes(read(LAB, "lab.toml"), count=12)
GOOD = Verdict(READS, {"db1": 4, "db2": 4, "db3": 4}, remarks=("uneven",), seconds=1.25)
BAD = Verdict(WRITES, errors={"x": 12}, faults=("12 of 12 connections failed: <x> & \x1b[1m", "and more"), seconds=2)
UNTRIED = Verdict(READS, remarks=("not tried: a UDP service need not answer",))


def suite(text: str) -> ET.Element:
    found = ET.fromstring(text).find("testsuite")  # noqa: S314 (our own)
    assert found is not None
    return found


def test_a_case_for_each_verdict() -> None:
    text = junit("shop", {"mode": "dr", "from": "here"}, [GOOD, BAD, UNTRIED], ["a note"], AT)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites tests="3" failures="1"')
    found = suite(text)
    assert found.attrib == {
        "name": "lbctl verify shop",
        "timestamp": "2026-11-25T03:14:15+00:00",
        "tests": "3",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
        "time": "3.250",
    }
    assert {p.get("name"): p.get("value") for p in found.iter("property")} == {"mode": "dr", "from": "here"}
    good, bad, untried = found.iter("testcase")
    assert good.attrib == {"classname": "shop.read", "name": "10.0.0.10:3306 rotates", "time": "1.250"}
    assert [child.tag for child in good] == ["system-out"]
    assert good.findtext("system-out") == "db1 4  db2 4  db3 4\nuneven"
    assert bad.findtext("failure") == "12 of 12 connections failed: <x> & \N{REPLACEMENT CHARACTER}[1m\nand more"
    assert [child.tag for child in untried] == ["skipped", "system-out"]
    assert found.findtext("system-out") == "a note"


def test_a_test_that_could_not_be_made() -> None:
    found = suite(broken("shop", {}, "app1 could not be reached", AT))
    assert (found.get("errors"), found.get("failures")) == ("1", "0")
    (error,) = found.iter("error")
    assert error.get("message") == "app1 could not be reached"
