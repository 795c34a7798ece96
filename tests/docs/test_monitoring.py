"""What monitoring/ and its page say is what directors write; and promtool takes it."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from cluster.metrics import DRIFTS, METRICS, REASONS
from lab.unpacked import unpacked

HOUSE = Path(__file__).resolve().parents[2]
MONITORING = HOUSE / "monitoring"
RULES = (MONITORING / "lbctl.rules.yml").read_text()
TESTS = (MONITORING / "lbctl.rules.test.yml").read_text()
DASHBOARD = (MONITORING / "dashboard.json").read_text()
PAGE = (HOUSE / "docs/metrics.md").read_text()

NAMES = {metric.name for metric in METRICS}
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading of the page, without its head."""
    section = text.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"][
        2:
    ]


def test_the_page_names_each_metric_with_its_meaning() -> None:
    said = [[f"`{m.name}`", ", ".join(f"`{label}`" for label in m.labels), m.meaning] for m in METRICS]
    assert rows(PAGE, "## What is written") == said
    assert rows(PAGE, "### Why a server is out") == [[f"`{reason}`", what] for reason, what in REASONS.items()]
    assert rows(PAGE, "### Drift") == [[f"`{what}`", counted] for what, counted in DRIFTS.items()]
    assert [name for name, _ in rows(PAGE, "## Alerts")] == [f"`{alert}`" for alert in ALERTS]


@pytest.mark.parametrize("text", [RULES, TESTS, DASHBOARD], ids=["rules", "tests", "dashboard"])
def test_only_what_is_written_is_asked_for(text: str) -> None:
    assert set(re.findall(r"\blbctl_\w+", text)) <= NAMES


def test_labels_that_are_compared_exist() -> None:
    """A misspelt value would make an alert that never fires."""
    for label, known in (("reason", REASONS), ("what", DRIFTS)):
        for text in (RULES, TESTS, DASHBOARD):
            assert set(re.findall(rf'\b{label}!?="(\w+)"', text)) <= set(known)


def test_each_alert_is_tested_to_fire_and_not_to() -> None:
    cases = re.findall(r"alertname: (\w+)(\}|\n +exp_alerts)", TESTS)
    assert {name for name, then in cases if then == "}"} == set(ALERTS)
    assert {name for name, then in cases if then != "}"} == set(ALERTS)


def test_the_dashboard_is_whole() -> None:
    panels = json.loads(DASHBOARD)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    places = [panel["gridPos"] for panel in panels]
    squares = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) < 24


@pytest.mark.process
@pytest.mark.parametrize(
    "command",
    ["check rules lbctl.rules.yml", "test rules lbctl.rules.test.yml", "check config prometheus.yml"],
)
def test_promtool(command: str) -> None:
    promtool = unpacked(("prometheus",), "usr/bin/promtool") / "usr/bin/promtool"
    done = subprocess.run([promtool, *command.split()], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout
