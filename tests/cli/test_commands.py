"""What all commands share: help, options before the command, and how they end."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import commands
from cluster.errors import HostError, RefusedError, RequestError, TroubleError
from tests.cli.shop import SAMPLE, Lbctl

LBCTL = Path(sys.executable).with_name("lbctl")


def lines_of_help() -> Iterator[tuple[str, ...]]:
    """Every command, and those below a group."""
    yield ()
    for name in commands.COMMANDS:
        yield (name,)
        yield from ((name, below) for below in getattr(commands.load(name), "commands", {}))


@pytest.mark.parametrize("words", list(lines_of_help()), ids=" ".join)
def test_help_has_an_example(words: tuple[str, ...], lbctl: Lbctl) -> None:
    result = lbctl(*words, "--help")
    assert result.exit_code == 0
    example = result.stdout[result.stdout.index("Example:") :]
    assert f"lbctl {' '.join(words)}" in example.splitlines()[0]


def test_the_list_has_every_command_in_one_line(lbctl: Lbctl) -> None:
    listed = lbctl("--help").stdout.split("Commands:")[1].splitlines()
    assert [line.split()[0] for line in listed if line.strip()] == list(commands.COMMANDS)


@pytest.mark.process
def test_help_needs_nothing_heavy() -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"pyinfra", "pydantic", "jinja2", "pyroute2", "rich", "gevent", "paramiko"}


def test_a_misspelt_command(lbctl: Lbctl) -> None:
    result = lbctl("varify")
    assert result.exit_code == 2
    assert "Did you mean 'verify'?" in result.stderr


@pytest.mark.parametrize(
    "words", [("--nonsense",), ("render", "--nonsense"), ("verify", "--count", "many"), ("verify", "-n", "0")]
)
def test_a_wrong_option_is_a_wrong_request(words: tuple[str, ...], lbctl: Lbctl) -> None:
    result = lbctl(*words)
    assert result.exit_code == 2
    assert "Usage: lbctl" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("group", ["trial", "doctor", "director", "real-server", "history", "lab"])
def test_a_group_lists_its_commands_uncut(group: str, lbctl: Lbctl) -> None:
    listed = lbctl(group, "--help").stdout.split("Commands:")[1]
    assert "..." not in listed
    assert listed.rstrip().endswith(".")


@pytest.mark.parametrize(
    "words",
    [
        ("deploy",),
        ("doctor", "--fix"),
        ("switch-mode", "tun"),
        ("director", "remove", "lb2"),
        ("real-server", "drain", "db1"),
        ("failover",),
        ("rollback",),
        ("uninstall",),
    ],
    ids=" ".join,
)
def test_for_programs_nothing_is_changed_unasked(words: tuple[str, ...], lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("-c", declaration, *words, "--json")
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert not result.stdout


def test_version(lbctl: Lbctl) -> None:
    result = lbctl("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("lbctl ")


def test_which_declaration(lbctl: Lbctl, declaration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's own option, else the global one, else the environment, else the default."""
    places = {name: tmp_path / f"{name}.toml" for name in ("own", "everywhere", "environment")}
    for name, file in places.items():
        file.write_text(SAMPLE.replace('"shop"', f'"{name}"'))
    (tmp_path / "inventory").mkdir()
    declaration.rename(tmp_path / "inventory/galera.toml")
    monkeypatch.chdir(tmp_path)

    def cluster(*words: str | Path) -> str:
        return next(line for line in lbctl(*words).stdout.splitlines() if line.startswith("# Cluster"))

    assert "Cluster shop," in cluster("render")
    monkeypatch.setenv("LBCTL_CLUSTER", str(places["environment"]))
    assert "Cluster environment," in cluster("render")
    assert "Cluster everywhere," in cluster("--cluster", places["everywhere"], "render")
    assert "Cluster own," in cluster("-c", places["everywhere"], "render", "-c", places["own"])


# Endings


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, lbctl: Lbctl) -> Any:
    """A command that raises what it is given."""

    def call(error: BaseException, *options: str, state: str = "") -> Any:
        def command(ctx: typer.Context) -> None:
            if state:
                ctx.obj.state = state
            raise error

        made = typer.Typer(rich_markup_mode=None)
        made.command(name="fails")(command)
        monkeypatch.setitem(commands.COMMANDS, "fails", commands.Entry("Fails.", ":"))
        monkeypatch.setattr(commands, "load", lambda _: typer.main.get_command(made))
        return lbctl(*options, "fails")

    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestError("no", cure="do this"), 2),
        (HostError("no", cure="do this"), 3),
        (TroubleError("no", cure="do this"), 4),
        (RefusedError("no", cure="do this"), 5),
    ],
)
def test_an_expected_failure_says_what_to_do(error: Exception, code: int, ending: Any) -> None:
    result = ending(error)
    assert result.exit_code == code
    assert result.stderr == "error: no\n  → do this\n"
    assert "Traceback" in ending(error, "--debug").stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_an_interruption_says_the_state(error: BaseException, ending: Any) -> None:
    result = ending(error, state="lb2 has changed, lb1 has not")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: lb2 has changed, lb1 has not\n"
    assert "nothing was changed" in ending(error).stderr


def test_a_fault_of_our_own_goes_to_a_file(ending: Any, tmp_path: Path) -> None:
    result = ending(ZeroDivisionError("of all things"))
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    (file,) = (tmp_path / "state/lbctl").iterdir()
    assert str(file) in result.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert "ZeroDivisionError: of all things" in file.read_text()


def test_a_fault_where_no_file_can_be_written(ending: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("in the way")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "state/below"))
    result = ending(ZeroDivisionError())
    assert result.exit_code == 1
    assert "--debug" in result.stderr
    assert "Traceback" in ending(ZeroDivisionError(), "--debug").stderr


# Colour


def output_on_a_terminal(arguments: list[str], **environment: str) -> str:
    """What a person at a terminal would get."""
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run([LBCTL, *arguments], stdout=theirs, stderr=theirs, env=plain | environment, check=False)
    # All is there by now; to wait for the end of the file would need the other side closed, which not every kernel tells.
    os.set_blocking(ours, False)
    said = os.read(ours, 65536).decode()
    os.close(theirs)
    os.close(ours)
    return said


@pytest.mark.process
def test_colour_only_on_a_terminal(declaration: Path) -> None:
    declaration.write_text("x")
    arguments = ["validate", str(declaration)]
    assert "\x1b[31m" in output_on_a_terminal(arguments)
    assert "\x1b" not in output_on_a_terminal(arguments, NO_COLOR="1")
    assert "\x1b" not in subprocess.run([LBCTL, *arguments], capture_output=True, text=True, check=False).stderr


@pytest.mark.process
def test_completion() -> None:
    environment = {"_LBCTL_COMPLETE": "complete_bash", "COMP_WORDS": "lbctl va", "COMP_CWORD": "1"}
    done = subprocess.run([LBCTL], env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["validate"]


@pytest.mark.process
def test_a_closed_pipe_is_no_fault(declaration: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([LBCTL, "-c", declaration, "render"], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert not done.stderr


def test_without_a_command_it_helps(lbctl: Lbctl) -> None:
    assert "Commands:" in lbctl().output


@pytest.mark.process
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_terminal_that_has_no_such_characters(encoding: str) -> None:
    code = "import cli.main as m; m.app = lambda **_: print('1 thing is wrong: \u2717 \u2192 db2'); m.main()"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    signs = "\u2717 \u2192" if encoding == "utf-8" else "? ?"
    assert done.stdout.decode(encoding) == f"1 thing is wrong: {signs} db2\n"
