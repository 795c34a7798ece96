"""A real Prometheus, at the client's place, asks real directors; what happens to the cluster fires the alerts."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from cluster.errors import Exit
from cluster.metrics import DROP_IN, EXPORTER, METRICS, TEXT
from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.topology import DATABASES
from lab.unpacked import unpacked
from tests.system.machines import PATIENT, Cluster, wait_until
from tests.variants import ROOT, Variant

pytestmark = [pytest.mark.lab, pytest.mark.soak]

MONITORING = ROOT / "monitoring"
ADDRESS = "10.0.0.5:9090"
ON = '[metrics]\nenabled = true\nallow = ["10.0.0.5"]\n\n'
(NAT,) = PATIENT
PROGRAM = "/usr/local/lib/lbctl/metrics"

SOON = 120
"""Seconds from an event to its alert: a director writes every 15 s, and all of this shares two processors."""


class Prometheus:
    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    def get(self, path: str) -> Any:
        """The data that its HTTP interface answers; None while it does not."""
        program = "import sys, urllib.request as u; sys.stdout.buffer.write(u.urlopen(sys.argv[1], timeout=20).read())"
        argv = [sys.executable, "-c", program, f"http://{ADDRESS}/api/v1/{path}"]
        done = self._lab.client(argv, check=False)
        return json.loads(done.stdout)["data"] if done.returncode == 0 else None

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples: labels under "metric", time and value under "value"."""
        found: list[dict[str, Any]] = self.get(f"query?query={quote(expression)}")["result"]
        return found

    def names(self) -> set[str]:
        return set(self.get("label/__name__/values") or ())

    def firing(self, **labels: str) -> list[str]:
        """Names of alerts that fire with these labels."""
        alerts = (alert for alert in self.get("alerts")["alerts"] if alert["state"] == "firing")
        return sorted({a["labels"]["alertname"] for a in alerts if labels.items() <= a["labels"].items()})

    def fires(self, name: str, **labels: str) -> None:
        wait_until(lambda: name in self.firing(**labels), f"{name} fires with {labels}", SOON)

    def stops(self, name: str, **labels: str) -> None:
        wait_until(lambda: name not in self.firing(**labels), f"{name} fires no more with {labels}", SOON)


def hurried(folder: Path) -> Path:
    """The rules that are shipped, with shorter patience: they are tested with their own by promtool."""
    rules = (MONITORING / "lbctl.rules.yml").read_text()
    (folder / "lbctl.rules.yml").write_text(re.sub(r"\bfor: \S+", "for: 3s", rules))
    own = (MONITORING / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(own.replace("_interval: 15s", "_interval: 3s"))
    return folder / "prometheus.yml"


@contextmanager
def running(lab: Lab, folder: Path) -> Iterator[Prometheus]:
    """Debian's Prometheus, unpacked and not installed."""
    program = unpacked(("prometheus",), "usr/bin/promtool") / "usr/bin/prometheus"
    options = [f"--config.file={hurried(folder)}", f"--storage.tsdb.path={folder}", f"--web.listen-address={ADDRESS}"]
    with (folder / "log").open("wb") as log:
        process = lab.client_process([str(program), *options], stdout=log, stderr=subprocess.STDOUT)
        try:
            prometheus = Prometheus(lab)
            wait_until(lambda: prometheus.get("status/buildinfo"), "Prometheus answers")
            yield prometheus
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def watched(galera: Lab, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """Deployed with metrics, in the mode where directors have most to tell."""
    cluster = Cluster(galera, tmp_path_factory.mktemp("cluster"))
    cluster.declare(Variant(Mode.NAT), **{NAT: ON + PATIENT[NAT]})
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster


@pytest.fixture(scope="module")
def prometheus(watched: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with running(watched.lab, tmp_path_factory.mktemp("prometheus")) as prometheus:
        yield prometheus


def directors(cluster: Cluster, command: str) -> dict[str, str]:
    return cluster.on_each(command, *cluster.declaration.director)


def test_a_second_deploy_has_nothing_to_do(watched: Cluster) -> None:
    done = watched.lbctl("plan")
    assert done.status == Exit.DONE, done.output
    watched.mark()
    again = watched.pyinfra()
    assert (again.status, again.changed) == (0, []), again.output
    assert watched.newer() == {}


def test_who_may_ask(watched: Cluster) -> None:
    """At its own address, from the first moment on; for nobody but whom it is declared."""
    for name, director in watched.declaration.director.items():
        listens = watched.on(name, "ss -Hltn 'sport = :9100' | awk '{print $4}'")
        assert listens == f"{director.address}:9100"
        said = watched.on(name, f"journalctl -q -o cat -u {EXPORTER} | grep -o 'Listening on.*'")
        assert said
        assert all(f"{director.address}:9100" in line for line in said.splitlines()), said
        ask = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{director.address}/9100' 2>&1; echo $?"
        assert watched.lab.client(["bash", "-c", ask]).stdout.split()[-1] == "0"
        # Dropped, not refused.
        assert watched.on("db1", ask).split()[-1] == "124"


def test_all_that_is_documented_is_scraped(watched: Cluster, prometheus: Prometheus) -> None:
    both = {"10.0.0.4:9100": "1", "10.0.0.6:9100": "1"}

    def up() -> bool:
        return {s["metric"]["instance"]: s["value"][1] for s in prometheus.query("up")} == both

    wait_until(up, "both directors answer", SOON)
    # Only told while a server is out.
    told = {metric.name for metric in METRICS} - {"lbctl_server_out"}
    wait_until(lambda: told <= prometheus.names(), "all metrics of ours")
    texts = [(MONITORING / name).read_text() for name in ("lbctl.rules.yml", "dashboard.json")]
    asked = set(re.findall(r"\b(?:lbctl|node)_\w+", " ".join(texts))) - {"lbctl_server_out"}
    assert "node_ipvs_backend_connections_active" in asked
    assert asked - prometheus.names() == set()
    assert prometheus.query("node_textfile_scrape_error == 1") == []
    assert [s["metric"]["director"] for s in prometheus.query("lbctl_director_active == 1")] == [watched.active()]
    assert prometheus.query("lbctl_drift > 0") == []
    wait_until(lambda: set(prometheus.firing()) <= {"LbctlFailover"}, "no alert", SOON)


def test_each_expression_of_the_dashboard_is_answered(watched: Cluster, prometheus: Prometheus) -> None:
    """With a connection, so that there is something to count."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    quiet = {"Out of rotation, and why", "Drift (places)"}
    assert watched.answers(watched.endpoints("read")[0], 3)
    time.sleep(10)  # two scrapes, for a rate
    for panel in panels:
        for target in panel["targets"]:
            found = prometheus.query(target["expr"].replace("$cluster", watched.declaration.name))
            assert found or panel["title"] in quiet, target["expr"]


def test_a_look_costs_little(watched: Cluster) -> None:
    """Between two looks there are a shell and a sleep; one look is less than two seconds of an emulated processor."""
    spent = watched.on("lb1", f"bash -c 'TIMEFORMAT=\"%R %U %S\"; time {PROGRAM} once' 2>&1").split()
    print(f"one look: {spent}")
    assert float(spent[1]) + float(spent[2]) < 2
    tasks = "systemctl show -p TasksCurrent --value lbctl-metrics"
    wait_until(lambda: watched.on("lb1", tasks) == "2", "two processes")


def test_a_dead_database_is_told_with_its_reason(watched: Cluster, prometheus: Prometheus) -> None:
    began = time.monotonic()
    watched.on("db3", "systemctl stop mariadb")
    try:
        prometheus.fires("LbctlServerOut", server="db3", service="read")
        print(f"LbctlServerOut after {time.monotonic() - began:.0f} s")
        assert "LbctlServiceWithoutServer" not in prometheus.firing()
    finally:
        watched.on("db3", "systemctl start mariadb")
    prometheus.stops("LbctlServerOut", server="db3")


def test_a_failover_is_told(watched: Cluster, prometheus: Prometheus) -> None:
    active = watched.active()
    (passive,) = set(watched.declaration.director) - {active}
    prometheus.query("up")
    began = time.monotonic()
    watched.on(active, "systemctl stop keepalived")
    try:
        prometheus.fires("LbctlFailover", director=passive)
        print(f"LbctlFailover after {time.monotonic() - began:.0f} s")
        prometheus.fires("LbctlKeepalivedDown", director=active)
    finally:
        watched.on(active, "systemctl start keepalived")
    prometheus.stops("LbctlKeepalivedDown", director=active)


def test_the_last_server_and_none(watched: Cluster, prometheus: Prometheus) -> None:
    """Health services that do not run: their databases are well, and get nobody."""
    stop = "systemctl stop lbctl-clustercheck"
    try:
        watched.on_each(stop, "db2", "db3")
        prometheus.fires("LbctlLastServer", service="write")
        prometheus.fires("LbctlServerOut", server="db2")
        watched.on("db1", stop)
        prometheus.fires("LbctlServiceWithoutServer", service="read", director=watched.active())
        assert "LbctlLastServer" not in prometheus.firing()
    finally:
        watched.on_each("systemctl start lbctl-clustercheck", *DATABASES)
    prometheus.stops("LbctlServiceWithoutServer")
    prometheus.stops("LbctlServerOut")


def test_two_active_directors_and_none(watched: Cluster, prometheus: Prometheus) -> None:
    # Both: the one of lower priority yields, if it hears the other.
    deaf = "INPUT -p 112 -j DROP"
    directors(watched, f"iptables -w -I {deaf}")
    try:
        prometheus.fires("LbctlTwoActiveDirectors", cluster=watched.declaration.name)
    finally:
        directors(watched, f"iptables -w -D {deaf}")
    prometheus.stops("LbctlTwoActiveDirectors")
    try:
        directors(watched, "systemctl stop keepalived")
        prometheus.fires("LbctlNoActiveDirector", cluster=watched.declaration.name)
    finally:
        directors(watched, "systemctl start keepalived")
    prometheus.stops("LbctlNoActiveDirector")
    for director in watched.declaration.director:
        watched.table_settles(director)


def test_drift_and_a_director_that_is_cut_off(watched: Cluster, prometheus: Prometheus) -> None:
    active = watched.active()
    endpoint = watched.endpoints("read")[0]
    watched.on(active, f"ipvsadm -e -t {endpoint} -r 10.0.0.1:3306 -m -w 3")
    try:
        prometheus.fires("LbctlDrift", director=active, what="weight")
    finally:
        watched.on(active, f"ipvsadm -e -t {endpoint} -r 10.0.0.1:3306 -m -w 10")
    prometheus.stops("LbctlDrift", director=active)
    (passive,) = set(watched.declaration.director) - {active}
    watched.on(passive, f"systemctl stop {EXPORTER} lbctl-metrics")
    try:
        prometheus.fires("LbctlDirectorDown")
        watched.on(passive, f"systemctl start {EXPORTER}")
        # It answers again, and has no text.
        prometheus.fires("LbctlTextStale")
    finally:
        watched.on(passive, f"systemctl start {EXPORTER} lbctl-metrics")
    prometheus.stops("LbctlTextStale")


def test_after_a_reboot_it_tells_again(watched: Cluster, prometheus: Prometheus) -> None:
    (passive,) = set(watched.declaration.director) - {watched.active()}
    watched.lab.reboot(passive)
    told = f'time() - lbctl_written_timestamp_seconds{{director="{passive}"}} < 30'
    wait_until(lambda: prometheus.query(told), "it tells again", SOON)
    watched.table_settles(passive)
    again = watched.pyinfra()
    assert (again.status, again.changed) == (0, []), again.output


def test_switched_off_nothing_is_left(watched: Cluster) -> None:
    text = watched.file.read_text()
    watched.file.write_text(text.replace("enabled = true", "enabled = false"))
    done = watched.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    look = (
        f"ls -d {PROGRAM} {TEXT} {TEXT}.new {DROP_IN} {DROP_IN.rpartition('/')[0]} /run/lbctl/*metrics* "
        f"/run/lbctl/{EXPORTER}* /etc/systemd/system/*metrics* /etc/systemd/system/*.wants/*exporter* 2>/dev/null; "
        f"systemctl is-active {EXPORTER} lbctl-metrics; ss -Hltn 'sport = :9100'"
    )
    assert set(directors(watched, f"{{ {look}; }} || :").values()) == {"inactive\ninactive"}
    watched.mark()
    again = watched.pyinfra()
    assert (again.status, again.changed) == (0, []), again.output
    assert watched.newer() == {}
    # And on again, with the package in place.
    watched.file.write_text(text)
    done = watched.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    written = f"test -s {TEXT} && echo yes || :"
    wait_until(lambda: set(directors(watched, written).values()) == {"yes"}, "the text is written")
    assert watched.pyinfra().changed == []
