"""The program that writes a director's text for Prometheus, run on a host that is made up of files and small programs."""

import os
import re
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.declaration import Declaration
from cluster.footprint import Blueprint
from cluster.history import Entry
from cluster.metrics import DRIFTS, METRICS, REASONS, TEXT
from cluster.parts import Part, Thing
from cluster.reading import read
from cluster.vocabulary import Mode
from templates import render
from tests.cluster.watched import AT
from tests.variants import Variant

ON = "\n[metrics]\nenabled = true\n"


def declared(form: Variant, more: str = ON) -> Declaration:
    return read(form.text + more, "form.toml")


def part(form: Variant, more: str = ON) -> Part:
    footprint = Blueprint(declared(form, more), render).footprint("lb1", {form.mode})
    return next(part for part in footprint if part.thing is Thing.METRICS)


TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A00000A:0CEA rr
  -> 0A000001:0CEA      Route   10     3          1
  -> 0A000002:0CEA      Route   10     0          0
  -> 0A000003:0CEA      Route   10     0          0
TCP  0A00000B:0CEA rr persistent 8640000 00000000
  -> 0A000001:0CEA      Route   10     0          0
  -> 0A000002:0CEA      Route   10     0          0
  -> 0A000003:0CEA      Route   10     0          0
"""


@dataclass
class Host:
    """A director in a folder: `/proc`, `/etc`, `/run` and `/var` below it, and programs that answer what is said here."""

    root: Path
    form: Variant = field(default_factory=Variant)
    table: str | None = TABLE
    held: tuple[str, ...] = ("10.0.0.10", "10.0.0.11", "10.0.0.12")
    runs: bool = True
    loaded: str | None = None
    conf: str | None = None
    answer: str = "503 not Synced: Joining (wsrep_local_state 1)"
    daemons: str = "master sync daemon (mcast=eth0, syncid=19)\n"

    def write(self, path: str, text: str) -> Path:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def program(self, name: str, body: str) -> None:
        file = self.write(f"/bin/{name}", f"#!/bin/sh\n{body}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def look(self) -> dict[str, float]:
        """Samples by what stands before their value, without the labels that all have."""
        conf = Blueprint(declared(self.form), render).keepalived_conf("lb1")
        self.write("/etc/keepalived/keepalived.conf", self.conf or conf.text)
        self.write("/run/lbctl/keepalived.service", f"{self.loaded or conf.sha256}  -\nterms\n")
        if self.table is not None:
            self.write("/proc/net/ip_vs", self.table)
        addresses = "".join(f"2: eth0    inet {a}/32 scope global eth0\n" for a in ("10.0.0.4", *self.held))
        self.program("ip", f"cat <<'END'\n{addresses}END")
        self.program("systemctl", f"exit {0 if self.runs else 3}")
        self.program("ipvsadm", f"printf %s '{self.daemons}'")
        # What `ask_all` runs: bash would connect to a lab's address.
        self.program("timeout", f"while read -r asked; do echo \"$asked\" '{self.answer}'; done")
        text = self.root / TEXT.lstrip("/")
        text.parent.mkdir(parents=True, exist_ok=True)
        (program,) = (file for file in part(self.form).files if file.path.endswith("/metrics"))
        body = re.sub(r"(?<=[=\s])/(?=(?:etc|run|proc|var)/)", f"{self.root}/", program.text)
        body = body.replace("PATH=/usr/sbin", f"PATH={self.root}/bin:/usr/sbin")
        here = self.write("/metrics", body)
        done = subprocess.run(["bash", "-u", str(here), "once"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert not text.with_suffix(".prom.new").exists()
        return samples(text.read_text())


def samples(text: str) -> dict[str, float]:
    common = 'cluster="lab",director="lb1"'
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            what, _, value = line.rpartition(" ")
            assert common in what
            name = what.replace("{" + common + "}", "").replace(common + ",", "")
            assert name not in found
            found[name] = float(value)
    return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def drift(found: dict[str, float]) -> dict[str, float]:
    told = {match[1]: value for name, value in found.items() if (match := re.match(r'lbctl_drift\{what="(.*)"', name))}
    assert list(told) == list(DRIFTS)
    return {what: value for what, value in told.items() if value}


def out(found: dict[str, float]) -> set[tuple[str, str, str]]:
    pattern = r'lbctl_server_out\{service="(.*?)",endpoint=".*?",server="(.*?)",reason="(.*?)"\}'
    return {match.groups() for name in found if (match := re.match(pattern, name))}  # type: ignore[misc]


@pytest.mark.process
def test_a_healthy_active_director(host: Host) -> None:
    found = host.look()
    assert drift(found) == {}
    assert out(found) == set()
    assert found['lbctl_info{mode="dr"}'] == 1
    assert found["lbctl_director_active"] == found["lbctl_keepalived_running"] == 1
    assert found["lbctl_floating_addresses_declared"] == found["lbctl_floating_addresses_held"] == 3
    assert found["lbctl_vrrp_priority"] == 101
    assert found['lbctl_sync_daemon{role="master"}'] == 1
    assert found['lbctl_sync_daemon{role="backup"}'] == 0
    read = 'service="read",endpoint="10.0.0.10:3306"'
    assert found[f"lbctl_service_present{{{read}}}"] == 1
    assert found[f'lbctl_service_method{{{read},method="dr"}}'] == 3
    assert found[f'lbctl_service_method{{{read},method="nat"}}'] == 0
    assert found[f'lbctl_server_in_rotation{{{read},server="db2"}}'] == 1
    assert found[f'lbctl_server_weight{{{read},server="db2"}}'] == 10
    assert found["lbctl_locked"] == 0
    assert "lbctl_last_change_done" not in found


@pytest.mark.process
def test_all_that_is_written_is_declared(host: Host) -> None:
    """Each metric with its labels, HELP and TYPE, in order; and nothing else. (The text is as the exporter reads it.)"""
    host.table = TABLE.replace("  -> 0A000002:0CEA      Route   10     0          0\n", "", 1)
    host.write("/var/lib/lbctl/history/0001.json", '{"result": "done"}')
    host.look()
    text = (host.root / TEXT.lstrip("/")).read_text()
    assert re.findall(r"^# TYPE (\S+) gauge$", text, re.MULTILINE) == [metric.name for metric in METRICS]
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.meaning}\n# TYPE {metric.name} gauge\n{metric.name}{{" in text
        labels = {
            tuple(re.findall(r'(\w+)="', line)) for line in re.findall(rf"^{metric.name}\{{.*$", text, re.MULTILINE)
        }
        assert labels == {("cluster", "director", *metric.labels)}
        assert not set(metric.meaning) & set('"$`\\\n')


@pytest.mark.process
def test_a_passive_director_without_keepalived(host: Host) -> None:
    host.held, host.runs, host.table, host.daemons = (), False, None, ""
    found = host.look()
    assert found["lbctl_director_active"] == found["lbctl_keepalived_running"] == 0
    assert drift(found) == {"service_missing": 2}
    assert {reason for _, _, reason in out(found)} == {"not_synced"}
    assert len(out(found)) == 6


@pytest.mark.process
def test_a_server_that_is_out_is_told_with_its_reason(host: Host) -> None:
    host.table = TABLE.replace("  -> 0A000002:0CEA      Route   10     0          0\n", "", 1)
    found = host.look()
    assert out(found) == {("read", "db2", "not_synced")}
    assert drift(found) == {}
    assert found['lbctl_server_weight{service="read",endpoint="10.0.0.10:3306",server="db2"}'] == 0


@pytest.mark.process
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("200 Synced", "passes"),
        ("503 not Synced: Donor/Desynced (wsrep_local_state 2)", "donor"),
        ("503 Donor/Desynced, and wsrep_sst_donor_rejects_queries is ON", "donor"),
        ("503 not in the primary component (wsrep_cluster_status is non-Primary)", "not_primary_component"),
        ("503 wsrep_local_index is 2, the master is index 0", "not_index_0"),
        ("503 read_only is ON", "read_only"),
        ("503 wsrep_ready is OFF", "not_ready"),
        ("503 no connection to the server: gone", "no_database"),
        ("503 no answer from the server for 2.0 s", "database_hangs"),
        ("bash: connect: Connection refused", "refused"),
        ("bash: connect: No route to host", "unreachable"),
        ('503 a "strange" $(answer)', "other"),
        ("", "other"),
    ],
)
def test_reasons_are_few(host: Host, answer: str, reason: str) -> None:
    host.table, host.answer = TABLE.replace("  -> 0A000002:0CEA      Route   10     0          0\n", "", 1), answer
    assert out(host.look()) == {("read", "db2", reason)}
    assert reason in REASONS


@pytest.mark.process
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("0A00000A:0CEA rr", "0A00000A:0CEA wlc", {"scheduler": 1}),
        (" 00000000", " FFFFFFFF", {"scheduler": 1}),
        (" persistent 8640000 00000000", "", {"scheduler": 1}),
        ("0A000003:0CEA      Route   10", "0A000003:0CEA      Tunnel  10", {"method": 2}),
        ("0A000003:0CEA      Route   10", "0A000003:0CEA      Route   4", {"weight": 2}),
        ("0A000003:0CEA", "0A000009:0CEA", {"server_unknown": 2}),
        ("0A00000A:0CEA", "0A00000A:0CEB", {"service_missing": 1, "service_unknown": 1}),
        ("0A00000A:0CEA", "0A0000FA:0CEA", {"service_missing": 1}),
    ],
)
def test_drift_in_the_table(host: Host, old: str, new: str, expected: dict[str, float]) -> None:
    host.table = TABLE.replace(old, new)
    assert drift(host.look()) == expected


@pytest.mark.process
def test_former_ports_are_no_drift(host: Host) -> None:
    host.table = TABLE + "TCP  0A00000C:1582 rr\n  -> 0A000001:0CEA      Masq    10     1          0\n"
    assert drift(host.look()) == {}


@pytest.mark.process
def test_drift_of_keepalived(host: Host) -> None:
    host.loaded = "0" * 64
    assert drift(host.look()) == {"not_loaded": 1}
    host.loaded, host.conf = None, "# somebody's own\n"
    assert drift(host.look()) == {"edited": 1, "not_loaded": 1}


@pytest.mark.process
def test_the_last_change(host: Host) -> None:
    for name, text in (("9999.json", '{"result": "done"}'), ("10000.json", '{"result": "failed: db1"}')):
        os.utime(host.write(f"/var/lib/lbctl/history/{name}", text), (1e9, 1e9 + len(name)))
    host.write("/var/lib/lbctl/lock", "{}")
    found = host.look()
    assert found["lbctl_last_change_done"] == 0
    assert found["lbctl_last_change_timestamp_seconds"] == 1e9 + len("10000.json")
    assert found["lbctl_locked"] == 1


@pytest.mark.process
@pytest.mark.parametrize(
    ("result", "done"),
    [("done, but not on lb2", 1), ("done, but for what is still used: dummy0", 1), ("interrupted", 0), ("", 0)],
)
def test_a_change_that_is_done_but_for_something_ended_well(host: Host, result: str, done: int) -> None:
    host.write("/var/lib/lbctl/history/0001.json", Entry(1, "deploy", "a", "b", AT, AT, result).write())
    assert host.look()["lbctl_last_change_done"] == done


@pytest.mark.process
@pytest.mark.parametrize("mode", Mode)
def test_each_mode_with_one_director(tmp_path: Path, mode: Mode) -> None:
    """Without a peer nothing copies connections."""
    word = {Mode.DR: "Route", Mode.TUN: "Tunnel", Mode.NAT: "Masq"}[mode]
    servers = "".join(f"  -> 0A00000{n}:0CEA      {word}   10     0          0\n" for n in (1, 2, 3))
    services = {"0A00000A:0CEA": "rr", "0A00000B:0CEA": "rr persistent 1 00000000"}
    if mode is Mode.NAT:
        services |= {"0A000004:1582": "rr", "0A000004:1583": "rr persistent 1 00000000"}
    table = "".join(f"TCP  {place} {kind}\n{servers}" for place, kind in services.items())
    found = Host(tmp_path, Variant(mode, directors=1), table, ("10.0.0.10", "10.0.0.11")).look()
    assert drift(found) == {}
    assert out(found) == set()
    assert not any("sync" in name for name in found)
