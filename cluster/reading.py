"""From a declaration's text to a `Declaration`, or to all that is wrong with it, each with its line."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cluster.declaration import Declaration
from cluster.errors import RequestError
from cluster.rules import problems


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
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class DeclarationError(RequestError):
    """The declaration is wrong; `complaints` has every fault at once."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        self.complaints = tuple(complaints)
        super().__init__("\n".join(str(complaint) for complaint in complaints))


def read(text: str, file: str) -> Declaration:
    """The declaration in `text` (TOML), which came from `file`. Raises DeclarationError with everything that is wrong."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError([_not_toml(error, text, file)]) from None
    try:
        declaration = Declaration.model_validate(tree)
    except ValidationError as error:
        raise DeclarationError([_complaint(detail, text, file, tree) for detail in error.errors()]) from None
    found = problems(declaration)
    if found:
        raise DeclarationError([Complaint(file, line_of(text, key), ".".join(key), message) for key, message in found])
    declaration._source = file  # noqa: SLF001 (its own private mark, set once, here)
    return declaration


def _not_toml(error: tomllib.TOMLDecodeError, text: str, file: str) -> Complaint:
    # Python 3.11 has the place only in the message.
    place = re.search(r"\(at line (\d+), column \d+\)|\(at end of document\)", str(error))
    line = int(place[1]) if place and place[1] else text.count("\n") + 1
    reason = str(error).split(" (at ")[0]
    return Complaint(file, line, "", f"not TOML: {reason[:1].lower()}{reason[1:]}")


_PLAIN = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "too_short": "at least one is needed",
    "ip_v4_address": "no IPv4 address",
    "ip_v4_network": "no IPv4 network such as 10.0.0.0/24 (host bits must be 0)",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
}


def _complaint(detail: ErrorDetails, text: str, file: str, tree: Mapping[str, object]) -> Complaint:
    key = tuple(str(part) for part in detail["loc"] if part not in {"[key]", "function-before[_not_in_clear"})
    message = _PLAIN.get(detail["type"], detail["msg"].removeprefix("Value error, "))
    if detail["type"] == "extra_forbidden":
        message += _suggestion(key, tree)
    elif detail["type"] != "missing" and isinstance(detail.get("input"), str | int | float) and "secret" not in message:
        shown = f'"{detail["input"]}"' if isinstance(detail["input"], str) else str(detail["input"])
        if shown not in message:
            message = f"{shown}: {message}"
    return Complaint(file, line_of(text, key), ".".join(key), message)


def _suggestion(key: Sequence[str], tree: Mapping[str, object]) -> str:
    """The keys that may stand there, read from the models, nearest first."""
    from difflib import get_close_matches  # noqa: PLC0415 (only needed to explain an error)

    del tree
    schema = Declaration.model_json_schema()
    node: dict[str, object] = schema
    for part in key[:-1]:
        properties = node.get("properties", {})
        below = properties.get(part) if isinstance(properties, dict) else None
        below = below or node.get("additionalProperties") or {}
        node = _resolved(below, schema)
    known = list(node.get("properties", {}))  # type: ignore[call-overload]
    near = get_close_matches(key[-1], known, n=1)
    return f"; did you mean {near[0]}?" if near else (f"; known are {', '.join(known)}" if known else "")


def _resolved(node: object, schema: Mapping[str, object]) -> dict[str, object]:
    if not isinstance(node, dict):
        return {}
    for option in (node, *node.get("anyOf", ())):
        reference = option.get("$ref")
        if reference:
            definitions = schema["$defs"]
            assert isinstance(definitions, dict)  # noqa: S101 (the shape of every JSON schema)
            found = definitions[reference.rsplit("/", 1)[1]]
            assert isinstance(found, dict)  # noqa: S101
            return found
    return node


_TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")


def line_of(text: str, key: Sequence[str]) -> int:
    """The 1-based line where `key` stands, or its nearest parent; 0 when not even that. tomllib does not keep lines."""
    best, depth = 0, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _TABLE.match(line):
            table = _parts(found[1])
            here = table
        elif found := _KEY.match(line):
            here = (*table, *_parts(found[1]))
        else:
            continue
        if len(here) > depth and tuple(key[: len(here)]) == here:
            best, depth = number, len(here)
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
