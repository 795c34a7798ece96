"""Verdicts as JUnit XML, which CI servers read: a case for each verdict. No place for secrets: verdicts have none."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import datetime

from cluster.verification import Verdict

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML 1.0 document may have (its section 2.2); a client's error may bring one."""


def junit(
    cluster: str, properties: Mapping[str, str], verdicts: Sequence[Verdict], notes: Sequence[str], at: datetime
) -> str:
    """A whole document. `notes` are about several verdicts."""
    suite = _suite(cluster, properties, at)
    for verdict in verdicts:
        suite.append(_case(cluster, verdict))
    if notes:
        ET.SubElement(suite, "system-out").text = _text("\n".join(notes))
    tally = {
        "tests": len(verdicts),
        "failures": sum(not verdict.healthy for verdict in verdicts),
        "errors": 0,
        "skipped": sum(not verdict.tried for verdict in verdicts),
    }
    return _document(suite, tally, sum(verdict.seconds for verdict in verdicts))


def broken(cluster: str, properties: Mapping[str, str], why: str, at: datetime) -> str:
    """Of a test that came to no verdict: it must not look as if the one before still held."""
    suite = _suite(cluster, properties, at)
    case = ET.SubElement(suite, "testcase", classname=cluster, name="verify", time="0")
    ET.SubElement(case, "error", message=_text(why))
    return _document(suite, {"tests": 1, "failures": 0, "errors": 1, "skipped": 0}, 0)


def _suite(cluster: str, properties: Mapping[str, str], at: datetime) -> ET.Element:
    suite = ET.Element("testsuite", name=f"lbctl verify {cluster}", timestamp=at.isoformat(timespec="seconds"))
    listed = ET.SubElement(suite, "properties")
    for name, value in properties.items():
        ET.SubElement(listed, "property", name=name, value=_text(value))
    return suite


def _case(cluster: str, verdict: Verdict) -> ET.Element:
    probe = verdict.probe
    case = ET.Element(
        "testcase",
        classname=f"{cluster}.{probe.endpoint.service}",
        name=f"{probe.endpoint} {probe.word}",
        time=f"{verdict.seconds:.3f}",
    )
    if verdict.faults:
        failure = ET.SubElement(case, "failure", message=_text(verdict.faults[0]))
        failure.text = _text("\n".join(verdict.faults))
    elif not verdict.tried:
        ET.SubElement(case, "skipped", message=_text("; ".join(verdict.remarks)))
    counts = "  ".join(f"{name} {count}" for name, count in sorted(verdict.answers.items())) or verdict.nobody
    ET.SubElement(case, "system-out").text = _text("\n".join((counts, *verdict.remarks)))
    return case


def _document(suite: ET.Element, tally: Mapping[str, int], seconds: float) -> str:
    root = ET.Element("testsuites")
    for element in (root, suite):
        for name, number in tally.items():
            element.set(name, str(number))
        element.set("time", f"{seconds:.3f}")
    root.append(suite)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _text(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
