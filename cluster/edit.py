"""Changes of a declaration's text: comments, order and blank lines stay as the operator wrote them."""

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.items import Table

from cluster.errors import RequestError


def _parsed(text: str) -> TOMLDocument:
    return tomlkit.parse(text.removeprefix("\ufeff"))  # as in `cluster.reading.read`


def with_value(text: str, key: tuple[str, ...], value: Any) -> str:
    """The text with this key set; tables on the way to it are made where they are missing."""
    document = _parsed(text)
    table: Any = document
    for part in key[:-1]:
        if part not in table:
            table[part] = tomlkit.table()
        table = table[part]
    table[key[-1]] = value
    return tomlkit.dumps(document)


def without(text: str, key: tuple[str, ...]) -> str:
    """The text without this key or table. Raises RequestError where it is not written."""
    document = _parsed(text)
    table: Any = document
    for part in key[:-1]:
        table = table.get(part, {})
    if key[-1] not in table:
        raise RequestError(f"{'.'.join(key)} is not in the declaration")
    del table[key[-1]]
    return tomlkit.dumps(document)


def with_host(text: str, kind: str, name: str, values: Mapping[str, Any]) -> str:
    """The text with another `[director.NAME]` or `[real_server.NAME]`, after the last of its kind. One that is there and says the
    same stays: the command that wrote it was stopped later, and goes on. Raises RequestError where it says something else.
    """
    document = _parsed(text)
    hosts: Any = document[kind]
    if name in hosts:
        if hosts[name].unwrap() == values:
            return text
        raise RequestError(
            f"{kind}.{name} is declared already",
            cure="take another name; what that one is to be is changed in the file",
        )
    hosts[name] = _table(values)
    return tomlkit.dumps(document)


def _table(values: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    for key, value in values.items():
        if isinstance(value, Mapping):
            inline = tomlkit.inline_table()
            inline.update(value)
            table[key] = inline
        else:
            table[key] = value
    table.add(tomlkit.nl())
    return table
