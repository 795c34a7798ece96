"""What is installed is read once, and what is put off comes when it is needed: seen in a process of its own, which it changes."""

import subprocess
import sys

PROGRAM = """
import importlib.metadata, sys
import fleet.green
import paramiko, pyinfra.api.connectors
assert "invoke.runners" not in sys.modules, "imported before it is used"
assert paramiko.config.invoke.run.__module__ == "invoke" and "invoke.runners" in sys.modules
asked = []
importlib.metadata.distributions = lambda *a, **k: asked.append(1) or []
assert {"lbctl", "lab", "ssh"} <= set(pyinfra.api.connectors.get_all_connectors())
assert not asked, "read again"
"""


def test_in_a_process_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
