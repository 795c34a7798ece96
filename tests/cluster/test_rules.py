"""Rules that look at several keys: each speaks when it should, and is silent in its nearest neighbour. Messages: tests/cli."""

import pytest

from cluster.advice import advice, other_modes
from cluster.reading import DeclarationError, read
from cluster.rules import password_problem
from cluster.vocabulary import Mode
from tests.cluster.sample import LAB

Changes = tuple[tuple[str, str], ...]

NAT = ('mode = "dr"', 'mode = "nat"')
TUN = ('mode = "dr"', 'mode = "tun"')
NO_GATEWAY = ('gateway = "10.0.0.12"', "")
READ = "nat_port = 5506"
LONE = ('[director.lb2]\naddress = "10.0.0.6"\npriority = 100\n', "")
ROUTER = "virtual_router_id = 19"
VRRP_2 = (ROUTER, f'{ROUTER}\nversion = 2\nadvertise_every = 1\npassword = {{ env = "X" }}')


def edited(changes: Changes) -> str:
    text = LAB
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


def keys(*changes: tuple[str, str]) -> list[str]:
    """The keys that are complained of."""
    try:
        read(edited(changes), "x.toml")
    except DeclarationError as error:
        return [complaint.key for complaint in error.complaints]
    return []


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        # Addresses of services
        ([('vip = "10.0.0.10"\n', "")], ["service.read"]),
        ([('vip = "10.0.0.10"\n', ""), NAT], []),
        ([('vip = "10.0.0.10"\nnat_port = 5506', ""), NAT], ["service.read"]),
        ([(READ, "server_port = 3307")], ["service.read.server_port"]),
        ([(READ, "server_port = 3307"), TUN], ["service.read.server_port"]),
        ([(READ, "server_port = 3307"), NAT], []),
        ([(READ, "server_port = 3306")], []),
        ([(READ, 'protocol = "udp"\ncheck = "tcp"')], ["service.read.check"]),
        ([(READ, 'protocol = "udp"\ncheck = "http"')], []),
        # Two services at one place
        ([("10.0.0.11", "10.0.0.10")], ["service.write.vip"]),
        ([("10.0.0.11", "10.0.0.10"), (READ, "port = 3307")], []),
        ([("10.0.0.11", "10.0.0.10"), (READ, 'protocol = "udp"\ncheck = "none"')], []),
        ([("5507", "5506")], ["service.write.nat_port"]),
        # Virtual addresses
        ([("10.0.0.10", "10.0.0.1")], ["service.read.vip"]),
        ([("10.0.0.10", "10.0.0.4")], ["service.read.vip"]),
        ([("10.0.0.10", "10.0.1.10")], ["service.read.vip"]),
        ([("10.0.0.10", "10.0.0.0")], ["service.read.vip"]),
        ([("10.0.0.10", "10.0.0.255")], ["service.read.vip"]),
        ([("10.0.0.12", "10.0.0.11")], ["nat.gateway"]),
        ([("10.0.0.12", "10.0.0.3")], ["nat.gateway"]),
        ([("10.0.0.12", "10.1.0.12")], ["nat.gateway"]),
        # Addresses of hosts
        ([('"10.0.0.3"', '"10.0.9.3"')], ["real_server.db3.address"]),
        ([('"10.0.0.3"', '"10.0.9.3"'), TUN], []),
        ([('"10.0.0.4"', '"10.0.9.4"'), TUN], ["director.lb1.address"]),
        ([('"10.0.0.3"', '"10.0.0.2"')], ["real_server.db2.address", "real_server.db3.address"]),
        ([("[real_server.db3]", "[real_server.lb1]")], ["director.lb1"]),
        # VRRP
        ([("priority = 100", "priority = 101")], ["director.lb2.priority"]),
        ([VRRP_2], []),
        ([(ROUTER, f'{ROUTER}\npassword = {{ env = "X" }}')], ["vrrp.password"]),
        ([(ROUTER, f"{ROUTER}\nversion = 2")], ["vrrp.advertise_every"]),
        ([(ROUTER, f"{ROUTER}\nadvertise_every = '5ms'")], ["vrrp.advertise_every"]),
        ([(ROUTER, f"{ROUTER}\nadvertise_every = 41")], ["vrrp.advertise_every"]),
        ([(ROUTER, f"{ROUTER}\nannounce_every = '500ms'")], ["vrrp.announce_every"]),
        ([(ROUTER, f"{ROUTER}\nannounce_every = 1")], []),
        ([(ROUTER, f"{ROUTER}\npreempt = true\npreempt_delay = '17m'")], ["vrrp.preempt_delay"]),
        ([(ROUTER, f"{ROUTER}\npreempt_delay = '17m'")], []),
        # NAT
        ([NAT, NO_GATEWAY], ["nat.gateway"]),
        ([NAT, NO_GATEWAY, LONE], []),
        ([NAT, ('gateway = "10.0.0.12"', 'return_path = "snat"')], []),
        ([NO_GATEWAY], []),
        ([NO_GATEWAY, (READ, "nat_port = 22")], ["service.read.nat_port"]),
        (
            [NO_GATEWAY, (READ, "nat_port = 22"), ("priority = 101", "priority = 101\nssh = { port = 2222 }")],
            ["service.read.nat_port"],
        ),
        ([NO_GATEWAY, (READ, "nat_port = 22"), ("[nat]", "[ssh]\nport = 2222\n[nat]")], []),
        ([(READ, "nat_port = 22")], []),
        # Weights
        ([(f'"10.0.0.{n}"', f'"10.0.0.{n}"\nweight = 0') for n in (1, 2)], []),
        ([(f'"10.0.0.{n}"', f'"10.0.0.{n}"\nweight = 0') for n in (1, 2, 3)], ["real_server"]),
        # Persistence
        ([('granularity = "0.0.0.0"', 'granularity = "255.255.255.0"')], []),
        ([('granularity = "0.0.0.0"', 'granularity = "255.0.255.0"')], ["service.write.persistence"]),
        ([('timeout = "1d"', "timeout = 1.5")], ["service.write.persistence"]),
        ([('timeout = "1d"', "timeout = 0")], ["service.write.persistence"]),
        ([("nat_port = 5507", 'scheduler = "fo"')], ["service.write.persistence"]),
        # Clustercheck and health
        ([(READ, "port = 9200")], ["service.read.port"]),
        ([(READ, 'check_path = "/x"')], ["service.read.check_path"]),
        ([(READ, 'check = "http"\ncheck_path = "/x"')], []),
        ([("[nat]", "[health]\nevery = '50ms'\n[nat]")], ["health.every"]),
        ([("[nat]", "[health]\ntimeout = '2h'\n[nat]")], ["health.timeout"]),
    ],
)
def test_rules(changes: list[tuple[str, str]], wrong: list[str]) -> None:
    assert keys(*changes) == wrong


@pytest.mark.parametrize("password", ["a", "Twagipmi", "12345678", "a-b_c.d/"])
def test_passwords_that_will_do(password: str) -> None:
    assert password_problem(password) is None


@pytest.mark.parametrize("password", ["", "Twagipmiv3", "se sam", "a\tb", "a#b", "a{b", "a$b", 'a"b', "pässe", "a\nb"])
def test_passwords_that_will_not(password: str) -> None:
    problem = password_problem(password)
    assert problem
    assert len(password) < 3 or password not in problem


# Advice


def advised(*changes: tuple[str, str]) -> list[str]:
    return [".".join(key) for key, _ in advice(read(edited(changes), "x.toml"))]


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ([], []),
        ([LONE], ["director"]),
        ([('"10.0.0.1"', '"10.0.0.1"\nweight = 0')], ["real_server.db1.weight"]),
        ([(READ, 'check = "none"')], ["service.read.check"]),
        ([(READ, 'check = "primary"')], ["service.read.check"]),
        ([(READ, 'check = "writable"')], ["service.read.scheduler"]),
        ([(READ, 'check = "writable"\nscheduler = "fo"')], []),
        ([(ROUTER, f"{ROUTER}\nsynchronise_connections = false")], ["vrrp.synchronise_connections"]),
        ([(ROUTER, f"{ROUTER}\npreempt = true")], []),
        ([(ROUTER, f"{ROUTER}\npreempt = true\npreempt_delay = 30")], ["vrrp.preempt_delay"]),
        ([VRRP_2], ["vrrp.version"]),
        ([NAT], ["mode"]),
        ([NAT, ("[nat]", '[nat]\nreturn_path = "snat"')], ["nat.return_path"]),
    ],
)
def test_advice(changes: list[tuple[str, str]], about: list[str]) -> None:
    assert advised(*changes) == about


def test_where_clients_connect_in_each_mode() -> None:
    found = other_modes(read(LAB, "x.toml"))
    assert list(found) == [Mode.DR, Mode.TUN, Mode.NAT]
    assert found[Mode.DR] == "read 10.0.0.10:3306, write 10.0.0.11:3306"
    assert "read 10.0.0.12:5506" in found[Mode.NAT]


def test_what_another_mode_lacks() -> None:
    found = other_modes(read(edited((NO_GATEWAY,)), "x.toml"))
    assert found[Mode.NAT].startswith("not with this declaration: nat.gateway: ")
