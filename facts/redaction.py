"""What must not be shown: one rule, for files on hosts (sed) and for those that we would write (Python)."""

import re

_KEYWORDS = ("auth_pass", "password")
_EITHER = r"\|".join(_KEYWORDS)

SED = rf"s/\({_EITHER}\)\([[:space:]=][[:space:]=]*\).*/\1\2***/"
"""For sed: what stands after a password's keyword becomes ***."""

_PYTHON = re.compile(rf"({'|'.join(_KEYWORDS)})([ \t=]+).*")


def redacted(text: str) -> str:
    """The same for a text that is here."""
    return _PYTHON.sub(r"\1\2***", text)
