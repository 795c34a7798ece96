"""A host's kernel, disk and systemd for pure tests: what one difference's shell (operations/commands.py) makes of a state.

Like the shell it fails where something is not there yet: a device without its module, a kernel setting without either.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cluster.difference import Action, Difference
from cluster.observed import HostState, SeenFile, SeenLink, SeenUnit
from cluster.parts import Address, Chain, File, Link, Route, Rule, Unit, proc_path

_DEFAULTS = {
    "net/ipv4/conf/all/arp_ignore": "0",
    "net/ipv4/conf/all/arp_announce": "0",
    # Debian 13's: with it nothing comes out of a tunnel.
    "net/ipv4/conf/all/rp_filter": "2",
    "net/ipv4/ip_forward": "0",
    "net/ipv4/conf/all/send_redirects": "1",
    "net/ipv4/conf/eth0/send_redirects": "1",
    "net/ipv4/icmp_ratemask": "6168",
    "net/ipv4/tcp_keepalive_time": "7200",
    "net/ipv4/tcp_keepalive_intvl": "75",
}
_WITH_MODULE = {
    "ip_vs": {
        "net/ipv4/vs/sloppy_tcp": "0",
        "net/ipv4/vs/conn_reuse_mode": "1",
        "net/ipv4/vs/expire_nodest_conn": "0",
        "net/ipv4/vs/expire_quiescent_template": "0",
        "net/ipv4/vs/sync_threshold": "3\t50",
        "net/ipv4/vs/sync_refresh_period": "0",
        "net/ipv4/vs/conntrack": "0",
        "net/ipv4/vs/pmtu_disc": "1",
    },
    "ipip": {"net/ipv4/conf/tunl0/rp_filter": "2"},
}
_NETWORKD = "systemd-networkd.service"


class ShellError(AssertionError):
    """The shell of this difference would fail here."""


def bare(kind: HostState) -> HostState:
    """A machine before the first deploy, its network configured as in `kind`."""
    networkd = SeenUnit(active=True, enabled=True, stale=False, revision=None)
    units = {_NETWORKD: networkd} if kind.network_file else {}
    return replace(kind, sysctls=dict(_DEFAULTS), units=units, database="up")


def in_order(found: Sequence[Difference]) -> list[Difference]:
    """The order in which a script does them: packages before, units that start after everything else."""

    def rank(difference: Difference) -> int:
        starts = difference.kind == "unit" and difference.action is Action.BUILD
        return 0 if difference.kind == "package" else 2 if starts else 1

    return sorted(found, key=rank)


def applied(state: HostState, difference: Difference) -> HostState:
    """The state after the shell of one difference has run."""
    return _EFFECTS[difference.kind, difference.action](state, difference.item)


def _add(name: str) -> Callable[[HostState, Any], HostState]:
    return lambda state, item: replace(state, **{name: getattr(state, name) | {item}})


def _take(name: str) -> Callable[[HostState, Any], HostState]:
    return lambda state, item: replace(state, **{name: getattr(state, name) - {item}})


def _write(state: HostState, file: File) -> HostState:
    written = SeenFile(file.sha256, file.mode, "root:root", 0, "kept" if file.guarded else None)
    return replace(state, files={**state.files, file.path: written})


def _delete(state: HostState, file: File) -> HostState:
    files = {path: there for path, there in state.files.items() if path != file.path}
    if file.successor and file.path in state.files:
        files = {file.successor: state.files[file.path], **files}
    return replace(state, files=files)


def _load(state: HostState, module: str) -> HostState:
    if module in state.modules:
        return state
    links = dict(state.links)
    if module == "ipip":
        links["tunl0"] = SeenLink(up=False, kind="ipip", received_packets=0)
    sysctls = {**state.sysctls, **_WITH_MODULE[module]}
    return replace(state, modules=state.modules | {module}, links=links, sysctls=sysctls)


def _bring_up(state: HostState, link: Link) -> HostState:
    if link.kind != "dummy" and link.name not in state.links:
        raise ShellError(f"Cannot find device {link.name}")
    there = state.links.get(link.name, SeenLink(up=True, kind=link.kind, received_packets=0))
    return replace(state, links={**state.links, link.name: replace(there, up=True)})


def _take_down(state: HostState, link: Link) -> HostState:
    if link.kind != "dummy":
        return replace(state, links={**state.links, link.name: replace(state.links[link.name], up=False)})
    links = {name: there for name, there in state.links.items() if name != link.name}
    return replace(state, links=links, addresses=frozenset(a for a in state.addresses if a.device != link.name))


def _set(state: HostState, setting: tuple[str, int | str]) -> HostState:
    key, value = setting
    path = proc_path(key)
    if path not in state.sysctls:
        raise ShellError(f"kernel setting {key} is not there")
    before = {key: state.sysctls[path], **state.before}
    return replace(state, sysctls={**state.sysctls, path: str(value)}, before=before)


def _set_back(state: HostState, key: str) -> HostState:
    before = {other: value for other, value in state.before.items() if other != key}
    return replace(state, sysctls={**state.sysctls, proc_path(key): state.before[key]}, before=before)


def _add_address(state: HostState, address: Address) -> HostState:
    if address.device not in state.links:
        raise ShellError(f"Cannot find device {address.device}")
    return replace(state, addresses=state.addresses | {address})


def _replace_route(state: HostState, route: Route) -> HostState:
    if route.via in {address.address for address in state.addresses}:
        raise ShellError(f"Nexthop has invalid gateway: {route.via}")

    def same(other: Route) -> bool:
        return (other.table, other.destination, other.metric) == (route.table, route.destination, route.metric)

    return replace(state, routes=frozenset(other for other in state.routes if not same(other)) | {route})


def _delete_rule(state: HostState, rule: Rule) -> HostState:
    rules = list(state.rules)
    rules.remove(rule)
    return replace(state, rules=tuple(rules))


def _replace_chain(state: HostState, chain: Chain) -> HostState:
    return replace(state, chains=(*_delete_chain(state, chain).chains, chain))


def _delete_chain(state: HostState, chain: Chain) -> HostState:
    others = tuple(there for there in state.chains if (there.table, there.name) != (chain.table, chain.name))
    return replace(state, chains=others)


def _start(state: HostState, unit: Unit) -> HostState:
    if unit.ours and f"/etc/systemd/system/{unit.name}" not in state.files:
        raise ShellError(f"Unit {unit.name} not found")
    runs = SeenUnit(active=True, enabled=True, stale=False, revision=unit.revision)
    return replace(state, units={**state.units, unit.name: runs})


def _stop(state: HostState, unit: Unit) -> HostState:
    return replace(state, units={name: there for name, there in state.units.items() if name != unit.name})


_EFFECTS: dict[tuple[str, Action], Callable[[HostState, Any], HostState]] = {
    ("package", Action.BUILD): _add("packages"),
    ("user", Action.BUILD): _add("users"),
    ("user", Action.REMOVE): _take("users"),
    ("database user", Action.BUILD): _add("database_users"),
    ("database user", Action.REMOVE): _take("database_users"),
    ("file", Action.BUILD): _write,
    ("file", Action.REMOVE): _delete,
    ("module", Action.BUILD): _load,
    ("link", Action.BUILD): _bring_up,
    ("link", Action.REMOVE): _take_down,
    ("sysctl", Action.BUILD): _set,
    ("sysctl", Action.REMOVE): _set_back,
    ("address", Action.BUILD): _add_address,
    ("address", Action.REMOVE): _take("addresses"),
    ("route", Action.BUILD): _replace_route,
    ("route", Action.REMOVE): _take("routes"),
    ("rule", Action.BUILD): lambda state, rule: replace(state, rules=(*state.rules, rule)),
    ("rule", Action.REMOVE): _delete_rule,
    ("chain", Action.BUILD): _replace_chain,
    ("chain", Action.REMOVE): _delete_chain,
    ("unit", Action.BUILD): _start,
    ("unit", Action.REMOVE): _stop,
    ("records", Action.REMOVE): lambda state, _: replace(state, records=False, before={}),
}
