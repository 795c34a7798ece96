"""Packages are installed whatever else apt and dpkg do meanwhile, or did: by the real ones, without a mirror."""

from collections.abc import Iterator

import pytest

from cluster.difference import Action, Difference
from cluster.parts import Thing
from operations.commands import script
from tests.operations.bare import Bare

pytestmark = pytest.mark.namespace

SET_UP = """\
mount -t tmpfs cache /var/cache; mkdir -p /var/cache/apt/archives/partial
mkdir -p /var/lib/dpkg/updates /var/lib/dpkg/info /var/lib/dpkg/triggers /var/lib/apt/lists/partial
mkdir -p /etc/apt/apt.conf.d /etc/apt/preferences.d; touch /etc/apt/sources.list /var/lib/dpkg/available
cat >/run/test/known <<'END'
Package: keepalived
Status: install ok installed
Maintainer: nobody
Architecture: all
Version: 1
Description: there already

END
cp /run/test/known /var/lib/dpkg/status
cat >/usr/local/sbin/held <<'END'
#!/bin/sh
# FILE: held as apt and dpkg hold their locks, for two seconds; then COMMAND is run. Returns when it is held.
python3 - "$@" >/run/test/held 2>&1 <<'PYTHON' &
import fcntl, subprocess, sys, time
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(2)
subprocess.run(sys.argv[2:] or ["true"], check=True)
PYTHON
until grep -q held /run/test/held; do sleep 0.02; done
END
rm /usr/local/sbin/apt-get
for name in apt-get dpkg; do
  cat >/usr/local/sbin/$name <<END
#!/bin/sh
echo "$name \\$*" >>/run/test/called
[ ! -e "/run/test/first-$name-\\$2" ] || { mv "/run/test/first-$name-\\$2" /run/test/now; . /run/test/now; }
exec /usr/bin/$name "\\$@"
END
done
chmod 755 /usr/local/sbin/*
"""
"""What stands in /run/test/first-PROGRAM-ARGUMENT is done when the program is called with that as its second one, once."""

INSTALL = "apt-get -q -y -o Dpkg::Options::=--force-confold install --no-install-recommends keepalived"
CONFIGURE = "dpkg --force-confold --configure -a"
UPDATE = "apt-get -q update"
LOCK = "/var/lib/dpkg/lock-frontend"
INTERRUPTED = "cp /run/test/known /var/lib/dpkg/updates/0001"
"""dpkg's journal, as it stays behind when the power fails."""


@pytest.fixture
def bare() -> Iterator[Bare]:
    with Bare() as host:
        host.run(SET_UP)
        yield host


def installed(bare: Bare) -> list[str]:
    """Which programs that took, each time that it was called in a row counted once."""
    bare.run(script([Difference(Thing.KEEPALIVED, Action.BUILD, "keepalived", "package", "")]))
    called = bare.called()
    assert bare.run("ls /var/lib/dpkg/updates; ls /run | grep lbctl.said || :") == ""
    return [line for before, line in zip(["", *called], called, strict=False) if line != before]


def test_nothing_in_the_way(bare: Bare) -> None:
    assert installed(bare) == [INSTALL]


def test_no_daemon_is_restarted_along_with_it(bare: Bare) -> None:
    """needrestart(1), ENVIRONMENT: its hook for apt may be set up to restart what uses an old library, on all servers at once."""
    bare.run("echo 'echo $NEEDRESTART_SUSPEND $NEEDRESTART_MODE >/run/test/seen' >/run/test/first-apt-get--y")
    installed(bare)
    assert bare.run("cat /run/test/seen") == "1 l\n"


def test_another_one_is_at_work(bare: Bare) -> None:
    """dpkg's journal is not empty while it is, and is none of ours."""
    bare.run(f"touch /var/lib/dpkg/updates/0003; held {LOCK} rm /var/lib/dpkg/updates/0003")
    assert installed(bare) == [INSTALL]


def test_another_one_was_interrupted(bare: Bare) -> None:
    """apt says "dpkg was interrupted", and stops. The list of packages is not to blame."""
    bare.run(INTERRUPTED)
    assert installed(bare) == [INSTALL, CONFIGURE, INSTALL]


def test_another_one_comes_before_that_is_mended(bare: Bare) -> None:
    bare.run(f"{INTERRUPTED}; echo 'held {LOCK}' >/run/test/first-dpkg---configure")
    assert installed(bare) == [INSTALL, CONFIGURE, INSTALL]


def test_the_list_of_packages_is_too_old_and_is_being_fetched(bare: Bare) -> None:
    """As after the first boot."""
    bare.run(
        "rm /var/lib/dpkg/status; touch /var/lib/dpkg/status\n"
        "echo 'held /var/lib/apt/lists/lock cp /run/test/known /var/lib/dpkg/status' >/run/test/first-apt-get-update"
    )
    assert installed(bare) == [INSTALL, CONFIGURE, UPDATE, INSTALL]


def test_another_one_does_not_end(bare: Bare) -> None:
    bare.run(f"held {LOCK}")
    text = script([Difference(Thing.KEEPALIVED, Action.BUILD, "keepalived", "package", "")])
    done = bare.sh(text.replace("wait=120", "wait=0"))
    assert done.returncode != 0
    assert f"Could not get lock {LOCK}. It is held by process" in done.stderr
