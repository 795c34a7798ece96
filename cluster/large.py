"""Whether packets of full size pass: a large request, and a large answer.

A link that takes only smaller packets than both ends believe lets a login and every small query pass and holds large ones back
for good. So both are tried after a small query on the same connection: what came before says which server it is, and which way.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from math import gcd

from cluster.units import amount
from cluster.verification import TIMED_OUT, Answer, Kind, Pattern, Probe, Verdict, failed

REQUEST = 8000
"""Bytes of the large request: several packets of Ethernet's size."""
SMALLEST = 3000
"""Bytes of a large answer at least: less might be one packet."""
LARGEST = 100_000_000
_MOST = 12
"""Connections to one endpoint at most."""
_CURE = "lbctl doctor, docs/modes.md on packet sizes"


def large_probe(probe: Probe, large: int) -> Probe:
    """At the same endpoint: once, or once at each server where they take turns."""
    turns = probe.pattern is Pattern.ROTATES
    weights = probe.weights.values()
    turn = sum(weights) // (gcd(*weights) or 1) if turns else 1
    return replace(probe, kind=Kind.LARGE, large=large, count=max(1, min(turn, _MOST)))


def judge_large(probe: Probe, answers: Iterable[Answer]) -> Verdict:
    """Who answers how often is not asked here."""
    heard = list(answers)
    verdict = Verdict(
        probe,
        answers=Counter(a.server for a in heard if passed(a, probe)),
        clients=Counter(a.client for a in heard if a.client),
        errors=Counter(a.error for a in heard if a.error),
    )
    faults, remarks = lost(probe, heard)
    unmet = tuple(
        f"{name} had no turn: whether large packets pass there is not known" for name in not_met(probe, heard)
    )
    nobody = Counter(a.error for a in heard if a.error and not a.server)
    return replace(verdict, faults=(*failed(nobody, len(heard)), *faults), remarks=(*remarks, *unmet))


def not_met(probe: Probe, answers: Iterable[Answer]) -> tuple[str, ...]:
    """Servers that take turns and had none: other clients took theirs. One more round may meet them."""
    met = {answer.server for answer in answers}
    return tuple(name for name in probe.weights if name not in met) if probe.pattern is Pattern.ROTATES else ()


def passed(answer: Answer, probe: Probe) -> bool:
    """Both ways."""
    return not answer.error and answer.sent == REQUEST and answer.received == probe.large


def lost(probe: Probe, answers: Iterable[Answer]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(faults, remarks) about servers that answered a small query and then not a large one."""
    cut = [answer for answer in answers if answer.server and not passed(answer, probe)]
    unwilling = [answer for answer in cut if _unwilling(answer)]
    faults = dict.fromkeys(_how(answer, probe) for answer in cut if answer not in unwilling)
    remarks = dict.fromkeys(
        f"{answer.server} does not send {amount(probe.large)} at once (max_allowed_packet): try less with --large"
        for answer in unwilling
    )
    return tuple(faults), tuple(remarks)


def _unwilling(answer: Answer) -> bool:
    """Server or client has a limit, which is no fault of any network."""
    return (answer.received == 0 and not answer.error) or "max_allowed_packet" in answer.error


def _how(answer: Answer, probe: Probe) -> str:
    towards = answer.sent is None
    what = f"a request of {amount(REQUEST)}" if towards else f"an answer of {amount(probe.large)}"
    if answer.error == TIMED_OUT:
        way = "to the server" if towards else "to the client"
        return f"{answer.server}: {what} hangs where small ones pass: packets of full size are lost on their way {way} ({_CURE})"
    if answer.error:
        return f"{answer.server}: {what} fails where small ones pass: {answer.error}"
    if answer.sent != REQUEST:
        return f"{answer.server}: {answer.sent} bytes of a request of {amount(REQUEST)} arrived"
    return f"{answer.server}: {answer.received} bytes of {what} came"
