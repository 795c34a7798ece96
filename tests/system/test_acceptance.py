"""What is rendered is put before a real keepalived: whatever a valid declaration says, it takes it."""

import pytest
from hypothesis import given, settings

from cluster.declaration import Declaration
from cluster.footprint import Blueprint
from lab.lab import Lab
from operations.commands import check_script
from templates import render
from tests.cluster.declarations import PASSWORDS, declarations

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
