"""[metrics]: off by default, at the director's own address, in place before its package, and gone when it is switched off."""

from dataclasses import replace

import pytest

from cluster.declaration import Declaration
from cluster.difference import Action, differences
from cluster.footprint import Blueprint
from cluster.metrics import DROP_IN, EXPORTER
from cluster.parts import Footprint, Thing
from cluster.plan import Work, plan
from cluster.reading import DeclarationError, read
from cluster.vocabulary import Mode
from operations.commands import script
from templates import render
from tests.cluster.states import IFUPDOWN, as_declared
from tests.variants import Variant

UNITS = {f"{EXPORTER}.service", "lbctl-metrics.service"}


def blueprint(more: str = "", form: Variant | None = None) -> Blueprint:
    text = (form or Variant()).text
    return Blueprint(read(f"{text}\n[metrics]\n{more}\n", "form.toml"), render)


ON, OFF = blueprint("enabled = true"), blueprint()


def metrics(footprint: Footprint) -> Footprint:
    return tuple(part for part in footprint if part.thing is Thing.METRICS)


def declaration(more: str, form: Variant | None = None) -> Declaration:
    return blueprint(more, form).declaration


def test_directors_only_and_only_when_it_is_switched_on() -> None:
    assert metrics(OFF.footprint("lb1", {Mode.DR})) == ()
    assert metrics(ON.footprint("db1", {Mode.DR})) == ()
    (part,) = metrics(ON.footprint("lb1", {Mode.DR}))
    assert part.packages == (EXPORTER,)
    assert {unit.name for unit in part.units} == UNITS


def test_who_may_ask() -> None:
    def drop_in(more: str) -> str:
        (part,) = metrics(blueprint(f"enabled = true\n{more}").footprint("lb2", {Mode.DR}))
        return next(file.text for file in part.files if file.path == DROP_IN)

    assert "--web.listen-address=10.0.0.6:9100 " in drop_in("")
    assert (
        "IPAddressDeny=any\nIPAddressAllow=localhost\nIPAddressAllow=10.0.0.6\nIPAddressAllow=10.0.0.0/24\n"
        in drop_in("")
    )
    some = drop_in('port = 9101\nallow = ["10.0.0.200", "10.9.0.0/24"]')
    assert "--web.listen-address=10.0.0.6:9101 " in some
    assert "IPAddressAllow=10.0.0.200/32\nIPAddressAllow=10.9.0.0/24\n" in some
    assert "10.0.0.0/24" not in some


def test_the_exporter_is_tamed_before_its_package_comes() -> None:
    bare = dict.fromkeys(("lb1", "lb2", "db1", "db2", "db3"), IFUPDOWN)
    steps = plan(ON, bare).steps
    (install,) = (step for step in steps if step.work is Work.INSTALL)
    early = [d.what for d in install.changes["lb1"] if d.kind == "file"]
    assert early == [f"write {DROP_IN}"]
    # It is written nowhere else, and all the rest of it comes when the director is configured.
    later = [d.what for step in steps if step.work is Work.CONFIGURE for d in step.changes.get("lb1", ())]
    assert f"write {DROP_IN}" not in later
    assert "write /usr/local/lib/lbctl/metrics" in later
    shell = script(install.changes["lb1"])
    assert shell.index(f"put {DROP_IN}") < shell.index("apt-get -q -y")
    assert shell.index("apt-get -q -y") < shell.rindex("systemctl daemon-reload")


def test_another_port_restarts_the_exporter() -> None:
    state = as_declared(ON, "lb1", {Mode.DR})
    changed = blueprint("enabled = true\nport = 9101")
    found = differences(changed.footprint("lb1", {Mode.DR}), changed.known("lb1"), state)
    assert [d.what for d in found] == [
        f"rewrite {DROP_IN}",
        f"{EXPORTER}.service: restart (runs an older version)",
    ]


def test_switched_off_all_of_it_goes_and_the_package_stays() -> None:
    state = as_declared(ON, "lb1", {Mode.DR})
    found = differences(OFF.footprint("lb1", {Mode.DR}), OFF.known("lb1"), state)
    assert {d.action for d in found} == {Action.REMOVE}
    assert [d.what for d in found] == [
        f"stop and disable {EXPORTER}.service",
        "stop and disable lbctl-metrics.service",
        f"remove {DROP_IN}",
        "remove /usr/local/lib/lbctl/metrics",
        "remove /etc/systemd/system/lbctl-metrics.service",
    ]


def test_an_exporter_of_somebody_elses_is_left_alone() -> None:
    theirs = {
        f"{EXPORTER}.service": replace(as_declared(ON, "lb1", {Mode.DR}).units[f"{EXPORTER}.service"], revision=None)
    }
    off = as_declared(OFF, "lb1", {Mode.DR})
    state = replace(off, units={**off.units, **theirs}, packages=off.packages | {EXPORTER})
    assert differences(OFF.footprint("lb1", {Mode.DR}), OFF.known("lb1"), state) == ()


def test_ports_that_would_meet() -> None:
    with pytest.raises(DeclarationError, match=r"directors' SSH port"):
        declaration("enabled = true\nport = 22")
    with pytest.raises(DeclarationError, match=r"5506 is metrics\.port"):
        declaration("enabled = true\nport = 5506", Variant(Mode.NAT, directors=1))
    declaration("enabled = true\nport = 5506", Variant(Mode.NAT))
    declaration("port = 22")
