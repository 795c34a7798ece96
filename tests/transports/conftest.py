"""SSH servers and pyinfra, each in a process of its own."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

HERE = Path(__file__).parent


@dataclass
class Key:
    file: Path
    public: str
    """As in a .pub file: type and base64."""

    @property
    def blob(self) -> bytes:
        return base64.b64decode(self.public.split()[1])


def make_key(file: Path, *, password: bytes = b"") -> Key:
    key = Ed25519PrivateKey.generate()
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption))
    file.chmod(0o600)
    return Key(file, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())


class Program:
    """One of the programs beside this file: a line in, a line out."""

    def __init__(self, file: str, *wrapper: str) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, str(HERE / file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(HERE.parent.parent)},
        )

    def tell(self, question: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()

    def hear(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def ask(self, question: dict[str, Any]) -> int:
        self.tell(question)
        return self.hear()

    def end(self) -> None:
        try:
            self.process.communicate(timeout=20)
        finally:
            self.process.kill()


@pytest.fixture(scope="session")
def servers() -> Iterator[Program]:
    program = Program("server.py")
    yield program
    program.end()


@pytest.fixture(scope="session")
def driver() -> Iterator[Program]:
    program = Program("drive.py")
    yield program
    program.end()


@dataclass
class Server:
    address: str
    port: int
    host_key: Key


@dataclass
class Report:
    results: list[Any]
    connect_errors: dict[str, dict[str, Any]]
    failed: list[str]
    sockets_left: int
    printed: str

    def connect_error(self, name: str) -> dict[str, Any]:
        return self.connect_errors[f"@lbctl/{name}"]


@dataclass
class Machines:
    """What a test has at hand: keys, a known_hosts file, servers, and a way to drive pyinfra at them."""

    directory: Path
    servers: Program
    driver: Program
    user_key: Key
    other_key: Key
    count: int = 0

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    def serve(self, mood: str = "", *, known: bool = True, address: str = "127.0.0.1", **environment: str) -> Server:
        self.count += 1
        host_key = make_key(self.directory / f"host_key_{self.count}")
        port = self.servers.ask(
            {
                "address": address,
                "host_keys": [str(host_key.file)],
                "allow": str(self.user_key.file),
                "mood": mood,
                "environment": {"PATH": os.environ["PATH"]} | environment,
            }
        )
        server = Server(address, port, host_key)
        if known:
            self.trust(server)
        return server

    def trust(self, server: Server, key: Key | None = None) -> None:
        with self.known_hosts.open("a", encoding="utf-8") as file:
            file.write(f"[{server.address}]:{server.port} {(key or server.host_key).public}\n")

    def data(self, server: Server | int, **more: Any) -> dict[str, Any]:
        return {
            "ssh_hostname": "127.0.0.1" if isinstance(server, int) else server.address,
            "ssh_port": server if isinstance(server, int) else server.port,
            "ssh_user": "root",
            "ssh_key": str(self.user_key.file),
            "ssh_known_hosts_file": str(self.known_hosts),
            "ssh_config_file": str(self.ssh_config),
        } | more

    def begin(self, hosts: dict[str, dict[str, Any]], *steps: list[Any], **more: Any) -> None:
        named = {name if name.startswith("@") else f"@lbctl/{name}": data for name, data in hosts.items()}
        # The operator's own ~/.ssh must not have a say in the tests, nor be written to.
        places = {"into": str(self.directory), "home": str(self.directory)}
        self.driver.tell({"hosts": named, "steps": steps} | places | more)

    def report(self) -> Report:
        status = self.driver.hear()
        printed = (self.directory / "printed").read_text()
        assert status == 0, printed
        return Report(**json.loads((self.directory / "report").read_text()), printed=printed)

    def drive(self, hosts: dict[str, dict[str, Any]], *steps: list[Any], **more: Any) -> Report:
        self.begin(hosts, *steps, **more)
        return self.report()


@pytest.fixture
def machines(tmp_path: Path, servers: Program, driver: Program) -> Machines:
    made = Machines(tmp_path, servers, driver, make_key(tmp_path / "user_key"), make_key(tmp_path / "other_key"))
    made.known_hosts.touch()
    made.ssh_config.touch()
    return made
