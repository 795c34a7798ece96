"""Names, addresses and CPUs: pure."""

from ipaddress import IPv4Address

import pytest

from cluster.errors import RequestError
from lab.places import Places
from lab.topology import ALL, Seat, cpu_for, seats


def test_the_usual_machines_have_the_addresses_of_the_how_to() -> None:
    assert [f"{seat.name} {seat.address}" for seat in seats(ALL)] == [
        "db1 10.0.0.1",
        "db2 10.0.0.2",
        "db3 10.0.0.3",
        "lb1 10.0.0.4",
        "lb2 10.0.0.6",
    ]


def test_each_has_a_mac_of_its_own() -> None:
    assert Seat("db1", IPv4Address("10.0.0.1")).mac == "02:00:0a:00:00:01"
    assert len({seat.mac for seat in seats(ALL)}) == len(ALL)


def test_more_machines_can_be_named_with_their_address() -> None:
    assert seats(["lb3=10.0.0.7", "db1"])[0] == Seat("lb3", IPv4Address("10.0.0.7"))


def test_a_lab_that_is_up_knows_the_addresses_of_its_own() -> None:
    assert seats(["lb3"], {"lb3": IPv4Address("10.0.0.7")}) == [Seat("lb3", IPv4Address("10.0.0.7"))]


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("DB1", "cannot name a machine"),
        ("db1; reboot", "cannot name a machine"),
        ("client=10.0.0.9", "cannot name a machine"),
        ("averylongname12=10.0.0.9", "cannot name a machine"),
        ("db9", "no address is known"),
        ("db9=10.0.0", "is no IPv4 address"),
        ("db9=10.0.1.9", "not free"),
        ("db9=10.0.0.254", "not free"),
        ("db9=10.0.0.5", "not free"),
        ("db9=10.0.0.255", "not free"),
        ("lb1=10.0.0.9", "has 10.0.0.4 already"),
        ("db9=10.0.0.4", "belongs to lb1"),
    ],
)
def test_what_cannot_be_a_machine_is_refused_with_its_reason(word: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        seats([word], {"lb1": IPv4Address("10.0.0.4")})


def test_two_machines_with_one_address_are_refused() -> None:
    with pytest.raises(RequestError, match="belongs to db8"):
        seats(["db8=10.0.0.8", "db9=10.0.0.8"])


def test_nobody_named_is_a_mistake() -> None:
    with pytest.raises(RequestError, match="no machine was named"):
        seats([])


@pytest.mark.parametrize("name", ["", "-a", "A", "a.b", "a/b", "a" * 25, "a\n"])
def test_a_labs_name_is_plain(name: str) -> None:
    with pytest.raises(RequestError, match="cannot name a lab"):
        Places.of(name)


def test_labs_share_nothing_but_the_cache() -> None:
    one, other = Places.of("a"), Places.of("a-client")
    assert len({one.namespace, one.client_namespace, other.namespace, other.client_namespace}) == 4
    assert one.run != other.run
    assert one.disks != other.disks


def test_a_path_too_long_for_a_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LBCTL_LAB_RUN", "/run/" + "long/" * 20)
    with pytest.raises(RequestError, match="too long a path"):
        Places.of("lab")


def test_machines_are_spread_over_the_cpus_and_keep_to_theirs() -> None:
    assert [cpu_for(seat.address, {0, 1}) for seat in seats(ALL)] == [1, 0, 1, 0, 0]
    assert [cpu_for(seat.address, {2, 5, 7}) for seat in seats(ALL)] == [5, 7, 2, 5, 2]
    assert {cpu_for(seat.address, [3]) for seat in seats(ALL)} == {3}
