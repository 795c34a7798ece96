"""From text to declaration: lines, defaults and the words for what is wrong. Whole messages: tests/cli/test_bad_input.py."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.declaration import Declaration
from cluster.errors import RequestError
from cluster.lines import key_at, line_of
from cluster.reading import DeclarationError, read, switched
from cluster.units import duration, seconds
from tests.cluster.sample import LAB

INVENTORY = Path(__file__).parents[2] / "inventory"


def faults(text: str) -> list[str]:
    with pytest.raises(DeclarationError) as caught:
        read(text, "x.toml")
    return [str(complaint) for complaint in caught.value.complaints]


# Lines

TOML = """\
name = "x"
service.read.port = 1

[ director . lb1 ]
address = "10.0.0.4"

[real_server."db1.example.net"]
address = "10.0.0.1"
ssh = { port = 0 }

[[list]]
key = 1
'quoted key' = 2
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("name", 1),
        ("service/read/port", 2),
        ("service/read", 2),
        ("service", 2),
        ("director", 4),
        ("director/lb1/address", 5),
        ("director/lb1/priority", 4),
        ("real_server/db1.example.net", 7),
        ("real_server/db1.example.net/address", 8),
        ("real_server/db1.example.net/ssh/port", 9),
        ("list/key", 12),
        ("list/quoted key", 13),
        ("nowhere", 0),
    ],
)
def test_where_a_key_stands(key: str, line: int) -> None:
    assert line_of(TOML, key.split("/")) == line


def test_which_key_stands_there() -> None:
    assert key_at(TOML, 5) == ("director", "lb1", "address")
    assert key_at(TOML, 3) == ()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_either_kind(end: str) -> None:
    assert faults(LAB.replace("= 19", "= 0").replace("\n", end)) == [
        "x.toml:15: vrrp.virtual_router_id: 0 must be at least 1"
    ]


# Reading


@pytest.mark.parametrize("file", sorted(INVENTORY.glob("*.toml")), ids=lambda file: file.name)
def test_what_is_shipped(file: Path) -> None:
    found = read(file.read_text(), str(file))
    assert found.source == str(file)
    assert list(found.real_server) == ["db1", "db2", "db3"]


def test_a_byte_order_mark() -> None:
    assert read("\ufeff" + LAB, "x.toml") == read(LAB, "x.toml")


def test_what_is_not_written_has_its_default() -> None:
    found = read(LAB, "x.toml")
    assert found.service["read"].scheduler == "rr"
    assert found.health.every == 0.5
    assert found.real_server["db1"].weight == 10
    assert found.director["lb1"].interface == "eth0"


def test_a_message_has_no_control_characters() -> None:
    (fault,) = faults(LAB.replace('name = "lab"', 'name = "a\\u001b[31m\\nb"'))
    assert fault.isprintable()


@given(st.text())
def test_no_text_is_a_fault_of_ours(text: str) -> None:
    with pytest.raises(DeclarationError):
        read(text, "x.toml")


_VALUES = st.sampled_from(
    ['"x"', "1", "-1", "1.5", "true", "[]", "[1]", "{}", "{ x = 1 }", "nan", "inf", "1979-05-27", '"\\u0000"']
)


@given(st.data())
def test_no_value_is_a_fault_of_ours(data: st.DataObject) -> None:
    """Any value in the place of any other: a declaration or complaints, never another exception."""
    lines = (INVENTORY / "galera.toml").read_text().replace("\n# ", "\n").splitlines()
    places = [number for number, line in enumerate(lines) if key_at(line, 1) and "=" in line]
    place = data.draw(st.sampled_from(places))
    lines[place] = f"{lines[place].partition('=')[0]}= {data.draw(_VALUES)}"
    with suppress(DeclarationError):
        assert isinstance(read("\n".join(lines), "x.toml"), Declaration)


# Another mode


def test_switched() -> None:
    assert switched(read(LAB, "x.toml"), "nat").mode == "nat"
    assert switched(read(LAB, "x.toml"), "nat").source == "x.toml"


def test_switched_to_what_is_not_ready() -> None:
    with pytest.raises(DeclarationError, match="gateway address that floats"):
        switched(read(LAB.replace('gateway = "10.0.0.12"', ""), "x.toml"), "nat")
    with pytest.raises(RequestError, match='"masq" is no mode'):
        switched(read(LAB, "x.toml"), "masq")


# Durations


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("200ms", 0.2),
        ("6s", 6),
        ("10m", 600),
        ("1.5h", 5400),
        ("1d", 86400),
        (" 5 s ", 5),
        (3, 3),
        (0.5, 0.5),
        ("7", 7),
        (0, 0),
    ],
)
def test_durations(text: str | float, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["fast", "", "1w", "-1s", -1, True, [1], None, float("nan"), float("inf"), "9" * 400])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


@given(st.integers(min_value=0, max_value=10**9).map(lambda milliseconds: milliseconds / 1000))
def test_a_duration_is_written_as_it_is_read(value: float) -> None:
    assert seconds(duration(value)) == pytest.approx(value, abs=1e-6)
