"""What would be written, without asking any host and without a secret."""

import json
from pathlib import Path

import pytest

from tests.cli.shop import SAMPLE, Lbctl

SECRET = "se-sam-1"


@pytest.fixture
def with_password(declaration: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VRRP_PASSWORD", SECRET)
    version_2 = 'virtual_router_id = 19\nversion = 2\nadvertise_every = 1\npassword = { env = "VRRP_PASSWORD" }'
    declaration.write_text(SAMPLE.replace("virtual_router_id = 19", version_2))
    return declaration


def test_every_host_and_file_has_a_header(lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("-c", declaration, "render")
    assert result.exit_code == 0
    for header in ("# lb1: /etc/keepalived/keepalived.conf", "# lb2: /etc/keepalived/keepalived.conf"):
        assert header in result.stdout.splitlines()
    assert "# db1: /etc/sysctl.d/zz-lbctl-arp.conf" in result.stdout


def test_one_host_in_another_mode(lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("-c", declaration, "render", "--host", "lb1", "--mode", "nat")
    assert "lb_kind NAT" in result.stdout
    assert "10.0.0.12 5506" in result.stdout
    assert "# lb2: " not in result.stdout


def test_as_json(lbctl: Lbctl, declaration: Path) -> None:
    files = json.loads(lbctl("-c", declaration, "render", "--host", "lb2", "--json").stdout)
    conf = next(file for file in files if file["path"] == "/etc/keepalived/keepalived.conf")
    assert conf["host"] == "lb2"
    assert "router_id lb2" in conf["text"]


@pytest.mark.parametrize("options", [(), ("--json",), ("--host", "lb1")])
def test_a_secret_is_never_on_the_screen(options: tuple[str, ...], lbctl: Lbctl, with_password: Path) -> None:
    result = lbctl("-c", with_password, "render", *options)
    assert result.exit_code == 0
    assert "auth_pass ***" in result.stdout
    assert SECRET not in result.output


def test_the_secret_need_not_be_here(lbctl: Lbctl, with_password: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VRRP_PASSWORD")
    assert lbctl("-c", with_password, "render").exit_code == 0


def test_into_a_folder(lbctl: Lbctl, with_password: Path, tmp_path: Path) -> None:
    conf = tmp_path / "out/lb1/etc/keepalived/keepalived.conf"
    assert lbctl("-c", with_password, "render", "--output", tmp_path / "out").exit_code == 0
    assert "auth_pass ***" in conf.read_text()
    assert (tmp_path / "out/db1/usr/local/lib/lbctl/clustercheck").stat().st_mode & 0o777 == 0o755

    result = lbctl("-c", with_password, "render", "--output", tmp_path / "out", "--show-secrets")
    assert result.exit_code == 0
    assert f"auth_pass {SECRET}" in conf.read_text()
    assert conf.stat().st_mode & 0o777 == 0o600
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--show-secrets",), "--output DIR --show-secrets"),
        (("--mode", "masq"), "known are dr, tun, nat"),
        (("--host", "lb9"), "known: db1, db2, lb1, lb2"),
        (("--output", "/proc/nowhere"), "name a folder that can be written to"),
    ],
)
def test_a_wrong_request(options: tuple[str, ...], says: str, lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("-c", declaration, "render", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not result.stdout


def test_a_mode_that_the_cluster_is_not_ready_for(lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace('gateway = "10.0.0.12"', ""))
    result = lbctl("-c", declaration, "render", "--mode", "nat")
    assert result.exit_code == 2
    assert "set nat.gateway to a free address" in result.stderr
