"""Without root's login: a user of its own, with sudo, does all that is to be done, by both transports."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import Exit
from cluster.vocabulary import Mode
from lab.lab import Lab
from tests.system.machines import Cluster, Run, booted
from tests.variants import Variant

USER = "deploy"
SET_UP = f"""\
set -e
command -v sudo >/dev/null || apt-get -q -y install --no-install-recommends sudo >/dev/null
id -u {USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {USER}
usermod --password '*' {USER} # no password, and yet not locked: without PAM sshd lets no locked account in
install -d -m 700 -o {USER} /home/{USER}/.ssh
install -m 600 -o {USER} /root/.ssh/authorized_keys /home/{USER}/.ssh/authorized_keys
"""
MAY_ALL = f"echo '{USER} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{USER}; chmod 440 /etc/sudoers.d/{USER}"
MAY_NOT = f"rm -f /etc/sudoers.d/{USER}"


def with_user(lab: Lab) -> None:
    for host in ("db1", "db2", "db3", "lb1", "lb2"):
        lab.exec(host, SET_UP + MAY_ALL, timeout=180)


def declare(cluster: Cluster, mode: Mode, transport: str) -> None:
    cluster.declare(Variant(mode, "ranked"))
    text = cluster.file.read_text().replace('transport = "lab"', f'transport = "{transport}"')
    login = f'\n[ssh]\nuser = "{USER}"\nsudo = true\n'
    if transport == "ssh":
        login += f'key = "{cluster.lab.key}"\nknown_hosts = "{cluster.lab.known_hosts}"\n'
    cluster.file.write_text(text + login)


def run(cluster: Cluster, transport: str, *argv: str) -> Run:
    """The lab's own connector from where we are, the real one from the operator's place in the lab's network."""
    return cluster.run(*argv, prefix=cluster.lab.operator_argv([]) if transport == "ssh" else ())


def deploys(cluster: Cluster, mode: Mode, transport: str, *argv: str) -> None:
    declare(cluster, mode, transport)
    done = run(cluster, transport, *argv)
    assert done.status == Exit.DONE, done.output
    for director in cluster.declaration.director:
        cluster.table_settles(director)
    again = run(cluster, transport, "lbctl", "plan", "--check")
    assert again.status == Exit.DONE, again.output
    cluster.mark()
    once_more = run(cluster, transport, *argv)
    assert once_more.status == Exit.DONE, once_more.output
    assert cluster.newer() == {}
    for host in cluster.hosts:
        # It was no root that logged in. (The lab's own commands do.)
        assert cluster.on(host, f"journalctl --no-pager -q -t sshd -n 300 | grep -c 'for {USER} from' || :") != "0"


LBCTL = ("lbctl", "deploy", "--yes")
PYINFRA = ("pyinfra", "inventory.py", "deploy.py", "-y")


@pytest.mark.soak
@pytest.mark.parametrize(
    ("mode", "transport", "argv"), [(Mode.NAT, "ssh", LBCTL), (Mode.DR, "ssh", PYINFRA), (Mode.TUN, "lab", LBCTL)]
)
def test_changes_of_mode_by_a_user_with_sudo(
    cluster: Cluster, mode: Mode, transport: str, argv: tuple[str, ...]
) -> None:
    with_user(cluster.lab)
    deploys(cluster, mode, transport, *argv)


@pytest.fixture
def fresh() -> Iterator[Lab]:
    with booted(f"sudo-{os.getpid()}") as lab:
        yield lab


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("transport", "argv"), [("ssh", LBCTL), ("lab", PYINFRA)])
def test_first_deploy_by_a_user_with_sudo(fresh: Lab, tmp_path: Path, transport: str, argv: tuple[str, ...]) -> None:
    with_user(fresh)
    cluster = Cluster(fresh, tmp_path)
    deploys(cluster, Mode.DR, transport, *argv)
