"""What is wrong with a value, in the operator's words instead of pydantic's."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from cluster.declaration import Declaration

_SAMPLES = {
    "name": 'name = "galera"',
    "mode": 'mode = "dr"',
    "network": 'network = "10.0.0.0/24"',
    "address": 'address = "10.0.0.1"',
    "service": "a table [service.read]",
    "director": "a table [director.lb1]",
    "real_server": "a table [real_server.db1]",
}
"""What to write where a key that must be there is missing."""

_SHAPES = {
    "host": "is no host name or address",
    "user": "is no user name: a–z, 0–9, _ and -, not starting with a digit or -",
    "socket": "is no absolute path without blanks and quotes",
    "check_path": "is no path that starts with / and has no blanks and quotes",
}
"""What a text that does not match its pattern should have been, by key."""

_PLAIN = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "too_short": "at least one is needed",
    "ip_v4_address": "is no IPv4 address",
    "ip_v4_network": "is no IPv4 network such as 10.0.0.0/24 (host bits must be 0)",
    "bool_type": "must be true or false, without quotes",
    "int_type": "must be a whole number, without quotes",
    "string_type": "must be a text in quotes",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "model_type": "must be a table, such as {{ … }}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "enum": "must be {expected}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "has a character that does not belong there",
}
"""By pydantic's type of error, with its facts in braces; its own message for all others."""


def key_of(detail: ErrorDetails) -> tuple[str, ...]:
    """The key in the declaration. Pydantic adds steps of its own: "[key]", and the names of validators."""
    return tuple(str(part) for part in detail["loc"] if part != "[key]" and not str(part).startswith("function-"))


def message_of(detail: ErrorDetails) -> str:
    """What is wrong and what would be right. The value is shown, unless it could be a secret."""
    key, kind, value = key_of(detail), detail["type"], detail.get("input")
    facts = {name: str(fact).replace("'", '"') for name, fact in detail.get("ctx", {}).items()}
    message = _PLAIN[kind].format(**facts) if kind in _PLAIN else detail["msg"].removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        message = _SHAPES.get(key[-1], message)
    if kind == "missing" and key[-1] in _SAMPLES:
        return f"{message}: write {_SAMPLES[key[-1]]}"
    if kind == "extra_forbidden":
        return message + _suggestion(key)
    if kind == "missing" or "password" in key or not isinstance(value, str | int | float):
        return message
    shown = _toml(value)
    if kind == "int_type" and isinstance(value, float):
        message = "must be a whole number"
    if shown in message:
        return message
    return f"{shown} {message}" if kind in _PLAIN else f"{shown}: {message}"


def _toml(value: str | float) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _suggestion(key: tuple[str, ...]) -> str:
    """The keys that may stand there, read from the models."""
    schema = Declaration.model_json_schema()
    node: Mapping[str, Any] = schema
    for part in key[:-1]:
        node = _resolved(node.get("properties", {}).get(part) or node.get("additionalProperties") or {}, schema)
    known = list(node.get("properties", {}))
    near = get_close_matches(key[-1], known, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; known are {', '.join(known)}" if known else ""


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in (node, *node.get("anyOf", ())):
        if "$ref" in option:
            found: Mapping[str, Any] = schema["$defs"][option["$ref"].rsplit("/", 1)[1]]
            return found
    return node
