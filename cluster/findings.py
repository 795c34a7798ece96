"""What came of a check of a cluster (`lbctl verify`, `lbctl doctor`), in the form in which it is remembered and shown again."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from cluster.verification import Verdict


class Outcome(StrEnum):
    OK = "ok"
    BAD = "bad"
    UNKNOWN = "unknown"
    """It could not be found out."""
    NOTE = "note"
    """Worth knowing, and not wrong."""


class Finding(BaseModel):
    """One line of a verdict. No place for secrets: it is kept in a file, and shown on a page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    outcome: Outcome
    text: str
    host: str = ""
    cure: str = ""
    """What to do, or ""."""


class Check(BaseModel):
    """A check as it went: `name` is the command's, `place` says from where it looked, or ""."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    at: AwareDatetime
    by: str
    """Who ran it: user@machine."""
    place: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def healthy(self) -> bool:
        return not self.count(Outcome.BAD)

    def count(self, outcome: Outcome) -> int:
        return sum(finding.outcome == outcome for finding in self.findings)


def of_verify(verdicts: Sequence[Verdict], remarks: Sequence[str], *, by: str, place: str) -> Check:
    """What a client's test has found: a line for each verdict, with its faults, and one for each remark."""
    findings = [finding for verdict in verdicts for finding in _of_endpoint(verdict)]
    findings += [Finding(outcome=Outcome.NOTE, text=remark) for remark in remarks]
    return Check(name="verify", at=datetime.now(UTC), by=by, place=place, findings=tuple(findings))


def _of_endpoint(verdict: Verdict) -> Iterator[Finding]:
    probe = verdict.probe
    where = f"{probe.endpoint.service} {probe.endpoint}"
    counts = ", ".join(f"{name} {count}" for name, count in sorted(verdict.answers.items())) or verdict.nobody
    said = "; ".join((counts, *verdict.faults))
    passed = Outcome.OK if verdict.tried else Outcome.UNKNOWN
    yield Finding(outcome=passed if verdict.healthy else Outcome.BAD, text=f"{where} ({probe.word}): {said}")
    for text in verdict.remarks:
        yield Finding(outcome=Outcome.NOTE, text=f"{where}: {text}")
