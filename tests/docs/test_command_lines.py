"""Every `lbctl …` that a page shows is one that lbctl takes: its own parser reads command, options and their values."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cli.commands import COMMANDS, load
from cli.main import app

HOUSE = Path(__file__).resolve().parents[2]
PAGES = [HOUSE / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    (HOUSE / "docs").glob("*.md")
)

CONSOLE = re.compile(r"```(?:console|sh|bash)\n(.*?)```", re.DOTALL)
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
INCOMPLETE = ("MissingParameter", "BadOptionUsage", "NoArgsIsHelpError")
"""What a sentence may leave out, and a line to type may not: `lbctl director add` alone names the command."""
STAND_INS = {"N": "1", "NAME": "db1", "FILE": "inventory/lab.toml", "HOST": "db1", "ADDRESS": "10.0.0.1"}
NEVER_PARSED = {"--install-completion"}
"""Parsing it does it at once, and it writes into the shell's files of whoever runs the tests. That there is such an option is
looked up below.
"""
FOREIGN = {"--stats", "--rate", "--scheduler", "--sport", "--data", "--dont-release-vrrp"}
"""Options that stand alone on a page and are another program's: ipvsadm's, iptables', pyinfra's, keepalived's."""


@dataclass(frozen=True)
class Line:
    """One call of lbctl, as it stands on a page."""

    page: str
    text: str
    whole: bool
    """To be typed as it is; not a name in a sentence."""


def lines(page: Path) -> Iterator[Line]:
    text = page.read_text()
    for block in CONSOLE.findall(text):
        for typed in re.findall(r"^\$ ((?:.*\\\n)*.*)$", block, re.MULTILINE):
            yield from (Line(page.name, call, whole=True) for call in calls(typed.replace("\\\n", " ")))
    for typed in re.findall(r"^    (?:\$ )?(lbctl .*)$", CONSOLE.sub("", text), re.MULTILINE):
        yield from (Line(page.name, call, whole=True) for call in calls(typed))
    for code in CODE.findall(CONSOLE.sub("", text)):
        yield from (Line(page.name, call, whole=False) for call in calls(" ".join(code.split())))


def calls(typed: str) -> list[str]:
    """The calls of lbctl in a line of shell."""
    parts = re.split(r"&&|\|\||;|(?<!\\)\|| >|\s#\s", typed)
    return [found[1] for part in parts if (found := re.match(r"(?:\w+=\S+ )*(lbctl(?: .*)?)$", part.strip()))]


def complaint(line: Line) -> str | None:
    """What lbctl's parser has against it."""
    words = [STAND_INS.get(word, word.split("\\|")[0]) for word in shlex.split(line.text.replace("\\|", "\\\\|"))[1:]]
    words = [word for word in words if word not in {"…", "..."}]
    if set(words) & NEVER_PARSED:
        return None
    command: Any = get_command(app)
    try:
        context = command.make_context("lbctl", words)
        while hasattr(command, "resolve_command") and (rest := [*context._protected_args, *context.args]):
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, rest, parent=context)
    except Exception as error:  # noqa: BLE001 (typer keeps the classes of its parser's errors private)
        kind = type(error).__name__
        return None if kind == "Exit" or (kind in INCOMPLETE and not line.whole) else f"{kind}: {error}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lbctl_takes_what_pages_show(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOUSE)
    wrong = [f"{line.text}: {why}" for line in lines(page) if (why := complaint(line))]
    assert wrong == []


def test_most_of_the_guide_is_seen() -> None:
    """The patterns above find lines at all."""
    found = [line for page in PAGES for line in lines(page)]
    assert sum(line.whole for line in found if line.page.startswith("guide")) > 40
    assert {line.text.split()[1] for line in found if line.text != "lbctl"} >= set(COMMANDS)


@pytest.mark.parametrize(
    "text",
    [
        "lbctl plna",
        "lbctl plan --dif",
        "lbctl director ad lb2",
        "lbctl director add lb2",
        "lbctl failover --to",
        "lbctl rollback yesterday",
        "lbctl lab power lb1 away",
    ],
)
def test_what_lbctl_does_not_take_is_noticed(text: str) -> None:
    assert complaint(Line("a page", text, whole=True))


def test_nothing_is_installed_into_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert complaint(Line("a page", "lbctl --install-completion", whole=True)) is None
    assert list(tmp_path.iterdir()) == []
    assert every_option() >= NEVER_PARSED


def every_option() -> set[str]:
    top: Any = get_command(app)
    commands = [top, *(load(name) for name in COMMANDS)]
    commands += [one for command in commands for one in getattr(command, "commands", {}).values() if one]
    return {
        word
        for command in commands
        for option in command.params
        for word in (*option.opts, *option.secondary_opts)
    } | {"--help"}  # fmt: skip


# clustercheck has options of its own.
@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "clustercheck"], ids=lambda page: page.name)
def test_options_exist(page: Path) -> None:
    """An option that stands alone, as `--drain 5m`, is one of some command's."""
    named = {code.split()[0] for code in CODE.findall(CONSOLE.sub("", page.read_text())) if code.startswith("--")}
    assert {name.split("=")[0] for name in named} - every_option() - FOREIGN == set()
