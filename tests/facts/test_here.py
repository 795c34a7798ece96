"""The operator's machine, and who lives there."""

import os
import subprocess
import sys

import pytest

from facts import here

pytestmark = pytest.mark.namespace


def test_which_processes_live() -> None:
    assert here.runs(os.getpid())
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not here.runs(child.pid)  # a zombie
    child.wait()
    assert not here.runs(child.pid)


def test_a_machine_is_the_same_for_all_its_processes() -> None:
    told = subprocess.check_output([sys.executable, "-c", "from facts import here; print(here.machine())"], text=True)
    assert told.strip() == here.machine()
    apart = ["unshare", "--pid", "--fork", sys.executable, "-c", "from facts import here; print(here.machine())"]
    assert subprocess.check_output(apart, text=True).strip() != here.machine()
