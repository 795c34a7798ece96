"""The shell of a trial: as POSIX shell, and in its order. Run for real it is in tests/system."""

import subprocess
from ipaddress import IPv4Address

import pytest

from cluster.manual import Leftovers, addresses, places, table_lines
from cluster.parts import Address
from cluster.reading import switched
from cluster.vocabulary import Mode
from operations.trial import SAVE, SHOW, clear_script, restore_script, start_script
from tests.operations.bare import Bare
from tests.variants import Variant

DECLARATION = Variant().declaration


@pytest.mark.process
@pytest.mark.parametrize("mode", Mode)
def test_it_is_posix_shell(mode: Mode) -> None:
    declaration = switched(DECLARATION, mode)
    lines, ours = table_lines(declaration, "lb1"), places(declaration, "lb1")
    held = tuple(Address("eth0", address) for address in addresses(declaration))
    scripts = [
        start_script(lines, ours, addresses(declaration), "eth0"),
        restore_script(lines, ours),
        clear_script(Leftovers(held, ours)),
        SHOW,
        SAVE,
    ]
    for script in scripts:
        checked = subprocess.run(["dash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.namespace
@pytest.mark.parametrize(("there", "stops"), [("db0", True), ("", False), ("lb0", False)])
def test_an_address_that_somebody_has_is_not_taken(there: str, *, stops: bool) -> None:
    """`there`: which end of a cable has it."""
    script = start_script(["-A"], (), [IPv4Address("10.0.0.10")], "lb0")
    with Bare() as host:
        host.run("ip link add lb0 type veth peer name db0; ip link set up dev lb0; ip link set up dev db0")
        if there:
            host.run(f"ip addr add 10.0.0.10/32 dev {there}")
        done = host.sh("ipvsadm() { cat >/run/table; }\n" + script)
        assert ("10.0.0.10 is on another host" in done.stderr) is stops, done.stderr
        assert (done.returncode == 0) is not stops
        assert (host.sh("cat /run/table").returncode == 0) is not stops
        assert host.sh("ip -o addr show dev lb0 to 10.0.0.10 | grep -q .").returncode == (1 if stops else 0)


def test_the_table_is_there_before_the_addresses_and_goes_after_them() -> None:
    ours = places(DECLARATION, "lb1")
    begin = start_script(table_lines(DECLARATION, "lb1"), ours, DECLARATION.vips, "eth0")
    assert begin.index("ipvsadm -R") < begin.index("ip addr replace 10.0.0.10/32 dev eth0")
    held = (Address("eth0", IPv4Address("10.0.0.10")), Address("eth0", IPv4Address("10.0.0.11"), 24))
    end = clear_script(Leftovers(held, ours[:1]))
    assert "ip addr del 10.0.0.11/24 dev eth0\n" in end
    assert end.index("ip addr del 10.0.0.10/32 dev eth0") < end.index("ipvsadm -D -t 10.0.0.10:3306")
