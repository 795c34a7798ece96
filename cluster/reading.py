"""From a declaration's text to a `Declaration`, or to all that is wrong with it, each with its line."""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from cluster.declaration import Declaration
from cluster.errors import RequestError
from cluster.lines import key_at, line_of
from cluster.rules import problems
from cluster.vocabulary import Mode
from cluster.wording import key_of, message_of


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong: where it stands and what to write instead."""

    file: str
    line: int
    """1-based; 0 when nothing in the file can be pointed at."""
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return _printable(f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}")


class DeclarationError(RequestError):
    """The declaration is wrong; `complaints` has every fault at once."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(str(complaint) for complaint in complaints))


def without_lines_of_an_edit(error: DeclarationError, before: str, after: str) -> DeclarationError:
    """What is wrong with a text that a command would write: lines are named only where the file has them as it is."""
    there, would = before.splitlines(), after.splitlines()

    def stands(line: int) -> bool:
        return (
            0 < line <= min(len(there), len(would))
            and there[line - 1] == would[line - 1]
            and bool(there[line - 1].strip())
        )

    return DeclarationError([each if stands(each.line) else replace(each, line=0) for each in error.complaints])


def read(text: str, file: str) -> Declaration:
    """The declaration in `text` (TOML), which came from `file`. Raises DeclarationError with everything that is wrong."""
    text = text.removeprefix("\ufeff")  # some editors put a byte order mark there, and TOML knows none
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError([_not_toml(error, text, file)]) from None
    if not tree:
        raise DeclarationError([Complaint(file, 0, "", "declares nothing; `lbctl init` writes a declaration")])
    try:
        declaration = Declaration.model_validate(tree)
    except ValidationError as error:
        found = [(key_of(detail), message_of(detail)) for detail in error.errors()]
    else:
        declaration._source = file  # noqa: SLF001 (its own private mark, set once, here)
        found = problems(declaration)
        if not found:
            return declaration
    raise DeclarationError([Complaint(file, line_of(text, key), ".".join(key), message) for key, message in found])


def switched(declaration: Declaration, mode: str) -> Declaration:
    """The same cluster in another mode. Raises RequestError when there is no such mode or the cluster lacks what it needs."""
    if mode not in set(Mode):
        raise RequestError(f'"{mode}" is no mode', cure=f"known are {', '.join(Mode)}")
    found = declaration.model_copy(update={"mode": Mode(mode)})
    if faults := problems(found):
        raise DeclarationError([Complaint(declaration.source, 0, ".".join(key), message) for key, message in faults])
    return found


_MEANT = {
    "illegal character '\\n'": "a text has no closing quote on its line",
    "unterminated string": "a text has no closing quotes",
    "invalid value": "a value is missing, or a text has no quotes",
    "invalid statement": "neither a [table] nor key = value",
    "expected '=' after a key in a key/value pair": "neither a [table] nor key = value",
    "expected newline or end of document after a statement": "one value too many on the line",
}
"""What a fault in the notation most often is; the parser's words where it is not known."""


def _not_toml(error: tomllib.TOMLDecodeError, text: str, file: str) -> Complaint:
    # Python 3.11 has the place only in the message.
    place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
    line = int(place[1]) if place else max(1, len(text.splitlines()))
    reason = re.sub(r" \(at .*\)$", "", str(error))
    if "twice" in reason or "overwrite" in reason:
        return Complaint(file, line, ".".join(key_at(text, line)), "is there twice: keep one")
    reason = reason[:1].lower() + reason[1:]
    return Complaint(file, line, "", f"not TOML: {_MEANT.get(reason, reason)}")


def _printable(text: str) -> str:
    """A declaration may hold control characters, which must not reach a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
