"""How plans look."""

from dataclasses import replace

from cli.show import as_json, as_lines
from cluster.difference import Action, Difference
from cluster.parts import File, Thing
from cluster.plan import Plan, Step, Work

OLD, NEW = "arp = 0\n", "arp = 1\n"


def plan_for(*servers: str, text: str = NEW) -> Plan:
    file = File("/etc/arp", text)
    changes = (Difference(Thing.ARP, Action.BUILD, file, "file", "rewrite /etc/arp"),)
    return Plan((Step(Work.PREPARE, "prepare real servers", dict.fromkeys(servers, changes)),))


def test_a_difference_that_hosts_share_is_shown_once() -> None:
    texts = {name: {"/etc/arp": OLD} for name in ("db1", "db2")} | {"db3": {"/etc/arp": "arp = 2\n"}}
    shown = [line.strip() for _, line in as_lines(plan_for("db1", "db2", "db3"), texts)]
    assert (shown.count("-arp = 0"), shown.count("-arp = 2"), shown.count("+arp = 1")) == (1, 1, 2)
    assert shown[shown.index("db2      rewrite /etc/arp") + 1] == "the same as on db1"


def test_without_texts_no_difference_is_shown() -> None:
    assert [line.strip() for _, line in as_lines(plan_for("db1"))] == [
        "1. prepare real servers",
        "db1      rewrite /etc/arp",
    ]


def test_where_only_a_secret_differs_that_is_said() -> None:
    texts = {"db1": {"/etc/arp": "auth_pass ***\n"}}
    shown = [line.strip() for _, line in as_lines(plan_for("db1", text="auth_pass Secret12\n"), texts)]
    assert shown[2:] == ["what differs is not shown: a secret, or who may read the file"]


def test_what_a_step_waits_for_is_shown_before_it() -> None:
    (step,) = plan_for("db1").steps
    shown = [line.strip() for _, line in as_lines(Plan((replace(step, gate="lb2 knows all"),)))]
    assert shown == ["1. prepare real servers", "gate     lb2 knows all", "db1      rewrite /etc/arp"]
    gates = [step["gate"] for step in as_json(Plan((step, replace(step, gate="lb2 knows all"))))["steps"]]
    assert gates == [None, "lb2 knows all"]
