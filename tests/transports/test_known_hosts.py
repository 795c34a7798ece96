"""Which host keys are trusted."""

import base64
import hmac
import os
from pathlib import Path

import pytest

from tests.transports.conftest import make_key
from transports.known_hosts import KnownHosts, Verdict, fingerprint, remember


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "known_hosts"


def line(names: str, key: bytes, kind: str = "ssh-ed25519") -> str:
    return f"{names} {kind} {base64.b64encode(key).decode()}\n"


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("names", "hostname", "port", "verdict"),
    [
        ("lb1", "lb1", 22, Verdict.KNOWN),
        ("lb1", "LB1", 22, Verdict.KNOWN),
        ("other,lb1", "lb1", 22, Verdict.KNOWN),
        ("lb1", "lb1", 2222, Verdict.UNKNOWN),
        ("[lb1]:2222", "lb1", 2222, Verdict.KNOWN),
        ("[lb1]:2222", "lb1", 22, Verdict.UNKNOWN),
        ("*.example.net", "lb1.example.net", 22, Verdict.KNOWN),
        ("*.example.net,!lb1.example.net", "lb1.example.net", 22, Verdict.UNKNOWN),
        ("[*.example.net]:2222", "lb1.example.net", 2222, Verdict.KNOWN),
        (hashed("lb1"), "lb1", 22, Verdict.KNOWN),
        (hashed("lb1"), "lb2", 22, Verdict.UNKNOWN),
        ("|1|nonsense", "lb1", 22, Verdict.UNKNOWN),
    ],
)
def test_names(file: Path, names: str, hostname: str, port: int, verdict: Verdict) -> None:
    file.write_text(line(names, b"key"))
    assert KnownHosts.read([file]).of(hostname, port).judge(b"key") is verdict


def test_any_key_on_file_will_do_and_another_is_a_change(file: Path) -> None:
    file.write_text(line("lb1", b"one") + "# comment\n\n" + line("lb1", b"two", "ssh-rsa"))
    known = KnownHosts.read([file]).of("lb1", 22)
    assert known.judge(b"one") is known.judge(b"two") is Verdict.KNOWN
    assert known.judge(b"three") is Verdict.CHANGED
    assert known.key_types == {"ssh-ed25519", "ssh-rsa"}
    assert [entry.place for entry in known.entries] == [f"{file} line 1", f"{file} line 4"]


def test_revoked_wins(file: Path) -> None:
    file.write_text("@revoked " + line("*", b"key") + line("lb1", b"key") + line("lb1", b"new"))
    known = KnownHosts.read([file]).of("lb1", 22)
    assert known.judge(b"key") is Verdict.REVOKED
    assert known.judge(b"new") is Verdict.KNOWN


def test_lines_that_trust_nobody(file: Path) -> None:
    file.write_text("@cert-authority " + line("*", b"key") + "lb1 ssh-ed25519\nlb1 ssh-ed25519 %%%\n")
    assert KnownHosts.read([file, file.with_name("missing")]).entries == ()


def test_what_is_remembered_is_known_at_once(file: Path) -> None:
    known = file.with_name("folder") / "known_hosts"
    remember(known, "lb1", 22, "ssh-ed25519", b"key")
    assert KnownHosts.read([known]).of("lb1", 22).judge(b"key") is Verdict.KNOWN
    assert known.stat().st_mode & 0o777 == 0o600
    with known.open("a") as handle:
        handle.write(line("lb2", b"key").strip())  # no newline at the end
    remember(known, "lb3", 2222, "ssh-ed25519", b"key")
    assert [entry.names for entry in KnownHosts.read([known]).entries] == [("lb1",), ("lb2",), ("[lb3]:2222",)]


def test_fingerprint_is_ssh_keygens(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key")
    (tmp_path / "key.pub").write_text(key.public)
    assert fingerprint(key.blob) in os.popen(f"ssh-keygen -lf {tmp_path}/key.pub").read()  # noqa: S605
