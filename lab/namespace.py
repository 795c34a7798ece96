"""Being inside a network namespace: for one thread and a moment, for a socket, for a program.

Nothing heavy is imported here: connectors need it.
"""

import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import RequestError

_NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def path_of(namespace: str) -> Path:
    return _NAMED / namespace


def exists(namespace: str) -> bool:
    return path_of(namespace).exists()


def prefix(namespace: str) -> list[str]:
    """What to put before a command so that it runs in there. It becomes the command: the process id stays."""
    return ["nsenter", f"--net={path_of(namespace)}", "--"]


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """Puts the thread inside. Keep it short, and let nothing in it yield to another greenlet: they share the thread."""
    try:
        target = os.open(path_of(namespace), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise RequestError(f"there is no network namespace {namespace}", cure="is the lab up? lbctl lab up") from error
    try:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set(target)
            try:
                yield
            finally:
                _set(home)
        finally:
            os.close(home)
    finally:
        os.close(target)


def socket_in(namespace: str) -> socket.socket:
    """A TCP socket of that namespace. A socket belongs where it was made: connect it from anywhere."""
    with entered(namespace):
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def processes(namespace: str) -> list[int]:
    """Who lives in there."""
    try:
        wanted = path_of(namespace).stat()
    except FileNotFoundError:
        return []
    found = []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if not entry.isdigit():
            continue
        try:
            lives = os.stat(f"/proc/{entry}/ns/net")  # noqa: PTH116 - thousands of them: no object for each
        except OSError:  # it is gone, or dead and not yet collected
            continue
        if (lives.st_dev, lives.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(entry))
    return found


def _set(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"cannot change the network namespace: {os.strerror(error)}")
