"""What goes wrong on machines: it is named, no host is harmed, and the next run finishes the work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.lab import Lab
from tests.system.machines import Cluster
from tests.variants import Variant

pytestmark = pytest.mark.lab

TWO = (Variant(Mode.DR, "persistent"), Variant(Mode.DR, "ranked"))
"""They differ in keepalived.conf alone. Each test goes on from the one that is there, and deploys the other."""
CONF = "/etc/keepalived/keepalived.conf"


@pytest.fixture
def served(cluster: Cluster) -> Cluster:
    """Deployed and serving."""
    cluster.declare(TWO[0])
    ranked = any(line[0] == "fo" for line in cluster.table("lb1").values())
    cluster.declare(TWO[ranked])
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    return cluster


def declare_other(cluster: Cluster) -> None:
    cluster.declare(TWO[cluster.variant == TWO[0]])


def finishes(cluster: Cluster) -> None:
    """The next run ends where an undisturbed one would have."""
    done = cluster.lbctl("deploy", "--yes")
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    again = cluster.lbctl("plan", "--check")
    assert again.status == Exit.DONE, again.output


def text_of(cluster: Cluster, host: str) -> str:
    return cluster.on(host, f"cat {CONF}")


def passive(cluster: Cluster) -> str:
    (name,) = set(cluster.declaration.director) - {cluster.active()}
    return name


def test_killed_database(served: Cluster) -> None:
    (reads,) = served.endpoints("read")
    # systemd would start it again 5 s later: `stop` has it wait for us.
    served.on("db2", "kill -KILL $(pidof mariadbd); systemctl stop mariadb")
    try:
        for director in served.declaration.director:
            served.table_settles(director, alive=["db1", "db3"])
        assert set(served.answers(reads, 12)) == {"db1", "db3"}
    finally:
        served.on("db2", "systemctl start mariadb")
    for director in served.declaration.director:
        served.table_settles(director)
    served.rotates(reads)


def test_edited_by_hand(served: Cluster) -> None:
    active, before = served.active(), served.variant
    served.on(active, f"echo '# by hand' >>{CONF}")
    served.declare(Variant(Mode.TUN, "persistent"))  # with this, every host would change
    served.mark()
    refused = served.lbctl("deploy", "--yes")
    assert refused.status == Exit.REFUSED, refused.output
    assert f"{active}: {CONF} was edited by hand" in refused.output
    plain = served.pyinfra()
    assert plain.status != Exit.DONE
    assert f"{CONF} was edited by hand" in plain.output
    assert served.newer() == {}

    served.declare(before)
    overwritten = served.lbctl("deploy", "--yes", "--overwrite")
    assert overwritten.status == Exit.DONE, overwritten.output
    assert "# by hand" not in text_of(served, active)
    kept = served.on(active, "cat /var/lib/lbctl/previous/etc:keepalived:keepalived.conf")
    assert kept.endswith("# by hand")


def test_unreachable_host(served: Cluster) -> None:
    declare_other(served)
    served.lab.link("db3", up=False)
    try:
        partly = served.lbctl("deploy", "--yes")
        assert partly.status == Exit.FAILED, partly.output
        assert "db3 cannot be reached" in partly.output
        assert "db3 is not as declared" in partly.output
        for director in served.declaration.director:
            served.table_settles(director, alive=["db1", "db2"])
        (writes,) = served.endpoints("write")
        served.sticks(writes, ["db1", "db2"])
        plain = served.pyinfra()
        assert "db3" in plain.output
        assert plain.changed == []
    finally:
        served.lab.link("db3", up=True)
        served.lab.wait("db3")
    finishes(served)


def written_key(folder: Path, name: str) -> Path:
    key = folder / name
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key.chmod(0o600)
    return key


def test_wrong_ssh_key(served: Cluster, tmp_path: Path) -> None:
    declare_other(served)
    key = written_key(tmp_path, "wrong-key")
    served.file.write_text(served.file.read_text() + f'\n[ssh]\nkey = "{key}"\n')
    served.mark()
    refused = served.lbctl("deploy", "--yes")
    assert refused.status == Exit.FAILED, refused.output
    assert "no host can be reached; nothing was changed" in refused.output
    for host in served.hosts:
        assert f"{host}: " in refused.output
    assert "accepts none of what was offered" in refused.output
    assert served.newer() == {}


def test_changed_host_key(served: Cluster, tmp_path: Path) -> None:
    declare_other(served)
    other = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    known = tmp_path / "known_hosts"
    known.write_text(f"db3,10.0.0.3 {other}\n")
    text = served.file.read_text()
    served.file.write_text(f'{text}ssh = {{ known_hosts = "{known}" }}\n')  # the last table is db3's
    served.mark("db3")
    partly = served.lbctl("deploy", "--yes")
    assert partly.status == Exit.FAILED, partly.output
    assert "db3 cannot be reached" in partly.output
    assert "THE HOST KEY OF 10.0.0.3 port 22 HAS CHANGED" in partly.output
    assert served.newer("db3") == {}
    served.table_settles("lb1")
    served.table_settles("lb2")


@contextmanager
def full(lab: Lab, host: str, folder: str) -> Iterator[None]:
    """The folder, with all that is in it, on a disk that has no room left."""
    lab.exec(
        host,
        f"set -e; cp -a {folder} /run/kept; mount -t tmpfs -o size=16k,mode=755 full {folder}; cp -a /run/kept/. {folder}/; "
        f"rm -r /run/kept; dd if=/dev/zero of={folder}/filler bs=4k count=100 2>/dev/null || test -s {folder}/filler",
    )
    try:
        yield
    finally:
        lab.exec(host, f"umount {folder}")


@pytest.mark.soak  # a minute and more each: what a failed step leads to is shown by the others, too
def test_full_disk(served: Cluster) -> None:
    active = served.active()
    before = text_of(served, active)
    declare_other(served)
    with full(served.lab, active, "/etc/keepalived"):
        failed = served.lbctl("deploy", "--yes")
        assert failed.status == Exit.FAILED, failed.output
        assert f"{active} is not as declared: " in failed.output
        assert "No space left on device" in failed.output
        assert text_of(served, active) == before
        assert served.on(active, "ls -A /etc/keepalived | grep lbctl || :") == ""  # no half of a file stays
        (reads,) = served.endpoints("read")
        served.rotates(reads)
    finishes(served)


@pytest.mark.soak
def test_apt_fails(served: Cluster) -> None:
    host = passive(served)
    served.on(host, "apt-get -q -y remove ipvsadm && mv /etc/apt /etc/apt.away")
    try:
        failed = served.lbctl("deploy", "--yes")
        assert failed.status == Exit.FAILED, failed.output
        assert f"{host} is not as declared: " in failed.output
        # apt's words depend on what it still remembers of the package.
        missing = ("Package 'ipvsadm' has no installation candidate", "Unable to locate package ipvsadm")
        assert any(words in failed.output for words in missing)
        plain = served.pyinfra()
        assert any(words in plain.output for words in missing)
        assert plain.changed == []
        (reads,) = served.endpoints("read")
        served.rotates(reads)
    finally:
        served.on(host, "mv /etc/apt.away /etc/apt")
    finishes(served)


WRAPPER = """\
#!/bin/sh
case $1 in --config-test) echo "(Line 7) Unknown keyword 'lb_knid'"; exit 5;; esac
exec /usr/sbin/keepalived "$@"
"""


def test_rejected_by_keepalived(served: Cluster) -> None:
    active = served.active()
    before = text_of(served, active)
    declare_other(served)
    served.on(active, "cat >/usr/local/sbin/keepalived; chmod 755 /usr/local/sbin/keepalived", stdin=WRAPPER)
    try:
        served.mark()
        rejected = served.lbctl("deploy", "--yes")
        assert rejected.status == Exit.FAILED, rejected.output
        assert "keepalived rejects the new configuration; nothing was changed" in rejected.output
        assert f"{active}: " in rejected.output
        assert "Unknown keyword 'lb_knid'" in rejected.output
        assert served.newer() == {}
        # Plain pyinfra sees it when it comes to this director, the last one: the file that runs is not touched.
        plain = served.pyinfra()
        assert "Unknown keyword 'lb_knid'" in plain.output
        assert text_of(served, active) == before
        # Of all that it owns there, only the folder knows of the file that was tried.
        assert set(served.newer(active).get(active, [])) <= {"/etc/keepalived"}
    finally:
        served.on(active, "rm /usr/local/sbin/keepalived")
    finishes(served)
