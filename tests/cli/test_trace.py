"""What `lbctl doctor trace` prints of a connection's way, and what it refuses."""

import json
from pathlib import Path

import pytest

from cli.trace import _as_dict, _keep, _show
from cluster.dead_ends import judge
from cluster.trace import course
from tests.cli.shop import Lbctl
from tests.cluster.wire import ACK, PORT, SYN, SYN_ACK, Wire

CONNECTED = f"connected 10.0.0.5 {PORT} "
WHOLE = f"""\
10.0.0.5:{PORT} → 10.0.0.10:3306 (read), mode tun
  ✓  0.0 ms  client  eth0   out  SYN 10.0.0.5:{PORT} → 10.0.0.10:3306, to lb1
  ✓  0.1 ms  lb1     eth0   in   SYN 10.0.0.5:{PORT} → 10.0.0.10:3306
  ✓  0.2 ms  lb1     eth0   out  SYN 10.0.0.5:{PORT} → 10.0.0.10:3306, in IPIP 10.0.0.4 → 10.0.0.2, to db2
  ✓  0.3 ms  db2     eth0   in   SYN 10.0.0.5:{PORT} → 10.0.0.10:3306, in IPIP 10.0.0.4 → 10.0.0.2
  ✓  0.4 ms  db2     tunl0  in   SYN 10.0.0.5:{PORT} → 10.0.0.10:3306
  ✓  1.0 ms  db2     eth0   out  SYN-ACK 10.0.0.10:3306 → 10.0.0.5:{PORT}, to client
  ✓  1.1 ms  client  eth0   in   SYN-ACK 10.0.0.10:3306 → 10.0.0.5:{PORT}
  ✓  2.0 ms  client  eth0   out  ACK 10.0.0.5:{PORT} → 10.0.0.10:3306, to lb1
"""
DEAD = f"""\
10.0.0.5:{PORT} → 10.0.0.10:3306 (read), mode dr
  ✓  0.0 ms  client  eth0  out  SYN 10.0.0.5:{PORT} → 10.0.0.10:3306, to lb1 (2 times)
  ✓  0.1 ms  lb1     eth0  in   SYN 10.0.0.5:{PORT} → 10.0.0.10:3306 (2 times)
  ✓  0.2 ms  lb1     eth0  out  SYN 10.0.0.5:{PORT} → 10.0.0.10:3306, to db2 (2 times)
  ✓  0.3 ms  db2     eth0  in   SYN 10.0.0.5:{PORT} → 10.0.0.10:3306 (2 times)
  ✗          db2           out  SYN-ACK: nothing
✗ It dies at db2: SYN was last seen entering db2, and SYN-ACK was not seen leaving db2.
    seen   the client says: timeout
    cause  db2 does not have 10.0.0.10
    cure   lbctl deploy (docs/doctor.md#vip-missing)
    note   SYN was sent 2 times
"""


def dead() -> Wire:
    wire = Wire()
    wire["db2"].addresses = ()
    wire.there(0, SYN)
    wire.there(1000, SYN)
    return wire


def test_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    wire = Wire("tun")
    wire.whole()
    found = course(wire.case(CONNECTED))
    _show(found, judge(found))
    shown = capsys.readouterr().out
    assert shown.startswith(WHOLE)
    assert shown.endswith("✓ the connection works, by tun to db2: 11.4.2-MariaDB\n")


def test_where_it_dies(capsys: pytest.CaptureFixture[str]) -> None:
    found = course(dead().case())
    _show(found, judge(found))
    assert capsys.readouterr().out == DEAD


def test_where_nobody_could_look(capsys: pytest.CaptureFixture[str]) -> None:
    wire = Wire()
    wire.whole()
    found = course(wire.case(CONNECTED, silent=("lb1", "client")))
    _show(found, judge(found))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split(maxsplit=3) == ["✓", "client", "out", "SYN: so the client says"]
    assert lines[2].split(maxsplit=3) == ["?", "lb1", "in", "SYN: not watched"]
    assert lines[-1] == "    note   lb1 could not be watched: no route to host"


def test_for_programs() -> None:
    wire = Wire("nat")
    wire.there(0, SYN)
    wire.back(1, SYN_ACK)
    wire.there(2, ACK)
    wire.back(3, 0x18, 91)
    found = course(wire.case(CONNECTED))
    plain = json.loads(json.dumps(_as_dict(found, judge(found)), default=str))
    assert plain["good"]
    assert (plain["director"], plain["server"], plain["mode"]) == ("lb1", "db2", "nat")
    sent = plain["hops"][2]
    assert (sent["leg"], sent["at"], sent["direction"], sent["host"]) == ("SYN", "director", "out", "lb1")
    assert (sent["from_mac"], sent["to_mac"]) == ("02:00:0a:00:00:04", "02:00:0a:00:00:02")
    assert sent["packet"] == f"SYN 10.0.0.5:{PORT} → 10.0.0.2:3306"
    assert plain["attempt"]["greeting"] == "11.4.2-MariaDB"


def test_a_file_for_wireshark(tmp_path: Path) -> None:
    """Read back by its own lengths: a section, an interface for each of client, lb1, db2's two, and every packet."""
    wire = Wire("tun")
    wire.whole()
    file = tmp_path / "packets.pcapng"
    _keep(file, course(wire.case(CONNECTED)))
    data, kinds, names = file.read_bytes(), [], []
    while data:
        kind, size = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
        assert size % 4 == 0
        assert data[size - 4 : size] == data[4:8]
        kinds.append(kind)
        if kind == 1:
            names.append(data[20 : 20 + int.from_bytes(data[18:20], "little")].decode())
        data = data[size:]
    assert kinds.count(0x0A0D0D0A) == 1
    assert names == ["client:eth0", "lb1:eth0", "db2:eth0", "db2:tunl0"]
    assert kinds.count(6) == 14


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("billing",), "there is no service billing"),
        (("read", "--by", "nat-port"), "read has no nat port in mode dr"),
    ],
)
def test_what_is_refused(lbctl: Lbctl, declaration: Path, words: tuple[str, ...], said: str) -> None:
    result = lbctl("doctor", "trace", *words, "-c", declaration)
    assert result.exit_code == 2
    assert said in result.stderr


def test_the_declaration_named_before_the_command(lbctl: Lbctl, declaration: Path) -> None:
    for words in (("-c", declaration, "doctor", "trace"), ("doctor", "-c", declaration, "trace")):
        result = lbctl(*words, "billing")
        assert f"there is no service billing in {declaration}" in result.stderr


def test_udp_is_refused(lbctl: Lbctl, declaration: Path) -> None:
    text = declaration.read_text().replace(
        "[service.read]", '[service.dns]\nvip = "10.0.0.13"\nport = 53\nprotocol = "udp"\n[service.read]'
    )
    declaration.write_text(text)
    result = lbctl("doctor", "trace", "dns", "-c", declaration)
    assert (result.exit_code, "UDP" in result.stderr) == (2, True), result.output
