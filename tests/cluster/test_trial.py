"""A trial of the new method, from the director that no client uses."""

from dataclasses import replace

from cluster.keepalived import endpoints
from cluster.trial import CONNECTIONS, against, can_try, read, tried
from cluster.vocabulary import Mode
from tests.cluster.states import director
from tests.variants import Variant

NAT = Variant(Mode.NAT).blueprint
D = NAT.declaration
GOOD = [f"open {place}\n" * CONNECTIONS for place in endpoints(D, "lb2")]


def lines(*texts: str) -> list[str]:
    return "\n".join(texts).splitlines()


def test_only_a_director_that_has_changed_and_serves_nobody_can_try() -> None:
    assert can_try(D, "lb2", director(NAT, "lb2", Mode.NAT, active=False))
    assert not can_try(D, "lb2", director(NAT, "lb2", Mode.NAT, active=True))
    assert not can_try(D, "lb2", director(NAT, "lb2", Mode.DR, active=False))
    assert not can_try(D, "lb2", replace(director(NAT, "lb2", Mode.NAT, active=False), units={}))


def test_every_connection_must_be_answered() -> None:
    wanted = endpoints(D, "lb2")
    assert against(D, "lb2", wanted, read(lines(*GOOD))) is None
    fewer = [GOOD[0].replace("open", "lost", 2), *GOOD[1:]]
    said = against(D, "lb2", wanted, read(lines(*fewer))) or ""
    assert said.startswith(f"a trial on lb2: 2 of {CONNECTIONS} connections to 10.0.0.10:3306 by nat got no answer; ")
    assert "switch-mode --abort" in said
    assert "10.0.0.12:5507" in (against(D, "lb2", wanted, read(lines(*GOOD[:-1]))) or "")


def test_an_endpoint_without_a_live_server_is_not_tried() -> None:
    nobody = director(NAT, "lb2", Mode.NAT, active=False, dead=tuple(D.real_server))
    assert tried(D, "lb2", nobody) == ()
    assert len(tried(D, "lb2", director(NAT, "lb2", Mode.NAT, active=False))) == len(endpoints(D, "lb2"))
