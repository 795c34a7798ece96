"""The state of a host: what real machines printed (captured/), cut short and garbled, and the script that asks."""

import os
import socket
import subprocess
import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pyinfra.api import Host
from pyinfra.api.exceptions import FactProcessError

from cluster.footprint import ALL_MODES, guarded_text
from cluster.keepalived import Endpoint
from cluster.listening import SeenListener
from cluster.observed import BusyError, HostState, SeenFile, UnreadableStateError, parse
from cluster.parts import Address, Route, Rule
from cluster.vocabulary import Mode
from facts.state import _BIND, State, _database, look, script
from operations.observation import asked_of
from tests.operations.bare import Bare
from tests.variants import MATRIX, SPECIAL, Variant

CAPTURED = Path(__file__).parent / "captured"
DIRECTOR = (CAPTURED / "director.txt").read_text()
"""lb1 of the lab, half-way from nat to dr: its table has moved, the masquerading of nat is still there."""
SERVER = (CAPTURED / "real_server.txt").read_text()
"""db1 at the same moment."""


def address(device: str, text: str) -> Address:
    return Address(device, IPv4Address(text))


def test_a_director() -> None:
    state = parse(DIRECTOR)
    conf = state.files["/etc/keepalived/keepalived.conf"]
    assert (conf.mode, conf.owner, conf.guard) == (0o644, "root:root", "kept")
    assert conf.sha256.startswith("c037ba7f")
    assert state.packages == {"iptables", "ipvsadm", "keepalived"}
    assert state.modules == {"ip_vs"}
    assert state.sysctls["net/ipv4/ip_forward"] == "1"
    assert state.before["net.ipv4.conf.all.send_redirects"] == "1"
    assert state.addresses == {address("eth0", f"10.0.0.{last}") for last in (10, 11, 12)}
    assert state.holds(IPv4Address("10.0.0.12"))
    own = Address("eth0", IPv4Address("10.0.0.4"), 24)
    assert own in state.wider - state.addresses
    assert {(chain.table, chain.name, chain.hook): len(chain.rules) for chain in state.chains} == {
        ("nat", "LBCTL-MASQUERADE", "POSTROUTING"): 6,
        ("raw", "LBCTL-UNTRACKED-IN", "PREROUTING"): 4,
        ("raw", "LBCTL-UNTRACKED-OUT", "OUTPUT"): 4,
    }
    keepalived = state.units["keepalived.service"]
    assert (keepalived.active, keepalived.enabled, keepalived.stale) == (True, True, False)
    assert (keepalived.revision, keepalived.contract) == (conf.sha256, "93bf5a927f32f3fa")
    assert state.units["lbctl-masquerade.service"].contract is None
    read, write = state.services
    assert (read.endpoint, read.scheduler) == (Endpoint("", IPv4Address("10.0.0.10"), 3306), "rr")
    assert [(str(d.address), d.port, d.mode, d.weight, d.active, d.inactive) for d in read.destinations] == [
        ("10.0.0.2", 3306, Mode.DR, 10, 0, 5),
        ("10.0.0.3", 3306, Mode.DR, 10, 0, 6),
        ("10.0.0.1", 3306, Mode.DR, 10, 0, 7),
    ]
    assert [str(d.address) for d in write.destinations] == ["10.0.0.1"]
    assert state.modes == {Mode.DR}


def test_an_address_that_floats_with_the_length_of_its_network() -> None:
    """As a hand-made keepalived.conf has it (`10.0.0.12/24 label eth0:1`). It is held, and none of ours."""
    ours = '"local":"10.0.0.12","prefixlen":32,"scope":"global","label":"eth0"'
    theirs = '"local":"10.0.0.12","prefixlen":24,"scope":"global","secondary":true,"label":"eth0:1"'
    assert ours in DIRECTOR
    state = parse(DIRECTOR.replace(ours, theirs))
    assert state.holds(IPv4Address("10.0.0.12"))
    assert Address("eth0", IPv4Address("10.0.0.12"), 24) in state.wider
    assert state.addresses == {address("eth0", "10.0.0.10"), address("eth0", "10.0.0.11")}
    assert state.local == parse(DIRECTOR).local


def test_a_rule_of_somebodys_whose_table_has_a_name() -> None:
    """/etc/iproute2/rt_tables."""
    rule = '{"priority":32000,"src":"10.0.0.1","table":"isp1"},{"priority":32766'
    assert rule.split(",{")[1] in SERVER
    named = parse(SERVER.replace('{"priority":32766', rule))
    assert {seen.table for seen in named.rules} - {seen.table for seen in parse(SERVER).rules} == {0}


def test_a_real_server() -> None:
    state = parse(SERVER)
    assert state.users == {"clustercheck"}
    assert state.database_users == frozenset({"clustercheck"})
    assert state.database == "up"
    assert state.addresses == {address("dummy0", "10.0.0.10"), address("dummy0", "10.0.0.11")}
    assert not state.holds(IPv4Address("10.0.0.10"))  # it carries it in silence
    assert (state.links["dummy0"].up, state.links["dummy0"].kind) == (True, "dummy")
    assert (state.links["tunl0"].up, state.links["tunl0"].received_packets) == (False, 31)
    own = Rule(100, 100, source=IPv4Address("10.0.0.1"), protocol="tcp", source_port=3306)
    assert own in state.rules
    assert {route for route in state.routes if route.table == 100} == {
        Route(100, "default", "eth0", IPv4Address("10.0.0.12")),
        Route(100, "default", kind="unreachable", metric=4278198272),
        Route(100, "10.0.0.4", "eth0"),
        Route(100, "10.0.0.6", "eth0"),
    }
    assert state.chains == ()
    assert state.established == ()


@pytest.mark.parametrize("text", [DIRECTOR, SERVER], ids=["director", "real_server"])
def test_an_answer_that_is_cut_short_is_an_error(text: str) -> None:
    """After each line, and in the middle of each."""
    lines = text.splitlines(keepends=True)
    for count in range(len(lines)):
        before = "".join(lines[:count])
        for cut in (before, before + lines[count][: len(lines[count]) // 2]):
            with pytest.raises(UnreadableStateError):
                parse(cut)


GARBLED = [
    ("#units\nId=", "#units\nGarbage\nId=keepalived.service\n\nId="),
    ('[{"ifindex":1,', "Segmentation fault\n[{"),
    (" 644 root:root", " rw-r--r-- root:root"),
    ("0A00000A:0CEA", "0A00000A"),
    ("Route   10", "Pigeon  10"),
]


@pytest.mark.parametrize(("old", "new"), GARBLED, ids=[new.strip()[:20] for _, new in GARBLED])
def test_an_answer_that_makes_no_sense_is_an_error(old: str, new: str) -> None:
    assert old in DIRECTOR
    with pytest.raises(UnreadableStateError):
        parse(DIRECTOR.replace(old, new))


def test_pyinfra_is_told_and_never_gets_a_default() -> None:
    assert isinstance(State().process(DIRECTOR.splitlines()), HostState)
    with pytest.raises(FactProcessError, match="stopped half-way"):
        State().process(DIRECTOR.splitlines()[:-1])
    assert State.default() is None


def test_who_looks_is_told_while_a_host_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([BusyError("at work"), BusyError("at work"), HostState()])
    host = SimpleNamespace(get_fact=lambda *_, **__: next(answers))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    told: list[str] = []
    assert look(cast("Host", host), asked_of(Variant().blueprint, "lb1"), lambda: told.append("busy")) == HostState()
    assert told == ["busy", "busy"]


FORMS = [form for form in (*MATRIX, *SPECIAL) if form.writer == "ranked" or form.vrrp != "plain"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_script_is_posix_shell(form: Variant) -> None:
    for host in form.declaration.hosts():
        text = script(asked_of(form.blueprint, host))
        checked = subprocess.run(["dash", "-n"], input=text, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert form.password is None or form.password not in text


@pytest.mark.namespace
@pytest.mark.parametrize("host", ["lb1", "db1"])
def test_a_bare_host_answers_and_is_not_changed(host: str) -> None:
    blueprint = Variant(Mode.NAT).blueprint
    with Bare() as bare:
        bare.run("touch /run/test/mark; sleep 0.02")
        state = parse(bare.run(script(asked_of(blueprint, host))))
        assert bare.run("find /etc /usr/local /var/lib /run -newer /run/test/mark ! -path '/run/test*'") == ""
        assert all(call.startswith("systemctl show ") for call in bare.called())
    wanted = [file.path for part in blueprint.footprint(host, ALL_MODES) for file in part.files]
    assert wanted
    assert state.files == {}
    assert state.users == state.database_users == frozenset()
    assert {link for link in state.links if link in {"eth0", "lo"}} == {"eth0", "lo"}
    assert state.before == {}
    assert state.services == ()


@pytest.mark.namespace
@pytest.mark.namespace
def test_what_keepalived_is_started_with() -> None:
    asked = script(asked_of(Variant(Mode.DR).blueprint, "lb1"))
    with Bare() as bare:
        assert parse(bare.run(asked)).daemon_args == ""
        bare.run(
            "mkdir -p /etc/default; cat >/etc/default/keepalived <<'END'\n# Options to pass to keepalived\n"
            '# DAEMON_ARGS are appended\nDAEMON_ARGS="-D"\nDAEMON_ARGS="-f /etc/keepalived/ha.conf"\nEND'
        )
        assert parse(bare.run(asked)).daemon_args == '"-f /etc/keepalived/ha.conf"'


def test_a_first_line_that_does_not_fit_the_rest_tells_of_an_edit() -> None:
    conf = "/etc/keepalived/keepalived.conf"
    ours = guarded_text("global_defs {\n}\n")
    with Bare() as bare:

        def seen(text: str) -> SeenFile:
            bare.run(f"mkdir -p /etc/keepalived; cat >{conf} <<'END'\n{text}END\n")
            return parse(bare.run(script(asked_of(Variant().blueprint, "lb1")))).files[conf]

        def guard(text: str) -> str | None:
            return seen(text).guard

        assert guard(ours) == "kept"
        assert guard(f"{ours}# by hand\n") == "edited"
        assert guard(ours.replace("global_defs", "globaldefs")) == "edited"
        assert guard("global_defs {\n}\n") is None
        assert guard("") is None
        assert seen(ours).cluster == ""
        assert seen(guarded_text("# Cluster shop, director lb1\nglobal_defs {\n}\n")).cluster == "shop"


@pytest.mark.namespace
@pytest.mark.parametrize(("address", "program"), [("10.0.0.1", "mariadbd"), ("0.0.0.0", "")])
def test_a_mysql_is_asked_what_it_was_told_where_it_listens_at_single_addresses(
    address: str,
    program: str,
) -> None:
    """A program of that name, which does not know how to say it. Of one that listens everywhere not even the name is asked."""
    listen = f"import socket, time; s = socket.create_server(('{address}', 3306)); print(1, flush=True); time.sleep(60)"
    with Bare() as bare:
        bare.run(
            f'cp "$(readlink -f /usr/bin/python3)" /run/test/mariadbd; /run/test/mariadbd -c "{listen}" >/run/test/up 2>&1 &'
        )
        bare.run("while ! [ -s /run/test/up ]; do sleep 0.05; done")
        state = parse(bare.run(script(asked_of(Variant().blueprint, "db1"))))
    assert state.listeners == (SeenListener(IPv4Address(address), 3306, program),)
    assert state.local >= {IPv4Address("10.0.0.1"), IPv4Address("127.0.0.1")}
    assert (state.bind is not None) is bool(program)
    assert state.bind is None or state.bind.told is None


SERVER_AND_CLIENTS = """\
import socket, struct, time
server = socket.create_server(("10.0.0.1", 3306))
client = socket.create_connection(("10.0.0.1", 3306))
# Nobody at 10.0.0.77 gets the answer to this one: as if the answer, or the client's last packet, were lost.
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
ends = socket.inet_aton("10.0.0.77") + socket.inet_aton("10.0.0.1")
ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + ends
tcp = struct.pack("!HHIIBBH", 7777, 3306, 1, 0, 0x50, 2, 1024)
total = sum(struct.unpack("!16H", ends + struct.pack("!HH", 6, 20) + tcp + bytes(4)))
total = (total & 0xFFFF) + (total >> 16)
raw.sendto(ip + tcp + struct.pack("!HH", ~total & 0xFFFF, 0), ("10.0.0.1", 0))
print(1, flush=True)
time.sleep(60)
"""


@pytest.mark.namespace
def test_connections_and_those_about_to_be() -> None:
    """A client takes its connection for open a packet before the server does, and longer when that packet is lost."""
    with Bare() as bare:
        bare.run(
            f"cat >/run/test/ends.py <<'END'\n{SERVER_AND_CLIENTS}END\n"
            "/usr/bin/env python3 /run/test/ends.py >/run/test/up 2>&1 &"
        )
        bare.run("while ! [ -s /run/test/up ]; do sleep 0.05; done")
        state = parse(bare.run(script(asked_of(Variant().blueprint, "db1"))))
        said = bare.run("cat /run/test/up")
    own = IPv4Address("10.0.0.1")
    assert {(c.local, c.peer) for c in state.established} == {(own, own), (own, IPv4Address("10.0.0.77"))}, said


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"MYSQL_GROUP_SUFFIX": "_two"}, "MYSQL_GROUP_SUFFIX=_two {program} --print-defaults"),
        ({"MYSQL_GROUP_SUFFIX": "x\nLD_PRELOAD=/evil"}, "MYSQL_GROUP_SUFFIX=x {program} --print-defaults"),
        ({"MYSQL_GROUP_SUFFIX": "x /evil"}, ""),
    ],
)
@pytest.mark.process
def test_a_program_that_is_asked_what_it_was_told_runs_as_whom_it_ran(
    environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    """Anybody can have a program of that name listen."""
    (tmp_path / "timeout").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "timeout").chmod(0o755)
    path, program = f"{tmp_path}:/usr/bin:/bin", os.path.realpath("/usr/bin/sleep")
    with subprocess.Popen([program, "60"], env=environment, user=65534, group=65534) as process:
        line = f'LISTEN 0 80 10.0.0.3:3306 0.0.0.0:* users:(("mariadbd",pid={process.pid},fd=27))'
        done = subprocess.run(
            ["dash", "-c", f"l='{line}'\n{_BIND.replace('o=$(', 'echo $(')}"],
            env={"PATH": path, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        process.kill()
    said = [said for said in done.stdout.splitlines() if said.startswith("10 ")]
    wanted = "10 setpriv --reuid=65534 --regid=65534 --clear-groups env -i "
    wanted += f"PATH={path} HOME=/nonexistent {words.format(program=program)}"
    assert said == ([wanted] if words else []), done
    assert ("asked" in done.stdout.splitlines()) is bool(words)


# As `mariadb` does: an error ends it, but with --force.
PLAIN = """\
#!/bin/sh
echo "$@" >"${0%/*}/asked"
case $* in *"SET SESSION wsrep_sync_wait=0; SHOW"*) case $* in *--force*) ;; *) exit 1;; esac;; esac
printf 'wsrep_ready\\tOFF\\n#database-users\\nclustercheck\\n'
"""


@pytest.mark.process
def test_a_database_without_galera_answers_and_none_waits_for_what_is_yet_to_be_applied(tmp_path: Path) -> None:
    (tmp_path / "mariadb").write_text(PLAIN)
    (tmp_path / "mariadb").chmod(0o755)
    asked = replace(asked_of(Variant().blueprint, "db1"), database_socket=f"{tmp_path}/socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(asked.database_socket)
        done = subprocess.run(
            ["dash", "-c", _database(asked)],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.splitlines() == ["up", "#galera", "wsrep_ready\tOFF", "#database-users", "clustercheck"], done
    said = (tmp_path / "asked").read_text()
    assert said.split(" -BNe ")[1].startswith("SET SESSION wsrep_sync_wait=0; SHOW VARIABLES WHERE ")
    assert "'wsrep_on','wsrep_cluster_address'" in said
