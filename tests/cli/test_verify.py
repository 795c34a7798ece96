"""`lbctl verify` as a program: what it prints and writes, by what the client has seen."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.declaration import Declaration
from cluster.directly import direct_probes, judge_direct
from cluster.errors import Exit, HostError
from cluster.large import REQUEST, judge_large, large_probe
from cluster.verification import Answer, Verdict, judge, probes
from fleet import verify
from tests.cli.shop import Lbctl

MB4 = 4_000_000
SECRET = "tops3cret"
Client = Callable[..., Sequence[Verdict]]


def whole(name: str) -> Answer:
    return Answer(name, "10.0.0.5", sent=REQUEST, received=MB4)


def healthy(declaration: Declaration, *_: Any, large: int, direct: bool, **__: Any) -> list[Verdict]:
    reads, writes = probes(declaration, count=4)
    found = [judge(reads, [whole("db1"), whole("db2")] * 2)]
    found += [judge_large(large_probe(reads, large), [whole("db1"), whole("db2")])] if large else []
    found.append(judge(writes, [whole("db1")] * 4))
    asked = direct_probes(declaration, large=large) if direct else ()
    known = declaration.real_server
    return found + [judge_direct(p, [whole(p.endpoint.service)], found, known) for p in asked]


def without_a_way(declaration: Declaration, *_: Any, **__: Any) -> list[Verdict]:
    found = [judge(probe, [Answer(error="no answer in time")] * 4) for probe in probes(declaration, count=4)]
    asked = direct_probes(declaration, large=MB4)
    known = declaration.real_server
    return found + [judge_direct(p, [whole(p.endpoint.service)], found, known) for p in asked]


def not_tried(declaration: Declaration, *_: Any, **__: Any) -> list[Verdict]:
    reads, writes = probes(declaration, count=4)
    return [Verdict(reads, remarks=("a UDP service need not answer",)), judge(writes, [whole("db1")] * 4)]


def unusable(*_: Any, **__: Any) -> list[Verdict]:
    raise HostError("app1 could not be reached")


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client], None]:
    monkeypatch.setenv("MONITOR_PASSWORD", SECRET)
    return lambda one: monkeypatch.setattr(verify, "verify", one)


def test_a_line_for_each_verdict(clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path) -> None:
    clients(healthy)
    done = lbctl("-c", declaration, "verify")
    assert done.exit_code == Exit.DONE, done.stderr
    assert done.stdout.splitlines() == [
        "shop, mode dr, as a client on this machine sees it",
        "  ok    read     10.0.0.10:3306        rotates  db1 2  db2 2  client 10.0.0.5",
        "  ok    read     10.0.0.10:3306        large    db1 1  db2 1  4 MB",
        "  ok    write    10.0.0.11:3306        sticks   db1 4  client 10.0.0.5",
        "  ok    db1      10.0.0.1:3306         direct   db1 1  client 10.0.0.5  4 MB",
        "  ok    db2      10.0.0.2:3306         direct   db2 1  client 10.0.0.5  4 MB",
    ]


def test_less_on_request(clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path) -> None:
    clients(healthy)
    done = lbctl("-c", declaration, "verify", "--large", "0", "--no-direct")
    assert "large" not in done.stdout
    assert "direct" not in done.stdout


def test_what_was_not_tried_is_not_called_good(
    clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path
) -> None:
    clients(not_tried)
    done = lbctl("-c", declaration, "verify")
    assert done.exit_code == Exit.DONE
    assert done.stdout.splitlines()[1:3] == [
        "  not tried read     10.0.0.10:3306        rotates",
        "        a UDP service need not answer",
    ]
    told = json.loads(lbctl("-c", declaration, "verify", "--json").stdout)
    assert [each["tried"] for each in told["endpoints"]] == [False, True]


def test_who_is_guilty(clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path) -> None:
    clients(without_a_way)
    done = lbctl("-c", declaration, "verify")
    assert done.exit_code == Exit.TROUBLE
    assert "note: 10.0.0.10:3306 and 10.0.0.11:3306 fail and each server answers directly: the load" in done.stdout
    assert "2 of 4 verdicts are not as they should be" in done.stderr


def test_each_verdict_is_in_the_document(clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path) -> None:
    clients(healthy)
    told = json.loads(lbctl("-c", declaration, "verify", "--json").stdout)
    assert [each["service"] for each in told["endpoints"]] == ["read", "write"]
    assert [each["endpoint"] for each in told["large"]] == ["10.0.0.10:3306"]
    assert [each["service"] for each in told["servers"]] == ["db1", "db2"]
    assert told["endpoints"][0]["weights"].keys() == {"db1", "db2"}
    assert (told["healthy"], told["remarks"], told["conclusions"]) == (True, [], [])


@pytest.mark.parametrize(("client", "failures"), [(healthy, 0), (without_a_way, 2)])
def test_a_file_for_ci(
    client: Client, failures: int, clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path
) -> None:
    clients(client)
    file = declaration.parent / "verify.xml"
    done = lbctl("-c", declaration, "verify", "--user", "x", "--password-env", "MONITOR_PASSWORD", "--junit", file)
    assert done.exit_code == (Exit.TROUBLE if failures else Exit.DONE)
    found = ET.parse(file).getroot()  # noqa: S314 (our own)
    assert found.get("failures") == str(failures)
    assert len(list(found.iter("failure"))) == failures
    assert SECRET not in file.read_text()


def test_a_test_that_could_not_be_made_replaces_the_file_of_before(
    clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path, tmp_path: Path
) -> None:
    clients(unusable)
    file = tmp_path / "verify.xml"
    file.write_text("of before")
    done = lbctl("-c", declaration, "verify", "--junit", file)
    assert done.exit_code == Exit.FAILED
    assert ET.parse(file).getroot().get("errors") == "1"  # noqa: S314 (our own)


def test_a_place_that_cannot_be_written(
    clients: Callable[[Client], None], lbctl: Lbctl, declaration: Path, tmp_path: Path
) -> None:
    clients(healthy)
    done = lbctl("-c", declaration, "verify", "--junit", tmp_path / "no" / "verify.xml")
    assert done.exit_code == Exit.INVALID
    assert "No such file" in done.stderr


@pytest.mark.parametrize("size", ["4 elephants", "100", "2GB", "-1"])
def test_what_is_no_size(size: str, lbctl: Lbctl, declaration: Path) -> None:
    done = lbctl("-c", declaration, "verify", f"--large={size}")
    assert done.exit_code == Exit.INVALID
    assert "--large" in done.stderr
