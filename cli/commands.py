"""The list of commands, and how one is loaded: only when it is called, so that `lbctl --help` stays quick."""

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from cli.outcome import told


@dataclass(frozen=True)
class Entry:
    """A command that is not loaded yet."""

    summary: str
    target: str
    """module:name of a function (a command) or of a typer.Typer (a group of commands)."""


COMMANDS = {
    "init": Entry("Write a new declaration.", "cli.init:init"),
    "import": Entry("A declaration from a hand-made keepalived.conf.", "cli.importing:import_"),
    "validate": Entry("Check declarations, and say all that is wrong with its line.", "cli.validate:validate"),
    "render": Entry("Show the files that each host would carry.", "cli.render:render"),
    "plan": Entry("Show every step that a deploy would take, and change nothing.", "cli.plan:plan"),
    "trial": Entry("Try a mode before production: a director without keepalived.", "cli.trial:app"),
    "deploy": Entry("Bring the hosts to what the declaration says.", "cli.deploy:deploy"),
    "status": Entry("Show services, servers, directors, and what is wrong.", "cli.status:status"),
    "watch": Entry("The same, live: rates, failovers and weights as they change.", "cli.watch:watch"),
    "report": Entry("All of it as one page: state, packet paths, traffic, changes.", "cli.report:report"),
    "doctor": Entry("Find what is wrong, where, how that is known, and what cures it.", "cli.doctor:app"),
    "verify": Entry("Connect as a client does, and see which servers answer.", "cli.verify:verify"),
    "switch-mode": Entry("Another forwarding method, while clients are served.", "cli.switch_mode:switch_mode"),
    "director": Entry("Add a keepalived node to a running cluster, or take one out.", "cli.director:app"),
    "real-server": Entry("Add a database server, let one rest, or take one out.", "cli.real_server:app"),
    "failover": Entry("Let another director take over, and say what it cost.", "cli.failover:failover"),
    "history": Entry("Show what was changed, when and by whom.", "cli.history:app"),
    "rollback": Entry("Return to the declaration from before a change.", "cli.rollback:rollback"),
    "unlock": Entry("Take away a lock that a killed command left behind.", "cli.history:unlock"),
    "uninstall": Entry("Take away all that lbctl put on the hosts.", "cli.rollback:uninstall"),
    "lab": Entry("A cluster of real machines on this one, to try things on.", "cli.lab:app"),
}

_EXAMPLE = re.compile(r"\n\n(?=Example)")
_SENTENCE = re.compile(r"(?<=\.)(?:\s|$)")


class Commands(TyperGroup):
    """lbctl's group. The types of typer's own parser, which it keeps private, are Any here."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Names only, for the list and for "did you mean": `get_command` loads.
        self.commands: Any = dict.fromkeys(COMMANDS)
        self.help = _as_written(self.help)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        with told(ctx):
            return super().invoke(ctx)


def load(name: str) -> Any:
    """The command, ready to be called."""
    module, attribute = COMMANDS[name].target.split(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer()
        found.command(name=name)(function)
    # Rich's help looks well but takes longer to import than all the rest; completion is installed by lbctl as a whole.
    found.rich_markup_mode = None
    found._add_completion = False  # noqa: SLF001 (it can only be said to the constructor, which is another's)
    command = get_command(found)
    command.name = name
    below = getattr(command, "commands", {}).values()
    for one in below:
        # Said to be short, so that a list shows all of it; the parser's own cuts it off at the end of a line.
        one.short_help = _SENTENCE.split(" ".join((one.help or "").split()), maxsplit=1)[0]
    for one in (command, *below):
        one.help = _as_written(one.help)
    return command


def _as_written(text: str | None) -> str:
    """Paragraphs that begin with "Example" are shown line by line as they stand (the mark is click's)."""
    return _EXAMPLE.sub("\n\n\b\n", text or "")
