"""Edits of a declaration's text: what the operator wrote beside it stays."""

import pytest

from cluster import edit
from cluster.errors import RequestError
from cluster.reading import read
from tests.variants import ROOT, Variant

EXPLAINED = (ROOT / "inventory/galera.toml").read_text()


def changed_lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines that went, and lines that came; empty ones do not count."""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line and line not in old]


def test_a_value_is_replaced_beside_its_comment() -> None:
    went, came = changed_lines(EXPLAINED, edit.with_value(EXPLAINED, ("mode",), "nat"))
    assert [line.replace("dr", "nat", 1).split() for line in went] == [line.split() for line in came]


def test_a_value_that_was_not_written_is_added_to_its_table() -> None:
    after = edit.with_value(EXPLAINED, ("real_server", "db2", "drained"), value=True)
    assert changed_lines(EXPLAINED, after) == ([], ["drained = true"])
    assert [name for name, server in read(after, "").real_server.items() if server.drained] == ["db2"]
    assert edit.without(after, ("real_server", "db2", "drained")) == EXPLAINED


def test_a_host_comes_last_of_its_kind() -> None:
    after = edit.with_host(EXPLAINED, "real_server", "db4", {"address": "10.0.0.8", "ssh": {"host": "db4.example.net"}})
    went, came = changed_lines(EXPLAINED, after)
    assert went == []
    assert came == ["[real_server.db4]", 'address = "10.0.0.8"', 'ssh = {host = "db4.example.net"}']
    assert list(read(after, "").real_server) == ["db1", "db2", "db3", "db4"]


def test_a_host_that_is_there_as_it_is_to_be_stays() -> None:
    """The command that wrote it was stopped later, and is given again."""
    values = {"address": "10.0.0.8", "ssh": {"host": "db4.example.net"}}
    after = edit.with_host(EXPLAINED, "real_server", "db4", values)
    assert edit.with_host(after, "real_server", "db4", values) == after


def test_a_host_goes_with_all_of_its_table() -> None:
    text = Variant().text
    assert list(read(edit.without(text, ("director", "lb2")), "").director) == ["lb1"]


def test_what_is_there_is_not_added_and_what_is_not_there_does_not_go() -> None:
    with pytest.raises(RequestError, match="declared already"):
        edit.with_host(EXPLAINED, "real_server", "db1", {"address": "10.0.0.8"})
    with pytest.raises(RequestError, match="not in the declaration"):
        edit.without(EXPLAINED, ("director", "lb9"))


def test_a_byte_order_mark_is_no_key() -> None:
    assert edit.with_value('\ufeffname = "shop"\n', ("mode",), "nat").startswith('name = "shop"\n')
