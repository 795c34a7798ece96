"""The text of files on a host, for showing differences. What is secret is taken out on the host, before it travels."""

from collections.abc import Iterable, Sequence
from shlex import quote

from pyinfra.api import FactBase, Host

from facts.redaction import SED

LIMIT = 30
"""Seconds for the texts of one host."""


class Texts(FactBase[dict[str, str]]):
    """Path → text, redacted. A file that is not there is left out."""

    def command(self, paths: Sequence[str]) -> str:
        names = " ".join(quote(path) for path in paths)
        return f'for f in {names}; do [ -f "$f" ] || continue; echo "#$f"; sed {quote(SED)} "$f" | sed "s/^/ /"; done'

    def process(self, output: Iterable[str]) -> dict[str, str]:
        texts: dict[str, list[str]] = {}
        current: list[str] = []
        for line in output:
            if line.startswith("#"):
                current = texts.setdefault(line[1:], [])
            else:
                current.append(line[1:])
        return {path: "".join(f"{line}\n" for line in lines) for path, lines in texts.items()}

    @staticmethod
    def default() -> dict[str, str]:
        return {}


def texts(host: Host, paths: Sequence[str]) -> dict[str, str]:
    """The texts of `paths` on `host`."""
    found: dict[str, str] = host.get_fact(Texts, tuple(paths), _timeout=LIMIT)
    return found
