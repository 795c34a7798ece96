"""For programs: a command with --json prints one JSON document on standard output, and nothing else. The hosts are made up."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import Result

from cli import commands, doctor, lab, report, status
from cluster.change import Change
from cluster.errors import Exit, RefusedError
from cluster.failover import Cost
from cluster.faults import Diagnosis, Fault
from cluster.footprint import Blueprint
from cluster.history import Entry, History, Lock, Owner
from cluster.keepalived import Endpoint
from cluster.manual import Leftovers
from cluster.parts import Address
from cluster.plan import Plan
from cluster.reading import read
from cluster.trace import Case
from cluster.vocabulary import Role
from fleet import change, deployment, failover, history, lock, recorded, session, trace, trial, verify
from fleet.change import Outcome
from fleet.deployment import Report
from tests.cli.shop import SAMPLE, Lbctl
from tests.cluster.watched import blueprint, healthy
from tests.cluster.wire import PORT, Wire

CONF = Path(__file__).parents[1] / "cluster/imported/how-to.conf"
IMPORT = ("import", str(CONF), "--director", "lb1=10.0.0.4")
ADD = ("real-server", "add", "db3", "--address", "10.0.0.3")
RAMP = (*ADD, "--weight", "4", "--ramp", "0")
LATER = ("director", "add", "lb3", "--address", "10.0.0.7")
PLAN, YES = ("--plan",), ("--yes",)
CALLS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "import": [IMPORT, (*IMPORT, "--output", "imported.toml")],
    "validate": [("validate",), ("validate", "shop.toml", "none.toml")],
    "render": [("render",), ("render", "--host", "lb1", "--output", "rendered", "--show-secrets")],
    "plan": [("plan",)],
    "deploy": [("deploy", *YES)],
    "status": [("status",)],
    "report": [("report", "--over", "0")],
    "doctor": [("doctor",), ("doctor", "--fix", *YES)],
    "doctor trace": [("doctor", "trace")],
    "verify": [("verify",)],
    "switch-mode": [("switch-mode", "tun", *PLAN), ("switch-mode", "tun", *YES), ("switch-mode", "--abort", *YES)],
    "director add": [(*LATER, *PLAN), (*LATER, *YES)],
    "director remove": [("director", "remove", "lb2", *PLAN), ("director", "remove", "lb2", *YES)],
    "real-server add": [(*ADD, *PLAN), (*ADD, *YES), (*RAMP, *PLAN), (*RAMP, *YES)],
    "real-server drain": [("real-server", "drain", "db1", *PLAN), ("real-server", "drain", "db1", *YES)],
    "real-server undrain": [("real-server", "undrain", "db1", *PLAN), ("real-server", "undrain", "db1", *YES)],
    "real-server remove": [
        ("real-server", "remove", "db1", *PLAN),
        ("real-server", "remove", "db1", *YES),
        ("real-server", "remove", "db1", "--dead", *YES),
    ],
    "failover": [("failover", *PLAN), ("failover", *YES)],
    "history": [("history",)],
    "unlock": [("unlock", *YES)],
    "trial show": [("trial", "show")],
    "rollback": [("rollback", *PLAN), ("rollback", *YES)],
    "uninstall": [("uninstall", *PLAN), ("uninstall", *YES)],
    "lab status": [("lab", "status")],
}
"""Each command that takes --json, in the ways that print another document."""
FAULT = Diagnosis(Fault.VIP_MISSING, "db2", ("10.0.0.10 is not on lo",))
ENTRY = Entry(1, "ann", "desk", "switch-mode tun", datetime(2026, 11, 25, tzinfo=UTC), before="b" * 64, after="a" * 64)

STALE = Lock(Owner("ann", "roof", 12, ENTRY.began, "deploy"), 75, ("lb1",))
READ = Endpoint("read", IPv4Address("10.0.0.10"), 3306)
TRIAL = Leftovers((Address("eth0", READ.address),), (READ,))


@dataclass
class Hosts:
    """They are as declared, and are changed at once. What a change was to do is remembered."""

    changes: list[str] = field(default_factory=list)
    found: list[tuple[Diagnosis, ...]] = field(default_factory=lambda: [(FAULT,), ()])
    """By doctor, look by look."""
    left: tuple[str, ...] = ()
    """Connections that do not end."""
    fails_at: int = 0
    """The change that a host fails at."""

    def session(self, blueprint: Blueprint, **_: Any) -> Any:
        answers = healthy(Blueprint(blueprint.former or blueprint.declaration, blueprint.render))
        seen = {name: answers.states.get(name) for role in Role for name in blueprint.group(role)}
        told = SimpleNamespace(blueprint=blueprint, unreachable={}, observe=lambda *_, **__: seen, lines=dict)
        return nullcontext(told)

    def carry_out(self, _session: Any, wanted: Change, *_: Any) -> Outcome:
        self.changes.append(wanted.what)
        failed = {"lb2": "the disk is full"} if len(self.changes) == self.fails_at else {}
        if not failed:
            change.save(wanted)
        return Outcome(Report({"lb1": ["keepalived"]}, failed, Plan(())), declared=not failed, left=self.left)

    def examined(self, *_: Any) -> Any:
        return read(SAMPLE, "shop.toml"), self.found.pop(0)


@contextmanager
def eyes(*_: Any, **__: Any) -> Iterator[Any]:
    plan = blueprint(SAMPLE)
    yield SimpleNamespace(blueprint=plan, look=lambda **_: healthy(plan), history=History)


def way(*_: Any, **__: Any) -> Case:
    wire = Wire()
    wire.whole()
    return wire.case(f"connected 10.0.0.5 {PORT} ")


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, declaration: Path) -> Hosts:
    made = Hosts()
    monkeypatch.chdir(declaration.parent)
    # The real one changes the whole process, which is pytest's.
    monkeypatch.setitem(sys.modules, "fleet.green", ModuleType("fleet.green"))
    for where, name, instead in (
        (session, "Session", made.session),
        (lock, "refuse_if_held", lambda *_: None),
        (lock, "found", lambda _: ()),
        (lock, "found_on", lambda *_: (STALE,)),
        (trial, "found", lambda *_: {"lb2": TRIAL}),
        (history, "read", lambda _: History((ENTRY,))),
        (history, "text_of", lambda *_: SAMPLE.replace('"dr"', '"nat"')),
        (deployment, "preflight", lambda *_, **__: None),
        (change, "carry_out", made.carry_out),
        (recorded, "carry_out", made.carry_out),
        (recorded, "noted", lambda *_: nullcontext()),
        (failover, "carry_out", lambda *_, **__: Cost(0.5, 3, 3)),
        (trace, "trace", way),
        (verify, "verify", lambda *_, **__: ()),
        (status, "eyes", eyes),
        (report, "eyes", eyes),
        (doctor, "_examined", made.examined),
        (lab, "_lab", lambda name: SimpleNamespace(state=lambda: {"name": name, "up": False})),
    ):
        monkeypatch.setattr(where, name, instead)
    return made


def with_json() -> set[str]:
    """Every command, and those below a group, that has the option."""
    known = {name: commands.load(name) for name in commands.COMMANDS}
    below = {
        f"{name} {sub}": one for name, group in known.items() for sub, one in getattr(group, "commands", {}).items()
    }
    return {name for name, one in (known | below).items() if any("--json" in option.opts for option in one.params)}


def test_no_command_is_forgotten() -> None:
    assert set(CALLS) == with_json()


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("words", [call for calls in CALLS.values() for call in calls], ids=" ".join)
def test_one_document(words: tuple[str, ...], lbctl: Lbctl, declaration: Path) -> None:
    done = lbctl("-c", declaration, *words, "--json")
    assert done.stdout, done.stderr
    json.loads(done.stdout)
    code = {"none.toml": Exit.INVALID, "doctor": Exit.TROUBLE}.get(words[-1], Exit.DONE)
    assert done.exit_code == code, done.stderr


# Commands of several changes


def changes(done: Result) -> list[str]:
    told: list[dict[str, Any]] = json.loads(done.stdout)["changes"]
    return [each["what"] for each in told]


DRAIN, REMOVE = "real-server remove db1: drain", "real-server remove db1"


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        (("real-server", "remove", "db1"), [DRAIN, REMOVE]),
        (("real-server", "remove", "db1", "--dead"), [REMOVE]),
        (RAMP, ["real-server add db3", *(f"real-server add db3, weight {weight}" for weight in (2, 3, 4))]),
    ],
)
def test_each_change_is_in_it(
    words: tuple[str, ...], steps: list[str], hosts: Hosts, lbctl: Lbctl, declaration: Path
) -> None:
    done = lbctl("-c", declaration, *words, "--yes", "--json")
    assert done.exit_code == Exit.DONE, done.stderr
    assert changes(done) == hosts.changes == steps


def test_also_where_the_second_is_refused(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    hosts.left = ("db1: 3 connections",)
    done = lbctl("-c", declaration, "real-server", "remove", "db1", "--yes", "--json")
    assert done.exit_code == Exit.REFUSED
    assert changes(done) == [DRAIN]
    assert json.loads(done.stdout)["changes"][0]["left"] == ["db1: 3 connections"]
    assert "still has connections" in done.stderr


def test_also_where_one_fails(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    hosts.fails_at = 2
    done = lbctl("-c", declaration, *RAMP, "--yes", "--json")
    assert done.exit_code == Exit.FAILED
    assert changes(done) == ["real-server add db3", "real-server add db3, weight 2"]
    assert json.loads(done.stdout)["changes"][1]["failed"] == {"lb2": "the disk is full"}


def test_nothing_where_nothing_was_begun(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    done = lbctl("-c", declaration, "real-server", "remove", "db9", "--yes", "--json")
    assert (done.exit_code, done.stdout, hosts.changes) == (Exit.INVALID, "", [])


# A lock, and a trial


@pytest.mark.usefixtures("hosts")
def test_a_lock_that_was_taken_away(lbctl: Lbctl, declaration: Path) -> None:
    (told,) = json.loads(lbctl("-c", declaration, "unlock", "--yes", "--json").stdout)["locks"]
    assert (told["owner"]["user"], told["stale"], told["taken_from"]) == ("ann", "no sign of life for 75 s", ["lb1"])


@pytest.mark.usefixtures("hosts")
def test_a_lock_is_not_taken_away_unasked(lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a stale one beside another whose owner is at work."""
    done = lbctl("-c", declaration, "unlock", "--json")
    assert (done.exit_code, done.stdout) == (Exit.INVALID, "")
    monkeypatch.setattr(lock, "found_on", lambda *_: (STALE, replace(STALE, silent_for=3)))
    monkeypatch.setattr(lock, "take_away", lambda *_: pytest.fail("it was taken away"))
    done = lbctl("-c", declaration, "unlock", "--yes", "--json")
    assert (done.exit_code, done.stdout) == (Exit.REFUSED, "")


@pytest.mark.usefixtures("hosts")
def test_no_lock(lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "found_on", lambda *_: ())
    done = lbctl("-c", declaration, "unlock", "--yes", "--json")
    assert json.loads(done.stdout) == {"locks": [], "unreachable": {}}


@pytest.mark.usefixtures("hosts")
def test_a_trial(lbctl: Lbctl, declaration: Path) -> None:
    told = json.loads(lbctl("-c", declaration, "trial", "show", "--json").stdout)
    assert told["director"] == "lb2"
    assert told["addresses"] == [{"address": "10.0.0.10", "device": "eth0"}]
    (service,) = told["services"]
    assert (service["address"], service["port"]) == ("10.0.0.10", 3306)
    assert {server["mode"] for server in service["servers"]} == {"dr"}


@pytest.mark.usefixtures("hosts")
def test_no_trial(lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "found", lambda *_: {})
    done = lbctl("-c", declaration, "trial", "show", "--json")
    assert done.exit_code == Exit.TROUBLE
    assert json.loads(done.stdout) == {"director": "lb1", "addresses": [], "services": []}


# Doctor


def cured(lbctl: Lbctl, declaration: Path, code: Exit, *words: str) -> Any:
    done = lbctl("-c", declaration, "doctor", *words, "--json")
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def test_a_look_alone(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    told = cured(lbctl, declaration, Exit.TROUBLE)
    assert set(told) == {"cluster", "healthy", "findings"}
    assert [each["fault"] for each in told["findings"]] == [Fault.VIP_MISSING]
    assert hosts.changes == []


def test_before_the_fix_and_after(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    told = cured(lbctl, declaration, Exit.DONE, "--fix", "--yes")
    assert [each["fault"] for each in told["before"]] == [Fault.VIP_MISSING]
    assert [each["what"] for each in told["changes"]] == hosts.changes == ["doctor --fix"]
    assert (told["healthy"], told["findings"]) == (True, [])


def test_a_fault_that_no_deploy_cures(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    hosts.found = [(Diagnosis(Fault.DEAD_HOST, "db2", ("no route to host",)),)]
    told = cured(lbctl, declaration, Exit.TROUBLE, "--fix", "--yes")
    assert told["before"] == told["findings"]
    assert (told["healthy"], told["changes"]) == (False, [])


def test_a_fix_that_fails(hosts: Hosts, lbctl: Lbctl, declaration: Path) -> None:
    hosts.fails_at = 1
    told = cured(lbctl, declaration, Exit.FAILED, "--fix", "--yes")
    assert told["changes"][0]["failed"] == {"lb2": "the disk is full"}
    assert (len(told["before"]), told["healthy"], told["findings"]) == (1, False, None)


@pytest.mark.usefixtures("hosts")
def test_a_fix_that_is_refused(lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RefusedError("a file was edited by hand")

    monkeypatch.setattr(deployment, "preflight", refuse)
    told = cured(lbctl, declaration, Exit.REFUSED, "--fix", "--yes")
    assert (len(told["before"]), told["changes"], told["findings"]) == (1, [], None)


@pytest.mark.parametrize(
    "words", [("doctor", "--json", "trace"), ("history", "--json", "show", "1"), ("history", "-n", "3", "show", "1")]
)
@pytest.mark.usefixtures("hosts")
def test_an_option_before_another_command_is_refused(words: tuple[str, ...], lbctl: Lbctl, declaration: Path) -> None:
    done = lbctl("-c", declaration, *words)
    assert (done.exit_code, done.stdout) == (Exit.INVALID, "")
    assert f"says nothing to lbctl {words[0]} {words[-1] if words[-1] != '1' else words[-2]}" in done.stderr


@pytest.mark.usefixtures("hosts")
def test_secrets_are_in_files_only(lbctl: Lbctl, declaration: Path) -> None:
    (declaration.parent / "secret").write_text("hunter2\n")
    text = SAMPLE.replace("[vrrp]\n", '[vrrp]\nversion = 2\nadvertise_every = "1s"\npassword = { file = "secret" }\n')
    declaration.write_text(text)
    done = lbctl("-c", declaration, "render", "--output", "rendered", "--show-secrets", "--json")
    assert done.exit_code == Exit.DONE, done.stderr
    assert "hunter2" not in done.stdout
    assert any("hunter2" in Path(each["file"]).read_text() for each in json.loads(done.stdout))
