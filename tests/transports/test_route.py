"""The way to a host, from its data and the ssh_config."""

from pathlib import Path
from typing import Any

import pytest

from transports.errors import Reason, UnreachableError
from transports.route import Route, route
from transports.ssh import Connector


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("LOGNAME", "me")


def way(tmp_path: Path, config: str = "", **data: Any) -> Route:
    file = tmp_path / "ssh_config"
    file.write_text(config)
    defaults = {name: meta.default for name, meta in Connector.data_meta.items()}
    return route("lb1", defaults | {"ssh_hostname": "lb1", "ssh_config_file": str(file)} | data, seconds=10)


def test_by_default(tmp_path: Path) -> None:
    found = way(tmp_path)
    assert (found.hostname, found.port, found.user, found.agent_socket) == ("lb1", 22, "me", "/run/agent")
    assert found.known_hosts == (tmp_path / ".ssh/known_hosts", Path("/etc/ssh/ssh_known_hosts"))
    assert not found.accept_new
    assert found.default_keys


def test_data_wins_over_ssh_config(tmp_path: Path) -> None:
    config = "Host lb1\n HostName 192.0.2.1\n Port 2222\n User admin\n IdentityFile /keys/a\n IdentityAgent none\n"
    found = way(tmp_path, config)
    assert (found.hostname, found.port, found.user, found.agent_socket) == ("192.0.2.1", 2222, "admin", "")
    assert found.identity_files == ("/keys/a",)
    assert not found.default_keys
    found = way(tmp_path, config, ssh_port=22, ssh_user="root", ssh_key="/keys/b")
    assert (found.port, found.user, found.key_file) == (22, "root", "/keys/b")


def test_ssh_config_cannot_weaken_the_check_of_host_keys(tmp_path: Path) -> None:
    assert not way(tmp_path, "Host *\n StrictHostKeyChecking no\n").accept_new
    assert way(tmp_path, ssh_strict_host_key_checking="accept-new").accept_new


def test_given_known_hosts_come_first(tmp_path: Path) -> None:
    config = "Host *\n UserKnownHostsFile /a /b\n"
    assert way(tmp_path, config, ssh_known_hosts_file="~/c").known_hosts == (
        tmp_path / "c",
        Path("/a"),
        Path("/b"),
        Path("/etc/ssh/ssh_known_hosts"),
    )


def test_jump_hosts(tmp_path: Path) -> None:
    config = "Host lb1\n ProxyJump a,me2@b:77\nHost a\n ProxyJump outer\n User ann\nHost outer\n HostName 192.0.2.9\n"
    hops = way(tmp_path, config).hops
    assert [hop.login for hop in hops] == ["me@192.0.2.9", "ann@a", "me2@b port 77"]
    assert all(hop.hops == () for hop in hops)


def test_jump_hosts_that_lead_in_a_circle(tmp_path: Path) -> None:
    hops = way(tmp_path, "Host *\n ProxyJump bastion\n").hops
    assert [hop.hostname for hop in hops] == ["bastion"] * len(hops)
    assert len(hops) < 3


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    assert "sesame" not in repr(way(tmp_path, ssh_password="sesame", ssh_key_password="sesame"))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="'yes' or 'accept-new'") as caught:
        way(tmp_path, ssh_strict_host_key_checking="off")
    assert caught.value.reason is Reason.SETTINGS
