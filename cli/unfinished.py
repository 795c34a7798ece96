"""The change that was stopped half-way, or an earlier declaration, from the history that directors keep."""

from dataclasses import dataclass

import typer

from cli.history import directors
from cluster.errors import RequestError
from cluster.history import Entry, History


@dataclass(frozen=True)
class Found:
    """What to do, as the history will say it, and the declaration to do it with."""

    what: str
    text: str
    left: str | None = None
    """The declaration that is left thereby, if it is known: hosts that only it names may carry something already, or still."""


def text_to_go_on_with(ctx: typer.Context, cluster: str | None, *, abort: bool) -> Found:
    """The declaration that an unfinished change leads to; with `abort` the one from before it. Raises RequestError."""
    with directors(ctx, cluster) as session:
        from fleet import history  # noqa: PLC0415 (after fleet.green, which `directors` imports)

        entry = unfinished_one(history.read(session))
        name, left = (entry.before, entry.after) if abort else (entry.after, entry.before)
        if name is None:
            raise RequestError(
                f"there was no declaration before change {entry.number} ({entry.what})", cure="lbctl history"
            )
        verb = "abort" if abort else "resume"
        what = f"{verb} of {entry.number} ({entry.what})"
        return Found(what, history.text_of(session, name), left and history.text_of(session, left))


def unfinished_one(past: History) -> Entry:
    """The last change, if it did not come to its end: its operator was killed, it was interrupted, or it failed."""
    last = past.last
    if last is None:
        raise RequestError("nothing was ever changed by lbctl here: there is nothing to go on with", cure="lbctl plan")
    if not last.came_to_its_end:
        return last
    if last.result != "done":
        return last  # done, but for something
    raise RequestError(
        f"the last change ({last.number}: {last.what}) came to its end", cure="lbctl rollback goes back before it"
    )


def text_before(ctx: typer.Context, cluster: str | None, number: int | None) -> Found:
    """The declaration from before change `number`, or before the last one that led to another. Raises RequestError."""
    with directors(ctx, cluster) as session:
        from fleet import history  # noqa: PLC0415

        past = history.read(session)
        entry = (past.last_to_another or past.last) if number is None else past.numbered(number)
        if entry is None:
            raise RequestError("there is no such change", cure="lbctl history")
        if entry.before is None:
            raise RequestError(
                f"before change {entry.number} ({entry.what}) there was no declaration to go back to",
                cure="lbctl history; lbctl uninstall takes everything away",
            )
        text = history.text_of(session, entry.before)
        # Hosts that somebody took out of the file by hand since the last change leave as well.
        return Found(f"rollback to before {entry.number} ({entry.what})", text, history.last_text(session, past))
