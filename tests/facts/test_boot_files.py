"""Who configures a host's network, asked of a bare host: real shell, real files."""

import pytest

from cluster.observed import HostState, InterfacesLine, parse
from cluster.vocabulary import BootFiles, Mode
from facts.state import script
from operations.observation import asked_of
from tests.operations.bare import Bare
from tests.variants import Variant

pytestmark = pytest.mark.namespace

NETWORKD = """\
rm -f /usr/local/sbin/systemctl
printf '#!/bin/sh\\nprintf "Id=systemd-networkd.service\\\\nActiveState=active\\\\nUnitFileState=enabled\\\\n"\\n' \\
  >/usr/local/sbin/systemctl
chmod 755 /usr/local/sbin/systemctl
mkdir -p /run/systemd/netif/links; echo OPER_STATE=routable >/run/systemd/netif/state
printf '# private\\nADMIN_STATE=configured\\nNETWORK_FILE=/run/systemd/network/10-netplan-eth0.network\\nDNS=\\n' \\
  >/run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)
"""


def look(bare: Bare) -> HostState:
    return parse(bare.run(script(asked_of(Variant(Mode.DR).blueprint, "db1"))))


def test_systemd_networkd_by_what_it_says_of_the_interface() -> None:
    with Bare() as bare:
        # The files of this namespace's /sys are those of its network once it is mounted there.
        bare.run("mount -t sysfs sysfs /sys")
        assert look(bare).boot_files is not BootFiles.NETWORKD
        bare.run(NETWORKD)
        state = look(bare)
        assert (state.boot_files, state.network_file) == (BootFiles.NETWORKD, "10-netplan-eth0.network")
        # A file of ours beside any .network file is found, whatever its name.
        paths = [f"/etc/systemd/network/{name}.network.d/lbctl.conf" for name in ("10-netplan-eth0", "old")]
        for path in paths:
            bare.run(f"mkdir -p {path.rpartition('/')[0]}; echo >{path}")
        assert sorted(look(bare).files) == paths


def test_ifupdowns_files_that_are_not_ours_are_read() -> None:
    with Bare() as bare:
        assert look(bare).interfaces == ()
        bare.run(
            "mkdir -p /etc/network/interfaces.d; cd /etc/network\n"
            "printf '# a remark: up\\n source /etc/network/interfaces.d/*\\nauto eth0\\n\\tpost-up echo 1\\n' >interfaces\n"
            "echo 'auto dummy0' >interfaces.d/lbctl-dummy0\n"
            "echo 'allow-hotplug eth1' >interfaces.d/other"
        )
        assert look(bare).interfaces == (
            InterfacesLine("/etc/network/interfaces", 2, "source /etc/network/interfaces.d/*"),
            InterfacesLine("/etc/network/interfaces", 3, "auto eth0"),
            InterfacesLine("/etc/network/interfaces", 4, "post-up echo 1"),
            InterfacesLine("/etc/network/interfaces.d/other", 1, "allow-hotplug eth1"),
        )
