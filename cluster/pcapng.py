"""A capture of several hosts as one file that Wireshark and tcpdump read (pcapng: draft-ietf-opsawg-pcapng).

Each interface of each host is one of the file's, by the name HOST:INTERFACE.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping

from cluster.packets import Direction, Frame

_ETHERNET = 1
"""LINKTYPE_ETHERNET. What a tunnel has gets such a header without addresses: libpcap reads no file of several link types."""
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6
_NAME, _FLAGS = 2, 2
"""Options if_name and epb_flags, each in its own block."""
_WAYS = {Direction.IN: 1, Direction.OUT: 2, Direction.PASSING: 0x11}
"""epb_flags: inbound, outbound; bits 2-4 say 4 for a packet to another's address."""


def pcapng(frames: Iterable[Frame], shifts: Mapping[str, float]) -> bytes:
    """The file. `shifts`: what to add to each host's clock, in seconds."""
    return b"".join(_blocks(sorted(frames, key=lambda f: f.seconds + shifts.get(f.host, 0)), shifts))


def _blocks(frames: list[Frame], shifts: Mapping[str, float]) -> Iterator[bytes]:
    yield _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
    numbers: dict[tuple[str, str], int] = {}
    for frame in frames:
        place = frame.host, frame.interface
        if place not in numbers:
            numbers[place] = len(numbers)
            yield _block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, 0) + _option(_NAME, ":".join(place).encode()))
        when = round((frame.seconds + shifts.get(frame.host, 0)) * 1_000_000)
        data = frame.data if frame.ethernet else bytes(12) + b"\x08\x00" + frame.data
        size = len(data)
        head = struct.pack("<IIIII", numbers[place], when >> 32, when & 0xFFFFFFFF, size, size)
        flags = _option(_FLAGS, struct.pack("<I", _WAYS[frame.direction]))
        yield _block(_PACKET, head + _padded(data) + flags)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _option(code: int, value: bytes) -> bytes:
    """The only one of its block."""
    return struct.pack("<HH", code, len(value)) + _padded(value) + bytes(4)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
