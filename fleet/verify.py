"""Connects to each endpoint as a client does, and to each server directly, from a lab's client, this machine or another host, and
hears who answers.

Every connection is a client process of its own. One shell script makes those of one endpoint, a few at a time; it travels on
standard input, and the password with it, so that neither shows among the processes of any machine.
"""

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from cluster.declaration import Declaration, Ssh
from cluster.directly import direct_probes, judge_direct
from cluster.errors import HostError, RequestError
from cluster.keepalived import Endpoint, floating_addresses
from cluster.large import REQUEST, judge_large, large_probe, not_met
from cluster.verification import TIMED_OUT, Answer, Probe, Verdict, identify, judge, probes

AT_ONCE = 4
_ROUNDS = 3
_FOR_THE_QUERY = 5
_SLOWEST = 400_000
"""Bytes a second that a large answer comes at, at least: what is slower counts as lost."""
_NO_CLIENT = 69
"""sysexits.h, EX_UNAVAILABLE."""
_IS_OF_THE_CLUSTER = 77
"""EX_NOPERM."""
_SSH_FAILED = 255
"""ssh(1), EXIT STATUS."""

_QUERY = (
    "SHOW VARIABLES WHERE Variable_name IN ('hostname', 'wsrep_node_address', 'wsrep_node_name'); "
    "SELECT 'client', SUBSTRING_INDEX(USER(), '@', -1)"
)
_COUNTED = r'/^large\tx/ { print "large\t" length($0) - 6; next } { print }'
"""For awk: of a large answer only its length travels on."""
_SAID = frozenset({"hostname", "wsrep_node_address", "wsrep_node_name", "client", "sent", "large", "exit"})
"""First words of lines that are no error."""


@dataclass(frozen=True)
class Login:
    """How to log in to MySQL. All empty: as the client's own option files say."""

    user: str = ""
    password: str | None = field(default=None, repr=False)
    defaults_file: str = ""
    """Option file on the machine that connects."""
    option_files: bool = True
    """False: the machine's own option files have no say."""

    @property
    def in_a_file(self) -> bool:
        """Whether the client reads a file of ours, which says the password after those that it would have read."""
        return self.password is not None and self.option_files


class Heard(Protocol):
    """What came of a script."""

    @property
    def stdout(self) -> str: ...
    @property
    def stderr(self) -> str: ...
    @property
    def returncode(self) -> int: ...


Client = Callable[[str, float], Heard]
"""Runs a shell script, which may take so many seconds. Raises HostError if it does not end."""


def verify(
    declaration: Declaration,
    client: Client,
    login: Login,
    *,
    count: int = 12,
    expect: Sequence[str] = (),
    connect_timeout: int = 5,
    large: int = 0,
    direct: bool = False,
) -> list[Verdict]:
    """One verdict an endpoint; with `large`, so many bytes, one more for each; with `direct` one a server.

    Raises RequestError for a server that is not declared, HostError if the client cannot be used.
    """
    unknown = [name for name in expect if name not in declaration.real_server]
    if unknown:
        known = ", ".join(declaration.real_server)
        raise RequestError(
            f"there is no real server {', '.join(unknown)} in {declaration.source}", cure=f"known: {known}"
        )

    barred = _barred(declaration)

    def hear(probe: Probe) -> list[Answer]:
        text, seconds = script(probe, login, connect_timeout, barred), _may_take(probe, connect_timeout)
        return _answers(declaration, probe, client(text, seconds))

    found: list[Verdict] = []
    for probe in probes(declaration, count=count, expect=expect):
        found += _at_endpoint(probe, hear, large)
    if direct:
        # Judged by what the services say of the same server.
        services = tuple(found)
        for probe in direct_probes(declaration, expect=expect, large=large):
            begun = time.monotonic()
            verdict = judge_direct(probe, hear(probe), services, declaration.real_server)
            found.append(replace(verdict, seconds=time.monotonic() - begun))
    return found


def _at_endpoint(probe: Probe, hear: Callable[[Probe], list[Answer]], large: int) -> Iterator[Verdict]:
    if probe.endpoint.protocol != "tcp":
        yield Verdict(probe, remarks=("a UDP service need not answer",))
        return
    begun = time.monotonic()
    answers: list[Answer] = []
    for _ in range(_ROUNDS):
        answers += hear(probe)
        verdict = judge(probe, answers)
        if not verdict.missing or verdict.errors:
            break
    yield replace(verdict, seconds=time.monotonic() - begun)
    if large and probe.sql and verdict.answers:
        begun = time.monotonic()
        asked = large_probe(probe, large)
        answers = []
        for _ in range(_ROUNDS):
            answers += hear(asked)
            verdict = judge_large(asked, answers)
            # What hangs takes its time, and says enough.
            if verdict.faults or not not_met(asked, answers):
                break
        yield replace(verdict, seconds=time.monotonic() - begun)


def _whole(probe: Probe, connect_timeout: int) -> int:
    """Seconds that one connection may take."""
    query = _FOR_THE_QUERY if probe.sql else 0
    large = 2 * _FOR_THE_QUERY + probe.large // _SLOWEST if probe.large else 0
    return connect_timeout + query + large


def _may_take(probe: Probe, connect_timeout: int) -> float:
    turns = -(-probe.count // AT_ONCE)
    return 20 + turns * max(_whole(probe, connect_timeout), connect_timeout + _FOR_THE_QUERY)


def _barred(declaration: Declaration) -> dict[str, str]:
    """Addresses that no client may have, and whose they are: who has one talks to itself, and no director is asked."""
    found = dict.fromkeys(map(str, floating_addresses(declaration)), "which floats between directors")
    return found | {str(declaration.host(name).address): f"the address of {name}" for name in declaration.hosts()}


def script(probe: Probe, login: Login, connect_timeout: int, barred: Collection[str] = ()) -> str:
    """A shell script that connects `probe.count` times and prints a line for each: exit status, tab, what was said.

    Where the client has one of the `barred` addresses it prints that alone, and connects nowhere.
    """
    connect = _sql(probe, login, connect_timeout) if probe.sql else _plain(probe.endpoint)
    said = f"{connect} 2>&1 </dev/null"
    if probe.large:
        # awk's exit status is that of the line; the client's comes with what it said.
        said = f"{{ {connect}; printf '\\nexit\\t%s\\n' $?; }} 2>&1 </dev/null | awk {shlex.quote(_COUNTED)}"
    return f"""\
own=$(ip -4 -o addr show 2>/dev/null)
for address in {shlex.join(barred)}; do
    case $own in *" inet $address/"*) echo "$address"; exit {_IS_OF_THE_CLUSTER} ;; esac
done
{_password(login)}
limit=$(command -v timeout >/dev/null && echo timeout {_whole(probe, connect_timeout)})
client=$(command -v {"mariadb || command -v mysql" if probe.sql else "bash"}) || exit {_NO_CLIENT}
one() {{
    said=$({said})
    status=$?
    printf '%s\\t%s\\n' $status "$(printf %s "$said" | tr '\\n\\t' '|=')"
}}
made=0
while [ $made -lt {probe.count} ]; do
    one &
    made=$((made + 1))
    [ $((made % {AT_ONCE})) -ne 0 ] || wait
done
wait
"""


def _password(login: Login) -> str:
    """The environment's MYSQL_PWD ranks below every option file, and ~/.my.cnf is read after a --defaults-extra-file (MySQL's
    manual, 4.2.2.2 and 4.2.2.3). So the client reads a file of ours alone, which includes the usual ones, and then says the
    password. It is readable to its owner, and gone at the end. `MYSQL_TEST_LOGIN_FILE`: ~/.mylogin.cnf would win otherwise.
    """
    if login.password is None:
        return ":"
    if not login.in_a_file:
        return f"MYSQL_PWD={shlex.quote(login.password)}; export MYSQL_PWD"
    usual = (
        f"{_at_home(login.defaults_file)}" if login.defaults_file else '/etc/my.cnf /etc/mysql/my.cnf "$HOME/.my.cnf"'
    )
    return f"""\
options=$(umask 077; mktemp) || exit
trap 'rm -f "$options"' EXIT
trap 'exit 143' HUP INT TERM
for file in {usual}; do [ ! -r "$file" ] || echo "!include $file"; done >"$options"
printf '%s\n' '[client]' {shlex.quote(f"password={_in_an_option_file(login.password)}")} >>"$options"
MYSQL_TEST_LOGIN_FILE=$options.none; export MYSQL_TEST_LOGIN_FILE"""


def _at_home(file: str) -> str:
    """A shell's word: the client would have expanded ~ itself."""
    return f'"$HOME"/{shlex.quote(file[2:])}' if file.startswith("~/") else shlex.quote(str(file))


def _in_an_option_file(password: str) -> str:
    """Between quotes # begins no comment, and blanks at its ends are its own."""
    escaped = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escaped.get(character, character) for character in password) + '"'


def _sql(probe: Probe, login: Login, connect_timeout: int) -> str:
    endpoint = probe.endpoint
    files = "" if login.option_files else "--no-defaults"
    files = shlex.quote(f"--defaults-file={login.defaults_file}") if login.defaults_file else files
    files = '--defaults-file="$options"' if login.in_a_file else files
    options = [f"--user={login.user}"] if login.user else []
    options += ["--protocol=tcp", f"--host={endpoint.address}", f"--port={endpoint.port}"]
    options += [f"--connect-timeout={connect_timeout}", "--batch", "--skip-column-names"]
    # Unbuffered: what was said before a large answer is heard also where that never comes.
    options += ["--unbuffered"] if probe.large else []
    options += [f"--execute={_query(probe.large)}"]
    # Which files are read is said first, or not at all.
    return " ".join(filter(None, ('$limit "$client"', files, shlex.join(options))))


def _query(large: int) -> str:
    """The client sends one statement after another, each when the one before is answered."""
    if not large:
        return _QUERY
    return f"{_QUERY}; SELECT 'sent', LENGTH('{'y' * REQUEST}'); SELECT 'large', REPEAT('x', {large})"


def _plain(endpoint: Endpoint) -> str:
    return f'$limit "$client" -c {shlex.quote(f"exec 3<>/dev/tcp/{endpoint.address}/{endpoint.port}")}'


def _answers(declaration: Declaration, probe: Probe, heard: Heard) -> list[Answer]:
    if heard.returncode == _IS_OF_THE_CLUSTER:
        address = heard.stdout.strip()
        raise RequestError(
            f"the client has {address}, {_barred(declaration).get(address, 'which is of this cluster')}: from there connections"
            " do not go the way that a client's go",
            cure="--from names another machine, or declare one as [client.NAME]",
        )
    if heard.returncode == _NO_CLIENT:
        what = "a mariadb or mysql client" if probe.sql else "bash"
        raise HostError(
            f"there is not {what} where the connections are to come from", cure="install it there: mariadb-client"
        )
    lines = [line.split("\t", 1) for line in heard.stdout.splitlines() if "\t" in line]
    if len(lines) != probe.count:
        why = heard.stderr.strip() or f"{len(lines)} of {probe.count} connections were reported"
        raise HostError(f"the client could not be used: {why}")
    return [_answer(declaration, probe, status, text) for status, text in lines]


_ENDED = "124"
"""timeout(1), exit status."""


def _answer(declaration: Declaration, probe: Probe, status: str, text: str) -> Answer:
    said, words = _heard(text)
    status = said.get("exit", status)
    error = ""
    if status != "0":
        error = _hint(words) or (TIMED_OUT if status == _ENDED else f"exit status {status}")
    if not probe.sql:
        return Answer(error=error) if error else Answer(server="connected")
    if error and not (probe.large and "hostname" in said):
        return Answer(error=error)
    return Answer(
        identify(declaration, said), said.get("client", ""), error, _bytes(said, "sent"), _bytes(said, "large")
    )


def _heard(text: str) -> tuple[dict[str, str], str]:
    """What the server said of itself, and all other words."""
    said: dict[str, str] = {}
    others: list[str] = []
    for line in text.split("|"):
        key, known, value = line.partition("=")
        if known and key in _SAID:
            said[key] = value
        else:
            others.append(line)
    return said, " ".join(" ".join(others).split())


def _bytes(said: Mapping[str, str], key: str) -> int | None:
    """0 of NULL, which is MySQL's answer to what would be larger than it allows."""
    return (int(said[key]) if said[key].isdecimal() else 0) if key in said else None


def _hint(error: str) -> str:
    if "Access denied" in error:
        return f"{error} (the way there is open: give --user and --password-env or --defaults-file)"
    return error


# Where connections come from


def client_at(where: str, declaration: Declaration | None = None) -> Client:
    """Of "lab" the lab's client machine, of "here" this machine, else a declared client or a host that plain `ssh` reaches."""
    if where == "lab":
        return _in_lab
    if where == "here":
        return lambda text, seconds: _run(["sh"], text, seconds, "this machine")
    if where.startswith("-") or not where:
        raise RequestError(f'"{where}" is no host', cure="--from lab, --from here, or a host that ssh knows")
    if declaration and where in declaration.hosts():
        role = "real server" if where in declaration.real_server else "director"
        raise RequestError(
            f"{where} is a {role} of this cluster: from there connections do not go the way that a client's go",
            cure="name another machine, or declare one as [client.NAME]",
        )
    declared = declaration.client.get(where) if declaration else None
    destination = _destination(where, declared.ssh) if declared else ["--", where]
    return lambda text, seconds: _over_ssh(where, destination, text, seconds)


def _destination(name: str, ssh: Ssh) -> list[str]:
    """ssh(1)'s words for a declared client."""
    words = ["-p", str(ssh.port), "-o", f"StrictHostKeyChecking={'yes' if ssh.host_keys == 'strict' else 'accept-new'}"]
    words += ["-l", ssh.user] if ssh.user else []
    words += ["-i", str(Path(ssh.key).expanduser())] if ssh.key else []
    words += ["-o", f"UserKnownHostsFile={Path(ssh.known_hosts).expanduser()}"] if ssh.known_hosts else []
    return [*words, "--", ssh.host or name]


def _in_lab(text: str, seconds: float) -> Heard:
    from lab.lab import Lab  # noqa: PLC0415 (it brings pyroute2, which nobody else needs)

    return Lab(os.environ.get("LBCTL_LAB") or "lab").client(["sh"], stdin=text, timeout=seconds, check=False)


def _over_ssh(host: str, destination: Sequence[str], text: str, seconds: float) -> Heard:
    arguments = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", *destination, "sh"]
    heard = _run(arguments, text, seconds, host)
    if heard.returncode == _SSH_FAILED:
        raise HostError(
            f"{host} could not be reached: {heard.stderr.strip()}", cure=f"ssh {host} true must work without asking"
        )
    return heard


def _run(arguments: list[str], text: str, seconds: float, who: str) -> Heard:
    try:
        # A password comes out of the environment and goes on byte for byte; a client's words may be in any encoding.
        done = subprocess.run(arguments, input=os.fsencode(text), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise HostError(f"{who}: the connections did not end within {seconds:g} s") from None
    except FileNotFoundError:
        raise HostError(f"{who}: there is no {arguments[0]} here") from None
    said, failed = (output.decode(errors="replace") for output in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(arguments, done.returncode, said, failed)
