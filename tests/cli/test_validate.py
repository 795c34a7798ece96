"""What `lbctl validate` says of a declaration that is right. Wrong ones: test_bad_input.py."""

import json
import re
from pathlib import Path

import pytest

from cluster.reading import read
from tests.cli.shop import SAMPLE, Lbctl

INVENTORY = Path(__file__).parents[2] / "inventory"


def test_a_summary_of_one_screen(lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("validate", declaration)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) < 24
    assert f"{declaration}: valid. Cluster shop, mode dr, network 10.0.0.0/24" in result.stdout
    assert "nat  read 10.0.0.10:3306, read 10.0.0.12:5506" in result.stdout
    assert "lb1  10.0.0.4  eth0  priority 101" in result.stdout
    assert not result.stderr


def test_what_another_mode_lacks(lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace('gateway = "10.0.0.12"', ""))
    result = lbctl("validate", declaration)
    assert result.exit_code == 0
    assert "nat  not with this declaration: nat.gateway: " in result.stdout


def test_a_warning_is_no_fault(lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace('check = "writable"', 'check = "none"'))
    result = lbctl("validate", declaration)
    assert result.exit_code == 0
    assert f"warning: {declaration}:12: service.write.check: a dead server goes on" in result.stderr


def test_a_secret_that_others_can_read_is_told(lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    version_2 = '= 19\nversion = 2\nadvertise_every = "1s"\npassword = { file = "word" }'
    declaration.write_text(SAMPLE.replace("= 19", version_2))
    secret = tmp_path / "word"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)
    result = lbctl("validate", declaration)
    assert result.exit_code == 0
    assert f"warning: {declaration}:19: vrrp.password: others can read the secret: chmod 600 {secret}" in result.stderr
    assert "hunter2" not in result.output
    secret.chmod(0o600)
    assert "chmod" not in lbctl("validate", declaration).stderr


def test_as_json(lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SAMPLE.replace("= 19", "= 0"))
    result = lbctl("validate", "--json", declaration, wrong)
    assert result.exit_code == 2
    right, fault = json.loads(result.stdout)
    assert (right["valid"], right["faults"]) == (True, [])
    assert (fault["valid"], fault["faults"][0]["line"], fault["faults"][0]["key"]) == (
        False,
        16,
        "vrrp.virtual_router_id",
    )


@pytest.mark.parametrize("file", sorted(INVENTORY.glob("*.toml")), ids=lambda file: file.name)
def test_what_is_shipped_is_valid(file: Path, lbctl: Lbctl) -> None:
    assert lbctl("validate", file).exit_code == 0


def test_the_annotated_example_shows_the_defaults() -> None:
    """Keys that are commented out show their default: with them in place the file means the same."""
    text = (INVENTORY / "galera.toml").read_text()
    # Left out: examples, and keys whose default comes from another key or from OpenSSH.
    shown = re.compile(
        r"^# (?!password|gateway|router|direct|allow|mtu|ssh|server_port|check_port|user|key|known_hosts)(?=[a-z_]+ = )",
        re.MULTILINE,
    )
    assert len(shown.findall(text)) > 15
    assert read(shown.sub("", text), "galera.toml") == read(text, "galera.toml")
