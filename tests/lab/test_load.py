"""What a load's record says, and its protocol beside a server that speaks it by the book."""

import asyncio
import hashlib

import pytest

from lab.load_record import Record, Request
from lab.mysql import ServerError, Session, challenge_of, first_field, login, scramble


def request(kind: str, connection: int, begun: float, took: float, error: str = "") -> Request:
    return Request(kind, connection, "10.0.0.10:3306", begun, begun + took, "" if error else "db1", error)


def test_an_undisturbed_load_has_no_failure_and_its_own_pace_as_gap() -> None:
    record = Record(tuple(request("held", n, at / 10, 0.01) for n in range(2) for at in range(10)))
    summary = record.summary()
    assert (summary.held, summary.survivors, summary.failures) == (2, 2, 0)
    assert summary.gap == pytest.approx(0.1)


def test_failures_are_counted_by_reason_and_cut_connections_named() -> None:
    record = Record(
        (
            request("new", 0, 0, 0.1),
            request("new", 1, 1, 0.1, "ConnectionRefusedError"),
            request("new", 2, 2, 0.1, "ConnectionRefusedError"),
            request("new", 3, 3, 1.2),
            request("held", 0, 0, 0.5),
            request("held", 1, 0, 30, "no answer"),
        )
    )
    summary = record.summary()
    assert dict(summary.failed) == {"ConnectionRefusedError": 2}
    assert summary.slowest_new == pytest.approx(1.2)
    assert summary.cut == {1: "no answer"}
    assert summary.survivors == 1
    assert summary.slowest_held == pytest.approx(0.5)
    assert "2 of 4 failed (2 × ConnectionRefusedError)" in str(summary)


def test_the_gap_is_that_of_the_worst_endpoint_and_counts_to_the_end() -> None:
    good = [request("held", 0, at / 10, 0.01) for at in range(50)]
    silent = Request("held", 1, "10.0.0.11:3306", 0, 0.01, "db1", "")
    for_good = Request("held", 1, "10.0.0.11:3306", 0.1, 5, "", "no answer")
    assert Record((*good, silent, for_good)).summary().gap == pytest.approx(4.99)


def test_one_who_waits_on_when_others_have_been_answered_and_stopped_is_a_failure_and_no_gap() -> None:
    good = [request("held", 0, at / 10, 0.01) for at in range(50)]
    lost = request("new", 1, 4.85, 5, "no answer")
    summary = Record((*good, lost)).summary()
    assert summary.failures == 1
    assert summary.gap == pytest.approx(0.1)


def test_nobody_was_ever_answered() -> None:
    assert Record((request("new", 0, 1, 5, "no answer"),)).summary().gap == pytest.approx(5)


def test_a_part_of_the_time_has_what_was_under_way_in_it() -> None:
    record = Record((request("new", 0, 0, 1), request("new", 1, 2, 1), request("new", 2, 4, 1)))
    assert [r.connection for r in record.between(0.5, 2.5).requests] == [0, 1]


def test_scramble_is_what_the_server_stores_turned_around() -> None:
    challenge = bytes(range(1, 21))
    answer = scramble("lab", challenge)
    stored = hashlib.sha1(hashlib.sha1(b"lab").digest()).digest()  # noqa: S324 (the protocol's own hash)
    mask = hashlib.sha1(challenge + stored).digest()  # noqa: S324 (the same)
    # The server knows `stored` only: what it recovers must hash to it.
    recovered = bytes(a ^ b for a, b in zip(answer, mask, strict=True))
    assert hashlib.sha1(recovered).digest() == stored  # noqa: S324 (the same)


CHALLENGE = bytes(range(33, 53))
GREETING = (
    b"\x0a5.5.5-10.11.6-MariaDB\0" + b"\x01\0\0\0" + CHALLENGE[:8] + b"\0" + b"\xfe\xf7\x2d\x02\0\xff\x81\x15" + bytes(10)
    + CHALLENGE[8:] + b"\0mysql_native_password\0"
)  # fmt: skip


def test_the_challenge_is_put_together_from_both_places() -> None:
    assert challenge_of(GREETING) == CHALLENGE


def test_a_server_that_refuses_at_once_is_quoted() -> None:
    with pytest.raises(ServerError, match="1040 08004Too many connections"):
        challenge_of(b"\xff\x10\x04#08004Too many connections")


@pytest.mark.parametrize(
    ("row", "text"), [(b"\x03db1", "db1"), (b"\xfb", "NULL"), (b"\xfc\x2c\x01" + b"x" * 300, "x" * 300), (b"\x00", "")]
)
def test_fields_of_every_length(row: bytes, text: str) -> None:
    assert first_field(row) == text


def packet(number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes([number]) + payload


async def converse(answer_to_login: bytes, answer_to_query: bytes) -> tuple[str, bytes]:
    """A session with a server that says just that; what it answered, and the login that the server got."""
    heard = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(packet(0, GREETING))
        head = await reader.readexactly(4)
        heard.append(await reader.readexactly(int.from_bytes(head[:3], "little")))
        writer.write(answer_to_login)
        head = await reader.readexactly(4)
        await reader.readexactly(int.from_bytes(head[:3], "little"))
        writer.write(answer_to_query)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        session = await Session.open("127.0.0.1", server.sockets[0].getsockname()[1], "lab", "lab")
        answer = await session.ask("select @@hostname")
        session.abort()
    return answer, heard[0]


END = b"\xfe\0\0\2\0"


@pytest.mark.process
def test_a_whole_conversation() -> None:
    rows = packet(1, b"\x01") + packet(2, b"\x03def...") + packet(3, END) + packet(4, b"\x03db2") + packet(5, END)
    answer, heard = asyncio.run(converse(packet(2, b"\0\0\0\2\0\0\0"), rows))
    assert answer == "db2"
    assert heard == login("lab", "lab", CHALLENGE)


@pytest.mark.process
def test_a_login_that_is_refused_and_a_server_that_hangs_up() -> None:
    with pytest.raises(ServerError, match="1045"):
        asyncio.run(converse(packet(2, b"\xff\x15\x04#28000Access denied"), b""))
    with pytest.raises(EOFError):
        asyncio.run(converse(packet(2, b"\0\0\0\2\0\0\0"), b""))
