"""What is imported renders to the same table and the same VRRP terms; what is not the same is told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.footprint import Blueprint
from cluster.importing import Imported, Wish, imported
from cluster.keepalived_body import Effect
from cluster.keepalived_conf import instances, parse
from cluster.keepalived_reading import read as read_conf
from cluster.reading import read
from templates import render
from tests.cluster import small_reader

HERE = Path(__file__).parent / "imported"


def load(pattern: str, file: str) -> list[tuple[str, str]]:
    folder = Path(file).parent
    return [(str(path), path.read_text()) for path in sorted(folder.glob(pattern))]


def imported_from(files: Sequence[str], wish: Wish) -> Imported:
    confs = []
    for file in files:
        text = (HERE / file).read_text()
        for instance in instances(text, str(HERE / file), load) or ("",):
            conf = read_conf(parse(text, str(HERE / file), load, instance), file)
            conf.router_id = instance or conf.router_id
            confs.append(conf)
    return imported(confs, wish)


@dataclass(frozen=True)
class Case:
    """One way in which people write keepalived.conf."""

    files: tuple[str, ...]
    instance: str = ""
    """The vrrp_instance that is carried over."""
    directors: Mapping[str, str] = field(default_factory=lambda: {"lb1": "192.0.2.3"})
    names: tuple[str, ...] = ("lb1",)
    """Directors, as the files come."""
    only: tuple[str, ...] = ()
    gateway: str = ""
    gone: frozenset[str] = frozenset()
    """Services that the declaration does not have: each must be told."""
    sunk: frozenset[str] = frozenset()
    """Addresses that float no more: each must be told."""
    ranks: Mapping[str, int] = field(default_factory=dict)
    """Of a service by rank, the weights that it gets, in the order of the file's servers."""
    told: tuple[tuple[Effect, str], ...] = ()
    """(effect, what) of remarks that must be there."""

    @property
    def id(self) -> str:
        return "-".join(self.files + self.only)

    @property
    def wish(self) -> Wish:
        return Wish(directors=self.directors, only=self.only, gateway=self.gateway)


HOW_TO = {"lb1": "10.0.0.4"}
PAIR = {"lb1": "192.0.2.3", "lb2": "192.0.2.4"}
CLIENTS, LOST, NOTE = Effect.CLIENTS, Effect.LOST, Effect.NOTE
CASES = [
    Case(
        ("how-to.conf",),
        "mysql_pool",
        HOW_TO,
        told=((NOTE, "auth_pass has 10 characters"), (NOTE, ":36: virtual_server 10.0.0.10:3306: no check")),
    ),
    Case(("how-to-nat.conf",), "", HOW_TO, told=((NOTE, "nothing floats"),)),
    Case(("how-to-checked.conf",), "mysql_pool", HOW_TO, told=((NOTE, 'check = "primary"'),)),
    Case(("how-to-checked.conf", "how-to-second.conf"), "mysql_pool", HOW_TO | {"lb2": "10.0.0.6"}, ("lb1", "lb2")),
    Case(("web.conf",), "VI_1", told=((CLIENTS, ":44: digest"), (LOST, ":4: notification_email"), (LOST, ":9: smtp_server"))),
    Case(
        ("group.conf",),
        "edge",
        told=(
            (CLIENTS, ":7: fwmark 7"),
            (CLIENTS, ":10: virtual_server group shop: to keepalived a plain service is never that of a group"),
            (CLIENTS, ":21: sorry_server 192.0.2.9 3306"),
            (CLIENTS, ":24: SSL_GET"),
            (LOST, ":19: quorum_up"),
            (LOST, ":25: notify_down"),
            (NOTE, ":17: quorum 2"),
        ),
    ),
    Case(
        ("unicast-lb1.conf", "unicast-lb2.conf"),
        "pool",
        {},
        ("balancer-1", "balancer-2"),
        told=((CLIENTS, "unicast-lb1.conf:49: sh-port"), (LOST, "unicast-lb2.conf:30: track_script"), (LOST, ":31: notify")),
    ),
    Case(("conditional.conf",), "both", {}, ("left", "right")),
    Case(("included.conf",), "vi", told=((LOST, "included.conf:3: include missing.d/*.conf"),)),
    Case(("dense.conf",), "v", told=((CLIENTS, ":14: 192.0.2.13 is checked as on line 17"), (NOTE, '"connect_port 6380" after'))),
    Case(
        ("instances.conf",),
        "outside",
        told=(
            (CLIENTS, ":23: use_vmac"),
            (CLIENTS, ":51: virtual_server 2001:db8::5"),
            (LOST, ":21: track_interface eth1"),
            (LOST, ":25: vrrp_instance inside (10.20.0.1)"),
            (LOST, ":33: virtual_routes"),
            (NOTE, ":1: vrrp_sync_group"),
        ),
    ),
    Case(
        ("routed-lb1.conf", "routed-lb2.conf"),
        "routed",
        PAIR,
        ("lb1", "lb2"),
        told=(
            (CLIENTS, "routed-lb1.conf:17: inhibit_on_failure"),
            (CLIENTS, "routed-lb2.conf:12: virtual_server"),
            (NOTE, "192.0.2.254 floats and serves nothing"),
        ),
    ),
    Case(
        ("marks.conf",),
        "m",
        told=((CLIENTS, ":9: virtual_server fwmark 3"), (CLIENTS, ":24: MISC_CHECK"), (CLIENTS, ":23: uthreshold")),
    ),
    Case(
        ("ranked.conf",),
        "galera",
        sunk=frozenset({"192.0.2.92"}),
        ranks={"192.0.2.93:3306": 10, "192.0.2.94:3306": 30, "192.0.2.95:3306": 20},
        told=((NOTE, "weights of a service by rank"),),
    ),
    Case(("names.conf",), "dns", told=((CLIENTS, ":13: ops"), (CLIENTS, ":15: DNS_CHECK"))),
    Case(("mixed.conf",), "mixed", gone=frozenset({"192.0.2.151:3306/tcp"}), sunk=frozenset({"192.0.2.151", "192.0.2.152"})),
    Case(
        ("mixed.conf",),
        "mixed",
        only=("192.0.2.151:3306",),
        gone=frozenset({"192.0.2.150:80/tcp", "192.0.2.150:443/tcp"}),
        sunk=frozenset({"192.0.2.150"}),
    ),
    Case(("generated.conf",), "g"),
]  # fmt: skip


def rendered(found: Imported, name: str, folder: Path) -> Path:
    path = folder / f"{name}.conf"
    blueprint = Blueprint(read(found.text, "imported.toml"), render, found.password)
    path.write_text(blueprint.keepalived_conf(name).text)
    return path


def given(case: Case, name: str) -> small_reader.Block:
    """The file of that director."""
    file = case.files[min(case.names.index(name), len(case.files) - 1)]
    return small_reader.read(HERE / file, instance=name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_same_table(case: Case, tmp_path: Path) -> None:
    found = imported_from(case.files, case.wish)
    # Where directors' files differ, which is told, the preferred one's is followed.
    expected = small_reader.table(given(case, case.names[0]))
    for place in case.gone:
        del expected[place]
        assert any(r.effect is CLIENTS and place.partition("/")[0] in r.what for r in found.remarks), place
    for place, (scheduler, persistence, mask, servers) in expected.items():
        if scheduler == "fo":
            ranked = {server: (method, case.ranks[server]) for server, (method, _) in servers.items()}
            expected[place] = (scheduler, persistence, mask, ranked)
    for name in case.names:
        assert small_reader.table(small_reader.read(rendered(found, name, tmp_path))) == expected


@pytest.mark.parametrize("case", [case for case in CASES if case.instance], ids=lambda case: case.id)
def test_same_terms(case: Case, tmp_path: Path) -> None:
    found = imported_from(case.files, case.wish)
    declaration = read(found.text, "imported.toml")
    for name in case.names:
        expected = small_reader.terms(given(case, name), case.instance)
        floating = expected["floating"]
        assert isinstance(floating, list)
        for address in case.sunk:
            floating.remove(address)
            assert any(r.effect is CLIENTS and address in r.what for r in found.remarks), address
        assert small_reader.terms(small_reader.read(rendered(found, name, tmp_path)), declaration.name) == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_is_not_the_same_is_told(case: Case) -> None:
    found = imported_from(case.files, case.wish)
    assert list(found.remarks) == sorted(found.remarks), "what clients would notice comes first"
    for effect, what in case.told:
        assert any(remark.effect is effect and what in str(remark) for remark in found.remarks), what


def test_the_password_is_not_in_the_declaration() -> None:
    found = imported_from(["how-to.conf"], Wish(directors=HOW_TO))
    assert found.password == "Twagipmi"
    assert "Twagip" not in found.text + repr(found) + "".join(map(str, found.remarks))


def test_own_health_service() -> None:
    found = imported_from(["ranked.conf"], Wish(directors={"lb1": "192.0.2.3"}, clustercheck=True))
    checks = {name: str(service.check) for name, service in read(found.text, "").service.items()}
    assert checks == {"read": "synced", "write": "writable"}
