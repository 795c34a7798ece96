"""This machine, the operator's: who is at work on it, and which of its processes live."""

import getpass
import hashlib
import os
import socket
from pathlib import Path


def machine() -> str:
    """Tells this machine, since it was booted, and the process numbers in use here from others; "" if that cannot be said.

    A hash: /etc/machine-id itself should not leave the machine (machine-id(5)). Containers have process numbers of their own.
    """
    try:
        words = [Path("/etc/machine-id").read_text(), Path("/proc/sys/kernel/random/boot_id").read_text()]
        words.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        return ""
    return hashlib.sha256("\n".join(["lbctl", *words]).encode()).hexdigest()[:16]


def runs(pid: int) -> bool:
    """Whether a process with that number lives here. One that has ended but was not yet waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    try:
        # After the name, which may hold anything, comes the state.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (OSError, IndexError):
        return True


def user() -> str:
    """The person, also behind sudo."""
    if os.geteuid() == 0 and os.environ.get("SUDO_USER"):
        return os.environ["SUDO_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def name() -> str:
    return socket.gethostname()


def state_folder() -> Path:
    """Where lbctl keeps files of its own here (XDG Base Directory Specification: $XDG_STATE_HOME, else ~/.local/state)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "lbctl"
