"""Our netfilter chains on a host whose firewall is loaded anew, by real iptables in a namespace: they come back by themselves."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cluster.difference import Action, Difference
from cluster.parts import Part, Thing
from cluster.vocabulary import Mode, ReturnPath
from lab.unpacked import unpacked
from operations.commands import script
from tests.operations.bare import Bare
from tests.variants import Variant

pytestmark = pytest.mark.namespace

PACKAGES = (
    *("iptables", "nftables", "libip4tc2", "libip6tc2", "libxtables12", "libnetfilter-conntrack3"),
    *("libnfnetlink0", "libnftables1", "libnftnl11", "libmnl0"),
)
# What writes is written down.
INSTALL = """\
libraries=$(echo {tree}/usr/lib/*-linux-gnu)
for name in iptables iptables-restore nft; do
  program="{tree}/usr/sbin/xtables-{variant}-multi $name"
  [ $name != nft ] || program={tree}/usr/sbin/nft
  cat >/usr/local/sbin/$name <<END
#!/bin/sh
case "$name \\$*" in iptables-restore*|*' -A '*) echo "$name \\$*" >>/run/test/called;; esac
LD_LIBRARY_PATH=$libraries XTABLES_LIBDIR=$libraries/xtables exec $program "\\$@"
END
  chmod 755 /usr/local/sbin/$name
done
"""
PROGRAM = "/usr/local/sbin/keeper"
"""What its service runs."""
FLUSH = "nft flush ruleset"


class Host:
    """A host with one part's chains, and with iptables of one kind."""

    def __init__(self, bare: Bare, part: Part, variant: str) -> None:
        self.bare, self.chains = bare, part.chains
        tree = unpacked(PACKAGES, "usr/sbin/xtables-nft-multi")
        bare.run(INSTALL.format(tree=tree, variant=variant))
        (text,) = (file.text for file in part.files if file.path.endswith(("/return-path", "/masquerade")))
        bare.run(f"cat >{PROGRAM} <<'END-OF-PROGRAM'\n{text}END-OF-PROGRAM\nchmod 755 {PROGRAM}")

    def seen(self) -> str:
        """All rules, and chains, of the tables that ours are in."""
        tables = dict.fromkeys(chain.table for chain in self.chains)
        return self.bare.run("".join(f"echo '*{table}'; iptables -t {table} -S\n" for table in tables))

    def wrote(self) -> int:
        """How many commands changed something since the last time."""
        return len(self.bare.called())

    def by_hand(self, words: str) -> None:
        self.bare.run(words)
        self.bare.called()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the service runs."""
        argv = [*self.bare.inside[:-2], PROGRAM]
        with subprocess.Popen(argv, start_new_session=True) as service:
            try:
                yield
            finally:
                # All of its processes, as systemd does.
                os.killpg(service.pid, signal.SIGTERM)


def until_as(host: Host, wanted: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (seen := host.seen()) != wanted:
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)


def part_of(name: str) -> Part:
    if name == "return-path":
        blueprint, host, thing = Variant(Mode.NAT, return_path=ReturnPath.FWMARK).blueprint, "db1", Thing.RETURN_PATH
    else:
        blueprint, host, thing = Variant(Mode.NAT).blueprint, "lb1", Thing.MASQUERADE
    (part,) = (part for part in blueprint.footprint(host, {Mode.NAT}) if part.thing is thing)
    return part


@pytest.fixture(params=["return-path", "masquerade"])
def part(request: pytest.FixtureRequest) -> Part:
    return part_of(request.param)


@pytest.fixture
def bare() -> Iterator[Bare]:
    with Bare() as host:
        yield host


def test_they_come_back_by_themselves(bare: Bare, part: Part) -> None:
    host = Host(bare, part, "nft")
    bare.run(f"{PROGRAM} once")
    built = host.seen()
    bare.run(FLUSH)
    with host.kept():
        until_as(host, built, 5)  # so its first look is over
        bare.run(FLUSH)
        until_as(host, built, 15)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_only_what_is_not_right_is_put_back(bare: Bare, part: Part, variant: str) -> None:
    """At once, as when systemd reloads the service with the firewall."""
    host = Host(bare, part, variant)
    host.by_hand(f"{PROGRAM} once")
    built = host.seen()
    bare.run(f"{PROGRAM} once")
    assert (host.wrote(), host.seen()) == (0, built)
    chain = host.chains[-1]
    iptables = f"iptables -t {chain.table}"
    for harm, writes in (
        (f"-F {chain.name}", 1),
        (f"-D {chain.name} 1", 1),
        (f"-I {chain.name} -j RETURN", 1),
        (f"-D {chain.hook} -j {chain.name}", 1),
        (f"-F {chain.hook}; {iptables} -F {chain.name}; {iptables} -X {chain.name}", 2),
    ):
        host.by_hand(f"{iptables} {harm}")
        assert host.seen() != built
        bare.run(f"{PROGRAM} once")
        assert (host.wrote(), host.seen()) == (writes, built)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_deploy_builds_the_same_and_takes_it_away(bare: Bare, part: Part, variant: str) -> None:
    host = Host(bare, part, variant)

    def done(action: Action) -> None:
        bare.run(script([Difference(part.thing, action, chain, "chain", "") for chain in host.chains]))

    host.by_hand(f"{PROGRAM} once; {PROGRAM} once")
    built = host.seen()
    done(Action.REMOVE)
    left = host.seen()
    assert "LBCTL" not in left
    done(Action.BUILD)
    assert host.seen() == built
    for chain in host.chains:  # two have found it missing
        bare.run(f"iptables -t {chain.table} -A {chain.hook} -j {chain.name}")
    done(Action.REMOVE)
    assert host.seen() == left
