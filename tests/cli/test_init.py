"""A new declaration is valid, says what was wished, and never replaces another."""

import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cluster.reading import read
from tests.cli.shop import Lbctl

WISH = {
    "--name": "shop",
    "--mode": "dr",
    "--network": "10.0.0.0/24",
    "--director": "lb1=10.0.0.4 lb2=10.0.0.6",
    "--real-server": "db1=10.0.0.1 db2=10.0.0.2 db3=10.0.0.3",
    "--read-vip": "10.0.0.10",
    "--write-vip": "10.0.0.11",
}


def words(**changes: str) -> list[str]:
    wish = WISH | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    return [word for option, values in wish.items() for value in values.split() for word in (option, value)]


@pytest.fixture
def made(lbctl: Lbctl, tmp_path: Path) -> Any:
    """The declaration that `lbctl init` writes."""

    def make(**changes: str) -> Any:
        file = tmp_path / "made.toml"
        result = lbctl("init", file, "--force", *words(**changes))
        assert result.exit_code == 0, result.output
        assert f"lbctl validate {file}" in result.stdout
        return read(file.read_text(), str(file))

    return make


@pytest.mark.parametrize("mode", ["dr", "tun", "nat"])
def test_what_is_proposed(mode: str, made: Any) -> None:
    found = made(mode=mode, gateway="10.0.0.12")
    read_, write = found.service["read"], found.service["write"]
    assert (read_.scheduler, read_.check) == ("rr", "synced")
    assert (write.scheduler, write.check) == ("fo", "writable")
    assert (found.vrrp.version, found.vrrp.advertise_every) == (3, 0.2)
    assert [director.priority for director in found.director.values()] == [101, 100]
    assert str(found.nat.gateway) == "10.0.0.12"
    assert (read_.nat_port, write.nat_port) == (5506, 5507)


def test_a_lone_director_needs_no_gateway(made: Any) -> None:
    found = made(mode="nat", director="lb1=10.0.0.4")
    assert found.nat.gateway is None
    assert found.service["write"].nat_port == 5507


def test_nat_without_virtual_addresses(made: Any) -> None:
    found = made(mode="nat", director="lb1=10.0.0.4", read_vip="", write_vip="")
    assert found.vips == ()
    assert [service.nat_port for service in found.service.values()] == [5506, 5507]


def test_reads_alone(made: Any) -> None:
    assert list(made(write_vip="").service) == ["read"]


def test_names_with_dots(made: Any) -> None:
    found = made(real_server="db1.example.net=10.0.0.1")
    assert list(found.real_server) == ["db1.example.net"]


def test_the_router_id_comes_from_the_name(made: Any) -> None:
    ids = {name: made(name=name).vrrp.virtual_router_id for name in ("shop", "mail", "forum")}
    assert len(set(ids.values())) == 3
    assert made(name="shop").vrrp.virtual_router_id == ids["shop"]


def test_is_short_and_explained(made: Any, tmp_path: Path) -> None:
    made()
    text = (tmp_path / "made.toml").read_text()
    assert len(text.splitlines()) <= 60
    assert text.count("#") >= 10
    assert text == text.rstrip() + "\n"
    assert tomllib.loads(text)["real_server"]["db3"]["weight"] == 10


def test_into_the_inventory(lbctl: Lbctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lbctl("init", *words()).exit_code == 0
    assert (tmp_path / "inventory/shop.toml").exists()


def test_another_file_is_never_replaced(lbctl: Lbctl, declaration: Path) -> None:
    before = declaration.read_text()
    result = lbctl("init", declaration, *words())
    assert result.exit_code == 2
    assert "is there already" in result.stderr
    assert declaration.read_text() == before


def test_nobody_to_ask(lbctl: Lbctl, tmp_path: Path) -> None:
    result = lbctl("init", tmp_path / "made.toml", "--name", "shop")
    assert result.exit_code == 2
    assert "--network, --director NAME=ADDRESS" in result.stderr
    assert not list(tmp_path.glob("*.toml"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"director": "lb1"}, "write it as lb1=10.0.0.4"),
        ({"director": "lb1=10.0.0.4 lb1=10.0.0.5"}, "lb1 is given twice"),
        ({"director": "lb1=10.0.1.4"}, "director.lb1.address: 10.0.1.4 is not in network"),
        ({"real_server": 'a"]=10.0.0.1'}, "is no host name"),
        ({"name": '"\nmode="nat"#'}, "name: "),
        ({"mode": "masq"}, 'must be "dr", "tun" or "nat"'),
        ({"read_vip": "10.0.0.4"}, "service.read.vip: 10.0.0.4 is the address of"),
        ({"mode": "nat"}, "--gateway"),
        ({"mode": "nat", "gateway": "10.0.0.10"}, "nat.gateway: 10.0.0.10 is also a vip"),
    ],
)
def test_a_wish_that_makes_no_cluster(changes: dict[str, str], says: str, lbctl: Lbctl, tmp_path: Path) -> None:
    result = lbctl("init", tmp_path / "made.toml", *words(**changes))
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be(lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("init", declaration / "made.toml", *words())
    assert result.exit_code == 2
    assert "name a file in a folder" in result.stderr


@pytest.mark.process
def test_at_a_terminal(tmp_path: Path) -> None:
    """What is missing is asked for, again where the answer will not do."""
    answers = [
        "my shop",
        "shop",
        "masq",
        "nat",
        "10.0.0.1/24",
        "10.0.0.0/24",
        "lb1",
        "lb1=10.0.0.4, lb2=10.0.0.6",
        "db1=10.0.0.1",
        "x",
        "10.0.0.12",
        "ens 3",
        "ens3",
    ]
    ours, theirs = pty.openpty()
    lbctl = Path(sys.executable).with_name("lbctl")
    process = subprocess.Popen(
        [lbctl, "init", "made.toml"], stdin=theirs, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    )
    os.write(ours, "".join(f"{answer}\n" for answer in answers).encode())
    _, asked = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, asked
    assert asked.count("Mode (dr, tun or nat)") == 2
    assert asked.count("Gateway address") == 2
    assert asked.count("Name of the cluster") == 2
    assert asked.count("Network device") == 2
    found = read((tmp_path / "made.toml").read_text(), "made.toml")
    assert list(found.director) == ["lb1", "lb2"]
    assert str(found.nat.gateway) == "10.0.0.12"
    assert {found.host(name).interface for name in found.hosts()} == {"ens3"}
