"""Which host keys are trusted: OpenSSH's known_hosts files, read and judged the way ssh does.

paramiko's own reader forgets the line numbers, knows no patterns and no `@revoked`, and takes the first of several keys
for the only one.
"""

import base64
import functools
import hashlib
import hmac
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase
from pathlib import Path

SSH_PORT = 22
_FIELDS = 3


class Verdict(Enum):
    KNOWN = auto()
    UNKNOWN = auto()
    CHANGED = auto()
    """Other keys are on file for this host, and this is none of them."""
    REVOKED = auto()


@dataclass(frozen=True)
class Entry:
    path: Path
    line: int
    names: tuple[str, ...]
    key_type: str
    key: bytes
    revoked: bool = False

    @property
    def place(self) -> str:
        return f"{self.path} line {self.line}"

    @functools.cached_property
    def plain(self) -> frozenset[str] | None:
        """Its names in lower case, if none of them is a pattern or a hash."""
        special = any(mark in name for name in self.names for mark in "*?!|")
        return None if special else frozenset(name.lower() for name in self.names)

    def is_for(self, name: str) -> bool:
        """Whether it speaks of a server by this name, which is in lower case."""
        if self.plain is not None:
            return name in self.plain
        if any(fnmatchcase(name, pattern[1:].lower()) for pattern in self.names if pattern.startswith("!")):
            return False
        return any(_matches(name, pattern) for pattern in self.names)


@dataclass(frozen=True)
class KnownHosts:
    """The entries of some files. A missing file has none."""

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "KnownHosts":
        return cls(tuple(entry for path in paths for entry in _read(path)))

    def of(self, hostname: str, port: int) -> "KnownHosts":
        name = name_of(hostname, port).lower()
        return KnownHosts(tuple(entry for entry in self.entries if entry.is_for(name)))

    @property
    def key_types(self) -> frozenset[str]:
        return frozenset(entry.key_type for entry in self.entries if not entry.revoked)

    def judge(self, key: bytes) -> Verdict:
        """What to think of a host, of which these are the entries, that shows this key.

        A key of a type that is not on file, while another type is, counts as changed: the types on file are asked for
        first, so the host no longer has the key it had.
        """
        if any(entry.revoked and entry.key == key for entry in self.entries):
            return Verdict.REVOKED
        trusted = [entry for entry in self.entries if not entry.revoked]
        if any(entry.key == key for entry in trusted):
            return Verdict.KNOWN
        return Verdict.CHANGED if trusted else Verdict.UNKNOWN


def name_of(hostname: str, port: int) -> str:
    """How known_hosts writes a server's address."""
    return hostname if port == SSH_PORT else f"[{hostname}]:{port}"


def fingerprint(key: bytes) -> str:
    """As ssh-keygen -l prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def remember(path: Path, hostname: str, port: int, key_type: str, key: bytes) -> None:
    """Adds a key to a file, in one write: other processes may be adding theirs."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = f"{name_of(hostname, port)} {key_type} {base64.b64encode(key).decode()}\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            line = "\n" + line
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[Entry, ...]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return _parsed(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=32)
def _parsed(path: Path, _modified: int, _size: int) -> tuple[Entry, ...]:
    """Parsed once for all hosts, and again when the file has changed."""
    return tuple(_entries(path, path.read_text(encoding="utf-8", errors="replace").splitlines()))


def _entries(path: Path, lines: Iterable[str]) -> Iterator[Entry]:
    """A line that cannot be read trusts nobody, so it is passed over.

    So are `@cert-authority` lines: paramiko knows no host certificates.
    """
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        revoked = fields[:1] == ["@revoked"]
        if revoked:
            del fields[0]
        if len(fields) < _FIELDS or fields[0].startswith(("#", "@")):
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except ValueError:
            continue
        yield Entry(path, number, tuple(fields[0].split(",")), fields[1], key, revoked)


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("|1|"):
        return _is_hash_of(name, pattern)
    if "[" in pattern:  # an address with a port: in fnmatch's language the brackets would mean something else
        pattern = pattern.replace("[", "[[]", 1)
    return fnmatchcase(name, pattern.lower())


def _is_hash_of(name: str, hashed: str) -> bool:
    """OpenSSH's HashKnownHosts: `|1|salt|HMAC-SHA1(salt, name)`."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in hashed[3:].split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
