"""The lab's network: a bridge in a namespace of its own, a tap for each machine, the client in a second namespace."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute, netns

from lab import namespace
from lab.places import Places
from lab.topology import BRIDGE, CLIENT, CLIENT_PORT, NETWORK, OPERATOR, mac_of


def complete(places: Places) -> bool:
    return namespace.exists(places.namespace) and namespace.exists(places.client_namespace)


def create(places: Places) -> None:
    """What a process that was killed half-way through left behind is removed first."""
    remove(places)
    netns.create(places.namespace)
    with _inside(places.namespace) as kernel:
        _up(kernel, "lo")
        kernel.link("add", ifname=BRIDGE, kind="bridge", br_forward_delay=0, br_stp_state=0, br_mcast_snooping=0)
        # With an address of its own: else it takes the lowest of its ports', a new one whenever a machine is added.
        kernel.link("set", index=_index(kernel, BRIDGE), address=mac_of(OPERATOR))
        kernel.addr("add", index=_index(kernel, BRIDGE), address=str(OPERATOR), prefixlen=NETWORK.prefixlen)
        _up(kernel, BRIDGE)
        # Somebody who boots is asked for ten times a second, not once: `wait` sees the machine that much earlier.
        Path(f"/proc/sys/net/ipv4/neigh/{BRIDGE}/retrans_time_ms").write_text("100")
        # The client's namespace is made last: that it is there says that all is.
        netns.create(places.client_namespace)
        with namespace.path_of(places.client_namespace).open() as client:
            peer = {"ifname": "eth0", "net_ns_fd": client.fileno(), "address": mac_of(CLIENT)}
            kernel.link("add", ifname=CLIENT_PORT, kind="veth", peer=peer)
        _plug(kernel, CLIENT_PORT)
    with _inside(places.client_namespace) as kernel:
        _up(kernel, "lo")
        kernel.addr("add", index=_index(kernel, "eth0"), address=str(CLIENT), prefixlen=NETWORK.prefixlen)
        _up(kernel, "eth0")


def remove(places: Places) -> None:
    """Interfaces go with their namespace."""
    for name in (places.client_namespace, places.namespace):
        if namespace.exists(name):
            netns.remove(name)


def add_port(places: Places, name: str) -> None:
    with _inside(places.namespace) as kernel:
        if not kernel.link_lookup(ifname=name):
            kernel.link("add", ifname=name, kind="tuntap", mode="tap")
        _plug(kernel, name)


def remove_port(places: Places, name: str) -> None:
    with _inside(places.namespace) as kernel:
        for index in kernel.link_lookup(ifname=name):
            kernel.link("del", index=index)


def plug(places: Places, name: str) -> None:
    with _inside(places.namespace) as kernel:
        _plug(kernel, name)


def unplug(places: Places, name: str) -> None:
    """At the switch: the machine keeps its carrier, as behind a switch that fails."""
    with _inside(places.namespace) as kernel:
        kernel.link("set", index=_index(kernel, name), master=0)


def plugged(places: Places) -> set[str]:
    """The ports that are on the bridge."""
    with _inside(places.namespace) as kernel:
        bridge = _index(kernel, BRIDGE)
        return {link.get("ifname") for link in kernel.get_links() if link.get("master") == bridge}


@contextmanager
def _inside(name: str) -> Iterator[Any]:
    with namespace.entered(name), IPRoute() as kernel:
        yield kernel


def _index(kernel: Any, name: str) -> int:
    return int(kernel.link_lookup(ifname=name)[0])


def _up(kernel: Any, name: str) -> None:
    kernel.link("set", index=_index(kernel, name), state="up")


def _plug(kernel: Any, name: str) -> None:
    kernel.link("set", index=_index(kernel, name), master=_index(kernel, BRIDGE))
    _up(kernel, name)
