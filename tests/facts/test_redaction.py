"""One rule for what must not be shown, in sed and in Python."""

import subprocess

import pytest

from facts.redaction import SED, redacted


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("    auth_pass Secret12", "    auth_pass ***"),
        ("\tauth_pass\tSecret12", "\tauth_pass\t***"),
        ("auth_pass \t Secret12 # ours", "auth_pass \t ***"),
        ("password = Secret12", "password = ***"),
        ("auth_type PASS", "auth_type PASS"),
    ],
)
def test_both_say_the_same(line: str, shown: str) -> None:
    assert redacted(line) == shown
    assert subprocess.run(["sed", SED], input=line, capture_output=True, text=True, check=True).stdout == shown
