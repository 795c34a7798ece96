"""Commands over a connection: what goes in, what comes out, and how they end when it is not by themselves."""

from pathlib import Path
from typing import Any

import pytest

from tests.transports.conftest import Machines

pytestmark = pytest.mark.process

SECRET = "hunter2-and-more"


def run(machines: Machines, text: str, data: dict[str, Any] | None = None, **arguments: Any) -> Any:
    server = machines.serve()
    report = machines.drive({"one": machines.data(server, **(data or {}))}, ["connect"], ["command", text, arguments])
    return report.results[1]["@lbctl/one"]


def test_output_and_status(machines: Machines) -> None:
    result = run(machines, "echo out; echo err >&2; exit 3")
    assert (result["stdout"], result["stderr"], result["succeeded"]) == ("out", "err", False)
    assert run(machines, "exit 3", _success_exit_codes=[3])["succeeded"]


def test_standard_input(machines: Machines) -> None:
    assert run(machines, "cat", _stdin="one\ntwo")["stdout"] == "one\ntwo"
    assert run(machines, "cat", _stdin=["one", "two"])["stdout"] == "one\ntwo"
    assert run(machines, "cat")["stdout"] == ""


def test_more_than_fits_both_ways_at_once(machines: Machines) -> None:
    """Past the window of SSH, where who only writes and then reads would wait for ever."""
    line = "x" * 999 + "\n"
    assert len(run(machines, "cat", _stdin=line * 5000)["stdout"]) == 5_000_000 - 1


def test_standard_input_that_nobody_reads_is_no_failure(machines: Machines) -> None:
    assert run(machines, "true", _stdin="x" * 5_000_000)["succeeded"]


def test_output_that_is_no_utf8(machines: Machines) -> None:
    assert run(machines, r"printf 'a\344b\nend\n'")["stdout"] == "a\N{REPLACEMENT CHARACTER}b\nend"


def test_secrets_on_standard_input_are_seen_by_the_command_alone(machines: Machines) -> None:
    arguments = {"_stdin": SECRET}
    report = machines.drive(
        {"one": machines.data(machines.serve())},
        ["connect"],
        ["command", "wc -c", arguments],
        ["command", "cat >/dev/null; exit 1", arguments],
        ["operation", "wc -c", arguments],
        debug=True,
    )
    assert report.results[1]["@lbctl/one"]["stdout"] == str(len(SECRET) + 1)
    assert "wc -c" in report.printed, "debug output was on"
    assert SECRET not in report.printed


def test_a_command_that_takes_too_long_ends_and_the_connection_goes_on(machines: Machines) -> None:
    report = machines.drive(
        {"one": machines.data(machines.serve())},
        ["connect"],
        ["command", "sleep 100", {"_timeout": 1}],
        ["command", "echo still here"],
        ["disconnect"],
    )
    result = report.results[1]["@lbctl/one"]
    assert result["error"]["class"] == "CommandTimeoutError"
    assert "TimeoutError" in result["kinds"], "what pyinfra expects"
    assert result["failure"]["reason"] == "timeout"
    assert 1 <= result["seconds"] < 30
    assert report.results[2]["@lbctl/one"]["stdout"] == "still here"
    assert report.sockets_left == 0


def test_the_time_limit_holds_from_the_first_packet(machines: Machines) -> None:
    for user, doing in (("mute", "opening a channel"), ("deaf", "starting the command")):
        result = run(machines, "echo x", {"ssh_user": user}, _timeout=1)
        assert result["error"]["class"] == "CommandTimeoutError"
        assert doing in result["error"]["message"]
        assert result["seconds"] < 30


def test_a_command_that_is_killed_says_so(machines: Machines) -> None:
    result = run(machines, "kill -9 0")
    assert not result["succeeded"]
    assert "something killed it" in result["stderr"]


def test_a_connection_that_is_cut_fails_its_host_alone(machines: Machines) -> None:
    hosts = {"bad": machines.data(machines.serve("hangs up")), "good": machines.data(machines.serve())}
    report = machines.drive(
        hosts,
        ["connect"],
        ["operation", "echo HANGUP; sleep 2; echo finished"],
        ["command", "echo more"],
        ["disconnect"],
    )
    operation = report.results[1]
    assert report.failed == ["@lbctl/bad"]
    assert operation["@lbctl/good"]["succeeded"]
    assert "finished" in operation["@lbctl/good"]["stdout"]
    assert not operation["@lbctl/bad"]["succeeded"]
    assert operation["@lbctl/bad"]["failure"]["reason"] == "lost"
    assert "connection to bad lost: closed by the other side" in report.printed

    afterwards = report.results[2]
    assert afterwards["@lbctl/good"]["stdout"] == "more"
    assert afterwards["@lbctl/bad"]["error"]["class"] == "ConnectionLostError"
    assert afterwards["@lbctl/bad"]["error"]["message"] == "connection to bad lost: closed by the other side"
    assert "SSHException" in afterwards["@lbctl/bad"]["kinds"], "what pyinfra copes with"
    assert afterwards["@lbctl/bad"]["seconds"] < 1
    assert report.sockets_left == 0


def test_a_cut_that_was_expected_is_no_failure(machines: Machines) -> None:
    """A reboot: pyinfra's own operation for it expects status -1."""
    data = machines.data(machines.serve("hangs up"))
    arguments = {"_success_exit_codes": [-1]}
    report = machines.drive({"one": data}, ["connect"], ["command", "echo HANGUP; sleep 9", arguments])
    assert report.results[1]["@lbctl/one"]["succeeded"]


def test_sudo(machines: Machines, tmp_path: Path) -> None:
    """Not the real one: it need not be installed here, and would let root do anything."""
    programs = tmp_path / "bin"
    programs.mkdir()
    sudo = programs / "sudo"
    path = f"{programs}:/usr/bin:/bin"
    data = machines.data(machines.serve(PATH=path))
    steps: list[list[Any]] = [["connect"], ["command", "echo here", {"_sudo": True}]]

    sudo.write_text('#!/bin/sh\n[ "$1 $2" = "-H -n" ] || exit 9\nshift 2\nexec "$@"\n')
    sudo.chmod(0o755)
    assert machines.drive({"one": data}, *steps).results[1]["@lbctl/one"]["stdout"] == "here"

    sudo.write_text("#!/bin/sh\necho sudo: a password is required >&2\nexit 1\n")
    result = machines.drive({"one": data}, *steps).results[1]["@lbctl/one"]
    assert not result["succeeded"]
    assert "one: sudo wants a password, and there is nobody to ask" in result["stderr"]
