"""Scripts run for real by a shell, with programs in the place of MySQL's client and ssh. Nothing is sent anywhere."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.declaration import ClientHost, Declaration, Ssh
from cluster.directly import direct_probes
from cluster.errors import HostError, RequestError
from cluster.large import REQUEST
from cluster.reading import read
from cluster.verification import Kind, probes
from fleet.verify import Login, client_at, script, verify

LAB = (Path(__file__).parents[2] / "inventory/lab.toml").read_text()
SECRET = 'it\'s "se$cret"'

pytestmark = pytest.mark.process

Install = Callable[[str, str], None]


@pytest.fixture
def declaration() -> Declaration:
    return read(LAB, "lab.toml")


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a shell script in front of a program of that name."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))

    def install(name: str, text: str) -> None:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)

    return install


# One after the other by a counter under a lock; the writer's address is always db1's.
ROTATING = """
printf '%s\\n' "$*" >>"$NOTES"
case "$*" in *10.0.0.11*) n=1 ;; *) n=$(
    flock "$COUNT" sh -c 'n=$(cat "$COUNT"); n=$((n % 3 + 1)); echo $n >"$COUNT"; echo $n') ;;
esac
printf 'hostname\\tdb%s\\nwsrep_node_address\\t\\nwsrep_node_name\\tdb%s\\nclient\\t10.0.0.5\\n' $n $n
"""


def test_every_server_answers_and_the_writer_alone(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program("mariadb", ROTATING)
    reads, writes = verify(declaration, client_at("here"), Login("monitor", SECRET))
    assert reads.healthy, reads
    assert reads.answers == {"db1": 4, "db2": 4, "db3": 4}
    assert writes.answers == {"db1": 12}
    assert reads.clients == {"10.0.0.5": 12}
    calls = (tmp_path / "notes").read_text().splitlines()
    assert len(calls) == 24
    assert "--user=monitor --protocol=tcp --host=10.0.0.10 --port=3306 --connect-timeout=5" in calls[0]


@pytest.mark.parametrize("password", [SECRET, ' # \\ "', "", "\t'x'"])
def test_the_password_is_in_no_argument_and_goes_before_option_files(
    password: str, declaration: Declaration, program: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB's own program says what a client would be started with; a monitor's ~/.my.cnf is another account's."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / ".my.cnf").write_text("[client]\npassword=another\nuser=another\nssl-ca=/ca.pem\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    program(
        "mariadb",
        'printf "%s\\n" "$*" >>"$NOTES"; f=${1#--defaults-file=}; stat -c %a "$f" >"$NOTES.mode"; '
        'my_print_defaults "$1" client >"$NOTES.values"; exit 1',
    )
    verify(declaration, client_at("here"), Login("monitor", password), count=1)
    said = (tmp_path / "notes.values").read_text()
    assert said.endswith(f"--password={password}\n")
    assert "--ssl-ca=/ca.pem\n" in said
    assert (tmp_path / "notes.mode").read_text() == "600\n"
    assert "--password" not in (tmp_path / "notes").read_text()
    assert "--user=monitor" in (tmp_path / "notes").read_text()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_password_beside_an_option_file(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    file = tmp_path / "my monitor.cnf"
    file.write_text("[client]\npassword=another\nuser=monitor\n")
    program("mariadb", 'cat "${1#--defaults-file=}" >"$NOTES"; exit 1')
    verify(declaration, client_at("here"), Login(password="it", defaults_file=str(file)), count=1)
    assert (tmp_path / "notes").read_text() == f'!include {file}\n[client]\npassword="it"\n'


def test_in_a_lab_no_option_file_has_a_say(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program("mariadb", 'printf "%s %s" "$MYSQL_PWD" "$1" >"$NOTES"; exit 1')
    verify(declaration, client_at("here"), Login("lab", "lab", option_files=False), count=1)
    assert (tmp_path / "notes").read_text() == "lab --no-defaults"


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("10.0.0.1", "the address of db1"),
        ("10.0.0.4", "the address of lb1"),
        ("10.0.0.10", "which floats between directors"),
    ],
)
def test_a_host_of_the_cluster_is_no_client_by_whatever_name(
    address: str, whose: str, declaration: Declaration, program: Install, tmp_path: Path
) -> None:
    """It has the virtual addresses itself, so that no director would be asked."""
    program("ip", f"echo '2: eth0    inet 10.0.0.111/24 scope global'; echo '3: d    inet {address}/32 scope global'")
    program("ssh", 'shift 6; exec "$@"')
    program("mariadb", ROTATING)
    for where in ("here", "root@10.0.0.1"):
        with pytest.raises(RequestError, match=f"the client has {address}, {whose}"):
            verify(declaration, client_at(where, declaration), Login())
    assert not (tmp_path / "notes").exists()


def test_a_client_beside_the_cluster_is_one(declaration: Declaration, program: Install) -> None:
    program("ip", "echo '2: eth0    inet 10.0.0.11/24'; echo '2: eth0    inet 10.0.0.41/24'")
    program("mariadb", ROTATING)
    with pytest.raises(RequestError, match=r"10\.0\.0\.11,"):
        verify(declaration, client_at("here"), Login())
    program("ip", "echo '2: eth0    inet 10.0.0.110/24'; echo '2: eth0    inet 10.0.0.41/24'")
    assert all(verdict.healthy for verdict in verify(declaration, client_at("here"), Login()))


@pytest.mark.parametrize(
    ("login", "option"),
    [
        (Login(defaults_file="/etc/mysql/my monitor.cnf"), "--defaults-file=/etc/mysql/my monitor.cnf --protocol"),
        (Login(option_files=False), "--no-defaults --protocol"),
        (Login(), "--protocol"),
    ],
)
def test_option_files(login: Login, option: str, declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program("mariadb", 'printf "%s\\n" "$*" >>"$NOTES"; exit 1')
    verify(declaration, client_at("here"), login, count=1)
    assert (tmp_path / "notes").read_text().startswith(option)


def test_the_older_name_of_the_client(
    declaration: Declaration, program: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("sh", "tr", "timeout", "cat", "flock"):
        (tmp_path / name).symlink_to(
            subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        )
    program("mysql", ROTATING)
    monkeypatch.setenv("PATH", str(tmp_path))
    reads, _ = verify(declaration, client_at("here"), Login())
    assert reads.healthy
    (tmp_path / "mysql").unlink()
    with pytest.raises(HostError, match="mariadb or mysql client"):
        verify(declaration, client_at("here"), Login())


def test_an_error_is_told_as_the_client_says_it(declaration: Declaration, program: Install) -> None:
    program("mariadb", "echo \"ERROR 1045 (28000): Access denied for user 'x'\" >&2; exit 1")
    reads, _ = verify(declaration, client_at("here"), Login("x"), count=4)
    (fault,) = reads.faults
    assert fault.startswith("6 of 6 connections failed: ERROR 1045 (28000): Access denied")
    assert "--password-env" in fault


def test_an_error_in_another_encoding(declaration: Declaration, program: Install) -> None:
    program("mariadb", "printf 'ERROR 2003: verweigert f\\374r db1\\n' >&2; exit 1")
    reads, _ = verify(declaration, client_at("here"), Login(), count=1)
    assert reads.faults == ("6 of 6 connections failed: ERROR 2003: verweigert f\N{REPLACEMENT CHARACTER}r db1",)


def test_a_password_in_another_encoding(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    """As os.environ has it."""
    program("mariadb", 'printf %s "$MYSQL_PWD" >"$NOTES"; exit 1')
    verify(declaration, client_at("here"), Login("lab", os.fsdecode(b"f\374r"), option_files=False), count=1)
    assert (tmp_path / "notes").read_bytes() == b"f\374r"


def test_a_missing_server_gets_another_chance(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program(
        "mariadb",
        'n=$(wc -l <"$NOTES"); echo >>"$NOTES"; [ $n -ge 14 ] || n=0; printf \'hostname\\tdb%s\\n\' $((n % 3 + 1))',
    )
    (tmp_path / "notes").write_text("")
    reads, _ = verify(declaration, client_at("here"), Login())
    assert reads.healthy
    assert sum(reads.answers.values()) in {24, 36}


def test_connections_that_hang_end_in_time(declaration: Declaration, program: Install) -> None:
    program("mariadb", "exec sleep 60")
    program("timeout", 'shift; exec /usr/bin/timeout 0.2 "$@"')
    begun = time.monotonic()
    reads, _ = verify(declaration, client_at("here"), Login(), count=1)
    assert time.monotonic() - begun < 20
    assert reads.faults == ("6 of 6 connections failed: no answer in time",)


def test_a_few_at_a_time(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program("mariadb", 'touch "$NOTES.$$"; sleep 0.2; ls "$NOTES".* | wc -l >>"$NOTES"; rm "$NOTES.$$"; exit 1')
    verify(declaration, client_at("here"), Login(), count=8)
    assert 1 < max(int(line) for line in (tmp_path / "notes").read_text().split()) <= 4


def test_a_service_that_is_not_mysql(program: Install) -> None:
    web = read(LAB.replace("nat_port = 5506", 'port = 80\ncheck = "tcp"'), "lab.toml")
    program("mariadb", "exit 1")
    program("bash", '[ "$2" = "exec 3<>/dev/tcp/10.0.0.10/80" ]')
    plain, _ = verify(web, client_at("here"), Login())
    assert plain.answers == {"connected": 12}
    assert plain.healthy


def test_udp_is_not_tried(program: Install) -> None:
    names = read(LAB.replace("nat_port = 5506", 'protocol = "udp"\ncheck = "none"'), "lab.toml")
    program("mariadb", ROTATING)
    udp, _ = verify(names, client_at("here"), Login())
    assert udp.healthy
    assert not udp.tried
    assert udp.remarks == ("a UDP service need not answer",)


def test_from_another_host(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program("ssh", 'printf "%s\\n" "$*" >"$NOTES.ssh"; shift 6; exec "$@"')
    program("mariadb", ROTATING)
    reads, _ = verify(declaration, client_at("app1"), Login("monitor", SECRET))
    assert reads.healthy
    assert (tmp_path / "notes.ssh").read_text() == "-o BatchMode=yes -o ConnectTimeout=10 -- app1 sh\n"


def test_a_host_that_cannot_be_reached(declaration: Declaration, program: Install) -> None:
    program("ssh", "echo 'ssh: connect to host app1 port 22: No route to host' >&2; exit 255")
    with pytest.raises(HostError, match="app1 could not be reached: ssh: connect to host app1"):
        verify(declaration, client_at("app1"), Login())


@pytest.mark.parametrize("where", ["-oProxyCommand=id", ""])
def test_what_is_no_host(where: str) -> None:
    with pytest.raises(RequestError, match="is no host"):
        client_at(where)


def test_a_client_that_breaks_off(declaration: Declaration, program: Install) -> None:
    program("ssh", "echo oops >&2; exit 1")
    with pytest.raises(HostError, match="could not be used: oops"):
        verify(declaration, client_at("app1"), Login())


def test_a_server_that_is_not_declared(declaration: Declaration) -> None:
    with pytest.raises(RequestError, match="no real server db9"):
        verify(declaration, client_at("here"), Login(), expect=["db9"])


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_script_is_one_that_shells_read(shell: str, declaration: Declaration) -> None:
    for probe in probes(declaration, count=12):
        text = script(probe, Login("o'neill; id", SECRET, "/a b"), 5)
        assert not subprocess.run([shell, "-n"], input=text, text=True, capture_output=True, check=True).stderr


def test_a_declared_client_is_reached_as_declared(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    app = ClientHost(ssh=Ssh(host="app1.example.net", user="deploy", port=2222))
    declared = declaration.model_copy(update={"client": {"app1": app}})
    program("mariadb", ROTATING)
    program("ssh", 'printf "%s\\n" "$*" >"$NOTES.ssh"; shift 12; exec "$@"')
    reads, _ = verify(declared, client_at("app1", declared), Login())
    assert reads.healthy, reads
    said = (tmp_path / "notes.ssh").read_text()
    assert "-p 2222 -o StrictHostKeyChecking=yes -l deploy -- app1.example.net sh" in said


# Large answers, and servers directly

# Each server by its own address, else in turns. What a large call asks for, by REPEAT('x', N), SENDS sends.
LARGE = """
printf '%s\\n' "$*" | cut -c 1-200 >>"$NOTES"
case "$*" in *=10.0.0.1\\ *) n=1 ;; *=10.0.0.2\\ *) n=2 ;; *=10.0.0.3\\ *) n=3 ;; *=10.0.0.11\\ *) n=1 ;; *) n=$(
    flock "$COUNT" sh -c 'n=$(cat "$COUNT"); n=$((n % 3 + 1)); echo $n >"$COUNT"; echo $n') ;;
esac
printf 'hostname\\tdb%s\\nwsrep_node_address\\t\\nwsrep_node_name\\tdb%s\\nclient\\t10.0.0.5\\n' $n $n
case "$*" in *REPEAT*) ;; *) exit 0 ;; esac
"""
SENDS = (
    LARGE
    + """
printf 'sent\\t%s\\nlarge\\t' "$(printf %s "$*" | grep -o 'y\\{100,\\}' | tr -d '\\n' | wc -c)"
head -c "$(printf %s "$*" | sed "s/.*REPEAT('x', \\([0-9]*\\)).*/\\1/")" /dev/zero | tr '\\0' x
echo
"""
)


def test_large_answers_and_each_server(declaration: Declaration, program: Install, tmp_path: Path) -> None:
    program("mariadb", SENDS)
    found = verify(declaration, client_at("here"), Login("monitor", SECRET), large=300_000, direct=True)
    assert [(v.probe.kind, str(v.probe.endpoint)) for v in found] == [
        (Kind.SPREAD, "10.0.0.10:3306"),
        (Kind.LARGE, "10.0.0.10:3306"),
        (Kind.SPREAD, "10.0.0.11:3306"),
        (Kind.LARGE, "10.0.0.11:3306"),
        (Kind.DIRECT, "10.0.0.1:3306"),
        (Kind.DIRECT, "10.0.0.2:3306"),
        (Kind.DIRECT, "10.0.0.3:3306"),
    ]
    assert [v.faults for v in found] == [()] * 7
    assert found[1].answers == {"db1": 1, "db2": 1, "db3": 1}
    assert found[5].answers == {"db2": 1}
    assert all(v.seconds > 0 for v in found)
    calls = (tmp_path / "notes").read_text().splitlines()
    assert sum("--unbuffered" in call for call in calls) == 3 + 1 + 3
    assert any("--user=monitor --protocol=tcp --host=10.0.0.2 --port=3306" in call for call in calls)
    assert "se$cret" not in (tmp_path / "notes").read_text()


# Of the calls for a large answer the first that was db3's turn goes to db1.
LATE = """
case "$n $*" in "3 "*10.0.0.10*REPEAT*) [ -e "$COUNT.late" ] || n=1; : >"$COUNT.late" ;; esac
"""


def test_large_answers_are_asked_for_until_each_server_was_met(declaration: Declaration, program: Install) -> None:
    """Other clients connect, too: db3 has its turn only in the second round."""
    program("mariadb", SENDS.replace("esac\n", f"esac\n{LATE}", 1))
    _, reads, _, _ = verify(declaration, client_at("here"), Login(), large=300_000)
    assert set(reads.answers) == {"db1", "db2", "db3"}
    assert sum(reads.answers.values()) == 6


def test_a_large_answer_that_never_ends(declaration: Declaration, program: Install) -> None:
    program("mariadb", LARGE + f"printf 'sent\\t{REQUEST}\\n'; exec sleep 60")
    program("timeout", 'shift; exec /usr/bin/timeout 1 "$@"')
    _, reads, _, writes = verify(declaration, client_at("here"), Login(), large=300_000)
    assert len(reads.faults) == 3
    assert "db1: an answer of 300 kB hangs where small ones pass" in writes.faults[0]
    assert "to the client" in writes.faults[0]


def test_a_large_request_that_never_arrives(declaration: Declaration, program: Install) -> None:
    program("mariadb", LARGE + "exec sleep 60")
    program("timeout", 'shift; exec /usr/bin/timeout 1 "$@"')
    *_, db3 = verify(declaration, client_at("here"), Login(), large=300_000, direct=True)
    assert "db3: a request of 8 kB hangs where small ones pass" in db3.faults[0]


def test_less_than_was_asked_for(declaration: Declaration, program: Install) -> None:
    program("mariadb", LARGE + f"printf 'sent\\t{REQUEST}\\nlarge\\tNULL\\n'")
    _, reads, _, _ = verify(declaration, client_at("here"), Login(), large=300_000)
    assert reads.healthy
    assert "max_allowed_packet" in reads.remarks[0]


def test_nothing_large_where_nobody_answers(declaration: Declaration, program: Install) -> None:
    program("mariadb", "echo 'ERROR 2002 (HY000): no way' >&2; exit 1")
    found = verify(declaration, client_at("here"), Login(), count=1, large=300_000, direct=True)
    assert [v.probe.kind for v in found] == [Kind.SPREAD] * 2 + [Kind.DIRECT] * 3
    assert found[-1].faults == ("does not answer directly: ERROR 2002 (HY000): no way",)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_large_script_is_one_that_shells_read(shell: str, declaration: Declaration) -> None:
    (probe, *_) = direct_probes(declaration, large=4_000_000)
    text = script(probe, Login("o'neill; id", SECRET, "/a b"), 5)
    assert not subprocess.run([shell, "-n"], input=text, text=True, capture_output=True, check=True).stderr
