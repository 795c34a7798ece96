"""A lease that systemd-networkd would give back: a host's address is gone for the restart that our settings need. Pure."""

from collections.abc import Iterable

from cluster.difference import Action, Difference
from cluster.footprint import Blueprint
from cluster.observed import NETWORKD, HostState

CURE = (
    "have networkd keep the lease: netplan's critical: true for the interface, then netplan apply; without netplan "
    "KeepConfiguration=yes in a drop-in beside the interface's .network file, then networkctl reload. One host at a time"
)


def has_lease_to_lose(blueprint: Blueprint, name: str, seen: HostState) -> bool:
    """Whether a restart of networkd would take this host's own address for a moment."""
    return bool(seen.network_file) and blueprint.host(name).address in seen.leased and not seen.keeps_all


def lost_lease(blueprint: Blueprint, name: str, seen: HostState, found: Iterable[Difference]) -> str | None:
    """Why `found` must not be carried out on this host, or None.

    networkd gives a lease back when it stops, unless it is told to keep all (systemd.network(5), KeepConfiguration). All servers
    are prepared side by side, so all of Galera would be without network at the same moment.
    """
    if not has_lease_to_lose(blueprint, name, seen):
        return None
    if not any(d.kind == "unit" and d.action is Action.BUILD and d.item.name == NETWORKD for d in found):
        return None
    address = blueprint.host(name).address
    return f"its address {address} is a lease (DHCP), and systemd-networkd must be restarted once, by which it is given back"
