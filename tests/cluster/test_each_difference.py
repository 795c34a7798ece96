"""Each kind of difference by itself: one thing is not as it should be, and just that is named."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from cluster.difference import Action, Difference, differences, show_route, show_rule
from cluster.footprint import ALL_MODES, Blueprint
from cluster.observed import HostState, SeenFile, SeenLink, SeenUnit
from cluster.parts import Address, Chain, Route, Rule, Unit
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.states import as_declared
from tests.variants import Variant


def found(blueprint: Blueprint, host: str, modes: frozenset[Mode], state: HostState) -> tuple[Difference, ...]:
    return differences(blueprint.footprint(host, modes), blueprint.footprint(host, ALL_MODES), state)


NAT = Variant(Mode.NAT).blueprint
DR = Variant(Mode.DR).blueprint


def server(**changed: Any) -> tuple[Difference, ...]:
    """db1 in dr, with something else than its footprint asks for."""
    modes = frozenset({Mode.DR})
    return found(DR, "db1", modes, replace(as_declared(DR, "db1", modes), **changed))


def nat_server(**changed: Any) -> tuple[Difference, ...]:
    modes = frozenset({Mode.NAT})
    return found(NAT, "db1", modes, replace(as_declared(NAT, "db1", modes), **changed))


def one(differences_: tuple[Difference, ...]) -> tuple[Action, str]:
    (difference,) = differences_
    return difference.action, difference.what


ARP = "/etc/sysctl.d/zz-lbctl-arp.conf"
STATE = as_declared(DR, "db1", {Mode.DR})
NAT_STATE = as_declared(NAT, "db1", {Mode.NAT})


def test_files() -> None:
    def with_file(**changed: Any) -> dict[str, SeenFile]:
        return {**STATE.files, ARP: replace(STATE.files[ARP], **changed)}

    gone = {path: file for path, file in STATE.files.items() if path != ARP}
    assert one(server(files=gone)) == (Action.BUILD, f"write {ARP}")
    assert one(server(files=with_file(sha256="0" * 64))) == (Action.BUILD, f"rewrite {ARP}")
    assert one(server(files=with_file(mode=0o666))) == (Action.BUILD, f"set owner and mode of {ARP}")
    assert one(server(files=with_file(owner="mysql:root"))) == (Action.BUILD, f"set owner and mode of {ARP}")
    # Touched, and the same: nothing to do.
    assert server(files=with_file(modified=10**9)) == ()


def test_the_name_that_a_file_had_before() -> None:
    """It goes, and what it says does not: the file is there by its new name, or the leftover gets that."""
    old = ARP.replace("zz-", "90-")
    modes = frozenset({Mode.DR})
    for files in ({**STATE.files, old: STATE.files[ARP]}, {**STATE.files, old: SeenFile("", 0o644, "root:root", 0)}):
        left = differences(DR.footprint("db1", modes), DR.known("db1"), replace(STATE, files=files))
        assert one(left) == (Action.REMOVE, f"remove {old} (now {ARP})")
        assert left[0].is_rename
    (*_, gone) = differences((), DR.known("db1"), HostState(files={old: STATE.files[ARP]}))
    assert (gone.what, gone.is_rename) == (f"remove {old}", False)


def test_devices_and_addresses() -> None:
    down = {"dummy0": SeenLink(up=False, kind="dummy", received_packets=0)}
    assert one(server(links=down)) == (Action.BUILD, "set device dummy0 up")
    assert one(server(links={})) == (Action.BUILD, "create device dummy0")
    kept = frozenset({Address("dummy0", IPv4Address("10.0.0.10"))})
    assert one(server(addresses=kept)) == (Action.BUILD, "add 10.0.0.11/32 to dummy0")
    foreign = Address("eth0", IPv4Address("10.0.0.99"))
    assert server(addresses=STATE.addresses | {foreign}) == ()
    old = Address("dummy0", IPv4Address("10.0.0.77"))
    assert one(server(addresses=STATE.addresses | {old})) == (Action.REMOVE, "remove 10.0.0.77/32 from dummy0")


def test_a_device_that_somebody_else_made_stays() -> None:
    """In nat no dummy0 is wanted. One without our file for it is not ours; nor is tunl0, which comes with its module."""
    links = {name: SeenLink(up=True, kind=name, received_packets=0) for name in ("dummy0", "tunl0", "eth0")}
    assert nat_server(links=links) == ()


def test_kernel_settings() -> None:
    sysctls = {**STATE.sysctls, "net/ipv4/conf/all/arp_ignore": "0"}
    assert one(server(sysctls=sysctls)) == (Action.BUILD, "set net.ipv4.conf.all.arp_ignore = 1 (is 0)")
    # A setting of another mode goes back to what it was, if we ever changed it.
    before = {"net.ipv4.conf.all.rp_filter": "2"}
    assert one(server(before=before)) == (Action.REMOVE, "set net.ipv4.conf.all.rp_filter back to 2")


def test_rules_and_routes() -> None:
    (rule,) = NAT_STATE.rules
    missing = "add rule pref 100 from 10.0.0.1 ipproto tcp sport 3306 lookup 100"
    assert one(nat_server(rules=())) == (Action.BUILD, missing)
    old_rule = replace(rule, source_port=3307)
    assert one(nat_server(rules=(rule, old_rule))) == (Action.REMOVE, f"remove rule {show_rule(old_rule)}")
    foreign = Rule(preference=50, table=50)
    assert nat_server(rules=(foreign, rule)) == ()
    default = next(route for route in NAT_STATE.routes if route.via)
    lost = nat_server(routes=NAT_STATE.routes - {default})
    assert one(lost) == (Action.BUILD, "add route default via 10.0.0.12 dev eth0 onlink table 100")
    old = replace(default, via=IPv4Address("10.0.0.13"))
    assert one(nat_server(routes=NAT_STATE.routes | {old})) == (Action.REMOVE, f"remove route {show_route(old)}")
    main = Route(table=254, destination="default", device="eth0", via=IPv4Address("10.0.0.254"))
    assert nat_server(routes=NAT_STATE.routes | {main}) == ()


def test_chains() -> None:
    blueprint = Variant(Mode.NAT, return_path=ReturnPath.FWMARK).blueprint
    modes = frozenset({Mode.NAT})
    state = as_declared(blueprint, "db1", modes)
    (chain,) = state.chains
    for changed in (replace(chain, hook=""), replace(chain, rules=())):
        mended = found(blueprint, "db1", modes, replace(state, chains=(changed,)))
        assert one(mended) == (Action.BUILD, "replace chain LBCTL-RETURN in mangle")
    foreign = Chain("mangle", "SOMEBODY", "OUTPUT", ())
    assert found(blueprint, "db1", modes, replace(state, chains=(chain, foreign))) == ()


def test_keepalived_is_reloaded_and_never_restarted() -> None:
    modes = frozenset({Mode.DR})
    state = as_declared(DR, "lb1", modes)
    name = "keepalived.service"
    older = {name: replace(state.units[name], revision="older")}
    difference = found(DR, "lb1", modes, replace(state, units=older))
    assert one(difference) == (Action.BUILD, f"{name}: reload (runs an older configuration)")


def test_somebody_elses_unit_is_never_removed() -> None:
    """keepalived belongs to its package; only our own units are stopped."""
    unit = Unit("keepalived.service", ours=False)
    seen = SeenUnit(active=True, enabled=True, stale=False, revision=None)
    state = replace(as_declared(DR, "lb1", {Mode.DR}), units={unit.name: seen})
    removed = differences((), DR.footprint("lb1", ALL_MODES), state)
    assert not [difference for difference in removed if difference.kind == "unit"]
