"""Five kinds of bad hosts in one run: each is named with its reason, the good one is finished, and it does not take for ever."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.lab import Lab
from tests.system.machines import Cluster
from tests.system.test_faults import full
from tests.system.test_sudo import MAY_NOT, SET_UP, USER
from tests.variants import Variant

# Minutes on a busy machine, and not yet seen to pass whole: docs/development.md, "The long tests".
pytestmark = [pytest.mark.lab, pytest.mark.soak]

# Where commands of ours hang, and the lab's own do not: bash reads this file, also for a command by SSH.
HANG = 'case $BASH_EXECUTION_STRING in *"sh -s"*) exec sleep 3600;; esac'


@contextmanager
def standing_still(lab: Lab, host: str) -> Iterator[None]:
    """Its kernel does nothing: no packet is answered, and none refused."""
    pid = lab.machines()[host].pid
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def commands_hang(lab: Lab, host: str) -> Iterator[None]:
    lab.exec(
        host, "cp -p /root/.bashrc /root/.bashrc.kept; { cat - /root/.bashrc.kept; } >/root/.bashrc", stdin=f"{HANG}\n"
    )
    try:
        yield
    finally:
        lab.exec(host, "mv /root/.bashrc.kept /root/.bashrc; pkill -x -f 'sleep 3600' || :")


# A machine that stands still answers no question for its hardware address either: then there is "no route" to it.
STANDS_STILL = r"no answer from 10\.0\.0\.6|no way to 10\.0\.0\.6( port 22)?: No route to host"


def test_one_dead_one_frozen_one_hanging_one_full_one_without_rights(cluster: Cluster) -> None:
    cluster.declare(Variant(Mode.DR, "persistent"))
    before = cluster.lbctl("deploy", "--yes")
    assert before.status == Exit.DONE, before.output
    lab = cluster.lab
    lab.exec("db3", SET_UP + MAY_NOT, timeout=180)

    # lb1 gets another keepalived.conf, db2 a program that is gone; and a director that is not there at all is declared.
    cluster.declare(Variant(Mode.DR, "ranked"))
    text = cluster.file.read_text()
    text = text.replace(
        "\n[real_server.db1]", '\n[director.lb3]\naddress = "10.0.0.7"\npriority = 99\n\n[real_server.db1]'
    )
    cluster.file.write_text(f'{text}ssh = {{ user = "{USER}", sudo = true }}\n')  # the last table is db3's
    program = "/usr/local/lib/lbctl/clustercheck"
    lab.exec("db2", f"mv {program} /run/clustercheck-kept")
    with ExitStack() as bad:
        bad.enter_context(full(lab, "db2", "/usr/local/lib/lbctl"))
        bad.enter_context(commands_hang(lab, "db1"))
        bad.enter_context(standing_still(lab, "lb2"))
        done = cluster.lbctl("deploy", "--yes")
        plain = cluster.pyinfra()
    print(done.output, plain.output, plain.status)
    assert done.status == Exit.FAILED, done.output
    for host, why in {
        "lb3": "no way to 10.0.0.7",
        "lb2": STANDS_STILL,
        "db1": "no end of the command within",
        "db2": "No space left on device",
        "db3": "sudo wants a password",
    }.items():
        said = done.output[done.output.index(f"{host} is not as declared: ") :]
        assert re.search(why, "\n".join(said.splitlines()[:4])), done.output
    assert "changed on lb1: keepalived" in done.output
    # Plain pyinfra: the same hosts, and its own exit code.
    assert plain.status == 1, plain.output
    assert "Traceback" not in plain.output
    assert "[@lab/lb1] No changes" in plain.output
    for words in (
        "no way to 10.0.0.7",
        STANDS_STILL,
        "timed out after 30s",
        "No space left",
        "sudo wants a password",
    ):
        assert re.search(words, plain.output), plain.output
    cluster.declare(Variant(Mode.DR, "ranked"))
    lab.wait("lb2", "db1")
    after = cluster.lbctl("deploy", "--yes")
    assert after.status == Exit.DONE, after.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
