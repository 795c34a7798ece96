"""`lbctl trial`: wrong requests are said before any host is asked. On machines: tests/system."""

from pathlib import Path

import pytest

from tests.cli.shop import Lbctl


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["start", "--mode", "masq"], '"masq" is no mode'),
        (["start", "--director", "lb9"], "no director lb9"),
        (["show", "--director", "lb9"], "no director lb9"),
        (["restore", "none.ipvs"], "none.ipvs: No such file"),
        (["restore", "bad.ipvs"], "line 2 is not as `ipvsadm -Sn` writes it"),
        (["restore", "strange.ipvs"], "line 1: 10.9.9.9:3306 is no service of this cluster"),
    ],
)
def test_bad_requests(
    words: list[str], says: str, *, lbctl: Lbctl, declaration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.ipvs").write_text("-A -t 10.0.0.10:3306 -s rr\n-Z\n")
    (tmp_path / "strange.ipvs").write_text("-A -t 10.9.9.9:3306 -s rr\n")
    monkeypatch.chdir(tmp_path)
    done = lbctl("--cluster", declaration, "trial", *words)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
