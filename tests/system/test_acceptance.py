"""What is rendered is put before a real keepalived: whatever a valid declaration says, whatever was imported, it takes it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote

import pytest
from hypothesis import given, settings

from cluster.declaration import Declaration
from cluster.footprint import Blueprint
from lab.lab import Lab
from operations.commands import check_script, here_document
from templates import render
from tests.cluster.declarations import PASSWORDS, declarations
from tests.cluster.test_importing import CASES, Case, imported_from, rendered

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def director(galera: Lab) -> Lab:
    """Where keepalived is installed, also when no other test has done so."""
    galera.exec("lb1", "command -v keepalived || apt-get -q -y install --no-install-recommends keepalived", timeout=180)
    return galera


@settings(max_examples=25, deadline=None)
@given(declaration=declarations(interfaces=("eth0",)), password=PASSWORDS)
def test_keepalived_accepts_any_valid_declaration(director: Lab, declaration: Declaration, password: str) -> None:
    blueprint = Blueprint(declaration, render, password if declaration.vrrp.password else None)
    for name in declaration.director:
        asked = director.exec("lb1", "sh -s", stdin=check_script(blueprint.keepalived_conf(name)), check=False)
        assert (asked.returncode, asked.stdout + asked.stderr) == (0, "")


ASKED = """\
file=$(mktemp)
said() {{ sed "s|^|$1\t|"; }}
{questions}
rm -f "$file"
"""
"""Each line of the answer says what it is about: case and director, and then keepalived's words."""


def questions(texts: Mapping[str, str]) -> Iterator[str]:
    for subject, text in texts.items():
        yield f'cat >"$file" {here_document(text)}'
        ask = 'timeout 20 keepalived --config-test -f "$file" 2>&1; echo "status $?"'
        yield f"{{ {ask}; }} | said {quote(subject)}"


@pytest.fixture(scope="module")
def remarks(director: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What keepalived says of the files that each case is rendered to, in one run: to log in takes longer than to look."""
    folder: Path = tmp_path_factory.mktemp("rendered")
    texts = {
        about(case, name): rendered(imported_from(case.files, case.wish), name, folder).read_text()
        for case in CASES
        for name in case.names
    }
    script = ASKED.format(questions="\n".join(questions(texts)))
    found: dict[str, list[str]] = {}
    for line in director.exec("lb1", "sh -s", stdin=script, timeout=300).stdout.splitlines():
        subject, _, words = line.partition("\t")
        found.setdefault(subject, []).append(words)
    return found


def about(case: Case, name: str) -> str:
    return f"{case.id} {name}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_keepalived_accepts_what_is_imported(case: Case, remarks: dict[str, list[str]]) -> None:
    for name in case.names:
        *said, status = remarks[about(case, name)]
        # Interfaces of other machines are not on this one: with nothing else to say, that is all it fails by.
        assert [words for words in said if "interface" not in words.lower()] == []
        assert said or status == "status 0", status
