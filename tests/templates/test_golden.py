"""Whole files beside their expectation, in golden/: every form of the lab's cluster. `pytest --update-golden` writes them anew.

golden/keepalived.conf/FORM.DIRECTOR.conf is keepalived.conf; golden/files/FORM.HOST.txt has all other files of a host, which do
not depend on how the writer is chosen. db2 and db3 are db1 with another address.
"""

import re
from pathlib import Path

import pytest

from cluster import boot
from cluster.parts import File
from cluster.vocabulary import Mode
from tests.cluster.states import IFUPDOWN, NETWORKD
from tests.variants import MATRIX, SPECIAL, Variant

GOLDEN = Path(__file__).parent / "golden"
KEEPALIVED = "/etc/keepalived/keepalived.conf"
FORMS = (*MATRIX, *SPECIAL)
PERSISTENT = [form for form in FORMS if form.writer == "persistent" or form in SPECIAL]


_WORDS = re.compile(r"[\w.]+|\W")


def files(form: Variant, host: str) -> list[File]:
    """All that the host carries for the declared mode where ifupdown configures its network, keepalived.conf first."""
    footprint = boot.on_host(form.blueprint.footprint(host, {form.mode}), IFUPDOWN)
    return sorted((file for part in footprint for file in part.files), key=lambda file: file.path != KEEPALIVED)


def shown(form: Variant, host: str) -> str:
    """All files but keepalived.conf in one text. Hashes of programs, which change with every word in them, are left out."""
    blueprint = form.blueprint
    units = {unit.revision for part in blueprint.footprint(host, {form.mode}) for unit in part.units if unit.revision}
    lines = []
    for file in files(form, host):
        if file.path == KEEPALIVED:
            continue
        text = "(clustercheck/clustercheck.py as it is)\n" if file.path.endswith("/clustercheck") else file.text
        for revision in units:
            text = text.replace(revision, "REVISION")
        lines.append(f"==== {file.path} {file.mode:04o}\n{text}")
    return "\n".join(lines)


def compare(golden: Path, text: str, *, update: bool) -> None:
    if update:
        golden.parent.mkdir(exist_ok=True, parents=True)
        golden.write_text(text)
    assert golden.read_text() == text, f"{golden} says otherwise; if the new text is right: pytest --update-golden"


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def conf_of(form: Variant, director: str) -> Path:
    return GOLDEN / "keepalived.conf" / f"{form.name}.{director}.conf"


def files_of(form: Variant, host: str) -> Path:
    return GOLDEN / "files" / f"{form.name.replace('-persistent', '')}.{host}.txt"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_keepalived_conf(form: Variant, *, update: bool) -> None:
    for director in form.declaration.director:
        conf, *_ = files(form, director)
        assert conf.path == KEEPALIVED
        # Readable by root alone where a password is in it, and nowhere else needlessly.
        assert (conf.mode, conf.secret) == ((0o600, True) if form.password else (0o644, False))
        compare(conf_of(form, director), conf.text, update=update)


@pytest.mark.parametrize("form", PERSISTENT, ids=lambda form: form.name)
def test_files(form: Variant, *, update: bool) -> None:
    for host in (*form.declaration.director, "db1"):
        compare(files_of(form, host), shown(form, host), update=update)


@pytest.mark.parametrize("form", PERSISTENT, ids=lambda form: form.name)
def test_servers_differ_by_their_address(form: Variant) -> None:
    for other in ("db2", "db3"):
        # In nat each names each other one, in the order of the declaration.
        mine, its = "10.0.0.1", str(form.declaration.real_server[other].address)
        exchanged = {mine: its, its: mine}
        words = [exchanged.get(word, word) for word in _WORDS.findall(shown(form, "db1"))]
        assert sorted(_WORDS.findall(shown(form, other))) == sorted(words)


@pytest.mark.parametrize("form", MATRIX, ids=lambda form: form.name)
def test_the_writer_is_keepaliveds_affair(form: Variant) -> None:
    plain = Variant(form.mode, "persistent", form.directors)
    for host in (*form.declaration.director, "db1"):
        assert shown(form, host) == shown(plain, host)


def networkd_of(form: Variant, host: str) -> Path:
    return GOLDEN / "networkd" / f"{form.mode}.{host}.txt"


NETWORKD_FORMS = [Variant(mode) for mode in Mode]


@pytest.mark.parametrize("form", NETWORKD_FORMS, ids=lambda form: form.mode)
def test_files_for_networkd(form: Variant, *, update: bool) -> None:
    """What is there instead of ifupdown's files; all others are the same."""
    for host in ("lb1", "db1"):
        footprint = form.blueprint.footprint(host, {form.mode})
        theirs = [file for part in boot.on_host(footprint, NETWORKD) for file in part.files]
        usual = [file for part in boot.on_host(footprint, IFUPDOWN) for file in part.files]
        assert [file for file in theirs if not file.boot] == [file for file in usual if not file.boot]
        text = "\n".join(f"==== {file.path} {file.mode:04o}\n{file.text}" for file in theirs if file.boot)
        compare(networkd_of(form, host), text, update=update)


def test_nothing_else_lies_there(*, update: bool) -> None:
    """A form that is no longer rendered leaves no file behind."""
    wanted = {conf_of(form, director) for form in FORMS for director in form.declaration.director}
    wanted |= {files_of(form, host) for form in PERSISTENT for host in (*form.declaration.director, "db1")}
    wanted |= {networkd_of(form, host) for form in NETWORKD_FORMS for host in ("lb1", "db1")}
    there = {path for path in GOLDEN.rglob("*") if path.is_file()}
    if update:
        for path in there - wanted:
            path.unlink()
    else:
        assert there == wanted


def test_the_password_stands_in_one_file_only() -> None:
    """In keepalived.conf of the directors; and in no other file, whatever the mode."""
    for mode in Mode:
        form = Variant(mode, vrrp="password")
        assert form.password
        for host in form.declaration.hosts():
            having = [file.path for file in files(form, host) if form.password in file.text]
            assert having == ([KEEPALIVED] if host in form.declaration.director else [])
