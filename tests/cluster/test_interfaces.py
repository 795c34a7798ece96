"""What stands in a host's own files and clashes with ours is said, with the lines and the cure."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.interfaces import clashes
from cluster.observed import ForeignLine, HostState
from cluster.plan import plan
from cluster.vocabulary import BootFiles, Mode
from facts.state import _INTERFACES
from tests.cluster.states import IFUPDOWN, NETWORKD, SOURCE, as_declared
from tests.variants import Variant

HOWTO = {
    "tun": """
auto eth0
iface eth0 inet static
    address 10.0.0.1
    netmask 255.255.255.0
    pre-up echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore
    pre-up echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce
    post-up ip link set up tunl0
    post-up ip addr add 10.0.0.10/32 brd 10.0.0.10 dev tunl0
    post-up ethtool -K eth0 gro off
    pre-down ip addr del 10.0.0.10/32 dev tunl0
""",
    "dr": """
iface eth0 inet static
    address 10.0.0.1
    post-up ip addr add 10.0.0.10/32 brd 10.0.0.10 dev dummy0
""",
    "nat": """
iface eth0 inet static
    address 10.0.0.1
    post-up ip route add 10.0.0.4/32 dev eth0 table 1
    post-up ip rule add fwmark 1 table 1
    post-up iptables -t mangle -A OUTPUT -p tcp --sport 3306 -j MARK --set-mark 1
    pre-down ip route flush table 1
""",
}
"""What the how-to has people write into /etc/network/interfaces."""


def lines(text: str, path: str = "/etc/network/interfaces") -> tuple[ForeignLine, ...]:
    """As a host shows them: the pattern is the one that awk gets there."""
    pattern = re.compile(_INTERFACES)
    found = ((number, line) for number, line in enumerate(text.splitlines(), start=1) if pattern.match(line))
    return (SOURCE, *(ForeignLine(path, number, line.strip()) for number, line in found))


def said(state: HostState, mode: Mode = Mode.DR, host: str = "db1") -> list[str]:
    return [str(each) for each in clashes(Variant(mode).blueprint, host, state)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [(HOWTO["tun"], {6, 7, 8, 9, 11}), (HOWTO["dr"], {4}), (HOWTO["nat"], {4, 5, 6, 7})],
    ids=HOWTO,
)
def test_the_how_tos_hooks_are_named_with_their_lines(text: str, numbers: set[int]) -> None:
    (note,) = said(replace(IFUPDOWN, interfaces=lines(text)))
    assert {int(number) for number in re.findall(r"^    (\d+): ", note, re.MULTILINE)} == numbers
    assert note.startswith("db1: /etc/network/interfaces does by hand what lbctl does now")


@pytest.mark.parametrize("text", HOWTO.values(), ids=HOWTO)
def test_the_cure_takes_out_just_those_lines(text: str, tmp_path: Path) -> None:
    path = tmp_path / "interfaces"
    path.write_text(text)
    (note,) = said(replace(IFUPDOWN, interfaces=lines(text, str(path))))
    (cure,) = re.findall(r"(sed -i\S* '.*' \S+)$", note, re.MULTILINE)
    subprocess.run(["sh", "-c", cure], check=True)
    left = path.read_text()
    assert said(replace(IFUPDOWN, interfaces=lines(left, str(path)))) == []
    assert "address 10.0.0.1" in left
    assert ("ethtool" in left) is ("ethtool" in text)
    assert (tmp_path / "interfaces.before-lbctl").read_text() == text


def test_the_copy_is_not_left_where_every_file_is_read(tmp_path: Path) -> None:
    (clash,) = clashes(
        Variant(Mode.DR).blueprint,
        "db1",
        replace(IFUPDOWN, interfaces=lines(HOWTO["dr"], "/etc/network/interfaces.d/eth0")),
    )
    path = tmp_path / "interfaces.d" / "eth0"
    path.parent.mkdir()
    path.write_text(HOWTO["dr"])
    subprocess.run(["sh", "-c", clash.cure.replace("/etc/network", str(tmp_path))], check=True)
    assert list(path.parent.iterdir()) == [path]
    assert (tmp_path / "eth0.before-lbctl").read_text() == HOWTO["dr"]


HARMLESS = [
    "iface eth0 inet static\n    post-up ip addr add 10.0.0.100/32 dev eth0\n",
    "auto eth1\niface eth1 inet dhcp\n",
    "iface eth0 inet static\n    post-up ip route add 192.0.2.0/24 via 10.0.0.254 table 12\n",
    "iface eth0 inet static\n    up ip addr add 110.0.0.10/32 dev eth0\n",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_somebody_elses_is_not_named(text: str) -> None:
    assert said(replace(IFUPDOWN, interfaces=lines(text))) == []


def test_a_stanza_for_a_device_of_ours_and_an_address_on_a_director() -> None:
    (stanza,) = said(replace(IFUPDOWN, interfaces=lines("auto dummy0\niface dummy0 inet manual\n")))
    assert "'1,2d'" in stanza
    vip = "iface eth0 inet static\n    post-up ip addr add 10.0.0.11/32 dev eth0\n"
    (director,) = said(replace(IFUPDOWN, interfaces=lines(vip)), host="lb1")
    assert "'2d'" in director


def late(text: str, path: str = "/etc/sysctl.d/zzz-hardening.conf") -> tuple[ForeignLine, ...]:
    return tuple(ForeignLine(path, number, line) for number, line in enumerate(text.splitlines(), start=1))


OTHERWISE = {
    "net.ipv4.conf.all.rp_filter = 1": "net.ipv4.conf.all.rp_filter = 1 (lbctl needs 0)",
    "-net/ipv4/conf/tunl0/rp_filter=2": "-net/ipv4/conf/tunl0/rp_filter=2 (lbctl needs 0)",
    "net.ipv4.conf.all.arp_ignore = 1\nnet/ipv4/conf/all/arp_ignore = 0": (
        "net/ipv4/conf/all/arp_ignore = 0 (lbctl needs 1)"
    ),
}


@pytest.mark.parametrize("text", OTHERWISE)
def test_a_setting_that_is_read_after_ours_is_named_and_can_be_taken_out(text: str, tmp_path: Path) -> None:
    path = tmp_path / "zzz.conf"
    path.write_text(f"kernel.sysrq = 0\n{text}\n")
    (clash,) = clashes(
        Variant(Mode.TUN).blueprint,
        "db1",
        replace(IFUPDOWN, later=late(path.read_text(), f"/etc/sysctl.d/{path.name}")),
    )
    number = 2 + text.count("\n")
    assert clash.seen[1:] == (f"{number}: {OTHERWISE[text]}",)
    assert "/etc/sysctl.d/zzz.conf is read after lbctl's kernel settings" in str(clash)
    subprocess.run(["sh", "-c", clash.cure.replace("/etc/sysctl.d", str(tmp_path))], check=True)
    assert path.read_text().splitlines() == ["kernel.sysrq = 0", *text.splitlines()[:-1]]


@pytest.mark.parametrize(
    "text",
    [
        "net.ipv4.conf.all.rp_filter = 0",
        "net.ipv4.conf.all.rp_filter = 1\nnet.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.eth0.rp_filter = 1",
        "net.ipv4.conf.*.rp_filter = 1",
        "net.ipv4.ip_forward = 0",
    ],
)
def test_a_setting_that_does_not_count_against_ours_is_not_named(text: str) -> None:
    """Our value, another device's, one by a wildcard (ours are named, and go before), one that this mode does not need."""
    assert said(replace(IFUPDOWN, later=late(text)), Mode.TUN) == []


@pytest.mark.parametrize("key", ["net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.ipv4.conf.*.forwarding"])
def test_forwarding_by_any_of_its_names(key: str) -> None:
    (note,) = said(replace(IFUPDOWN, later=late(f"{key} = 0")), Mode.NAT, "lb1")
    assert f"1: {key} = 0 (lbctl needs 1)" in note


def test_a_packages_file_is_replaced_and_not_edited() -> None:
    path = "/usr/lib/sysctl.d/zzz.conf"
    state = replace(IFUPDOWN, later=late("net.ipv4.conf.all.arp_ignore = 0", path))
    (clash,) = clashes(Variant(Mode.DR).blueprint, "db1", state)
    assert clash.cure == f"sed '1d' {path} >/etc/sysctl.d/zzz.conf"


def one(found: Iterable[str]) -> str:
    (note,) = found
    return note


def test_a_host_on_which_nobody_reads_our_files() -> None:
    nobody = HostState(boot_files=None)
    assert "neither ifupdown nor systemd-networkd looks after eth0" in one(said(nobody))
    assert said(nobody, host="lb1") == []  # keepalived makes what a director needs
    without_source = replace(IFUPDOWN, interfaces=())
    assert "source /etc/network/interfaces.d/*" in one(said(without_source))
    assert said(without_source, Mode.NAT) == []
    assert said(NETWORKD) == []


@pytest.mark.parametrize(
    "line",
    ["source /etc/network/interfaces.d/*", "source interfaces.d/*", "source-directory /etc/network/interfaces.d"],
)
def test_forms_of_the_line_that_reads_our_files(line: str) -> None:
    assert said(replace(IFUPDOWN, interfaces=(replace(SOURCE, text=line),))) == []


def test_ifupdown_declared_where_networkd_would_take_things_away() -> None:
    blueprint = Variant(Mode.DR).blueprint
    declaration = blueprint.declaration.model_copy(update={"boot_files": BootFiles.IFUPDOWN})
    state = replace(NETWORKD, interfaces=(SOURCE,))
    (clash,) = clashes(replace(blueprint, declaration=declaration), "lb1", state)
    assert "when networkd is restarted it deletes" in str(clash)


def test_the_plan_says_it_also_when_there_is_nothing_to_do() -> None:
    blueprint = Variant(Mode.DR).blueprint
    state = as_declared(blueprint, "db1", {Mode.DR}, replace(IFUPDOWN, interfaces=lines(HOWTO["dr"])))
    found = plan(blueprint, {"db1": state, "db2": None, "db3": None, "lb1": None, "lb2": None})
    assert [note for note in found.notes if "by hand" in note]
    assert (found.is_empty, found.leaves_work) == (True, True)
