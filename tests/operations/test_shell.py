"""What is found missing becomes shell, and the shell does it: run for real, on a bare host in a namespace."""

import itertools
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cluster.difference import Action, Difference, differences
from cluster.footprint import ALL_MODES, Blueprint
from cluster.observed import HostState, parse
from cluster.parts import File, Thing, Unit
from cluster.vocabulary import Mode
from facts.state import script as look
from operations.commands import GONE, check_script, script
from operations.observation import asked_of
from tests.cluster.states import as_declared
from tests.operations.bare import Bare
from tests.variants import MATRIX, SPECIAL, Variant

FORMS = [form for form in (*MATRIX, *SPECIAL) if form.writer != "elected"]
CONF = "/etc/keepalived/keepalived.conf"
HELD = {"file", "link", "sysctl", "address", "route", "rule"}
"""What a namespace can hold."""


def from_bare(blueprint: Blueprint, host: str) -> list[Difference]:
    everything = blueprint.footprint(host, ALL_MODES)
    return list(differences(everything, everything, HostState(database="up")))


def to_bare(blueprint: Blueprint, host: str) -> list[Difference]:
    return list(differences((), blueprint.footprint(host, ALL_MODES), as_declared(blueprint, host, ALL_MODES)))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_script_is_posix_shell(form: Variant) -> None:
    blueprint = form.blueprint
    for host in form.declaration.hosts():
        for found in (from_bare(blueprint, host), to_bare(blueprint, host)):
            text = script(found, database_socket="/run/mysqld/mysqld.sock", checked=(CONF,))
            checked = subprocess.run(["dash", "-n"], input=text, text=True, capture_output=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, "")


def places(text: str, expected: list[str]) -> list[int]:
    """The first lines that begin so. (Files inside a script have like words in them, indented.)"""
    lines = text.splitlines()
    return [next(place for place, line in enumerate(lines) if line.startswith(words)) for words in expected]


@pytest.mark.parametrize("form", [Variant(mode, vrrp="password") for mode in Mode], ids=lambda form: form.name)
def test_every_kind_is_in_the_script_in_its_order(form: Variant) -> None:
    blueprint = form.blueprint
    text = script(from_bare(blueprint, "db1"), database_socket="/run/mysqld/mysqld.sock")
    expected = [
        "installed() { undisturbed apt-get -q -y",
        "setting net.ipv4.conf.all.arp_ignore net/ipv4/conf/all/arp_ignore 1",
        "modprobe ipip",
        "ip link set tunl0 up",
        "ip link show dev dummy0 >/dev/null 2>&1 || unless 'File exists' ip link add dummy0 type dummy",
        "ip addr replace 10.0.0.10/32 dev dummy0",
        "ip route replace unreachable default metric 4278198272 table 100",
        "unless 'File exists' ip rule add pref 100 from 10.0.0.1 ipproto tcp sport 3306 lookup 100",
        "id -u clustercheck >/dev/null 2>&1 || useradd --system",
        "if $(command -v mariadb || command -v mysql) --no-defaults -S /run/mysqld/mysqld.sock",
        "enabled lbctl-clustercheck.service",
        "systemctl daemon-reload",
        "systemctl restart lbctl-clustercheck.service",
    ]
    assert places(text, expected) == sorted(places(text, expected))
    director = script(from_bare(blueprint, "lb1"), checked=(CONF,))
    expected = [
        "keepalived ipvsadm",
        "modprobe ip_vs",
        "*nat",
        "keepalived --config-test",
        "systemctl reload keepalived",
    ]
    assert [director.index(words) for words in expected] == sorted(director.index(words) for words in expected)
    assert "restart keepalived" not in director


def test_what_is_removed_is_removed_in_the_order_that_hurts_nobody() -> None:
    """The unit that would put a rule back, the rule, its routes; and virtual addresses before ARP speaks again."""
    text = script(to_bare(Variant(Mode.NAT).blueprint, "db1"))
    expected = [
        "systemctl -q --no-reload disable --now lbctl-return-path.service",
        "unless 'No such file or directory' ip rule del pref 100",
        "unless 'No such process' unless 'FIB table does not exist' ip route del default via 10.0.0.12",
        f"{GONE['link']} {GONE['address']} ip addr del 10.0.0.10/32 dev dummy0",
        "unless 'Cannot find device' ip link del dummy0",
        "unless 'Cannot find device' ip link set tunl0 down",
        "setting_back net.ipv4.conf.all.arp_ignore",
    ]
    assert places(text, expected) == sorted(places(text, expected))


@pytest.mark.namespace
def test_a_file_cannot_end_its_own_here_document() -> None:
    evil = "LBCTL-0123456789abcdef\n$(touch /tmp/evil) `id` \\ 'x'\n"
    with Bare() as host:
        file = File("/etc/evil", evil)
        host.run(script([Difference(Thing.ARP, Action.BUILD, file, "file", "")]))
        assert host.run("cat /etc/evil; ls -A /tmp | grep -c '^evil$' || :") == f"{evil}0\n"


@pytest.fixture
def bare() -> Iterator[Bare]:
    with Bare() as host:
        yield host


def seen(bare: Bare, blueprint: Blueprint, name: str) -> HostState:
    return parse(bare.run(look(asked_of(blueprint, name))))


def held(found: tuple[Difference, ...]) -> list[Difference]:
    """The device of a tunnel comes with its module, which a namespace cannot load."""
    return [d for d in found if d.kind in HELD and "tunl0" not in d.what]


@pytest.mark.namespace
@pytest.mark.parametrize("modes", [{Mode.DR}, {Mode.NAT}, set(ALL_MODES)], ids=lambda modes: "+".join(sorted(modes)))
def test_there_and_back_again(bare: Bare, modes: set[Mode]) -> None:
    """Bare, built, nothing left to do; and taken away again, until the host is as it was."""
    blueprint = Variant(Mode.DR).blueprint
    footprint, known = blueprint.footprint("db1", modes), blueprint.footprint("db1", ALL_MODES)
    settings = "cd /proc/sys/net/ipv4/conf/all && grep -H . arp_ignore arp_announce rp_filter"
    before = bare.run(settings)
    missing = held(differences(footprint, known, seen(bare, blueprint, "db1")))
    assert {d.kind for d in missing} >= {"file"}
    bare.run(script(missing))
    assert held(differences(footprint, known, seen(bare, blueprint, "db1"))) == []
    stamps = bare.run("find /etc /usr/local /var/lib -type f -exec stat -c '%n %Y %i' {} +")
    assert ".lbctl" not in stamps  # no temporary file is left
    gone = held(differences((), known, seen(bare, blueprint, "db1")))
    bare.run(script(gone))
    left = seen(bare, blueprint, "db1")
    assert held(differences((), known, left)) == []
    assert left.files == {}
    assert bare.run(settings) == before


@pytest.mark.namespace
def test_the_same_script_twice(bare: Bare) -> None:
    """Whoever is interrupted runs it again: what is there already is no error, and nothing is doubled."""
    blueprint = Variant(Mode.NAT).blueprint
    footprint, known = blueprint.footprint("db1", {Mode.NAT}), blueprint.footprint("db1", ALL_MODES)
    missing = held(differences(footprint, known, seen(bare, blueprint, "db1")))
    without_rule = [d for d in missing if d.kind != "rule"]
    bare.run(script(missing))
    bare.run(script(without_rule))
    assert held(differences(footprint, known, seen(bare, blueprint, "db1"))) == []


@pytest.mark.namespace
def test_units_are_started_after_everything_else(bare: Bare) -> None:
    blueprint = Variant(Mode.NAT).blueprint
    found = [d for d in from_bare(blueprint, "db1") if d.kind in {"unit", "file", "user", "package"}]
    bare.run(script(found))
    called = bare.called()
    assert called[0].startswith("apt-get -q -y")
    assert called[0].endswith("install --no-install-recommends python3")
    services = ("lbctl-segment-size", "lbctl-return-path", "lbctl-gateway-watch", "lbctl-clustercheck")
    asked = [f"systemctl -q --no-reload enable {name}.service" for name in services]
    started = [f"systemctl restart {name}.service" for name in services]
    assert called[called.index(asked[0]) :] == [*asked, "systemctl daemon-reload", *started]


@pytest.mark.namespace
@pytest.mark.parametrize(
    ("plugin", "how"),
    [("unix_socket", "VIA unix_socket"), ("auth_socket", "WITH auth_socket")],  # MariaDB; Percona XtraDB Cluster
)
def test_a_database_user_is_made_in_the_servers_own_words(bare: Bare, plugin: str, how: str) -> None:
    bare.run(
        "cat >/usr/local/sbin/mariadb <<'END'\n#!/bin/sh\n"
        f"""case $* in *SHOW*) printf '%s\\tACTIVE\\n' binlog {plugin};; *) echo "$*" >>/run/test/called;; esac\nEND\n"""
        "chmod 755 /usr/local/sbin/mariadb"
    )
    found = [Difference(Thing.CLUSTERCHECK, Action.BUILD, "clustercheck", "database user", "")]
    bare.run(script(found, database_socket="/run/s"))
    made = f"CREATE USER IF NOT EXISTS 'clustercheck'@'localhost' IDENTIFIED {how}"
    assert bare.called() == [f"--no-defaults -S /run/s -e {made}"]


def answering(bare: Bare, answers: str) -> None:
    """Puts a systemctl there that is asked and answers so: cases of a shell, by what it is asked."""
    bare.run(
        "rm -f /usr/local/sbin/systemctl; cat >/usr/local/sbin/systemctl <<'END'\n#!/bin/sh\n"
        f'echo "systemctl $*" >>/run/test/called\ncase $* in {answers} esac\nEND\nchmod 755 /usr/local/sbin/systemctl'
    )


@pytest.mark.namespace
@pytest.mark.parametrize(("stale", "reads"), [("no", []), ("yes", ["systemctl daemon-reload"])])
def test_keepalived_is_reloaded_and_nothing_more(bare: Bare, stale: str, reads: list[str]) -> None:
    """Enabled already, it is not enabled again, and systemd reads no files that it knows."""
    answering(bare, f"show*) echo NeedDaemonReload={stale};;")
    wants = "/etc/systemd/system/multi-user.target.wants"
    bare.run(f"mkdir -p {wants}; ln -s /bin/true {wants}/keepalived.service")
    unit = Unit("keepalived.service", revision="1", reload=True, ours=False)
    bare.run(script([Difference(Thing.KEEPALIVED, Action.BUILD, unit, "unit", "")]))
    assert bare.called() == [
        "systemctl show -p NeedDaemonReload keepalived.service",
        *reads,
        "systemctl -q is-active keepalived.service",
        "systemctl reload keepalived.service",
    ]


@pytest.mark.namespace
def test_systemd_is_told_of_what_was_enabled(bare: Bare) -> None:
    """After --no-reload it does not notice by itself. A link to a unit that is gone is no reason to leave it."""
    answering(bare, "show*) echo NeedDaemonReload=no;;")
    wants = "/etc/systemd/system/multi-user.target.wants"
    bare.run(f"mkdir -p {wants}; ln -s /nowhere {wants}/x.service")
    bare.run(script([Difference(Thing.RETURN_PATH, Action.BUILD, Unit("x.service"), "unit", "")]))
    called = [*map(bare.called().index, ("systemctl -q --no-reload enable x.service", "systemctl daemon-reload"))]
    assert called == sorted(called)


OLD = File("/etc/keepalived/keepalived.conf", "old\n" * 500)
NEW = replace(OLD, text="new\n" * 500, mode=0o600)


def write(file: File) -> str:
    return script([Difference(Thing.KEEPALIVED, Action.BUILD, file, "file", "")])


def state_of(bare: Bare) -> tuple[str, list[str]]:
    """The file's text, and all that is in its folder."""
    text, _, names = bare.run("cat /etc/keepalived/keepalived.conf; echo ==; ls -A /etc/keepalived").partition("==\n")
    return text, sorted(names.split())


@pytest.mark.namespace
def test_a_file_is_replaced_whole_and_the_previous_one_kept(bare: Bare) -> None:
    bare.run(write(OLD))
    bare.run(write(NEW))
    assert state_of(bare) == (NEW.text, ["keepalived.conf"])
    kept = "/var/lib/lbctl/previous"
    assert bare.run(f"cat {kept}/etc:keepalived:keepalived.conf") == OLD.text
    assert bare.run(f"stat -c %a /etc/keepalived/keepalived.conf {kept}").split() == ["600", "700"]


@pytest.mark.namespace
def test_a_script_that_is_cut_short_does_nothing(bare: Bare) -> None:
    """The connection breaks while it travels: at every tenth of it the old file is whole, and no command has run."""
    bare.run(write(OLD))
    text = write(NEW)
    for tenth in range(10):
        bare.sh(text[: len(text) * tenth // 10])
        assert state_of(bare) == (OLD.text, ["keepalived.conf"])


@pytest.mark.namespace
def test_a_write_that_is_killed_leaves_the_old_file(bare: Bare) -> None:
    """`sync` never returns, as on a disk that hangs: whoever is killed there has replaced nothing."""
    bare.run(write(OLD))
    bare.run("printf '#!/bin/sh\\nkill -KILL $PPID\\n' >/usr/local/sbin/sync; chmod 755 /usr/local/sbin/sync")
    killed = bare.sh(write(NEW))
    assert killed.returncode != 0
    assert state_of(bare) == (OLD.text, [".keepalived.conf.lbctl", "keepalived.conf"])
    bare.run("rm /usr/local/sbin/sync")
    bare.run(write(NEW))
    assert state_of(bare) == (NEW.text, ["keepalived.conf"])


@pytest.mark.namespace
@pytest.mark.parametrize("folder", ["/etc/keepalived", "/var/lib/lbctl"])
def test_a_full_disk_leaves_the_old_file(bare: Bare, folder: str) -> None:
    bare.run(f"mkdir -p {folder} && mount -t tmpfs -o size=12k full {folder}")
    bare.run(write(OLD))
    bare.run(f"dd if=/dev/zero of={folder}/filler 2>/dev/null || :")
    failed = bare.sh(write(NEW))
    assert failed.returncode != 0
    assert "No space left on device" in failed.stderr
    text, names = state_of(bare)
    assert text == OLD.text
    if folder == "/etc/keepalived":
        assert names == ["filler", "keepalived.conf"]
    bare.run(f"rm {folder}/filler")
    bare.run(write(NEW))
    assert state_of(bare)[0] == NEW.text


def judging(bare: Bare, says: str, status: int) -> None:
    """Puts a keepalived there that says this of every file."""
    bare.run(
        "cat >/usr/local/sbin/keepalived <<'END'\n#!/bin/sh\ntest -s \"$3\" || exit 9\n"
        f"echo {says!r}; exit {status}\nEND\nchmod 755 /usr/local/sbin/keepalived"
    )


VERDICTS = list(
    itertools.chain(
        [("", 0, True), ("Truncating auth_pass to 8 characters", 5, True), ("Ignoring track_interface eth0", 5, True)],
        [("(Line 7) Unknown keyword lb_knid", 5, False), ("missing '}'", 5, False)],
        [("Truncating auth_pass to 8 characters\nUnknown keyword x", 5, False)],
    )
)


@pytest.mark.namespace
@pytest.mark.parametrize(("says", "status", "takes_it"), VERDICTS)
def test_what_keepalived_rejects_never_takes_its_place(bare: Bare, says: str, status: int, *, takes_it: bool) -> None:
    bare.run(write(OLD))
    judging(bare, says.replace("'", "").replace("\n", "\\n"), status)
    difference = Difference(Thing.KEEPALIVED, Action.BUILD, NEW, "file", "")
    done = bare.sh(script([difference], checked=(CONF,)))
    asked = bare.sh(check_script(NEW))
    assert (done.returncode == 0) is (asked.returncode == 0) is takes_it
    assert state_of(bare) == ((NEW if takes_it else OLD).text, ["keepalived.conf"])
    assert bare.run("ls -A /run | grep lbctl") == "lbctl.lock\n"
    if not takes_it:
        assert "keepalived rejects the new configuration; the old one stays in place" in done.stderr


@pytest.mark.namespace
def test_an_empty_keepalived_conf_is_refused(bare: Bare) -> None:
    bare.run(write(OLD))
    done = bare.sh(
        script([Difference(Thing.KEEPALIVED, Action.BUILD, replace(NEW, text=""), "file", "")], checked=(CONF,))
    )
    assert done.returncode != 0
    assert "refusing an empty keepalived.conf" in done.stderr
    assert state_of(bare) == (OLD.text, ["keepalived.conf"])


@pytest.mark.namespace
def test_a_kernel_setting_that_is_not_there_is_an_error(bare: Bare) -> None:
    item = ("net.ipv4.conf.eth9.rp_filter", 0)
    done = bare.sh(script([Difference(Thing.TUNNEL, Action.BUILD, item, "sysctl", "")]))
    assert done.returncode != 0
    assert "kernel setting net.ipv4.conf.eth9.rp_filter is not there" in done.stderr
