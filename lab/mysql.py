"""As much of MySQL's client protocol as a load needs: log in, ask, quit. Standard library only, many connections at once.

dev.mysql.com/doc/dev/mysql-server: Protocol::HandshakeV10, HandshakeResponse41, Native Authentication, COM_QUERY.
"""

import asyncio
import hashlib
import struct

_LONG_PASSWORD, _PROTOCOL_41, _TRANSACTIONS, _SECURE, _PLUGIN = 0x1, 0x200, 0x2000, 0x8000, 0x80000
_CAPABILITIES = _LONG_PASSWORD | _PROTOCOL_41 | _TRANSACTIONS | _SECURE | _PLUGIN
_UTF8MB4 = 45
_MAX_PACKET = 1 << 24
_OK, _ERROR, _END, _SWITCH, _NULL = 0x00, 0xFF, 0xFE, 0xFE, 0xFB
_QUIT, _QUERY = b"\x01", b"\x03"
_NATIVE = b"mysql_native_password"
_SHORT, _LONG = 0xFC, 0xFD
"""Marks of a length of two bytes, of three."""


class ServerError(Exception):
    """The server refused a login or a statement: its number and words."""


def scramble(password: str, challenge: bytes) -> bytes:
    """mysql_native_password: SHA1(password) XOR SHA1(challenge + SHA1(SHA1(password)))."""
    first = hashlib.sha1(password.encode()).digest()  # noqa: S324 (the protocol's own hash)
    mask = hashlib.sha1(challenge + hashlib.sha1(first).digest()).digest()  # noqa: S324 (the same)
    return bytes(a ^ b for a, b in zip(first, mask, strict=True))


def challenge_of(greeting: bytes) -> bytes:
    """The 20 bytes of a greeting that the password is mixed with. They stand in two places."""
    if greeting[:1] == b"\xff":
        raise ServerError(_words(greeting))
    after_version = greeting.index(b"\0", 1) + 1 + 4
    first = greeting[after_version : after_version + 8]
    # filler, capabilities, character set, status, capabilities, length, ten bytes of nothing
    rest = after_version + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10
    return first + greeting[rest : rest + 12]


def login(user: str, password: str, challenge: bytes) -> bytes:
    """HandshakeResponse41."""
    answer = scramble(password, challenge)
    head = struct.pack("<IIB23x", _CAPABILITIES, _MAX_PACKET, _UTF8MB4)
    return head + user.encode() + b"\0" + bytes([len(answer)]) + answer + _NATIVE + b"\0"


def first_field(row: bytes) -> str:
    """The first column of a row of text."""
    mark = row[0]
    if mark == _NULL:
        return "NULL"
    skip, width = {_SHORT: (3, 2), _LONG: (4, 3)}.get(mark, (1, 0))
    length = int.from_bytes(row[1 : 1 + width], "little") if width else mark
    return row[skip : skip + length].decode()


def _words(packet: bytes) -> str:
    number = int.from_bytes(packet[1:3], "little")
    return f"{number} {packet[3:].decode(errors='replace').lstrip('#')}"


class Session:
    """One connection. Time limits are the caller's (asyncio.timeout)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, address: str, port: int, user: str, password: str, local_port: int = 0) -> "Session":
        """Connected and logged in; from any port, or a given one. Raises OSError, EOFError, ServerError."""
        ends = await asyncio.open_connection(address, port, local_addr=("0.0.0.0", local_port) if local_port else None)  # noqa: S104 (a client's end)
        session = cls(*ends)
        try:
            await session._log_in(user, password)
        except BaseException:
            session.abort()
            raise
        return session

    async def _log_in(self, user: str, password: str) -> None:
        _, greeting = await self._packet()
        self._send(1, login(user, password, challenge_of(greeting)))
        number, answer = await self._packet()
        if answer[0] == _SWITCH:
            _, _, challenge = answer[1:].partition(b"\0")
            self._send(number + 1, scramble(password, challenge[:20]))
            _, answer = await self._packet()
        if answer[0] != _OK:
            raise ServerError(_words(answer))

    async def ask(self, statement: str) -> str:
        """The first field of the first row; "" of none. Raises OSError, EOFError, ServerError."""
        self._send(0, _QUERY + statement.encode())
        _, head = await self._packet()
        if head[0] == _ERROR:
            raise ServerError(_words(head))
        if head[0] == _OK:
            return ""
        await self._until_end()  # descriptions of columns
        rows = await self._until_end()
        return first_field(rows[0]) if rows else ""

    async def _until_end(self) -> list[bytes]:
        packets: list[bytes] = []
        while True:
            _, packet = await self._packet()
            if packet[0] == _ERROR:
                raise ServerError(_words(packet))
            if packet[0] == _END and len(packet) < 9:  # noqa: PLR2004 (longer ones are rows of a very long field)
                return packets
            packets.append(packet)

    def quit(self) -> None:
        """Takes leave, so that the server counts no aborted client."""
        self._send(0, _QUIT)
        self._writer.close()

    def abort(self) -> None:
        """Drops it, without a word."""
        self._writer.transport.abort()

    async def _packet(self) -> tuple[int, bytes]:
        head = await self._reader.readexactly(4)
        return head[3], await self._reader.readexactly(int.from_bytes(head[:3], "little"))

    def _send(self, number: int, payload: bytes) -> None:
        self._writer.write(len(payload).to_bytes(3, "little") + bytes([number]) + payload)
