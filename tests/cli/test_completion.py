"""What a shell completes: asked as a shell asks, by environment variables."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cli import commands, completion
from cli.main import app
from cluster.declaration import Declaration
from cluster.vocabulary import Mode
from lab.topology import ALL
from tests.cli.shop import SAMPLE

LBCTL = Path(sys.executable).with_name("lbctl")
Complete = Callable[[str], list[str]]


def asked(typed: str) -> dict[str, str]:
    """Bash's question at the end of a line. An unfinished word is the last one."""
    words = typed.split(" ")
    return {"_LBCTL_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Complete:
    """In a folder with three clusters' declarations, of which the usual one is inventory/galera.toml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LBCTL_CLUSTER", raising=False)
    (tmp_path / "inventory").mkdir()
    (tmp_path / "home").mkdir()
    (tmp_path / "inventory/galera.toml").write_text(SAMPLE + '\n[client.app1]\nssh = { host = "app1" }\n')
    (tmp_path / "home/blog.toml").write_text(SAMPLE.replace("db1", "blog1"))
    (tmp_path / "shop.toml").write_text(SAMPLE.replace("lb1", "east").replace("lb2", "west"))
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "no cluster"\n')

    def lines(typed: str) -> list[str]:
        done = CliRunner().invoke(app, [], env=asked(typed), prog_name="lbctl")
        assert not done.stderr
        return done.stdout.split()

    return lines


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("lbctl director remove ", ["lb1", "lb2"]),
        ("lbctl director add ", []),
        ("lbctl real-server drain ", ["db1", "db2"]),
        ("lbctl real-server undrain d", ["db1", "db2"]),
        ("lbctl real-server remove db2", ["db2"]),
        ("lbctl real-server remove lb", []),
        ("lbctl real-server add ", []),
        ("lbctl failover --to ", ["lb1", "lb2"]),
        ("lbctl trial show --director ", ["lb1", "lb2"]),
        ("lbctl trial start --servers ", ["db1", "db2"]),
        ("lbctl trial start --servers db1,", ["db1,db2"]),
        ("lbctl trial start --mode ", list(Mode)),
        ("lbctl render --host ", ["lb1", "lb2", "db1", "db2"]),
        ("lbctl render --mode t", ["tun"]),
        ("lbctl init --mode ", list(Mode)),
        ("lbctl switch-mode ", list(Mode)),
        ("lbctl verify --expect db2,d", ["db2,db1"]),
        ("lbctl verify --from ", ["here", "lab", "app1"]),
        ("lbctl doctor trace ", ["read", "write"]),
        ("lbctl doctor trace w", ["write"]),
        ("lbctl doctor trace --from a", ["app1"]),
        ("lbctl lab ssh ", list(ALL)),
        ("lbctl lab power lb1 ", ["on", "off"]),
        # Which declaration is meant: as for the command itself.
        ("lbctl --cluster shop.toml director remove ", ["east", "west"]),
        ("lbctl -c inventory/galera.toml director remove -c shop.toml ", ["east", "west"]),
        ("lbctl director remove -c ~/blog.toml ", ["lb1", "lb2"]),
        ("lbctl real-server drain -c ~/blog.toml ", ["blog1", "db2"]),
        ("lbctl doctor -c shop.toml trace ", ["read", "write"]),
        ("lbctl -c none.toml director remove ", []),
        # Declarations: of the TOML files here and one folder below, those of clusters.
        ("lbctl -c ", ["home/blog.toml", "inventory/galera.toml", "shop.toml"]),
        ("lbctl --cluster inv", ["inventory/galera.toml"]),
        ("lbctl plan -c ./s", ["./shop.toml"]),
        ("lbctl validate inventory/", ["inventory/galera.toml"]),
        ("lbctl validate [", []),
    ],
)
def test_names(typed: str, names: list[str], complete: Complete) -> None:
    assert complete(typed) == names


def test_by_the_environment(complete: Complete, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCTL_CLUSTER", "shop.toml")
    assert complete("lbctl director remove ") == ["east", "west"]
    assert complete("lbctl -c inventory/galera.toml director remove ") == ["lb1", "lb2"]


@pytest.mark.parametrize(
    "content",
    [
        b"[director.lb1",
        b"\xff\xfe",
        b'director = "lb1"',
        b"x = " + b"[" * 10_000,
        b"[director.lb1]\n" + b"#" * 2_000_000,
        b"",
    ],
    ids=["unfinished", "binary", "no table", "deep", "huge", "empty"],
)
def test_silence_where_it_cannot_be_read(content: bytes, complete: Complete) -> None:
    Path("odd.toml").write_bytes(content)
    assert complete("lbctl -c odd.toml director remove ") == []
    assert "odd.toml" not in complete("lbctl -c ")


def test_silence_where_it_is_no_file(complete: Complete) -> None:
    os.mkfifo("pipe.toml")
    Path("folder.toml").mkdir()
    for name in ("pipe.toml", "folder.toml", "/dev/zero", "~nobody-at-all/shop.toml"):
        assert complete(f"lbctl -c {name} director remove ") == []
    assert "pipe.toml" not in complete("lbctl -c ")


def test_what_a_shell_would_not_take_as_it_is_is_left_out(complete: Complete) -> None:
    """zsh evaluates what it is given."""
    Path("odd.toml").write_text("[director.'$(reboot)']\n[director.'a b']\n[director.lb1]\n")
    assert complete("lbctl -c odd.toml director remove ") == ["lb1"]


def every_parameter() -> Iterator[tuple[str, Any]]:
    top: Any = get_command(app)
    yield from (("lbctl", one) for one in top.params)
    for name in commands.COMMANDS:
        command = commands.load(name)
        below = getattr(command, "commands", {})
        for words, each in {name: command, **{f"{name} {sub}": one for sub, one in below.items()}}.items():
            yield from ((words, one) for one in each.params)


NOWHERE = {("director add", "name"), ("real-server add", "name"), ("lab snapshot", "label")}
"""Names that are new."""
ELSEWHERE = {"user", "interface", "ssh_host"}
"""What no declaration knows all of."""


def test_no_name_is_forgotten() -> None:
    kinds = {"NAME", "NAME,NAME", "dr|tun|nat", "SERVICE", "HOST", "lab|here|HOST"}
    lacking = {
        (command, one.name)
        for command, one in every_parameter()
        if (one.metavar in kinds or one.name == "cluster") and one._custom_shell_complete is None
    }
    assert {(command, name) for command, name in lacking if name not in ELSEWHERE} == NOWHERE


def test_the_tables_are_a_declarations() -> None:
    assert {"director", "real_server", "service", "client"} <= set(Declaration.model_fields)


@pytest.mark.process
@pytest.mark.usefixtures("complete")
def test_it_is_quick() -> None:
    """Nothing that takes long is loaded for it."""
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | asked("lbctl real-server drain "),
        capture_output=True,
        text=True,
        check=True,
    )
    names, loaded = done.stdout.rsplit("\n", 2)[:2]
    assert names.split() == ["db1", "db2"]
    # Not pydantic: typer itself reads the values of options by it.
    heavy = {"pyinfra", "jinja2", "pyroute2", "rich", "gevent", "paramiko", "tomlkit", "cluster.declaration"}
    assert not set(loaded.split()) & heavy


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("lbctl", "real-server", "drain", ""), ["db1", "db2"]),
        (("lbctl", "-c", "shop.toml", "failover", "--to", "w"), ["west"]),
    ],
)
@pytest.mark.usefixtures("complete")
def test_in_bash(words: tuple[str, ...], names: list[str]) -> None:
    """By the script that --install-completion would write."""
    ask = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}"
    script = f'eval "$(_LBCTL_COMPLETE=source_bash lbctl)"\n{ask}; _lbctl_completion lbctl; echo "${{COMPREPLY[@]}}"'
    path = f"{LBCTL.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (names, "")


def test_parts(tmp_path: Path) -> None:
    assert completion._typable(["db1", "a b", "-x", "x;y"]) == ["db1", "-x"]
    assert completion._parsed(tmp_path) == {}
