"""One rule for what must not be shown, in sed and in Python."""

import subprocess
from dataclasses import replace

import pytest

from cluster.vocabulary import Mode
from facts.redaction import SED, redacted
from tests.variants import Variant


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("    auth_pass Secret12", "    auth_pass ***"),
        ("\tauth_pass\tSecret12", "\tauth_pass\t***"),
        ("auth_pass \t Secret12 # ours", "auth_pass \t ***"),
        ("password = Secret12", "password = ***"),
        ("auth_type PASS", "auth_type PASS"),
        ("# Managed by lbctl: not this file. sha256:dbcc07d3", "# Managed by lbctl: not this file. sha256:***"),
        ("# Peers must agree on: c0136e2f3bdde087", "# Peers must agree on: ***"),
    ],
)
def test_both_say_the_same(line: str, shown: str) -> None:
    assert redacted(line) == shown
    assert subprocess.run(["sed", SED], input=line, capture_output=True, text=True, check=True).stdout == shown


def test_nothing_that_is_made_of_the_password_is_shown() -> None:
    """Or it could be found by trying: whoever sees a difference knows the rest of the file."""
    one, other = (
        replace(Variant(Mode.DR, vrrp="password").blueprint, password=password).keepalived_conf("lb1")
        for password in ("Secret12", "Secret13")
    )
    assert one.sha256 != other.sha256
    assert redacted(one.text) == redacted(other.text)
