"""Many hosts on one machine: OpenSSH servers in network namespaces, on one bridge.

All of it lives in one process namespace, whose first process ends when the benchmark does, however it does; namespaces have no
name outside. So nothing can be left behind: the kernel clears up.
"""

import os
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Self

from cluster.errors import HostError
from lab.unpacked import unpacked

# $1 folder, $2 how many, $3 sshd, $4 the dead address. The last line holds all until the benchmark's end of the pipe is closed.
_SET_UP = r"""
set -e
mount -t tmpfs run /run; mkdir -p /run/netns /run/sshd
# Root has a plain shell and an empty home here: what this machine's root starts at login is not to be measured. And the server
# keeps its parts apart under a user that this machine need not have.
{ sed -E '/^(root|sshd):/d' /etc/passwd; echo root:x:0:0:root:/run:/bin/sh
  echo sshd:x:65000:65534::/run/sshd:/usr/sbin/nologin; } >"$1/passwd"
mount --bind "$1/passwd" /etc/passwd
ip link set lo up
ip link add br0 type bridge forward_delay 0 mcast_snooping 0
ip addr add 10.0.255.254/16 dev br0; ip link set br0 up
# Of a host that is dead the network says nothing at all, as beyond a router.
ip neigh add "$4" lladdr 02:00:00:00:00:01 dev br0 nud permanent
n=0
while [ $n -lt "$2" ]; do
  n=$((n + 1)); ip netns add h$n
  echo "link add v$n type veth peer name eth0 netns h$n"; echo "link set v$n master br0 up"
done >"$1/links"
ip -batch "$1/links"
n=0
while [ $n -lt "$2" ]; do
  n=$((n + 1))
  nsenter --net=/run/netns/h$n sh -c '
    ip link set lo up; ip link set eth0 up; ip addr add 10.0.$(($1 / 250)).$(($1 % 250 + 1))/16 dev eth0
    exec "$2" -D -f "$3/sshd_config" </dev/null >>"$3/sshd.log" 2>&1' host $n "$3" "$1" &
done
echo ready
exec cat >/dev/null
"""

_SSHD_CONFIG = """\
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
PrintMotd no
UseDNS no
"""


class Hosts:
    """So many, reachable by `inside`. Use as a context manager. Raises HostError if they do not come up."""

    network = IPv4Network("10.0.0.0/16")
    dead = "10.0.253.1"
    """One that never answers."""

    def __init__(self, count: int, folder: Path) -> None:
        self.folder = folder
        self.addresses = [str(IPv4Address(f"10.0.{n // 250}.{n % 250 + 1}")) for n in range(1, count + 1)]
        self.key = folder / "key"
        self.known_hosts = folder / "known_hosts"

    def __enter__(self) -> Self:
        for name in ("key", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        public = (self.folder / "host_key.pub").read_text().strip()
        self.known_hosts.write_text("".join(f"{address} {public}\n" for address in self.addresses))
        (self.folder / "sshd_config").write_text(_SSHD_CONFIG.format(folder=self.folder))
        server, environment = sshd()
        self._holder = subprocess.Popen(
            [
                *(
                    "unshare",
                    "--net",
                    "--mount",
                    "--propagation",
                    "private",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount-proc",
                ),
                *("sh", "-c", _SET_UP, "hosts", str(self.folder), str(len(self.addresses)), str(server), self.dead),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the benchmark, which then ends this
        )
        try:
            assert self._holder.stdout  # noqa: S101 (for mypy: it is a pipe)
            self._wait(self._holder.stdout.readline())
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self, said: str) -> None:
        if said != "ready\n":
            raise HostError("the hosts do not come up", cure="what went wrong is printed above")
        scan = "for h in {}; do until ssh-keyscan -T 2 $h 2>/dev/null | grep -q .; do sleep 0.1; done; done"
        try:
            subprocess.run(self.inside("sh", "-c", scan.format(" ".join(self.addresses))), check=True, timeout=120)
        except subprocess.TimeoutExpired:
            log = (self.folder / "sshd.log").read_text()[-1000:]
            raise HostError(f"not all of the SSH servers answer; they said: {log}") from None

    def __exit__(self, *_: object) -> None:
        self._holder.kill()  # `--kill-child`: and with it the first process of the namespace, and with that all of them
        self._holder.communicate()

    def inside(self, *argv: str) -> list[str]:
        """What to run for a program of this machine as the operator, on the bridge."""
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--", *argv]


def sshd() -> tuple[Path, dict[str, str]]:
    """OpenSSH's server and its environment: this machine's, or that of Debian's package, unpacked and not installed."""
    installed = Path("/usr/sbin/sshd")
    if installed.exists():
        return installed, dict(os.environ)
    tree = unpacked(("openssh-server", "libwrap0"), "usr/sbin/sshd")
    library = next(tree.glob("usr/lib/*-linux-gnu"), tree)
    return tree / "usr/sbin/sshd", {**os.environ, "LD_LIBRARY_PATH": str(library)}
