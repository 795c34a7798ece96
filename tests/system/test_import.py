"""What is imported is, for a real keepalived and a real kernel, the table that the hand-made file was.

One director, and keepalived's half that keeps the table (--check): of the files' own addresses nothing is on any network. Checks
and alpha are left out on both sides: no server of these files exists, so there would be nothing to see.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from tests.cluster.test_importing import CASES, HERE, Case, imported_from, rendered
from tests.system.machines import wait_until

# Minutes, and few of them seen on the code as it is now: docs/development.md, "The long tests".
pytestmark = [pytest.mark.lab, pytest.mark.soak]

CHECKER = re.compile(r"\b(HTTP_GET|SSL_GET|TCP_CHECK|MISC_CHECK|DNS_CHECK)\s*\{")


@pytest.fixture(scope="module")
def alone() -> Iterator[Lab]:
    """lb1, with keepalived that never ran."""
    lab = Lab(f"import-{os.getpid()}")
    try:
        lab.up(["lb1"])
        install = "DEBIAN_FRONTEND=noninteractive apt-get -q -y install keepalived ipvsadm"
        lab.exec(
            "lb1", f"apt-get -q update; {install}; systemctl disable --now keepalived; rm -rf /tmp/files", timeout=300
        )
        yield lab
    finally:
        lab.down()


def unchecked(text: str) -> str:
    while found := CHECKER.search(text):
        depth, end = 1, found.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: found.start()] + text[end:]
    return re.sub(r"^\s*alpha\s*$", "", text, flags=re.MULTILINE)


def kernel(lab: Lab, file: str, instance: str) -> dict[str, tuple[str, dict[str, tuple[str, int]]]]:
    """The table as keepalived makes it: place → how, and {server: (method, weight)}."""
    options = f"--check --dont-fork --config-id {instance} --use-file {file}"
    pids = "--pid /run/try.pid --checkers_pid /run/try-checkers.pid"
    lab.exec("lb1", f"ipvsadm -C; nohup keepalived {options} {pids} >/tmp/try.log 2>&1 </dev/null & sleep 0.2")

    def rests() -> str:
        looks = [lab.exec("lb1", "ipvsadm -Sn; sleep 0.5").stdout for _ in range(2)]
        return looks[0] if looks[0] == looks[1] else ""

    try:
        seen = wait_until(rests, f"keepalived has read {file}")
    finally:
        lab.exec("lb1", "kill $(cat /run/try.pid); while [ -e /run/try.pid ]; do sleep 0.1; done; ipvsadm -C")
    found: dict[str, tuple[str, dict[str, tuple[str, int]]]] = {}
    for line in seen.splitlines():
        words = line.split()
        if words[1] not in {"-t", "-u"} or "[" in words[2]:
            continue  # marks and IPv6, which no declaration has, and import tells
        place = " ".join(words[1:3])
        if words[0] == "-A":
            # Options of schedulers and of single packets are told, too.
            found[place] = (re.sub(r" -b \S+| -o| --ops", "", " ".join(words[3:])), {})
        else:
            found[place][1][words[4]] = (words[5], int(words[7]))
    return found


def copied(lab: Lab, folder: Path, to: str) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            name = f"{to}/{path.relative_to(folder)}"
            lab.exec("lb1", f"mkdir -p $(dirname {name}); cat > {name}", stdin=unchecked(path.read_text()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_same_table(case: Case, alone: Lab, tmp_path: Path) -> None:
    if not alone.exec("lb1", "ls -d /tmp/files", check=False).stdout:
        copied(alone, HERE, "/tmp/files")
    wanted = kernel(alone, f"/tmp/files/{case.files[0]}", case.names[0])
    for place in case.gone:
        where, _, protocol = place.partition("/")
        del wanted[f"-{protocol[0]} {where}"]
    for how, servers in wanted.values():
        if how == "-s fo":
            servers |= {server: (method, case.ranks[server]) for server, (method, _) in servers.items()}
    assert wanted
    found = imported_from(case.files, case.wish)
    (tmp_path / "ours").mkdir()
    rendered(found, case.names[0], tmp_path / "ours")
    copied(alone, tmp_path / "ours", "/tmp/ours")
    assert kernel(alone, f"/tmp/ours/{case.names[0]}.conf", case.names[0]) == wanted
