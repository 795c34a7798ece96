"""The text of a keepalived.conf that somebody wrote by hand, as blocks with their lines (keepalived.conf(5)).

Nothing is understood here: lines become statements, and statements nest. What keepalived does before it looks at a keyword is
done: comments (# and !), quoted strings, definitions ($NAME=value), lines for one configuration only (@name), include.

Keepalived forgives a missing brace and uses what it can still make sense of. Here it is an error, with the line: what was meant
cannot be known.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cluster.errors import RequestError

Load = Callable[[str, str], Sequence[tuple[str, str]]]
"""From a pattern after `include`, and the file that has it, to (file, text) of each file that is meant."""


def printable(text: str) -> str:
    """A file may hold control characters, which must not reach a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class Place:
    """Where something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def shown(words: Sequence[str]) -> str:
    """What may be read by others: nothing that follows a word like auth_pass, however that is spelt."""
    for at, word in enumerate(words, start=1):
        if "pass" in word.lower() and words[at:]:
            return " ".join([*words[:at], "…"])
    return " ".join(words)


class ConfError(RequestError):
    """A keepalived.conf that cannot be read, with the place."""

    def __init__(self, place: Place, what: str, *, cure: str = "") -> None:
        super().__init__(printable(f"{place}: {what}"), cure=printable(cure))
        self.place = place


@dataclass(frozen=True)
class Statement:
    """Words of one line, and the block that follows them."""

    words: tuple[str, ...]
    place: Place
    body: "tuple[Statement, ...] | None" = None

    @property
    def keyword(self) -> str:
        return self.words[0]

    def __str__(self) -> str:
        return shown(self.words)


def parse(text: str, file: str, load: Load, instance: str = "") -> tuple[Statement, ...]:
    """The statements of `text`, which came from `file`, as the director that is called `instance` reads them.

    Raises ConfError.
    """
    builder = _Builder()
    for place, line in _Lines(load, instance).of(text, file):
        builder.feed(place, line)
    return builder.finish()


def instances(text: str, file: str, load: Load) -> tuple[str, ...]:
    """The names that lines are meant for (@name, @^name): each is a director that reads the same file in its own way.

    Also in what is included, and in what only one of them includes. Raises ConfError.
    """
    found = [""]
    for name in found:
        lines = _Lines(load, name)
        for _ in lines.of(text, file):
            pass
        found += [each for each in lines.named if each not in found]
    return tuple(found[1:])


# Lines

DEFINITION = re.compile(r"\s*\$([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_USE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)(?=\s|$)")
_CONDITION = re.compile(r"\s*@(\^?)([^\s{}]+)\s*(.*)", re.DOTALL)
_GENERATED = re.compile(r"\s*~(SEQ|LST)x?\(")
_INCLUDE = re.compile(r"\s*include[rmwba]?\s+(\S.*)")
_DEEPEST = 20


@dataclass
class _Lines:
    """The lines that this director heeds, with what definitions stand for put in."""

    load: Load
    instance: str
    defined: dict[str, str] = field(default_factory=lambda: {"_HASH": "#", "_BANG": "!"})
    inside: list[str] = field(default_factory=list)
    named: dict[str, None] = field(default_factory=dict)
    """Those that lines are meant for, in their order."""

    def of(self, text: str, file: str) -> Iterator[tuple[Place, str]]:
        if file in self.inside or len(self.inside) > _DEEPEST:
            raise ConfError(Place(self.inside[-1], 0), f"{file} includes itself")
        self.inside.append(file)
        for number, line in _joined(text.removeprefix("\ufeff").splitlines()):
            yield from self._line(Place(file, number), line, 0)
        self.inside.pop()

    def _line(self, place: Place, line: str, depth: int) -> Iterator[tuple[Place, str]]:
        if depth > _DEEPEST:
            raise ConfError(place, "a definition stands for itself")
        if condition := _CONDITION.fullmatch(line):
            self.named[condition[2]] = None
            wanted = (condition[2] == self.instance) is not bool(condition[1])
            if wanted:
                yield from self._line(place, condition[3], depth + 1)
        elif definition := DEFINITION.fullmatch(line):
            self.defined[definition[1]] = definition[2].strip()
        elif _GENERATED.match(line):
            raise ConfError(place, "lines made by ~SEQ or ~LST are not read", cure="write them out, then import again")
        elif (expanded := self._expanded(line, place)) != line:
            for part in expanded.split("\n"):
                yield from self._line(place, part, depth + 1)
        elif include := _INCLUDE.fullmatch(line):
            yield from self._included(place, include[1].strip())
        else:
            yield place, line

    def _expanded(self, line: str, place: Place) -> str:
        """One round: what a definition stands for may itself hold others."""
        known = self.defined | {"_INSTANCE": self.instance, "_PWD": place.file.rpartition("/")[0] or "."}
        return _USE.sub(lambda use: known.get(use[1] or use[2], use[0]), line)

    def _included(self, place: Place, pattern: str) -> Iterator[tuple[Place, str]]:
        found = self.load(pattern.strip("\"'"), place.file)
        if not found:
            # Kept as a statement: what was not read is told.
            yield place, f'include "{pattern}"'
        for file, text in found:
            yield from self.of(text, file)


def _joined(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Without comments; the lines of a definition that goes on (a backslash at the end) as one."""
    rest: list[str] = []
    begin = 0
    for number, line in enumerate(map(_without_comment, lines), start=1):
        if not rest:
            begin = number
        if line.rstrip().endswith("\\") and (rest or "$" in line):
            rest.append(line.rstrip().removesuffix("\\"))
            continue
        yield begin, "\n".join([*rest, line])
        rest = []
    if rest:
        yield begin, "\n".join(rest)


def _without_comment(line: str) -> str:
    quote = ""
    escaped = False
    for at, character in enumerate(line):
        if escaped:
            escaped = False
        elif quote:
            escaped = character == "\\"
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "#!":
            return line[:at]
    return line


# Words

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


_WORD = re.compile(
    r"""\s*(?:
        (?P<brace>[{}])
      | (?P<word>(?: "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | \\. | [^\s{}"'\\] )+)
    )""",
    re.VERBOSE,
)
_PART = re.compile(r"""(["'])(?P<quoted>(?:\\.|(?!\1).)*)\1|(?P<bare>\\.|[^"'\\]+)""")


def _words(place: Place, line: str) -> Iterator[tuple[str, bool]]:
    """(word, whether it is one that opens or closes a block)."""
    at, line = 0, line.rstrip()
    while at < len(line):
        found = _WORD.match(line, at)
        if found is None:
            raise ConfError(place, "a text has no closing quote")
        at = found.end()
        if found["brace"]:
            yield found["brace"], True
            continue
        if found["word"].endswith("$") and line[at : at + 1] == "{":
            name = line[at + 1 :].partition("}")[0]
            raise ConfError(place, f"${{{name}}} is defined nowhere above", cure="put in what it stands for")
        yield "".join(map(_unquoted, _PART.finditer(found["word"]))), False


def _unquoted(part: re.Match[str]) -> str:
    return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), part["quoted"] or part["bare"] or "")


# Blocks

AT_THE_TOP = {
    "global_defs",
    "static_ipaddress",
    "static_routes",
    "static_rules",
    "virtual_server",
    "virtual_server_group",
    "vrrp_instance",
    "vrrp_script",
    "vrrp_sync_group",
}
"""Blocks that never stand inside another one: where one does, a brace is missing before it."""


@dataclass
class _Open:
    """A block that is not closed yet."""

    words: tuple[str, ...]
    place: Place
    body: list[Statement] = field(default_factory=list)


class _Builder:
    """Nests statements."""

    def __init__(self) -> None:
        self._stack = [_Open((), Place("", 0))]

    def feed(self, place: Place, line: str) -> None:
        said: list[str] = []
        for word, is_brace in _words(place, line):
            if not is_brace:
                said.append(word)
                continue
            if word == "{":
                self._open(tuple(said), place)
            else:
                self._say(said, place)
                self._close(place)
            said = []
        self._say(said, place)

    def finish(self) -> tuple[Statement, ...]:
        if len(self._stack) > 1:
            innermost = self._stack[-1]
            raise ConfError(
                innermost.place,
                f'the block of "{self._shown(innermost)}" begins here and is closed nowhere: a }} is missing',
                cure="close it; keepalived would guess",
            )
        return tuple(self._stack[0].body)

    def _say(self, words: list[str], place: Place) -> None:
        if words:
            self._stack[-1].body.append(Statement(tuple(words), place))

    def _open(self, words: tuple[str, ...], place: Place) -> None:
        siblings = self._stack[-1].body
        if not words and siblings and siblings[-1].body is None:
            # The brace stands on a line of its own.
            before = siblings.pop()
            words, place = before.words, before.place
        if not words:
            raise ConfError(place, "a { without a keyword before it")
        self._refuse_inside(words, place)
        self._stack.append(_Open(words, place))

    def _refuse_inside(self, words: tuple[str, ...], place: Place) -> None:
        around = self._stack[-1]
        misplaced = words[0] in AT_THE_TOP or (words[0] == "real_server" and around.words[:1] != ("virtual_server",))
        if len(self._stack) > 1 and misplaced:
            raise ConfError(
                place,
                f'"{shown(words)}" begins inside of "{self._shown(around)}" (line {around.place.line}): '
                "a } is missing before it",
                cure=f'close the block that begins on line {around.place.line}, and count the "}}" up to line {place.line}',
            )

    def _shown(self, block: _Open) -> str:
        inside = any(each.words[:1] == ("authentication",) for each in self._stack if each is not block)
        return "authentication { …" if inside else shown(block.words)

    def _close(self, place: Place) -> None:
        if len(self._stack) == 1:
            raise ConfError(place, "a } too many: no block is open here", cure="a block was closed too early above")
        done = self._stack.pop()
        self._stack[-1].body.append(Statement(done.words, done.place, tuple(done.body)))
