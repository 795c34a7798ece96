"""What a deployed cluster tells to whom."""

import sys

import pytest

from cluster.errors import Exit
from cluster.vocabulary import CLUSTERCHECK_PORT, Mode
from tests.system.machines import PATIENT, Cluster
from tests.variants import Variant

pytestmark = pytest.mark.lab

# Prints how many bytes came before the end.
ASK = f"""\
import socket
with socket.create_connection(("10.0.0.1", {CLUSTERCHECK_PORT}), timeout=10) as connection:
    try:
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(len(b"".join(iter(lambda: connection.recv(4096), b""))))
    except ConnectionError:
        print(0)
"""


def test_clustercheck_answers_directors_only(cluster: Cluster) -> None:
    cluster.declare(Variant(Mode.NAT), **PATIENT)
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    url = f"http://10.0.0.1:{CLUSTERCHECK_PORT}/"
    for director in cluster.declaration.director:
        assert "Synced" in cluster.on(director, f"curl -s -m 10 {url}")
        assert "enable_script_security" in cluster.on(director, "cat /etc/keepalived/keepalived.conf")
    python = [sys.executable, "-c", ASK]
    assert cluster.lab.client(python).stdout == "0\n"
    assert cluster.lab.operator(python).stdout == "0\n"
    # Not even the other servers.
    assert cluster.on("db2", f"curl -s -m 10 {url} | wc -c") == "0"
