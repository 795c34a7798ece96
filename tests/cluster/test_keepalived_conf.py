"""Lines of a keepalived.conf become statements; what keepalived would guess at is an error with its line."""

from collections.abc import Mapping

import pytest

from cluster.keepalived_conf import ConfError, Statement, instances, parse


def parsed(text: str, instance: str = "", others: Mapping[str, str] | None = None) -> list[object]:
    """Each statement as (line, words) or (line, words, [block])."""

    def load(pattern: str, file: str) -> list[tuple[str, str]]:
        del file
        return [(name, content) for name, content in (others or {}).items() if name == pattern]

    def plain(statement: Statement) -> object:
        head = (statement.place.line, *statement.words)
        return head if statement.body is None else (*head, [plain(inner) for inner in statement.body])

    return [plain(statement) for statement in parse(text, "k.conf", load, instance)]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a b\n  c", [(1, "a", "b"), (2, "c")]),
        ("a { b 1\n c 2 }", [(1, "a", [(1, "b", "1"), (2, "c", "2")])]),
        ("a{b{c}}", [(1, "a", [(1, "b", [(1, "c")])])]),
        ("a\n{\n b\n}\nc", [(1, "a", [(3, "b")]), (5, "c")]),
        ("a {\n}", [(1, "a", [])]),
        ("a b # not c\n! nor d\ne!f", [(1, "a", "b"), (3, "e")]),
        ('a "b # c" \'d "e" f\'', [(1, "a", "b # c", 'd "e" f')]),
        ('a "b \\" c" x"y z"', [(1, "a", 'b " c', "xy z")]),
        ('a "{b}" ""', [(1, "a", "{b}", "")]),
        ("\ufeffa", [(1, "a")]),
        ("a\r\nb", [(1, "a"), (2, "b")]),
    ],
)
def test_statements(text: str, seen: list[object]) -> None:
    assert parsed(text) == seen


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a {\n b {\n }\n", 1, 'the block of "a" begins here and is closed nowhere'),
        ("a {\n}\n}\n", 3, "a } too many"),
        ("{\n}", 1, "a { without a keyword"),
        ("a {\n{ b }\n}", 2, "a { without a keyword"),
        ('a "b', 1, "no closing quote"),
        (
            "virtual_server 1 2 {\nreal_server 3 4 {\n weight 1\nreal_server 5 6 {\n}\n}\n}",
            4,
            '"real_server 3 4" (line 2): a }',
        ),
        ("vrrp_instance a {\nvirtual_server 1 2 {\n}\n}", 2, 'begins inside of "vrrp_instance a" (line 1)'),
        ("a ${WHAT}", 1, "${WHAT} is defined nowhere"),
        ("~SEQ(N, 1, 3) a $N", 1, "~SEQ"),
        ("$A=$B\n$B=$A\nx $A", 3, "a definition stands for itself"),
    ],
)
def test_errors_have_the_line(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfError) as caught:
        parsed(text)
    assert caught.value.message.startswith(f"k.conf:{line}: ")
    assert says in caught.value.message


def test_definitions() -> None:
    text = "$NET=10.2.${SUB}\n$SUB=0\na ${NET}.1\n$SUB=10\na ${NET}.1 $SUB\nb $5 '$SUBS'"
    assert parsed(text) == [(3, "a", "10.2.0.1"), (5, "a", "10.2.10.1", "10"), (6, "b", "$5", "$SUBS")]


def test_definitions_of_several_lines() -> None:
    text = "$S= \\\n  s ${N} { \\\n   w $N \\\n  }\n$N=1\n$S\n$N=2\n$S"
    assert parsed(text) == [(6, "s", "1", [(6, "w", "1")]), (8, "s", "2", [(8, "w", "2")])]


def test_conditions() -> None:
    text = "@left $P=2\n@^left $P=1\na {\n @left b $P\n @^left c $P\n}\n"
    assert parsed(text, "left") == [(3, "a", [(4, "b", "2")])]
    assert parsed(text, "right") == [(3, "a", [(5, "c", "1")])]
    assert instances(f"{text}\n@right x", "k.conf", lambda _pattern, _file: []) == ("left", "right")
    assert instances("mail a@b\n# @nobody x", "k.conf", lambda _pattern, _file: []) == ()


def test_who_is_meant_by_lines_of_other_files() -> None:
    """Also by those of a file that only one director includes."""
    there = {"all.conf": "@left x\n@right include right.conf", "right.conf": "@^third y"}

    def load(pattern: str, _file: str) -> list[tuple[str, str]]:
        return [(pattern, there[pattern])]

    assert instances("include all.conf", "k.conf", load) == ("left", "right", "third")


def test_includes() -> None:
    others = {"b.conf": "b {\n c\n}", "c.conf": "include c.conf"}
    assert parsed("a {\ninclude b.conf\n}", others=others) == [(1, "a", [(1, "b", [(2, "c")])])]
    assert parsed("include none.conf") == [(1, "include", "none.conf")]
    with pytest.raises(ConfError, match=r"c\.conf includes itself"):
        parsed("include c.conf", others=others)
