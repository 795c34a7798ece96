"""Scripts that are cut short, on a bare host in a namespace: the next run ends where an undisturbed one would have."""

import subprocess
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from cluster.difference import Action, Difference, differences
from cluster.footprint import ALL_MODES, Blueprint
from cluster.observed import BusyError, HostState, parse
from cluster.parts import LOCK, Address, File, Link, Route, Rule, Thing, staged_path
from cluster.vocabulary import Mode
from facts.state import script as look
from operations.commands import script
from operations.observation import asked_of
from tests.operations.bare import Bare
from tests.operations.test_shell import held
from tests.variants import Variant

pytestmark = pytest.mark.namespace

BLUEPRINT = Variant(Mode.DR).blueprint
KNOWN = BLUEPRINT.footprint("db1", ALL_MODES)

# Before each simple command the shell works out PS4, and with it this: at the Nth one everything dies, as when power fails.
POWER_CUT = """\
mkdir -p /run/test; echo 0 >/run/test/count
PS4='$(read n </run/test/count; echo $((n+1)) >/run/test/count; [ $n != {place} ] || kill -KILL 0)'
set -x
"""
# Besides what is asked for: settings and whatever else stands in the places where scripts write.
ALL = "find /etc /usr/local/lib /var/lib/lbctl -type f ! -path '/var/lib/lbctl/previous/*' | sort | xargs sha256sum"


@pytest.fixture
def bare() -> Iterator[Bare]:
    with Bare() as host:
        yield host


def seen(bare: Bare, blueprint: Blueprint = BLUEPRINT) -> HostState:
    return parse(bare.run(look(asked_of(blueprint, "db1"))))


def released(bare: Bare) -> None:
    """Whoever was killed holds the lock for a moment more, until the kernel has cleared it away."""
    bare.run(f"[ ! -e {LOCK} ] || flock -w 60 -s {LOCK} true")


def still_to_do(bare: Bare, modes: frozenset[Mode]) -> list[Difference]:
    footprint = BLUEPRINT.footprint("db1", modes) if modes else ()
    return [d for d in differences(footprint, KNOWN, seen(bare)) if d in held((d,)) or d.kind == "half-written file"]


def mend(bare: Bare, modes: frozenset[Mode]) -> None:
    if found := still_to_do(bare, modes):
        bare.run(script(found))


def cut(bare: Bare, text: str, place: int) -> bool:
    """Runs a script as far as its Nth command; whether it was longer than that."""
    done = subprocess.run(
        bare.inside,
        input=POWER_CUT.format(place=place) + text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        start_new_session=True,
    )
    released(bare)
    return done.returncode != 0


def ended(bare: Bare, modes: frozenset[Mode]) -> tuple[HostState, str]:
    """What one run, and if it left something over one more, makes of the host: that, and every file."""
    mend(bare, modes)
    assert still_to_do(bare, modes) == []
    return seen(bare), bare.run(ALL)


def without_time(state: HostState) -> object:
    files = {path: (file.sha256, file.mode, file.owner) for path, file in state.files.items()}
    links = {name: link.up for name, link in state.links.items()}
    return files, links, state.sysctls, state.addresses, state.rules, state.routes, state.half_written


def swept(places: Iterator[int], before: frozenset[Mode], after: frozenset[Mode]) -> int:
    """Cut at each of these places on the way from one state to the other; how many there were."""
    with Bare() as undisturbed:
        mend(undisturbed, before)
        wanted, files = ended(undisturbed, after)
    count = 0
    for place in places:
        with Bare() as bare:
            mend(bare, before)
            if not cut(bare, script(still_to_do(bare, after)), place):
                return count
            count += 1
            state, found = ended(bare, after)
            assert without_time(state) == without_time(wanted), f"cut before command {place}"
            assert found == files, f"cut before command {place}"
    return count


BARE = frozenset[Mode]()
WAYS = [(BARE, ALL_MODES), (ALL_MODES, BARE), (ALL_MODES, frozenset({Mode.DR}))]


@pytest.mark.parametrize(("before", "after"), WAYS, ids=["built", "taken away", "one mode stays"])
def test_power_fails_at_some_commands(before: frozenset[Mode], after: frozenset[Mode]) -> None:
    """Every seventeenth: the sweep below has all."""
    assert swept(iter(range(3, 10_000, 17)), before, after) > 1


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("before", "after"), WAYS, ids=["built", "taken away", "one mode stays"])
def test_power_fails_at_every_command(before: frozenset[Mode], after: frozenset[Mode]) -> None:
    assert swept(iter(range(10_000)), before, after) > 40


def test_every_script_can_be_run_twice(bare: Bare) -> None:
    """The first one was at work still when the second one's look was taken, by whatever way: nothing of that is a failure."""
    found = [d for d in differences(KNOWN, KNOWN, seen(bare)) if d in held((d,))]
    for _ in range(2):
        bare.run(script(found))
    built = seen(bare)
    leftovers = held(differences((), KNOWN, built))
    assert {d.kind for d in leftovers} >= {"file", "link", "sysctl", "address", "route", "rule"}
    for _ in range(2):
        bare.run(script(leftovers))
    assert held(differences((), KNOWN, seen(bare))) == []


NEVER_THERE = {
    "address": Address("eth0", IPv4Address("10.0.0.10")),
    "address of no device": Address("nowhere", IPv4Address("10.0.0.10")),
    "link": Link("nowhere", "dummy"),
    "link that stays": Link("nowhere", "ipip"),
    "route": Route(254, "10.9.0.0/16", "eth0"),
    "route of a table that never had one": Route(4711, "default", "eth0"),
    "rule": Rule(preference=4711, table=4711, source=None),
}


@pytest.mark.parametrize("kind", NEVER_THERE)
def test_what_is_gone_is_removed(bare: Bare, kind: str) -> None:
    """iproute2 says it in its own words or, where the kernel has some, in the kernel's."""
    bare.run(script([Difference(Thing.RETURN_PATH, Action.REMOVE, NEVER_THERE[kind], kind.split(maxsplit=1)[0], "")]))


def test_a_failure_that_is_none_of_the_harmless_ones_is_one(bare: Bare) -> None:
    rule = Rule(preference=100, table=100, source=None, protocol="nonsense")
    done = bare.sh(script([Difference(Thing.RETURN_PATH, Action.BUILD, rule, "rule", "")]))
    assert done.returncode != 0
    assert "nonsense" in done.stderr


TALKATIVE = """\
cat >/usr/local/sbin/modprobe <<'END'
#!/bin/sh
trap 'echo broken >/run/test/broken' PIPE
i=0; while [ $i -lt 3000 ]; do echo "unpacking $1 and more words to fill a pipe with"; i=$((i+1)); done
END
chmod 755 /usr/local/sbin/modprobe
"""


def test_nobody_listens_any_more(bare: Bare) -> None:
    """The connection broke. A program that tells what it does, as apt, would die of it half-way."""
    bare.run(f"rm /usr/local/sbin/modprobe; {TALKATIVE}")
    late = File("/etc/late", "late\n")
    text = script(
        [
            Difference(Thing.TUNNEL, Action.BUILD, "ipip", "module", ""),
            Difference(Thing.ARP, Action.BUILD, late, "file", ""),
        ]
    )
    process = subprocess.Popen(bare.inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin
    assert process.stdout
    process.stdout.close()
    process.stdin.write(text.encode())
    process.stdin.close()
    process.wait(60)
    assert bare.run("cat /etc/late") == "late\n"
    assert "broken" not in bare.run("ls /run/test")


SLOW = """\
cat >{path} <<'END'
#!/bin/sh
touch /run/test/begun; while [ ! -e /run/test/go ]; do /bin/sleep 0.05; done
END
chmod 755 {path}
"""


def test_one_at_a_time(bare: Bare) -> None:
    """A run that was interrupted is still at work: the next one sees that, waits, and does its own afterwards."""
    bare.run("rm /usr/local/sbin/modprobe; " + SLOW.format(path="/usr/local/sbin/modprobe"))
    first = subprocess.Popen(bare.inside, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert first.stdin
    first.stdin.write(
        script(
            [
                Difference(Thing.TUNNEL, Action.BUILD, "ipip", "module", ""),
                Difference(Thing.ARP, Action.BUILD, File("/etc/one", "first\n"), "file", ""),
            ]
        )
    )
    first.stdin.close()
    deadline = time.monotonic() + 30
    while "begun" not in bare.run("ls /run/test"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(BusyError):
        seen(bare)
    second = subprocess.Popen(bare.inside, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert second.stdin
    second.stdin.write(script([Difference(Thing.ARP, Action.BUILD, File("/etc/one", "second\n"), "file", "")]))
    second.stdin.close()
    time.sleep(0.5)
    assert bare.run("cat /etc/one 2>/dev/null || echo none") == "none\n"
    bare.run("touch /run/test/go")
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert bare.run("cat /etc/one; cat /var/lib/lbctl/previous/etc:one") == "second\nfirst\n"
    assert seen(bare).half_written == frozenset()


def test_half_a_file_is_found_and_taken_away(bare: Bare) -> None:
    path = "/etc/sysctl.d/zz-lbctl-arp.conf"
    bare.run(f"mkdir -p /etc/sysctl.d; echo half >{staged_path(path)}")
    assert seen(bare).half_written == {staged_path(path)}
    (found,) = still_to_do(bare, BARE)
    assert found.what == f"remove {staged_path(path)} (half-written)"
    bare.run(script([found]))
    assert bare.run("ls -A /etc/sysctl.d") == ""
    assert seen(bare).half_written == frozenset()


def test_a_file_of_a_mode_that_is_only_kept_gets_its_new_name(bare: Bare) -> None:
    old, new = (f"/etc/sysctl.d/{first}-lbctl-arp.conf" for first in ("90", "zz"))
    bare.run(f"mkdir -p /etc/sysctl.d; echo of old >{old}")
    known, kept = BLUEPRINT.known("db1"), BLUEPRINT.footprint("db1", {Mode.DR})
    (rename,) = (d for d in differences(kept, known, seen(bare)) if d.action is Action.REMOVE)
    for _ in range(2):  # again, as after one that was cut short
        bare.run(script([rename]))
        assert bare.run("cd /etc/sysctl.d; grep . /dev/null *") == f"{new.rpartition('/')[2]}:of old\n"
    bare.run(f"echo newer >{new}; echo of old >{old}")
    bare.run(script([rename]))
    assert bare.run("cd /etc/sysctl.d; grep . /dev/null *") == f"{new.rpartition('/')[2]}:newer\n"
    bare.run(f"mv {new} {old}")
    (gone,) = (d for d in differences((), known, seen(bare)) if d.kind == "file")
    bare.run(script([gone]))
    assert bare.run("ls -A /etc/sysctl.d") == ""
