"""Where the declaration and its secret come from, and what hosts look like to pyinfra."""

from pathlib import Path

import pytest

from cluster.errors import Exit, RequestError
from fleet import source, which
from tests.variants import PASSWORD, SECRET_FILE, Variant

WITH_PASSWORD = Variant(vrrp="password").text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(Variant().text)
    return path


def test_which_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LBCTL_CLUSTER", raising=False)
    assert which.path_of() == Path("inventory/galera.toml")
    monkeypatch.setenv("LBCTL_CLUSTER", "other.toml")
    assert which.path_of() == Path("other.toml")
    assert which.path_of("given.toml") == Path("given.toml")


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"name = '\xff\xfe'")
    for path, says in (
        (tmp_path / "none.toml", "there is no declaration"),
        (binary, "not UTF-8"),
        (tmp_path, "irectory"),
    ):
        with pytest.raises(RequestError, match=says) as caught:
            source.declaration(path)
        assert caught.value.exit_code is Exit.INVALID
        assert str(path) in str(caught.value)


def test_a_secret_is_read_from_a_file_beside_the_declaration(file: Path) -> None:
    file.write_text(WITH_PASSWORD)
    (file.parent / SECRET_FILE).write_text(f"{PASSWORD}\n")
    blueprint = source.blueprint(file)
    assert blueprint.password == PASSWORD
    assert PASSWORD not in repr(blueprint)
    assert PASSWORD not in blueprint.to_json()


def test_a_secret_is_read_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(WITH_PASSWORD.replace(f'file = "{SECRET_FILE}"', 'env = "VRRP_SECRET"'))
    monkeypatch.setenv("VRRP_SECRET", PASSWORD)
    assert source.blueprint(file).password == PASSWORD
    monkeypatch.delenv("VRRP_SECRET")
    with pytest.raises(RequestError, match="the environment has no VRRP_SECRET"):
        source.blueprint(file)


@pytest.mark.parametrize("secret", [None, "", "tencharact", "q z", 'q"z', "q#z", "ümläut"])
def test_a_secret_that_will_not_do_is_not_repeated(file: Path, secret: str | None) -> None:
    file.write_text(WITH_PASSWORD)
    if secret is not None:
        (file.parent / SECRET_FILE).write_text(f"{secret}\n")
    with pytest.raises(RequestError, match=r"vrrp\.password") as caught:
        source.blueprint(file)
    assert not secret or secret not in str(caught.value)


def test_hosts(file: Path) -> None:
    text = file.read_text()
    text = text.replace('transport = "lab"', 'transport = "ssh"')
    text += 'ssh = { host = "db3.example.net", user = "admin" }\n[ssh]\nport = 2222\nkey = "~/key"\nhost_keys = "accept-new"\n'
    file.write_text(text)
    blueprint = source.blueprint(file)
    directors = dict(source.hosts(blueprint, "directors"))
    servers = dict(source.hosts(blueprint, "real_servers"))
    assert list(directors) == ["@lbctl/lb1", "@lbctl/lb2"]
    assert list(servers) == ["@lbctl/db1", "@lbctl/db2", "@lbctl/db3"]
    assert (directors["@lbctl/lb1"]["ssh_hostname"], directors["@lbctl/lb1"]["ssh_port"]) == ("10.0.0.4", 2222)
    assert directors["@lbctl/lb1"]["ssh_key"] == str(Path.home() / "key")
    assert directors["@lbctl/lb1"]["ssh_strict_host_key_checking"] == "accept-new"
    # A host's own table goes before the cluster's, key by key.
    third = servers["@lbctl/db3"]
    assert (third["ssh_hostname"], third["ssh_user"], third["ssh_port"]) == ("db3.example.net", "admin", 2222)


def test_host_keys_are_checked_strictly_unless_something_else_is_asked_for(file: Path) -> None:
    for name, data in source.hosts(source.blueprint(file), "real_servers"):
        assert name.startswith("@lab/")
        assert data["ssh_strict_host_key_checking"] == "yes"
