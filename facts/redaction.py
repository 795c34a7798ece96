"""What must not be shown: one rule, for files on hosts (sed) and for those that we would write (Python).

That is passwords, and the hashes in keepalived.conf that are made with one: all else in it is known, and eight characters can be
found by trying.
"""

import re

_KEYWORDS = ("auth_pass", "password", "Peers must agree on:")
_EITHER = r"\|".join(_KEYWORDS)
_GUARD = "sha256:"

SED = rf"s/\(\({_EITHER}\)[[:space:]=][[:space:]=]*\|{_GUARD}\).*/\1***/"
"""For sed: what stands after a password's or a hash's keyword becomes ***."""

_PYTHON = re.compile(rf"((?:{'|'.join(_KEYWORDS)})[ \t=]+|{_GUARD}).*")


def redacted(text: str) -> str:
    """The same for a text that is here."""
    return _PYTHON.sub(r"\1***", text)
