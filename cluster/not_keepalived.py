"""Whether a file is a keepalived.conf at all. Somebody may name a page that was saved, a declaration, or a file of secrets.

keepalived itself skips what it does not know, so nearly any text would pass for a configuration without services.
"""

import re

from cluster.keepalived_conf import AT_THE_TOP, DEFINITION, ConfError, Place
from cluster.remarks import ON_TOP

_CURE = "name what keepalived reads on a director, mostly /etc/keepalived/keepalived.conf"
_KNOWN = re.compile(
    rf"^[ \t]*(?:@\^?\S+[ \t]+)?(?:{'|'.join(sorted({*AT_THE_TOP, *ON_TOP, 'real_server'}))})(?=[\s{{]|$)", re.MULTILINE
)
_MAY_COME_BEFORE = re.compile(r"[a-z][\w-]*(?=[\s{]|$)|\w+\s*\{|[{}@~]")
"""A keyword that import does not know, a brace too many. Not prose or markup that shows a keepalived.conf further down."""

_SAYABLE = re.compile(
    r"""(?: <(?:!(?:DOCTYPE|doctype)|html|head|\?xml)\b     # HTML, XML
          | \[{1,2}[A-Za-z][A-Za-z_.-]{0,20}\]{1,2}(?=\s*$) # a section
          | -----BEGIN(?=\s)|---(?=\s*$)                    # PEM, YAML
          | [A-Za-z_][A-Za-z_.-]{0,20}(?=\s+=\s|:\s|:$)     # a key of TOML or YAML
          | [A-Z][A-Z_]{0,20}(?==[^=\s])                    # a variable
          | [A-Za-z_]{1,20}(?![\w-])(?=[^{}"']*\{\s*$)      # a block of another program's
          | [{\[](?=\s*(?:["{\[]|$))                        # JSON
        )""",
    re.VERBOSE,
)
"""First words that are no secret, by what they stand before. Of any other line nothing is shown: it may be a password."""


def refuse(text: str, file: str) -> None:
    """Raises ConfError, with the line, where `text` is something else than a keepalived.conf."""
    if "\0" in text:
        raise _error(file, text.count("\n", 0, text.index("\0")) + 1, "it is no text, or not in UTF-8")
    text = text.removeprefix("\ufeff")
    lines = enumerate(text.split("\n"), start=1)
    number, first = next(
        ((n, line.strip()) for n, line in lines if line.strip() and line.strip()[0] not in "#!"), (1, "")
    )
    if not first:
        raise _error(file, number, "there is nothing in it but comments" if text.strip() else "it is empty")
    if DEFINITION.match(first):
        return  # what it stands for may be anything
    if _KNOWN.search(text) and (_KNOWN.match(first) or _MAY_COME_BEFORE.match(first)):
        return
    word = _SAYABLE.match(first)
    raise _error(file, number, f'it begins with "{word[0]}"' if word else "what begins here is nothing of keepalived's")


def _error(file: str, line: int, why: str) -> ConfError:
    return ConfError(Place(file, line), f"this is no keepalived.conf: {why}", cure=_CURE)
