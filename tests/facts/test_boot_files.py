"""Who configures a host's network, asked of a bare host: real shell, real files."""

import pytest

from cluster.interfaces import Overruled, clashes
from cluster.observed import ForeignLine, HostState, parse
from cluster.vocabulary import BootFiles, Mode
from facts.state import script
from lab.unpacked import unpacked
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
        # What ours says does not count, nor that of another interface's.
        bare.run(
            f"printf '[Network]\\nKeepConfiguration=static\\n' >{paths[0]}; echo KeepConfiguration=yes >{paths[1]}"
        )
        assert not look(bare).keeps_all
        network = "/run/systemd/network/10-netplan-eth0.network"
        for line in ("KeepConfiguration=true", "CriticalConnection = true"):
            bare.run(f"mkdir -p {network.rpartition('/')[0]}; printf '[Network]\\n{line}\\n' >{network}")
            assert look(bare).keeps_all
        bare.run("echo KeepConfiguration=static >/etc/systemd/network/10-netplan-eth0.network.d/zz.conf")
        assert not look(bare).keeps_all


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
            ForeignLine("/etc/network/interfaces", 2, "source /etc/network/interfaces.d/*"),
            ForeignLine("/etc/network/interfaces", 3, "auto eth0"),
            ForeignLine("/etc/network/interfaces", 4, "post-up echo 1"),
            ForeignLine("/etc/network/interfaces.d/other", 1, "allow-hotplug eth1"),
        )


def test_names_of_routing_tables_that_ours_have_the_numbers_of() -> None:
    with Bare() as bare:
        assert look(bare).table_names == {}
        bare.run(
            "mkdir -p /etc/iproute2/rt_tables.d; cd /etc/iproute2\n"
            "printf '#\\n255\\tlocal\\n254\\tmain\\n#1\\tinr.ruhep\\n# 101 no\\n100 isp2 # a remark\\n200 isp3\\n' >rt_tables\n"
            "printf ' 101\\tother\\n' >rt_tables.d/other.conf"
        )
        assert look(bare).table_names == {100: "isp2", 101: "other"}


def test_settings_in_sysctl_files_that_are_read_after_ours() -> None:
    """Of two files of one name that in /etc is read; one without settings masks the other."""
    with Bare() as bare:
        assert look(bare).later == ()
        bare.run(
            "mkdir -p /etc/sysctl.d /run/sysctl.d /usr/local/lib/sysctl.d\n"
            "printf '# a = 1\\n; b = 2\\n\\n -c.d = 3 4\\n-e\\nf/g=5\\n' >/etc/sysctl.conf\n"
            "ln -s ../sysctl.conf /etc/sysctl.d/zzz.conf; ln -s /dev/null /etc/sysctl.d/zzzz.conf\n"
            "cd /etc/sysctl.d; for name in 99-sysctl.conf local.conf zz-hardening.conf zz-lbctl-arp.conf zzz.not; do\n"
            "echo h = 6 >$name; done; echo h = 6 >'zz z.conf'\n"
            "for name in zzz zzzz; do echo h = 7 >/run/sysctl.d/$name.conf; done\n"
            "echo i = 8 >/usr/local/lib/sysctl.d/zz-lbd.conf"
        )
        assert look(bare).later == (
            ForeignLine("/etc/sysctl.d/zzz.conf", 4, "-c.d = 3 4"),
            ForeignLine("/etc/sysctl.d/zzz.conf", 6, "f/g=5"),
            ForeignLine("/usr/local/lib/sysctl.d/zz-lbd.conf", 1, "i = 8"),
        )


SYSTEMD_SYSCTL = "lib/systemd/systemd-sysctl"
PACKAGES = (
    *("systemd", "libsystemd-shared", "libacl1", "libcap2", "libgcrypt20", "libgpg-error0", "libip4tc2", "libkmod2"),
    *("liblz4-1", "libseccomp2", "libssl3"),
)


@pytest.mark.parametrize(
    ("name", "line", "wins"),
    [
        ("99-sysctl", "net.ipv4.conf.all.arp_ignore = 0", False),
        ("local", "net.ipv4.conf.all.arp_ignore = 0", False),
        ("zz-hardening", "net.ipv4.conf.all.arp_ignore = 0", False),
        ("zzz", "net.ipv4.conf.*.arp_ignore = 0", False),
        ("zzz", "-net/ipv4/conf/all/arp_ignore=0", True),
    ],
)
def test_what_counts_at_the_next_boot_is_ours_or_is_told(name: str, line: str, *, wins: bool) -> None:
    """By the program that reads the files then."""
    tree = unpacked(PACKAGES, SYSTEMD_SYSCTL)
    libraries = ":".join(str(place) for name in ("lib", "usr/lib") for place in tree.glob(f"{name}/*-linux-gnu*/**/"))
    program = f"LD_LIBRARY_PATH={libraries} {tree / SYSTEMD_SYSCTL}"
    blueprint = Variant(Mode.DR).blueprint
    files = [file for part in blueprint.footprint("db1", {Mode.DR}) for file in part.files if "sysctl.d" in file.path]
    with Bare() as bare:
        bare.run("mkdir -p /etc/sysctl.d\n" + "".join(f"echo '{file.text}' >{file.path}\n" for file in files))
        bare.run(f"echo '{line}' >/etc/sysctl.d/{name}.conf; {program} --prefix=/net/ipv4/conf/all")
        counts = bare.run("cat /proc/sys/net/ipv4/conf/all/arp_ignore").strip()
        told = [clash for clash in clashes(blueprint, "db1", look(bare)) if isinstance(clash, Overruled)]
    assert (counts, len(told)) == (("0", 1) if wins else ("1", 0))
