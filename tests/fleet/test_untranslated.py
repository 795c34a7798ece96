"""nat: while directors change places, the new one leads to the old one what it cannot translate; and no longer."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from cluster.declaration import Declaration
from cluster.failover import Move, answers_through
from cluster.vocabulary import Mode, ReturnPath
from fleet import untranslated
from fleet.line import Answer
from fleet.session import Session
from fleet.untranslated import STRAIGHT, TABLE, leading, led_on
from tests.operations.bare import Bare
from tests.variants import Variant

NAT = Variant(Mode.NAT).blueprint.declaration
MOVE = Move("lb1", "lb2")


def test_where_answers_come_through_a_gateway_that_moves() -> None:
    found = answers_through(NAT)
    assert found is not None
    assert found[0] == NAT.nat.gateway
    assert [(str(address), *end) for address, *end in found[1]] == [(f"10.0.0.{n}", "tcp", 3306) for n in (1, 2, 3)]
    for mode in (Mode.DR, Mode.TUN):
        assert answers_through(Variant(mode).blueprint.declaration) is None
    snat = NAT.nat.model_copy(update={"return_path": ReturnPath.SNAT})
    assert answers_through(NAT.model_copy(update={"nat": snat})) is None


class Line:
    """Notes what it is told."""

    def __init__(self, failed: str = "") -> None:
        self.told: list[str] = []
        self._failed = failed

    def tell(self, script: str, seconds: int = 0) -> Answer:
        del seconds
        self.told.append(script)
        return Answer(failed=self._failed)

    tell_afresh = tell


def pair(failed: str = "") -> tuple[Session, dict[str, Line]]:
    lines = {"lb1": Line(), "lb2": Line(failed)}
    return cast("Session", SimpleNamespace(connect=lines.__getitem__)), lines


def test_it_ends_by_itself_where_the_new_director_took_over() -> None:
    (session, lines), said = pair(), list[str]()
    with led_on(session, NAT, MOVE, said.append):
        assert lines["lb2"].told == [leading(NAT, MOVE)]
        # An earlier move's, the other way round, does not stay.
        assert lines["lb1"].told == [STRAIGHT]
    assert ([len(line.told) for line in lines.values()], said) == ([1, 1], [])


def test_it_is_undone_at_once_where_nobody_took_over() -> None:
    session, lines = pair()
    with pytest.raises(ValueError, match="nobody"), led_on(session, NAT, MOVE, list[str]().append):
        raise ValueError("nobody")
    assert lines["lb2"].told[1:] == [STRAIGHT]


def test_directors_change_places_also_where_it_cannot_be() -> None:
    (session, _), said = pair("no such device"), list[str]()
    with led_on(session, NAT, MOVE, said.append):
        pass
    assert said == ["lb2 cannot lead answers to lb1: some of the newest connections may be cut: no such device"]


def test_in_another_mode_nobody_is_told() -> None:
    session, lines = pair()
    with led_on(session, Variant(Mode.DR).blueprint.declaration, MOVE, list[str]().append):
        pass
    assert [line.told for line in lines.values()] == [[], []]


# The shell, in a network namespace

LOOKS = "pgrep --ns $$ --nslist net -f 'addr show to' >/dev/null"
"""Whether the shell that ends it is still at work."""
ARRIVING = "ip route get 10.0.0.20 from 10.0.0.1 iif eth0 ipproto tcp sport"


@pytest.fixture
def director() -> Iterator[Bare]:
    with Bare() as bare:
        bare.run("ip addr flush dev eth0; ip addr add 10.0.0.6/24 dev eth0; echo 1 >/proc/sys/net/ipv4/ip_forward")
        yield bare
        # Nothing outlives the namespace.
        bare.run(f"ip addr replace {NAT.nat.gateway}/32 dev eth0")
        within(30, lambda: bare.sh(LOOKS).returncode != 0)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def rules(director: Bare) -> list[str]:
    shown = director.run("ip rule").splitlines()
    return [line.partition("\t")[2] for line in shown if line.startswith(f"{TABLE}:")]


def begun(director: Bare) -> str:
    begin = leading(NAT, MOVE)
    assert begin is not None
    director.run(begin)
    return begin


@pytest.mark.namespace
def test_it_lasts_until_a_while_after_the_gateway_has_come(director: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untranslated, "AFTER", 1)
    begin = begun(director)
    expected = [f"from 10.0.0.{n} ipproto tcp sport 3306 lookup {TABLE}" for n in (1, 2, 3)]
    assert rules(director) == expected
    assert "via 10.0.0.4 dev eth0" in director.run(f"{ARRIVING} 3306")
    assert "via" not in director.run(f"{ARRIVING} 22")
    director.run(begin)  # again, as after one that was cut short
    assert rules(director) == expected
    assert not within(3, lambda: not rules(director))
    director.run(f"ip addr add {NAT.nat.gateway}/32 dev eth0")
    assert within(30, lambda: not rules(director))
    assert "via" not in director.run(f"{ARRIVING} 3306")


@pytest.mark.namespace
def test_and_no_longer_than_that_where_it_never_comes(director: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's machine may have died."""
    monkeypatch.setattr(untranslated, "AFTER", 1)
    monkeypatch.setattr(untranslated, "SECONDS", 2)
    begun(director)
    assert len(rules(director)) == len(NAT.real_server)
    assert within(30, lambda: not rules(director))


@pytest.mark.namespace
def test_it_can_be_ended_at_once(director: Bare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untranslated, "AFTER", 1)
    begun(director)
    director.run(STRAIGHT)
    director.run(STRAIGHT)
    assert rules(director) == []


def test_a_server_may_have_a_port_of_its_own() -> None:
    name, service = next(iter(NAT.service.items()))
    other: Declaration = NAT.model_copy(
        update={"service": {**NAT.service, name: service.model_copy(update={"server_port": 3307})}}
    )
    script = leading(other, MOVE)
    assert script is not None
    assert script.count("sport 3307 lookup") == len(NAT.real_server)
