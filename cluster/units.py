"""Durations, amounts and names as people write them."""

import re
from ipaddress import IPv4Network
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?")
_SECONDS = {"ms": 0.001, "s": 1, None: 1, "m": 60, "h": 3600, "d": 86400}
_ENDLESS = 36525 * 86400


def seconds(given: object) -> float:
    """Seconds in "200ms", "6s", "10m", "1.5h", "1d" or a bare number of seconds. Raises ValueError."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise ValueError("a duration is a number of seconds or a text like 200ms, 6s, 10m")  # noqa: TRY004 (pydantic wants ValueError)
    value = _seconds_in(given) if isinstance(given, str) else float(given)
    if not 0 <= value < _ENDLESS:
        raise ValueError("a duration can be neither negative nor longer than a hundred years")
    return value


def _seconds_in(text: str) -> float:
    found = _DURATION.fullmatch(text.strip())
    if not found:
        raise ValueError(f'"{text}" is no duration; write 200ms, 6s, 10m, 1h or a number of seconds')
    return round(float(found[1]) * _SECONDS[found[2]], 6)


def duration(value: float) -> str:
    """The shortest exact text for a number of seconds: 0.2 is "200ms"."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if value >= size and value % size == 0:
            return f"{decimal(value / size)}{unit}"
    return f"{decimal(value)}s" if value >= 1 or value == 0 else f"{decimal(value * 1000)}ms"


def decimal(value: float) -> str:
    """A number without a needless fraction. Not :g, which turns to powers of ten from a million on."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


_THOUSAND = 1000
_TEN = 9.95
"""From here on without a digit after the point."""


def short(number: float) -> str:
    """With at most four characters: 999, 1.2k, 34M."""
    if number < _THOUSAND:
        return str(int(number))
    for unit in "kMGT":
        number /= _THOUSAND
        if number < _THOUSAND - 0.5:
            return f"{number:.1f}{unit}" if number < _TEN else f"{number:.0f}{unit}"
    return f"{number:.0f}T"


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", re.IGNORECASE)
_BYTES = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


def size(text: str) -> int:
    """Bytes in "4MB", "500 kB" or a bare number of bytes. Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f'"{text}" is no size; write 4MB, 500kB or a number of bytes')
    return int(float(found[1]) * _BYTES[found[2].lower()])


def amount(octets: int) -> str:
    """4 MB, 1.5 MB, 8 kB, 999 bytes."""
    for unit in ("MB", "kB"):
        if octets >= _BYTES[unit[0].lower()]:
            return f"{decimal(round(octets / _BYTES[unit[0].lower()], 2))} {unit}"
    return f"{octets} bytes"


Seconds = Annotated[float, BeforeValidator(seconds), PlainSerializer(duration, when_used="json")]

_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


def host_name(text: str) -> str:
    """A name that is safe as a host name (RFC 1123) and so in a file name, a shell and keepalived.conf. Raises ValueError."""
    if len(text) > 253 or not _HOST_NAME.fullmatch(text):  # noqa: PLR2004 (RFC 1123)
        raise ValueError(f'"{text}" is no host name: a–z, 0–9 and - in labels of 1 to 63 characters, joined by dots')
    return text


def sized_network(text: str) -> str:
    """An IPv4 network with its size, such as 10.0.0.0/24. Raises ValueError."""
    try:
        network = IPv4Network(text, strict=False)
    except ValueError:
        raise ValueError(f'"{text}" is no network: write it as 10.0.0.0/24') from None
    if "/" not in text:
        raise ValueError(f'"{text}" has no size: write the network with its bits, such as {text}/24')
    if str(network) != text:
        raise ValueError(f'"{text}" is an address in a network, whose host bits must be 0: {network}')
    return text


_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


def interface_name(text: str) -> str:
    """A name that Linux takes for a network interface (15 bytes, IFNAMSIZ) and that needs no quoting. Raises ValueError."""
    if not _INTERFACE.fullmatch(text):
        raise ValueError(f'"{text}" is no interface name: at most 15 of A–Z, a–z, 0–9, _ . -')
    return text
