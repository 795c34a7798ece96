"""A client that reads through virtual addresses all the while: real logins and queries, by the standard library alone.

    python tests/system/reader.py FILE [held] ADDRESS:PORT…

For each address a client that connects anew for each query, and with "held" one that keeps its connection and connects anew only
after a failure. FILE gets a line a query: seconds, who, "ok SERVER" or "failed WHY".
"""

import hashlib
import socket
import struct
import sys
import threading
import time
from pathlib import Path

USER, PASSWORD = "lab", "lab"
PATIENCE = 10
"""Seconds that a client waits for an answer: less than any client's default."""
PAUSE = 0.1

_CAPABILITIES = 0x00000001 | 0x00000200 | 0x00008000 | 0x00080000  # long password, protocol 4.1, secure, plugin
_NATIVE = b"mysql_native_password"


class Session:
    """One connection, logged in. Raises OSError."""

    def __init__(self, address: str, port: int) -> None:
        self.socket = socket.create_connection((address, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._log_in()
        except BaseException:
            self.socket.close()
            raise

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("closed by the server")
            data += more
        return data

    def _packet(self) -> tuple[int, bytes]:
        head = self._exactly(4)
        return head[3], self._exactly(int.from_bytes(head[:3], "little"))

    def _send(self, sequence: int, data: bytes) -> None:
        self.socket.sendall(len(data).to_bytes(3, "little") + bytes([sequence]) + data)

    def _log_in(self) -> None:
        sequence, greeting = self._packet()
        if greeting[0] == 0xFF:
            raise ConnectionError(greeting[3:].decode(errors="replace"))
        rest = greeting.index(b"\0", 1) + 1 + 4
        salt = greeting[rest : rest + 8] + greeting[rest + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10 :][:12]
        inner = hashlib.sha1(PASSWORD.encode()).digest()  # noqa: S324 (what the protocol wants)
        mask = hashlib.sha1(salt + hashlib.sha1(inner).digest()).digest()  # noqa: S324
        proof = bytes(a ^ b for a, b in zip(inner, mask, strict=True))
        answer = struct.pack("<IIB23x", _CAPABILITIES, 1 << 24, 33) + USER.encode() + b"\0"
        self._send(sequence + 1, answer + bytes([len(proof)]) + proof + _NATIVE + b"\0")
        _, verdict = self._packet()
        if verdict[0] != 0:
            raise ConnectionError(f"login refused: {verdict[3:].decode(errors='replace')}")

    def server(self) -> str:
        """Who is at the other end."""
        self._send(0, b"\x03select @@hostname")
        packets = [self._packet()[1] for _ in range(5)]  # columns, the column, EOF, the row, EOF
        if packets[0][0] == 0xFF:
            raise ConnectionError(packets[0][3:].decode(errors="replace"))
        return packets[3][1:].decode()

    def close(self) -> None:
        try:
            self._send(0, b"\x01")
        finally:
            self.socket.close()


class Reader:
    def __init__(self, file: Path) -> None:
        self.lock, self.file = threading.Lock(), file.open("a", buffering=1)

    def say(self, who: str, what: str) -> None:
        with self.lock:
            self.file.write(f"{time.time():.3f} {who} {what}\n")

    def anew(self, who: str, address: str, port: int) -> None:
        while True:
            try:
                session = Session(address, port)
                name = session.server()
                session.close()
                self.say(who, f"ok {name}")
            except (OSError, IndexError, ValueError) as error:
                self.say(who, f"failed {type(error).__name__}: {error}")
            time.sleep(PAUSE)

    def held(self, who: str, address: str, port: int) -> None:
        session: Session | None = None
        while True:
            try:
                session = session or Session(address, port)
                self.say(f"{who} held", f"ok {session.server()}")
            except (OSError, IndexError, ValueError) as error:
                self.say(f"{who} held", f"failed {type(error).__name__}: {error}")
                session = None
            time.sleep(PAUSE)


def main() -> None:
    reader = Reader(Path(sys.argv[1]))
    words = sys.argv[2:]
    clients = (reader.anew, reader.held) if "held" in words else (reader.anew,)
    for word in (word for word in words if word != "held"):
        address, _, port = word.partition(":")
        for work in clients:
            threading.Thread(target=work, args=(word, address, int(port)), daemon=True).start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
