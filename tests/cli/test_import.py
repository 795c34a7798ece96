"""`lbctl import`: files, the secret, and how it ends. What a declaration then means is tested in tests/cluster."""

import json
import stat
from pathlib import Path

import pytest

from tests.cli.shop import Lbctl

FOLDER = Path(__file__).parents[1] / "cluster/imported"


def test_the_how_to(lbctl: Lbctl, tmp_path: Path) -> None:
    output = tmp_path / "inventory/pool.toml"
    done = lbctl("import", FOLDER / "how-to.conf", "--director", "lb1=10.0.0.4", "--name", "pool", "--output", output)
    assert done.exit_code == 0, done.output
    assert not done.stdout
    secret = tmp_path / "inventory/secrets/pool-vrrp"
    assert secret.read_text() == "Twagipmi\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert lbctl("validate", output).exit_code == 0
    assert "Twag" not in done.output + output.read_text()


def test_the_missing_brace(lbctl: Lbctl, tmp_path: Path) -> None:
    file = FOLDER / "how-to-missing-brace.conf"
    done = lbctl("import", file, "--output", tmp_path / "x.toml")
    assert done.exit_code == 2
    assert (
        f'{file}:54: "real_server 10.0.0.2 3306" begins inside of "real_server 10.0.0.1 3306" (line 45)' in done.stderr
    )
    assert not (tmp_path / "x.toml").exists()


def test_what_clients_would_notice_is_said_first(lbctl: Lbctl) -> None:
    done = lbctl("import", FOLDER / "group.conf", "--director", "lb1=192.0.2.3")
    assert done.exit_code == 0
    assert done.stdout.startswith("# Imported from")
    assert [line for line in done.stderr.splitlines() if not line.startswith("  ")] == [
        "Clients would notice",
        "Not carried over",
        "Said otherwise, or worth a look",
    ]


def test_one_file_for_two_directors(lbctl: Lbctl) -> None:
    done = lbctl("import", FOLDER / "conditional.conf", "--json")
    assert done.exit_code == 0
    declaration = json.loads(done.stdout)["declaration"]
    assert '[director.left]\naddress = "203.0.113.4"' in declaration
    assert '[director.right]\naddress = "203.0.113.6"' in declaration


def test_lines_for_one_director_in_what_is_included(lbctl: Lbctl, tmp_path: Path) -> None:
    (tmp_path / "both.conf").write_text((FOLDER / "conditional.conf").read_text())
    (tmp_path / "keepalived.conf").write_text("include both.conf\n")
    done = lbctl("import", tmp_path / "keepalived.conf", "--json")
    assert done.exit_code == 0, done.output
    declaration = json.loads(done.stdout)["declaration"]
    assert '[director.left]\naddress = "203.0.113.4"' in declaration
    assert '[director.right]\naddress = "203.0.113.6"' in declaration


def test_lines_for_all_others(lbctl: Lbctl, tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text((FOLDER / "conditional.conf").read_text().replace("@right", "@^left").replace("@^right", "@left"))
    done = lbctl("import", file, "--json")
    assert done.exit_code == 0, done.output
    assert "read as left does: lines for others are left out" in done.stdout
    done = lbctl("import", file, "--director", "left=203.0.113.4", "--director", "right=203.0.113.6", "--json")
    assert "lines for others are left out" not in done.stdout


def test_two_files_with_lines_for_single_directors(lbctl: Lbctl, tmp_path: Path) -> None:
    """The same file from both machines: each is read as its own director does."""
    files = tmp_path / "1.conf", tmp_path / "2.conf"
    for file in files:
        file.write_text((FOLDER / "conditional.conf").read_text())
    done = lbctl("import", *files, "--json")
    assert done.exit_code == 2, done.output
    assert "these files have lines for @left and @right, and whose file each one is is not said" in done.stderr
    named = ("--director", "left=203.0.113.4", "--director", "right=203.0.113.6")
    done = lbctl("import", *files, *named, "--json")
    assert done.exit_code == 0, done.output
    declaration = json.loads(done.stdout)["declaration"]
    assert '[director.left]\naddress = "203.0.113.4"\ninterface = "eth0"\npriority = 110' in declaration
    assert '[director.right]\naddress = "203.0.113.6"\ninterface = "eth0"\npriority = 100' in declaration
    other = ("--director", "left=203.0.113.4", "--director", "lb2=203.0.113.6")
    done = lbctl("import", *files, *other, "--json")
    assert done.exit_code == 2
    assert "lines for @right, and no --director of that name" in done.stderr


def test_includes(lbctl: Lbctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER.parent)
    done = lbctl("import", "imported/included.conf", "--director", "lb1=192.0.2.3", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert "[service.write]" in found["declaration"]
    (lost,) = [remark for remark in found["remarks"] if remark["effect"] == "lost"]
    assert (lost["file"], lost["line"]) == ("imported/included.conf", 3)


def test_a_file_that_is_there_stays(lbctl: Lbctl, tmp_path: Path) -> None:
    output = tmp_path / "there.toml"
    output.write_text("mine")
    words = ("import", FOLDER / "how-to.conf", "--director", "lb1=10.0.0.4", "--output", output)
    assert lbctl(*words).exit_code == 2
    assert output.read_text() == "mine"
    assert not (tmp_path / "secrets").exists()
    assert lbctl(*words, "--force").exit_code == 0
    assert output.read_text() != "mine"


def test_the_secret_of_another_cluster_stays(lbctl: Lbctl, tmp_path: Path) -> None:
    """Both have a vrrp_instance of the same name, as it is in the example that both were made from."""
    secret = tmp_path / "secrets/mysql-pool-vrrp"
    secret.parent.mkdir()
    secret.write_text("theirs\n")
    output = tmp_path / "second.toml"
    words = ("import", FOLDER / "how-to.conf", "--director", "lb1=10.0.0.4", "--output", output)
    done = lbctl(*words)
    assert done.exit_code == 2
    assert f"{secret} is there already" in done.stderr
    assert secret.read_text() == "theirs\n"
    assert not output.exists()
    assert lbctl(*words, "--name", "second").exit_code == 0
    assert (tmp_path / "secrets/second-vrrp").exists()
    assert secret.read_text() == "theirs\n"
    assert lbctl(*words, "--force").exit_code == 0
    assert secret.read_text() == "Twagipmi\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html>\n<p>hunter2</p>\n", ':1: this is no keepalived.conf: it begins with "<!DOCTYPE"'),
        (b'# shop\nname = "hunter2"\n', ':2: this is no keepalived.conf: it begins with "name"'),
        (b"hunter2\n", ":1: this is no keepalived.conf: what begins here"),
        (b"\x1f\x8b\x08\x00hunter2", ":1: this is no keepalived.conf: it is no text"),
    ],
    ids=["a page", "TOML", "a password", "binary"],
)
def test_a_file_that_is_something_else(content: bytes, says: str, lbctl: Lbctl, tmp_path: Path) -> None:
    file = tmp_path / "some.file"
    file.write_bytes(content)
    for files in ([file], [FOLDER / "how-to.conf", file]):
        done = lbctl("import", *files, "--output", tmp_path / "x.toml", "--json")
        assert done.exit_code == 2
        assert f"{file}{says}" in done.stderr
        assert "hunter2" not in done.output
        assert not done.stdout
        assert not (tmp_path / "x.toml").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.conf"], "none.conf: No such file"),
        ([FOLDER / "web.conf", FOLDER / "web.conf"], "a file is named twice"),
        ([FOLDER / "web.conf"], "--director lvs-web=ADDRESS"),
        ([FOLDER / "web.conf", "--director", "lb1"], '"lb1" is not NAME=ADDRESS'),
        ([FOLDER / "web.conf", "--director", "lb1=x"], '--director lb1: "x" is no address'),
        ([FOLDER / "web.conf", "--director", "lb1=192.0.2.4", "--network", "8"], "network"),
        ([FOLDER / "web.conf", "--director", "lb1=192.0.2.4", "--gateway", "x"], '--gateway: "x" is no address'),
        ([FOLDER / "web.conf", "--director", "lb1=192.0.2.4", "--name", "A B"], "name"),
        ([FOLDER / "web.conf", "--director", "lb1=192.0.2.4", "--only", "192.0.2.80:81"], "there are 192.0.2.80:80"),
        ([FOLDER / "web.conf", "--director", "lb1=192.0.2.4", "--real-server", "a=192.0.2.99"], "192.0.2.99"),
    ],
)
def test_bad_requests(words: list[str | Path], says: str, lbctl: Lbctl) -> None:
    done = lbctl("import", *words)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert not done.stdout
