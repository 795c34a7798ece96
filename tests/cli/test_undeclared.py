"""A host's table was deleted by hand: what commands say, and which go on all the same. The hosts are made up."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.history import DONE, History
from fleet import history
from tests.cli.shop import SAMPLE, Lbctl
from tests.cli.test_one_document import ENTRY, Hosts, hosts

__all__ = ["hosts"]

ENDED = replace(ENTRY, ended=ENTRY.began, result=DONE)
NAMED = "put [director.lb2] back, then lbctl director remove lb2"
TABLE = '[director.lb2]\naddress = "10.0.0.6"\npriority = 100\n'


@pytest.fixture(autouse=True)
def without_lb2(hosts: Hosts, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    past = History((ENDED,), {str(name): ("lb1",) for name in (ENDED.before, ENDED.after)})
    monkeypatch.setattr(history, "read", lambda _: past)
    monkeypatch.setattr(history, "text_of", lambda *_: SAMPLE)
    assert TABLE in SAMPLE
    declaration.write_text(SAMPLE.replace(TABLE, ""))
    return hosts


@pytest.mark.parametrize("words", [("deploy",), ("switch-mode", "tun"), ("real-server", "remove", "db1", "--dead")])
def test_nothing_is_changed_without_it(words: tuple[str, ...], hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    done = lbctl("-c", declaration, *words, "--yes")
    assert done.exit_code == Exit.REFUSED
    assert "names lb2 no more" in done.stderr
    assert NAMED in done.stderr
    assert hosts.changes == []


def test_a_plan_says_it(lbctl: Lbctl, declaration: Path) -> None:
    said = lbctl("-c", declaration, "plan", "--no-diff")
    assert said.exit_code == Exit.DONE
    assert f"lb2 is declared no more, and was not taken out of the cluster: {NAMED}" in said.stdout
    checked = lbctl("-c", declaration, "plan", "--check", "--json")
    assert checked.exit_code == Exit.TROUBLE
    assert list(json.loads(checked.stdout)["undeclared"]) == ["lb2"]


def test_it_counts_where_nothing_else_is_to_do(
    lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration.write_text(SAMPLE)
    assert lbctl("-c", declaration, "plan", "--no-diff", "--check").exit_code == Exit.DONE
    more = SAMPLE + '\n[real_server.db7]\naddress = "10.0.0.7"\n'
    monkeypatch.setattr(history, "text_of", lambda *_: more)
    checked = lbctl("-c", declaration, "plan", "--no-diff", "--check")
    assert checked.exit_code == Exit.TROUBLE
    assert "put [real_server.db7] back, then lbctl real-server remove db7" in checked.stdout
    assert "as declared but for that" in checked.stdout


@pytest.mark.parametrize("words", [("uninstall",), ("rollback",)])
def test_what_ends_it_or_goes_back_goes_on(
    words: tuple[str, ...], hosts: Hosts, lbctl: Lbctl, declaration: Path
) -> None:
    done = lbctl("-c", declaration, *words, "--yes")
    assert done.exit_code == Exit.DONE, done.stderr
    assert len(hosts.changes) == 1


def test_put_back_it_can_be_removed(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE)
    done = lbctl("-c", declaration, "director", "remove", "lb2", "--yes")
    assert done.exit_code == Exit.DONE, done.stderr
    assert hosts.changes == ["director remove lb2"]
