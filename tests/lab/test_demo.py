"""What the demo accepts as proof."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.errors import TroubleError
from cluster.vocabulary import Mode
from lab import demo, judgement
from lab.judgement import Row

FIRST = """\
--> Starting operation: director | keepalived
    [@lab/lb1] Success

--> Results:
    Operation                       Hosts   Success   Error   No Change   \x1b[0m
    real server | network               3       3         -       -           \x1b[0m
    gate: servers are ready         5       -         -       5           \x1b[0m
    Grand total                     8       3         -       5           \x1b[0m

--> Disconnecting from hosts...
"""
CHANGED = Row("real server | network", hosts=3, success=3, error=0, no_change=0)
UNCHANGED = Row("gate: servers are ready", hosts=5, success=0, error=0, no_change=5)
FAILED = Row("director | keepalived", hosts=1, success=0, error=1, no_change=0)
SERVERS = ("db1", "db2", "db3")

IPVSADM = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.10:3306 rr
  -> 10.0.0.1:3306                Tunnel  10     0          0
  -> 10.0.0.2:3306                Tunnel  10     1          0
TCP  10.0.0.11:3306 rr persistent 86400 mask 0.0.0.0
  -> 10.0.0.1:3306                Tunnel  10     0          0
  -> 10.0.0.2:3306                Tunnel  10     0          0
"""
ENDPOINTS = ("10.0.0.10:3306", "10.0.0.11:3306")


def test_rows_of_pyinfra_results() -> None:
    assert judgement.results(FIRST) == [CHANGED, UNCHANGED]


def test_no_rows_when_pyinfra_ended_early() -> None:
    assert judgement.results("--> Preparing operations...\nNo hosts remaining!\n") == []


def test_the_operation_under_way() -> None:
    assert (
        judgement.operation_started("\x1b[34m--> Starting operation: real server | network \n")
        == "real server | network"
    )
    assert judgement.operation_started("    [@lab/lb1] Success\n") is None


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([CHANGED, UNCHANGED], 0, None),
        ([UNCHANGED], 0, "nothing was changed"),
        ([CHANGED, FAILED], 0, "errors in director | keepalived (1 hosts)"),
        ([CHANGED], 1, "exit status 1 and 1 operations in the table of results"),
        ([], 0, "exit status 0 and 0 operations in the table of results"),
    ],
)
def test_first_run(rows: list[Row], status: int, said: str | None) -> None:
    assert judgement.failed_deploy(rows, status) == said


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([UNCHANGED], 0, None),
        ([UNCHANGED, CHANGED], 0, "changes by real server | network (success 3, error 0)"),
        ([FAILED], 0, "changes by director | keepalived (success 0, error 1)"),
        ([UNCHANGED], 1, "exit status 1 and 1 operations in the table of results"),
        ([], 0, "exit status 0 and 0 operations in the table of results"),
    ],
)
def test_second_run(rows: list[Row], status: int, said: str | None) -> None:
    assert judgement.changed_again(rows, status) == said


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ("db3 db1 db2 db3 db1 db2", None),
        ("db3 db1 db2 db3 db2 db1", "a turn of db2 db3 db2"),
        ("db3 db3 db3 db3 db3 db3", "a turn of db3 db3 db3"),
        ("db1 db2 db1 db2 db1 db2", "a turn of db1 db2 db1"),
        ("db1 db2", "only 2 answers"),
        ("", "only 0 answers"),
    ],
)
def test_rotation(answers: str, said: str | None) -> None:
    assert judgement.not_rotating(answers.split(), SERVERS) == said


def test_an_error_is_no_server() -> None:
    refused = "ERROR 2002 (HY000): Can't connect"
    assert judgement.not_rotating(["db1", refused, "db2"], SERVERS) == f"an answer {refused!r}"
    assert judgement.not_sticking([refused] * 6, SERVERS) == f"an answer {refused!r}"


def test_sticking() -> None:
    assert judgement.not_sticking(["db2"] * 6, SERVERS) is None
    assert judgement.not_sticking(["db2", "db2", "db1"], SERVERS) == "answers from db1, db2"
    assert judgement.not_sticking([], SERVERS) == "answers from nobody"


def test_who_was_killed_must_not_answer() -> None:
    assert judgement.not_rotating(["db1", "db2", "db3"], ("db1", "db3")) == "an answer 'db2'"


@pytest.mark.parametrize(
    ("endpoints", "servers", "mode", "said"),
    [
        (ENDPOINTS, ("10.0.0.1", "10.0.0.2"), Mode.TUN, None),
        (ENDPOINTS, ("10.0.0.1", "10.0.0.2"), Mode.DR, "10.0.0.10:3306 is forwarded by tun"),
        (ENDPOINTS, ("10.0.0.1",), Mode.TUN, "10.0.0.10:3306 goes to 10.0.0.1, 10.0.0.2"),
        (ENDPOINTS[:1], ("10.0.0.1", "10.0.0.2"), Mode.TUN, "services missing or too many: 10.0.0.11:3306"),
        ((), (), Mode.TUN, "services missing or too many: 10.0.0.10:3306, 10.0.0.11:3306"),
    ],
)
def test_kernel_table(endpoints: tuple[str, ...], servers: tuple[str, ...], mode: Mode, said: str | None) -> None:
    assert judgement.not_served(judgement.table(IPVSADM), endpoints, servers, mode) == said


def test_a_service_without_servers() -> None:
    empty = judgement.table("TCP  10.0.0.10:3306 rr\n")
    assert judgement.not_served(empty, ENDPOINTS[:1], ("10.0.0.1",), Mode.DR) == "10.0.0.10:3306 goes to nobody"


@pytest.mark.parametrize("mode", Mode)
def test_the_declaration_keeps_its_comments(mode: Mode) -> None:
    text = '# The lab\nname = "lab"\nmode = "dr"  # forwarding\n'
    assert demo.declared(mode, text) == text.replace('"dr"', f'"{mode}"')


def test_unknown_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["ipvs"]) == 2
    assert "'ipvs' is no mode" in capsys.readouterr().err


# How it ends


class FakeLab:
    """A lab as the demo sees it, without machines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.run = Path("/run/nowhere") / name
        self.namespace = f"nowhere.{name}"
        self.client_namespace = f"nowhere.{name}.client"
        self.was_up = self.up = False

    def is_up(self) -> bool:
        return self.up

    def down(self) -> None:
        self.up = False
        self.was_up = True


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    fake = FakeLab("not-there")
    monkeypatch.setattr(demo, "Lab", lambda _name: fake)
    monkeypatch.setattr(demo, "remains", lambda _lab: [])
    monkeypatch.delenv("KEEP", raising=False)
    return fake


def play(monkeypatch: pytest.MonkeyPatch, lab: FakeLab, ends: Callable[[demo.Stage], None]) -> int:
    def run(self: demo.Demo) -> None:
        lab.up = True
        self.stage.proven("something")
        ends(self.stage)

    monkeypatch.setattr(demo.Demo, "run", run)
    return demo.main(["dr"])


def failure(_stage: demo.Stage) -> None:
    raise TroubleError("expected: a\n  seen: b")


def interrupt(_stage: demo.Stage) -> None:
    raise KeyboardInterrupt


def end(_stage: demo.Stage) -> None:
    """All went well."""


def test_all_seen(monkeypatch: pytest.MonkeyPatch, lab: FakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(monkeypatch, lab, end) == 0
    assert lab.was_up
    assert "Seen in" in (printed := capsys.readouterr().out)
    assert printed.endswith("  ✓ something\n  ✓ nothing is left: no process, namespace or file\n")


def test_torn_down_when_it_fails(
    monkeypatch: pytest.MonkeyPatch, lab: FakeLab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(monkeypatch, lab, failure) == 4
    assert lab.was_up
    printed = capsys.readouterr()
    assert "seen: b" in printed.err
    assert "Seen in" not in printed.out


def test_torn_down_when_interrupted(monkeypatch: pytest.MonkeyPatch, lab: FakeLab) -> None:
    assert play(monkeypatch, lab, interrupt) == 130
    assert lab.was_up


@pytest.mark.parametrize(("ends", "code"), [(end, 0), (failure, 4)])
def test_kept(
    monkeypatch: pytest.MonkeyPatch,
    lab: FakeLab,
    capsys: pytest.CaptureFixture[str],
    ends: Callable[[demo.Stage], None],
    code: int,
) -> None:
    monkeypatch.setenv("KEEP", "1")
    assert play(monkeypatch, lab, ends) == code
    assert lab.up
    assert "lbctl lab down --name not-there" in capsys.readouterr().out


def test_a_lab_that_is_up_stays_up(monkeypatch: pytest.MonkeyPatch, lab: FakeLab) -> None:
    lab.up = True
    assert play(monkeypatch, lab, end) == 2
    assert lab.up


def test_leftovers_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, lab: FakeLab, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "remains", lambda _lab: ["process 4711: linux.uml"])
    assert play(monkeypatch, lab, end) == 4
    assert "process 4711" in capsys.readouterr().err
