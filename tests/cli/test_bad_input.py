"""Each wrong declaration: exit code 2, the file, line and key, what to write instead, and never a traceback or a secret."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.shop import SAMPLE, Lbctl

SECRET = "hunter2-hunter2"
VRRP_2 = "virtual_router_id = 19\nversion = 2\nadvertise_every = 1"


@dataclass(frozen=True)
class Case:
    """One edit of the sample that makes it wrong."""

    what: str
    old: str
    new: str
    at: str
    """What stands on the line that the message must name; empty where none can be named."""
    key: str
    says: str
    """The part of the message that says what would be right."""


CASES = [
    # Notation
    Case("text without a closing quote", 'name = "shop"', 'name = "shop', 'name = "shop', "", "no closing quote"),
    Case("no value", 'name = "shop"', "name =", "name =", "", "a value is missing, or a text has no quotes"),
    Case("no quotes", 'mode = "dr"', "mode = dr", "mode = dr", "", "a text has no quotes"),
    Case("neither table nor key", "[nat]", "gateways", "gateways", "", "neither a [table] nor key = value"),
    Case("a key twice", 'mode = "dr"', 'mode = "dr"\nmode = "tun"', 'mode = "tun"', "mode", "is there twice"),
    Case("a table twice", "[nat]", "[vrrp]\nversion = 3\n[nat]", "", "vrrp", "is there twice"),
    # Keys
    Case("unknown key", "nat_port = 5506", "natport = 5506", "natport", "service.read.natport", "did you mean nat_port?"),
    Case("unknown table", "[nat]", "[lvs]\nx = 1\n[nat]", "[lvs]", "lvs", "known are name, mode, network"),
    Case("missing key", 'mode = "dr"\n', "", "", "mode", 'is missing: write mode = "dr"'),
    Case("missing address", 'address = "10.0.0.4"\n', "", "[director.lb1]", "director.lb1.address", "is missing: write address"),
    # Shapes
    Case("number as text", "= 19", '= "19"', "virtual_router_id", "vrrp.virtual_router_id", "whole number, without quotes"),
    Case("text as number", 'name = "shop"', "name = 5", "name", "name", "must be a text in quotes"),
    Case("a truth as text", "= 19", '= 19\npreempt = "yes"', "preempt", "vrrp.preempt", "true or false, without quotes"),
    Case("an address as number", 'vip = "10.0.0.10"', "vip = 10", "vip = 10", "service.read.vip", "a text in quotes"),
    Case("a list for a duration", "= 19", "= 19\nadvertise_every = [1]", "advertise_every", "vrrp.advertise_every", "200ms, 6s"),
    Case("a text for a table", "[nat]", "health = 5\n[nat]", "health", "vrrp.health", "unknown key"),
    Case("tables in a list", "[nat]", "[[nat]]", "[[nat]]", "nat", "must be a table"),
    # Names
    Case("upper case", "[real_server.db2]", "[real_server.DB_2]", "DB_2", "real_server.DB_2", "a–z, 0–9 and -"),
    Case("shell in a host's name", "[real_server.db2]", '[real_server."db2; id"]', "db2; id", "real_server.db2; id", "a–z"),
    Case("shell in a service's name", "[service.read]", '[service."$(id)"]', "$(id)", "service.$(id)", "no host name"),
    Case("shell in an interface", "priority = 100", 'interface = "eth0 up"', "eth0 up", "director.lb2.interface", "at most 15"),
    Case("long interface", "priority = 100", 'interface = "eth0123456789abc"', "eth0123", "director.lb2.interface", "at most 15"),
    Case("control characters", 'name = "shop"', 'name = "\\u001b[2J"', "name", "name", '"\\x1b[2J" is no host name'),
    Case("option as SSH host", "priority = 100", 'ssh = { host = "-oX" }', "-oX", "director.lb2.ssh.host", "no host name"),
    Case("shell in SSH user", "priority = 100", 'ssh = { user = "a b" }', "a b", "director.lb2.ssh.user", "no user name"),
    Case("one host's address for all", "[nat]", '[ssh]\nhost = "db1.net"\n[nat]', "host =", "ssh.host", "is for one host"),
    # Values
    Case("unknown mode", 'mode = "dr"', 'mode = "masq"', "masq", "mode", 'must be "dr", "tun" or "nat"'),
    Case("unknown scheduler", '"fo"', '"random"', "random", "service.write.scheduler", "known are rr, wrr"),
    Case("unknown check", '"writable"', '"sync"', "sync", "service.write.check", '"synced", "writable"'),
    Case("port 0", "nat_port = 5506", "port = 0", "port = 0", "service.read.port", "must be at least 1"),
    Case("port too large", "nat_port = 5506", "port = 65536", "port = 65536", "service.read.port", "must be at most 65535"),
    Case("no address", "10.0.0.10", "10.0.0.300", "10.0.0.300", "service.read.vip", "is no IPv4 address"),
    Case("IPv6", "10.0.0.10", "fd00::10", "fd00::10", "service.read.vip", "serves IPv4 only"),
    Case("host bits", "10.0.0.0/24", "10.0.0.1/24", "10.0.0.1/24", "network", "host bits must be 0"),
    Case("router id 0", "= 19", "= 0", "= 0", "vrrp.virtual_router_id", "must be at least 1"),
    Case("router id 256", "= 19", "= 256", "= 256", "vrrp.virtual_router_id", "must be at most 255"),
    Case("priority 255", "= 101", "= 255", "= 255", "director.lb1.priority", "must be at most 254"),
    Case("negative weight", '"10.0.0.1"', '"10.0.0.1"\nweight = -1', "-1", "real_server.db1.weight", "at least 0"),
    Case("negative duration", "= 19", "= 19\npreempt_delay = -1", "-1", "vrrp.preempt_delay", "neither negative"),
    # Rules
    Case("VIP outside the network", "10.0.0.10", "10.0.1.10", "10.0.1.10", "service.read.vip", "in network 10.0.0.0/24"),
    Case("VIP of a host", "10.0.0.10", "10.0.0.2", 'vip = "10.0.0.2"', "service.read.vip", "a virtual address must be free"),
    Case("two services at one place", "10.0.0.11", "10.0.0.10", "", "service.write.vip", "give each its own"),
    Case("two services at one NAT port", "5507", "5506", "", "service.write.nat_port", "give each its own"),
    Case("no VIP", 'vip = "10.0.0.10"\n', "", "[service.read]", "service.read", "mode dr needs a vip"),
    Case("ports differ", "5506", "5506\nserver_port = 3307", "3307", "service.read.server_port", "or use mode nat"),
    Case("all weights 0", "", "", "[real_server.db1]", "real_server", "leave at least one in rotation"),
    Case("NAT without gateway", 'gateway = "10.0.0.12"', "", "[nat]", "nat.gateway", "set nat.gateway to a free address"),
    Case("gateway is a VIP", "10.0.0.12", "10.0.0.11", "gateway", "nat.gateway", "take another free address"),
    Case("equal priorities", "= 100", "= 101", "", "director.lb2.priority", "give each its own"),
    Case("director as server", '"10.0.0.2"', '"10.0.0.4"', "", "real_server.db2.address", "cannot be a director"),
    Case("one name twice", "[real_server.db2]", "[real_server.lb1]", "[director.lb1]", "director.lb1", "use two machines"),
    Case("password in clear", "= 19", f'= 19\npassword = "{SECRET}"', SECRET, "vrrp.password", '{ file = "secrets/vrrp" }'),
    Case("password in a list", "= 19", f'= 19\npassword = ["{SECRET}"]', SECRET, "vrrp.password", 'or { env = "NAME" }'),
    Case("password under a key", "= 19", f'= 19\npassword = {{ text = "{SECRET}" }}', SECRET, "vrrp.password.text", "file, env"),
    Case("password with VRRP 3", "= 19", '= 19\npassword = { env = "X" }', "password", "vrrp.password", "or set version = 2"),
    Case("fraction with VRRP 2", "= 19", "= 19\nversion = 2", "[vrrp]", "vrrp.advertise_every", "1s or more, or set version = 3"),
    Case("persistence with fo", '"fo"', '"fo"\npersistence = {}', "persistence", "service.write.persistence", "leave persist"),
    Case("no mask", "5506", '5506\npersistence = { granularity = "255.0.255.0" }', "255.0", "service.read.persistence", "no net"),
    Case("UDP checked by TCP", "5506", '5506\nprotocol = "udp"\ncheck = "tcp"', "check = ", "service.read.check", "use check"),
    Case("clustercheck's port", "5506", "5506\nport = 9200", "9200", "service.read.port", "take another"),
    Case("path with a blank", "5506", '5506\ncheck = "http"\ncheck_path = "/a b"', "/a b", "service.read.check_path", "starts w"),
]  # fmt: skip


def edited(case: Case) -> str:
    text = SAMPLE.replace(case.old, case.new, 1) if case.old else SAMPLE
    if case.what == "all weights 0":
        text = text.replace('"10.0.0.1"', '"10.0.0.1"\nweight = 0').replace('"10.0.0.2"', '"10.0.0.2"\nweight = 0')
    if case.what == "NAT without gateway":
        text = text.replace('mode = "dr"', 'mode = "nat"')
    return text


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_wrong_declaration(case: Case, lbctl: Lbctl, tmp_path: Path) -> None:
    text = edited(case)
    assert text != SAMPLE
    file = tmp_path / "shop.toml"
    file.write_text(text)

    result = lbctl("validate", file)

    assert result.exit_code == 2
    said = [line for line in result.stderr.splitlines() if line.startswith(str(file))]
    assert any(case.says in line and f": {case.key or 'not TOML'}: " in line for line in said), said
    if case.at:
        number = next(n for n, line in enumerate(text.splitlines(), start=1) if case.at in line)
        assert any(line.startswith(f"{file}:{number}: ") for line in said), said
    assert "Traceback" not in result.output
    assert SECRET not in result.output
    assert "no host was touched" in result.stderr


@pytest.mark.parametrize("command", ["render", "verify"])
def test_every_command_says_the_same(command: str, lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace("= 19", "= 299"))
    result = lbctl("--cluster", declaration, command)
    assert result.exit_code == 2
    assert result.stderr == f"error: {declaration}:16: vrrp.virtual_router_id: 299 must be at most 255\n"
    assert not result.stdout


def test_all_faults_at_once(lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace("= 19", "= 299").replace("5506", "0").replace('"dr"', '"x"'))
    result = lbctl("validate", declaration)
    assert [line.split(": ")[1] for line in result.stderr.splitlines()[:-1]] == [
        "mode",
        "service.read.nat_port",
        "vrrp.virtual_router_id",
    ]
    assert "3 faults in" in result.stderr


# Files that are no declaration at all


def test_no_such_file(lbctl: Lbctl, tmp_path: Path) -> None:
    result = lbctl("validate", tmp_path / "nowhere.toml")
    assert result.exit_code == 2
    assert "there is no declaration" in result.stderr
    assert "lbctl init" in result.stderr


def test_an_empty_file(lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text("\n# nothing yet\n")
    result = lbctl("validate", declaration)
    assert result.exit_code == 2
    assert "declares nothing; `lbctl init`" in result.stderr


def test_a_folder(lbctl: Lbctl, tmp_path: Path) -> None:
    result = lbctl("validate", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path}: Is a directory" in result.stderr


def test_not_a_text(lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_bytes(b'name = "shop"\n# f\xfcr alle\n')
    result = lbctl("validate", declaration)
    assert result.exit_code == 2
    assert f"{declaration}:2: not TOML: it is not UTF-8 text" in result.stderr
    assert "save it as UTF-8" in result.stderr


def test_not_readable(lbctl: Lbctl, tmp_path: Path) -> None:
    # A link to itself: nobody can read it, not even root.
    file = tmp_path / "loop.toml"
    file.symlink_to(file)
    result = lbctl("validate", file)
    assert result.exit_code == 2
    assert f"{file}: Too many levels of symbolic links" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("real-server", "add", "db 4", "--address", "10.0.0.20"), "{file}: real_server.db 4: "),
        (
            ("real-server", "add", "db4", "--address", "10.0.0.1"),
            "{file}: real_server.db4.address: 10.0.0.1 is also the address of ",
        ),
        (("director", "add", "lb3", "--address", "10.0.0.10", "--priority", "90"), "service.read.vip: "),
    ],
)
def test_what_a_command_would_write_has_no_line_yet(
    lbctl: Lbctl, declaration: Path, words: tuple[str, ...], says: str
) -> None:
    before = declaration.read_text()
    result = lbctl("--cluster", declaration, *words, "--yes")
    assert result.exit_code == 2
    assert says.format(file=declaration) in result.stderr
    last = len(before.splitlines())
    assert not any(f"{declaration}:{line}:" in result.stderr for line in range(last, last + 20))
    assert declaration.read_text() == before


def test_no_such_option_file(lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("--cluster", declaration, "verify", "--from", "here", "--defaults-file", "/nowhere.cnf")
    assert result.exit_code == 2
    assert "--defaults-file /nowhere.cnf: No such file or directory" in result.stderr


def test_what_would_show_the_plan_is_named(lbctl: Lbctl, declaration: Path) -> None:
    result = lbctl("--cluster", declaration, "deploy", "--json")
    assert result.exit_code == 2
    assert "--json does not ask, so it needs --yes" in result.stderr
    assert "lbctl plan --json shows it" in result.stderr


def test_one_wrong_file_does_not_hide_another(lbctl: Lbctl, declaration: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(SAMPLE.replace("= 19", "= 0"))
    result = lbctl("validate", declaration, wrong, tmp_path / "nowhere.toml")
    assert result.exit_code == 2
    assert f"{declaration}: valid" in result.stdout
    assert f"{wrong}:16: vrrp.virtual_router_id" in result.stderr
    assert "nowhere.toml" in result.stderr


# The VRRP password, which is not in the declaration


@pytest.mark.parametrize(
    "password",
    [
        (SECRET, "has 15 characters; VRRP 2 carries 8"),
        ("ten-chars!", "has 10 characters; VRRP 2 carries 8"),
        ("", "is empty"),
        ("se sam", "has a blank or one of"),
        ("se}sam", "has a blank or one of"),
        ("pässwort", "has a blank or one of"),
    ],
)
@pytest.mark.parametrize("command", ["validate", "plan", "deploy"])
def test_a_password_that_will_not_do(
    command: str, password: tuple[str, str], lbctl: Lbctl, declaration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, says = password
    monkeypatch.setenv("VRRP_PASSWORD", secret)
    declaration.write_text(
        SAMPLE.replace("virtual_router_id = 19", f'{VRRP_2}\npassword = {{ env = "VRRP_PASSWORD" }}')
    )
    result = lbctl("--cluster", declaration, command)
    assert result.exit_code == 2
    assert "vrrp.password" in result.stderr
    assert str(declaration) in result.stderr
    assert says in result.stderr
    assert not secret or secret not in result.output


@pytest.mark.parametrize("place", ['{ env = "NOT_SET_ANYWHERE" }', '{ file = "secrets/vrrp" }'])
def test_a_password_that_is_nowhere(place: str, lbctl: Lbctl, declaration: Path) -> None:
    declaration.write_text(SAMPLE.replace("virtual_router_id = 19", f"{VRRP_2}\npassword = {place}"))
    result = lbctl("validate", declaration)
    assert result.exit_code == 2
    assert "vrrp.password" in result.stderr
    assert "Traceback" not in result.output
