"""A bare host on this machine: its own network and its own /etc, /usr/local and /var/lib, in a network and a mount namespace."""

import subprocess
from dataclasses import dataclass, field
from typing import Self

# Programs that change what a namespace cannot hold only write down how they were called.
SET_UP = """\
set -e
awk=$(readlink -f "$(command -v awk)")
mount -t tmpfs etc /etc; mount -t tmpfs local /usr/local; mount -t tmpfs lib /var/lib; mount -t tmpfs run /run
mkdir -p /usr/local/sbin /run/test /etc/alternatives; ln -s "$awk" /etc/alternatives/awk
echo root:x:0:0:root:/root:/bin/sh >/etc/passwd; echo root:x:0: >/etc/group; echo tcp 6 TCP >/etc/protocols
cat >/usr/local/sbin/recorder <<'END'
#!/bin/sh
echo "${0##*/} $*" >>/run/test/called
END
chmod 755 /usr/local/sbin/recorder
for name in systemctl modprobe useradd apt-get; do ln -s recorder /usr/local/sbin/$name; done
ip link set lo up
ip link add eth0 type bridge; ip addr add 10.0.0.1/24 dev eth0; ip link set eth0 up
# A kernel without that module makes no dummy device: any device of that name will do.
ip link add dummy0 type dummy 2>/dev/null || ip link add dummy0 type bridge
"""


@dataclass
class Bare:
    """Use as a context manager: what runs in it ends with it, and the namespaces with that."""

    _holder: "subprocess.Popen[str]" = field(init=False)

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep infinity"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == "ready\n"
        self.run(SET_UP)
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.communicate()

    def sh(self, script: str) -> "subprocess.CompletedProcess[str]":
        """As a target does it: by Debian's sh, the script on standard input."""
        return subprocess.run(self.inside, input=script, capture_output=True, text=True, check=False, timeout=120)

    @property
    def inside(self) -> list[str]:
        """What starts a shell in there that reads its script from standard input."""
        return ["nsenter", f"--target={self._holder.pid}", "--net", "--mount", "--", "dash", "-s"]

    def run(self, script: str) -> str:
        done = self.sh(script)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done.stdout

    def called(self) -> list[str]:
        """How programs that change what a namespace cannot hold were called, since the last time."""
        return self.run("cat /run/test/called 2>/dev/null; rm -f /run/test/called").splitlines()
