"""Is the machine at the other end the one we mean? Asked before anything is sent to it."""

from paramiko import MissingHostKeyPolicy, PKey, SSHClient
from pyinfra import logger

from transports.errors import Reason, UnreachableError
from transports.known_hosts import KnownHosts, Verdict, fingerprint, name_of, remember
from transports.route import Route


class HostKeyCheck(MissingHostKeyPolicy):
    """Decides on every host key: paramiko is told of none, so that to it all of them are missing."""

    def __init__(self, route: Route) -> None:
        self.route = route
        self.known = KnownHosts.read(route.known_hosts).of(route.hostname, route.port)

    def order(self, algorithms: list[str]) -> list[str]:
        """A host has several keys, and on file may be only one of them: ask for one that can be compared."""
        return sorted(algorithms, key=lambda algorithm: _key_type(algorithm) not in self.known.key_types)

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:  # noqa: ARG002 - paramiko's signature
        verdict = self.known.judge(key.asbytes())
        if verdict is Verdict.KNOWN:
            return
        if verdict is not Verdict.UNKNOWN:
            raise self.changed(key, verdict)
        if not self.route.accept_new:
            raise self.unknown(key)
        file = self.route.known_hosts[0]
        remember(file, self.route.hostname, self.route.port, key.get_name(), key.asbytes())
        logger.warning(
            "%s: host key seen for the first time and trusted from now on: %s, written to %s",
            self.route.name,
            fingerprint(key.asbytes()),
            file,
        )

    def unknown(self, key: PKey) -> UnreachableError:
        route = self.route
        port = "" if name_of(route.hostname, route.port) == route.hostname else f"-p {route.port} "
        kind = key.get_name().removeprefix("ssh-").split("-")[0]
        return UnreachableError(
            route.name,
            Reason.UNKNOWN_HOST_KEY,
            f"the host key of {route.address} is not known: {key.get_name()} {fingerprint(key.asbytes())}",
            cure=f"Its console tells whether it is its key: `ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub`. If so:\n"
            f"      ssh-keyscan {port}{route.hostname} >> {route.known_hosts[0]}\n"
            '    or set ssh_strict_host_key_checking = "accept-new" to trust every host at first contact.',
        )

    def changed(self, key: PKey, verdict: Verdict) -> UnreachableError:
        route = self.route
        what = "IS ON THE LIST OF REVOKED KEYS" if verdict is Verdict.REVOKED else "HAS CHANGED"
        name = name_of(route.hostname, route.port)
        files = dict.fromkeys(entry.path for entry in self.known.entries)
        return UnreachableError(
            route.name,
            Reason.CHANGED_HOST_KEY,
            f"THE HOST KEY OF {route.address} {what}. "
            "Someone may be in between and read along, or the machine was installed anew.\n"
            f"    it shows {key.get_name()} {fingerprint(key.asbytes())}"
            + "".join(
                f"\n    on file  {entry.key_type} {fingerprint(entry.key)} ({entry.place})"
                for entry in self.known.entries
            ),
            cure="Find out which it is; nothing was sent to it. Only if you know why it changed, remove the old key:"
            + "".join(f"\n      ssh-keygen -R '{name}' -f {file}" for file in files)
            + "\n    and then let the new one be known.",
        )


def _key_type(algorithm: str) -> str:
    """An RSA key signs by several algorithms; on file it is `ssh-rsa`."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
