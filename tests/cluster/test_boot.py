"""Files for the next boot: for whoever configures the host's network, and nothing of the other one is left."""

import itertools
from dataclasses import replace

import pytest

from cluster.difference import Action, Difference, differences
from cluster.footprint import Blueprint
from cluster.observed import HostState, SeenFile, parse
from cluster.parts import Thing
from cluster.reading import read
from cluster.vocabulary import BootFiles, Mode
from templates import render
from tests.cluster.states import IFUPDOWN, NETWORKD, as_declared
from tests.facts.test_state import DIRECTOR
from tests.variants import MATRIX, Variant

KINDS = {"ifupdown": IFUPDOWN, "networkd": NETWORKD}


def found(blueprint: Blueprint, host: str, mode: Mode, state: HostState) -> tuple[Difference, ...]:
    return differences(blueprint.footprint(host, {mode}), blueprint.known(host), state)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("variant", MATRIX, ids=lambda variant: variant.name)
def test_a_host_that_carries_its_footprint_has_no_difference(variant: Variant, kind: HostState) -> None:
    plan = variant.blueprint
    for host in plan.declaration.hosts():
        assert found(plan, host, variant.mode, as_declared(plan, host, {variant.mode}, kind)) == ()


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(("old", "new"), [(IFUPDOWN, NETWORKD), (NETWORKD, IFUPDOWN)], ids=["to networkd", "back"])
def test_what_was_written_for_the_other_one_goes(mode: Mode, old: HostState, new: HostState) -> None:
    """The host's network was put into other hands: files change, and nothing that runs is touched."""
    plan = Variant(mode).blueprint
    for host in ("db1", "lb1"):
        was = as_declared(plan, host, {mode}, old)
        now = replace(was, boot_files=new.boot_files, network_file=new.network_file)
        wanted, moved = set(as_declared(plan, host, {mode}, new).files), found(plan, host, mode, now)
        assert {d.item.path for d in moved if d.action is Action.BUILD and d.kind == "file"} == wanted - set(was.files)
        assert {d.item.path for d in moved if d.action is Action.REMOVE} == set(was.files) - wanted
        assert {d.kind for d in moved} <= {"file", "unit"}
        assert not [d for d in moved if d.kind == "unit" and d.action is Action.REMOVE]


def test_an_interface_whose_file_got_another_name() -> None:
    """What stands beside the old name is not read any more."""
    plan = Variant(Mode.DR).blueprint
    state = replace(as_declared(plan, "lb1", {Mode.DR}, NETWORKD), network_file="20-lan.network")
    assert [(d.action, d.what) for d in found(plan, "lb1", Mode.DR, state)] == [
        (Action.BUILD, "write /etc/systemd/network/20-lan.network.d/lbctl.conf"),
        (Action.REMOVE, "remove /etc/systemd/network/10-eth0.network.d/lbctl.conf"),
    ]


def test_a_file_that_keeps_more_than_ours_is_left_alone() -> None:
    """As netplan writes it for `critical: true`."""
    plan = Variant(Mode.DR).blueprint
    path = "/etc/systemd/network/10-eth0.network.d/lbctl.conf"
    bare, more = NETWORKD, replace(NETWORKD, keeps_all=True)
    assert path in {d.item.path for d in found(plan, "lb1", Mode.DR, bare) if d.kind == "file"}
    assert path not in {d.item.path for d in found(plan, "lb1", Mode.DR, more) if d.kind == "file"}
    ours = replace(as_declared(plan, "lb1", {Mode.DR}, NETWORKD), keeps_all=True)
    assert [(d.action, d.what) for d in found(plan, "lb1", Mode.DR, ours)] == [(Action.REMOVE, f"remove {path}")]


@pytest.mark.parametrize(("boot", "keeps"), [("keeps true", True), ("keeps static", False), ("", False)])
def test_what_its_file_keeps(boot: str, *, keeps: bool) -> None:
    assert seen(f"networkd 10-eth0.network\n{boot}", "active").keeps_all is keeps
    assert not seen(boot, "active").keeps_all


def test_networkd_is_told_before_anything_that_it_would_take_away() -> None:
    plan = Variant(Mode.NAT).blueprint
    bare = HostState(boot_files=BootFiles.NETWORKD, network_file="10-eth0.network")
    kinds = [d.thing for d in found(plan, "db1", Mode.NAT, bare)]
    assert kinds[0] is Thing.NETWORKD
    assert [thing for thing, _ in itertools.groupby(kinds)].count(Thing.NETWORKD) == 1


def declared(choice: str, host: str = "") -> Blueprint:
    text = Variant(Mode.DR).text.replace('transport = "lab"', f'transport = "lab"\nboot_files = "{choice}"')
    text = text.replace('address = "10.0.0.2"', f'address = "10.0.0.2"\nboot_files = "{host}"') if host else text
    return Blueprint(read(text, "boot.toml"), render)


def test_what_is_declared_goes_before_what_is_seen() -> None:
    plan = declared("networkd", "ifupdown")
    bare = HostState(boot_files=BootFiles.IFUPDOWN)
    for host, folder in (("db1", "/etc/systemd/network/"), ("db2", "/etc/network/interfaces.d/")):
        written = [d.item.path for d in found(plan, host, Mode.DR, bare) if d.kind == "file"]
        assert next(path for path in written if path.endswith(("dummy0", "dummy0.network"))).startswith(folder)


def test_where_networkd_does_not_look_after_the_interface_there_is_no_file_to_add_to() -> None:
    written = [d.item.path for d in found(declared("networkd"), "db1", Mode.DR, HostState()) if d.kind == "file"]
    assert "/etc/systemd/networkd.conf.d/lbctl.conf" in written
    assert not [path for path in written if "*" in path or path.endswith(".network.d/lbctl.conf")]


def test_a_device_is_ours_by_either_file() -> None:
    plan = Variant(Mode.NAT).blueprint
    for kind in KINDS.values():
        both = as_declared(plan, "db1", {Mode.DR, Mode.NAT}, kind)
        gone = [d.what for d in found(plan, "db1", Mode.NAT, both) if d.kind == "link"]
        assert gone == ["remove device dummy0"]
        foreign = {path: file for path, file in both.files.items() if "dummy0" not in path}
        assert not [d for d in found(plan, "db1", Mode.NAT, replace(both, files=foreign)) if d.kind == "link"]


def seen(boot: str, active: str) -> HostState:
    unit = f"Id=systemd-networkd.service\nActiveState={active}\nUnitFileState=enabled\nNeedDaemonReload=no\n\n"
    return parse(DIRECTOR.replace("#units\n", f"#boot\n{boot}\n#units\n{unit}"))


@pytest.mark.parametrize(
    ("boot", "active", "expected"),
    [
        ("networkd 10-eth0.network", "active", (BootFiles.NETWORKD, "10-eth0.network")),
        ("networkd 10-eth0.network\nifupdown", "active", (BootFiles.NETWORKD, "10-eth0.network")),
        # What it knew of its links stays in /run when it is stopped.
        ("networkd 10-eth0.network\nifupdown", "inactive", (BootFiles.IFUPDOWN, "")),
        ("ifupdown", "inactive", (BootFiles.IFUPDOWN, "")),
        ("", "inactive", (None, "")),
    ],
)
def test_who_looks_after_the_interface(boot: str, active: str, expected: tuple[BootFiles | None, str]) -> None:
    state = seen(boot, active)
    assert (state.boot_files, state.network_file) == expected


def test_a_file_in_several_places_is_taken_away_from_each() -> None:
    plan = Variant(Mode.DR).blueprint
    state = as_declared(plan, "db1", {Mode.DR})
    old = SeenFile("0" * 64, 0o644, "root:root", 0)
    paths = [f"/etc/systemd/network/{name}.network.d/lbctl.conf" for name in ("10-eth0", "20-lan")]
    state = replace(state, files={**state.files, **dict.fromkeys(paths, old)})
    assert [d.what for d in found(plan, "db1", Mode.DR, state)] == [f"remove {path}" for path in paths]
