"""nat: while directors change places, the new one drops what it cannot translate yet; and no longer."""

import subprocess
import time
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cluster.declaration import Declaration
from cluster.failover import untranslated_through
from cluster.vocabulary import Check, Mode, ReturnPath
from fleet import untranslated
from fleet.line import Answer
from fleet.untranslated import PASSING, dropping, held_back
from tests.variants import Variant

NAT = Variant(Mode.NAT).blueprint.declaration
GATEWAY = NAT.nat.gateway


def checking(check: Check, port: int | None = None) -> Declaration:
    services = {
        name: service.model_copy(update={"check": check, "check_port": port}) for name, service in NAT.service.items()
    }
    return NAT.model_copy(update={"service": services})


def test_where_answers_come_through_a_gateway_that_moves() -> None:
    assert GATEWAY is not None
    assert untranslated_through(NAT) == GATEWAY
    for mode in (Mode.DR, Mode.TUN):
        assert untranslated_through(Variant(mode).blueprint.declaration) is None
    snat = NAT.nat.model_copy(update={"return_path": ReturnPath.SNAT})
    assert untranslated_through(NAT.model_copy(update={"nat": snat})) is None


@pytest.mark.parametrize(
    ("check", "port", "through"),
    [(Check.TCP, None, None), (Check.HTTP, 9200, GATEWAY), (Check.NONE, None, GATEWAY), (Check.TCP, 22, GATEWAY)],
)
def test_no_health_check_fails_by_it(check: Check, port: int | None, through: IPv4Address | None) -> None:
    assert untranslated_through(checking(check, port)) == through


class Heir:
    """A line that notes what it is told."""

    def __init__(self, *said: str, failed: str = "") -> None:
        self.told: list[str] = []
        self._answer = Answer(said, failed)

    def tell(self, script: str, seconds: int = 0) -> Answer:
        del seconds
        self.told.append(script)
        return self._answer

    tell_afresh = tell


def test_it_ends_by_itself_where_the_new_director_took_over() -> None:
    heir, said = Heir("on"), list[str]()
    with held_back(heir, NAT, said.append):
        assert heir.told == [dropping(str(GATEWAY))]
    assert (len(heir.told), said) == (1, [])


@pytest.mark.parametrize(("before", "undone"), [(("on",), [PASSING]), ((), [])])
def test_it_is_undone_at_once_where_nobody_took_over(before: tuple[str, ...], undone: list[str]) -> None:
    """But not where it was somebody's own setting."""
    heir = Heir(*before)
    with pytest.raises(ValueError, match="nobody"), held_back(heir, NAT, list[str]().append):
        raise ValueError("nobody")
    assert heir.told[1:] == undone


def test_directors_change_places_also_where_it_cannot_be() -> None:
    said: list[str] = []
    with held_back(Heir(failed="no such file"), NAT, said.append):
        pass
    assert said == ["the new director may send on what it cannot translate yet: no such file"]


@pytest.mark.process
def test_it_lasts_until_a_moment_after_the_address_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    knob = tmp_path / "nat_icmp_send"
    monkeypatch.setattr(untranslated, "_KNOB", str(knob))

    def run(address: str) -> str:
        return subprocess.run(["sh", "-s"], input=dropping(address), text=True, capture_output=True, check=True).stdout

    def off_within(seconds: float) -> bool:
        end = time.monotonic() + seconds
        while knob.read_text() != "0\n" and time.monotonic() < end:
            time.sleep(0.05)
        return knob.read_text() == "0\n"

    knob.write_text("0\n")
    assert run("127.0.0.1") == "on\n"
    assert knob.read_text() == "1\n"
    assert off_within(30)
    # Also where the address never comes, for the operator's machine may have died.
    monkeypatch.setattr(untranslated, "SECONDS", 5)
    assert run("192.0.2.1") == "on\n"
    assert not off_within(1)
    assert off_within(30)
    # Somebody's own setting stays.
    knob.write_text("1\n")
    assert run("127.0.0.1") == ""
    assert not off_within(3)
