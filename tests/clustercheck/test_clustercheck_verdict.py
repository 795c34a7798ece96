"""The pure room of clustercheck: which values serve which path, and how it says so."""

import ast
import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from clustercheck import clustercheck
from clustercheck.clustercheck import Journal, Look, Options, allowed, judge, last_words, response, summary, verdict

SYNCED: Mapping[str, str] = {
    "wsrep_cluster_status": "Primary",
    "wsrep_local_index": "0",
    "wsrep_local_state": "4",
    "wsrep_local_state_comment": "Synced",
    "wsrep_ready": "ON",
    "wsrep_reject_queries": "NONE",
    "wsrep_sst_donor_rejects_queries": "OFF",
    "read_only": "OFF",
}
DONOR = {"wsrep_local_state": "2", "wsrep_local_state_comment": "Donor/Desynced"}
# As a node that was cut off from the two others was seen.
CUT_OFF = {
    "wsrep_cluster_status": "non-Primary",
    "wsrep_local_index": "0",
    "wsrep_local_state": "0",
    "wsrep_local_state_comment": "Initialized",
    "wsrep_ready": "OFF",
}
PATHS = ("/", "/writable", "/master")
OPTIONS = Options()


def serving(values: Mapping[str, str], options: Options = OPTIONS) -> set[str]:
    return {path for path in PATHS if verdict(path, values, options)[0]}


def test_paths() -> None:
    assert tuple(clustercheck.RULES) == PATHS


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({}, {"/", "/writable", "/master"}),
        ({"wsrep_local_index": "1"}, {"/", "/writable"}),
        ({"wsrep_local_index": "2"}, {"/", "/writable"}),
        (DONOR, set()),
        (CUT_OFF, set()),
        ({"wsrep_reject_queries": "ALL"}, set()),
        ({"wsrep_reject_queries": "ALL_KILL"}, set()),
        ({"read_only": "ON"}, {"/"}),
        ({"super_read_only": "ON"}, {"/"}),
        ({"super_read_only": "OFF"}, {"/", "/writable", "/master"}),
        ({"wsrep_local_state": "1", "wsrep_local_state_comment": "Joining: receiving State Transfer"}, set()),
        ({"wsrep_local_state": "3", "wsrep_local_state_comment": "Joined"}, set()),
        ({"wsrep_ready": "OFF"}, set()),
        ({"wsrep_cluster_status": "Disconnected"}, set()),
        ({"pxc_maint_mode": "DISABLED"}, {"/", "/writable", "/master"}),
        ({"pxc_maint_mode": "MAINTENANCE"}, set()),
        ({"pxc_maint_mode": "SHUTDOWN"}, set()),
    ],
)
def test_what_was_seen_of_real_nodes(changes: dict[str, str], paths: set[str]) -> None:
    assert serving({**SYNCED, **changes}) == paths


@pytest.mark.parametrize(
    ("path", "changes", "reason"),
    [
        ("/", {}, "Synced"),
        ("/", DONOR, "not Synced: Donor/Desynced (wsrep_local_state 2)"),
        ("/", CUT_OFF, "not in the primary component (wsrep_cluster_status is non-Primary)"),
        ("/", {"wsrep_ready": "OFF"}, "wsrep_ready is OFF"),
        ("/", {"wsrep_reject_queries": "ALL_KILL"}, "wsrep_reject_queries is ALL_KILL"),
        ("/", {"pxc_maint_mode": "MAINTENANCE"}, "pxc_maint_mode is MAINTENANCE"),
        ("/writable", {"read_only": "ON"}, "read_only is ON"),
        ("/writable", {"super_read_only": "ON"}, "super_read_only is ON"),
        ("/master", {"wsrep_local_index": "2"}, "wsrep_local_index is 2, the master is index 0"),
        ("/master", {"wsrep_local_index": "2", "read_only": "ON"}, "read_only is ON"),
        (
            "/",
            {"wsrep_local_state_comment": "{odd}", "wsrep_local_state": "{}"},
            "not Synced: {odd} (wsrep_local_state {})",
        ),
    ],
)
def test_reason_in_plain_words(path: str, changes: dict[str, str], reason: str) -> None:
    assert verdict(path, {**SYNCED, **changes}, OPTIONS)[1] == reason


@pytest.mark.parametrize(
    "missing", sorted(clustercheck.RULES["/master"].keys() - {"super_read_only", "pxc_maint_mode"})
)
def test_value_that_is_missing_never_counts_as_good(missing: str) -> None:
    values = {name: value for name, value in SYNCED.items() if name != missing}
    good, reason = verdict("/master", values, OPTIONS)
    assert not good
    assert missing in reason
    assert "not known" in reason


def test_all_that_counts_is_asked_for() -> None:
    assert [name for name in clustercheck.RULES["/master"] if f"'{name}'".encode() not in clustercheck.QUERY] == []


def test_nothing_known() -> None:
    assert serving({}) == set()


def test_case_of_values_does_not_matter() -> None:
    values = {name: value.lower() for name, value in SYNCED.items()}
    assert serving(values) == set(PATHS)


def test_a_donor_serves_when_asked_to() -> None:
    options = Options(serve_donor=True)
    donor = {**SYNCED, **DONOR}
    assert serving(donor, options) == set(PATHS)
    assert verdict("/", donor, options)[1] == "Donor/Desynced, which serves by --serve-donor"
    assert serving({**donor, "wsrep_sst_donor_rejects_queries": "ON"}, options) == set()
    assert serving({**donor, "wsrep_reject_queries": "ALL"}, options) == set()
    assert serving({**donor, "read_only": "ON"}, options) == {"/"}
    assert serving({**SYNCED, **CUT_OFF}, options) == set()
    assert serving({**SYNCED, "wsrep_local_state": "3"}, options) == set()


def test_serving_donors_changes_nothing_for_a_synced_node() -> None:
    values = {**SYNCED, "wsrep_sst_donor_rejects_queries": "ON"}
    assert verdict("/", values, Options(serve_donor=True)) == (True, "Synced")


def test_an_old_look_does_not_count() -> None:
    look = Look(SYNCED, 100.0)
    assert judge("/", look, 101.0, OPTIONS) == (True, "Synced")
    assert judge("/", look, 101.2, OPTIONS) == (False, "no answer from the server for 1.2 s")


def test_a_broken_connection_says_why() -> None:
    look = Look({}, 100.0, "ERROR 2002 (HY000): no socket")
    assert judge("/", look, 100.0, OPTIONS) == (False, "no connection to the server: ERROR 2002 (HY000): no socket")


def test_before_the_first_answer() -> None:
    assert judge("/", Look({}, 100.0), 100.1, OPTIONS) == (False, "the first look at the server is under way")


def test_summary_says_what_a_writer_would_object_to() -> None:
    def line(**changes: str) -> str:
        return summary(Look({**SYNCED, **changes}, 0.0), 0.0, OPTIONS)

    assert line() == "serving: Synced"
    assert line(read_only="ON") == "serving: Synced; not /writable: read_only is ON"
    assert line(wsrep_local_index="1") == (
        "serving: Synced; not /master: wsrep_local_index is 1, the master is index 0"
    )
    assert line(wsrep_ready="OFF") == "not serving: wsrep_ready is OFF"


def answer(request: str, look: Look | None = None) -> tuple[str, str]:
    head, _, body = response(request.encode(), look or Look(SYNCED, 0.0), 0.0, OPTIONS).decode().partition("\r\n\r\n")
    return head.split("\r\n")[0], body


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET / HTTP/1.0", "200 OK"),
        ("GET /?from=lb1 HTTP/1.1", "200 OK"),
        ("HEAD /master HTTP/1.0", "200 OK"),
        ("GET /elsewhere HTTP/1.0", "404 Not Found"),
        ("GET //  HTTP/1.0", "404 Not Found"),
        ("POST / HTTP/1.0", "405 Method Not Allowed"),
        ("get / HTTP/1.0", "405 Method Not Allowed"),
        ("GET /", "400 Bad Request"),
        ("", "400 Bad Request"),
        ("\x16\x03\x01\x02", "400 Bad Request"),
        ("GET /" + 9000 * "x" + " HTTP/1.0", "431 Request Header Fields Too Large"),
    ],
)
def test_status(line: str, status: str) -> None:
    assert answer(f"{line}\r\n\r\n")[0] == f"HTTP/1.0 {status}"


def test_body_is_the_reason_and_the_values() -> None:
    reason, values, end = answer("GET / HTTP/1.0\r\n\r\n")[1].split("\n")
    assert (reason, json.loads(values), end) == ("Synced", SYNCED, "")
    status, body = answer("GET / HTTP/1.0\r\n\r\n", Look({}, 0.0, "gone"))
    assert status == "HTTP/1.0 503 Service Unavailable"
    assert body == "no connection to the server: gone\n{}\n"


def test_head_has_the_length_but_no_body() -> None:
    got = response(b"GET / HTTP/1.0\r\n\r\n", Look(SYNCED, 0.0), 0.0, OPTIONS)
    head = response(b"HEAD / HTTP/1.0\r\n\r\n", Look(SYNCED, 0.0), 0.0, OPTIONS)
    assert got.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    assert f"Content-Length: {len(got) - len(head)}\r\n".encode() in head


def test_last_words_of_a_client() -> None:
    assert last_words(b"wsrep_ready\tON\nWARNING: old\nERROR 1045 (28000): Access denied\n\n") == (
        "ERROR 1045 (28000): Access denied"
    )
    assert last_words(b"wsrep_ready\tON\n") == "the client ended without a word"
    assert last_words(b"") == "the client ended without a word"
    assert len(last_words(5000 * b"x")) == 300
    assert last_words(b"\xff\n") == "\ufffd"


def test_allowed() -> None:
    networks = [ipaddress.ip_network(text) for text in ("10.0.0.4", "10.1.0.0/24", "fd00::/64")]
    for host in ("10.0.0.4", "::ffff:10.0.0.4", "10.1.0.77", "fd00::1"):
        assert allowed(host, networks), host
    for host in ("10.0.0.5", "::ffff:10.0.0.5", "::1", "fe80::1%eth0"):
        assert not allowed(host, networks), host


def test_journal_has_a_line_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    for second in range(100):
        journal.turn(
            "serving: Synced" if second < 50 else f"not serving: no answer from the server for {second}.2 s", second
        )
    assert capsys.readouterr().err.splitlines() == [
        "serving: Synced",
        "not serving: no answer from the server for 50.2 s",
    ]


def test_journal_is_not_flooded_and_ends_with_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    for tick in range(4 * 3600):
        journal.turn(f"state {tick % 2}", tick / 4)
    for tick in range(80):
        journal.turn("serving: Synced", 3600 + tick / 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:20] == 10 * ["state 0", "state 1"]
    assert len(lines) <= 20 + 362
    assert lines[-1] == "serving: Synced"


def test_every_python_that_debian_has_can_read_it() -> None:
    ast.parse(Path(clustercheck.__file__).read_text(), feature_version=(3, 9))
