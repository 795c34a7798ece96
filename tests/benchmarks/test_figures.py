"""What a benchmark says: rows, its exit code, and the file that is kept."""

import json
from pathlib import Path

import pytest

from benchmarks import converge, failover, figures, live, scale
from benchmarks.figures import Figure, report
from cluster.vocabulary import Mode
from lab.arp_watch import Round, Watched
from lab.load_record import Summary
from tests.system.live import Seen


def test_a_goal_is_at_most() -> None:
    assert Figure("as long", 2.0, 2.0).met
    assert not Figure("longer", 2.1, 2.0).met
    assert Figure("without a goal", 9.9).met


def test_a_missed_goal_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert report([Figure("quick", 1.0, 2.0), Figure("for comparison", 5.0)]) == 0
    assert report([Figure("quick", 1.0, 2.0), Figure("failed connections", 1, 0, "")]) == 1
    rows = [[cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()]
    assert rows[2] == ["for comparison", "5.000 s", "", ""]
    assert rows[-1] == ["failed connections", "1", "0", "NO"]


def test_figures_are_kept_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(figures, "HOUSE", tmp_path)
    monkeypatch.delenv("SAVE", raising=False)
    report([Figure("quick", 1.0, 2.0)], "quickness")
    assert not (tmp_path / "results").exists()
    monkeypatch.setenv("SAVE", "1")
    report([Figure("quick", 1.0, 2.0)], "quickness", {"seconds": [1.0]})
    kept = json.loads((tmp_path / "results/quickness.json").read_text())
    assert kept["figures"] == [{"what": "quick", "figure": 1.0, "goal": 2.0, "unit": "s", "met": True}]
    assert kept["data"] == {"seconds": [1.0]}
    assert {"date", "machine", "kernel"} <= set(kept["conditions"])


TAKEN = {
    "first deploy, ansible": [30.0, 32.0, 31.0],
    "no-op, ansible": [17.0],
    "bare ssh": [0.6],
    "first deploy, pyinfra": [12.0],
    "no-op, pyinfra": [1.1],
    "first deploy, lbctl": [16.0],
    "no-op, lbctl": [1.3],
}


def test_both_ways_of_deploying_are_held_to_the_goals() -> None:
    missed = [figure for figure in converge.figures(TAKEN) if not figure.met]
    assert [(figure.what, round(figure.value, 3)) for figure in missed] == [
        ("  of Ansible's", 0.516),
        ("  of bare ssh", 2.167),
    ]


def test_what_says_that_nothing_was_changed() -> None:
    ansible = "".join(
        f"{host} : ok=9 changed=0 unreachable=0 failed=0\n" for host in ("db1", "db2", "db3", "lb1", "lb2")
    )
    assert converge.UNCHANGED["ansible"](ansible)
    assert not converge.UNCHANGED["ansible"](ansible.replace("changed=0", "changed=1", 1))
    head = "Operation   Hosts   Success   Error   No Change\n"
    assert converge.UNCHANGED["pyinfra"](f"{head}network   3   -   -   3\nGrand total   3   -   -   3")
    assert not converge.UNCHANGED["pyinfra"](f"{head}network   3   1   -   2\nGrand total   3   1   -   2")
    assert not converge.UNCHANGED["pyinfra"]("Error: no inventory")


def test_growth_is_from_the_fewest_hosts_to_the_most() -> None:
    taken = {str(size): [[time, 0.1, 0.1]] for size, time in zip(scale.SIZES, (1.0, 1.1, 1.5, 2.5, 4.5), strict=True)}
    *_, five, alive, dead, _, growth = scale.figures(taken, [[2.0, 2.9, 3.5], [11.0], [9.9]])
    assert (growth.value, growth.met) == (4.5, False)
    assert [(figure.what, figure.value, figure.met) for figure in (five, alive, dead)] == [
        ("lbctl status, 5 hosts, one of them dead", 2.9, True),
        ("lbctl status, 200 hosts", 11.0, False),
        ("lbctl status, 200 hosts, one of them dead", 9.9, True),
    ]


def test_new_connections_may_fail_in_a_crash_only() -> None:
    lost = Summary(100, {"refused": 1}, 0.1, 20, {}, 0.1, 0.5)
    missed = {
        fault.name: [figure.what for figure in failover.figures(Mode.DR, fault, [lost]) if not figure.met]
        for fault in failover.FAULTS
    }
    assert [name for name, whats in missed.items() if whats] == ["planned (lbctl failover)", "keepalived stopped"]
    cut = Summary(100, {}, 0.1, 20, {3: "reset"}, 0.1, 1.5)
    for fault in failover.FAULTS:
        assert sum(not figure.met for figure in failover.figures(Mode.DR, fault, [cut])) == 2


def test_only_a_removal_that_is_told_to_may_cut_what_is_held() -> None:
    seen = Seen()
    seen.summary = Summary(3000, {"refused": 2}, 0.4, 20, {7: "reset"}, 1.2, 0.1)
    seen.arp = Watched((Round("10.0.0.10", 1.0, ("02:00:0a:00:00:04", "02:00:0a:00:00:06")),))
    missed = {
        command.name: [figure.what for figure in live.figures(Mode.TUN, command, [seen]) if not figure.met]
        for command in live.COMMANDS
    }
    assert missed["server drained"] == [
        "tun, server drained: failed of 3000 new",
        "tun, server drained: cut of 20 held",
        "tun, server drained: addresses with two owners",
    ]
    assert [name for name, whats in missed.items() if len(whats) == 2] == ["server removed"]
    longest = live.figures(Mode.TUN, live.COMMANDS[0], [seen, seen])[2]
    assert (longest.what, longest.value, longest.goal) == ("tun, server drained: longest request", 1.2, None)
