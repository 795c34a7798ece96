"""The field's words, each with the many spellings that other programs use for it. They meet only here."""

from enum import StrEnum
from typing import Self


class Mode(StrEnum):
    """LVS forwarding method."""

    DR = "dr"
    """Direct routing: the frame's MAC address is replaced; the server answers the client itself."""
    TUN = "tun"
    """Tunnelling: the packet travels in an IPIP packet; the server answers the client itself."""
    NAT = "nat"
    """Network address translation: the packet's target is replaced; the answer goes back through the director."""

    @classmethod
    def of(cls, spelling: str | int) -> Self:
        """The mode that another program means.

        `spelling` is keepalived's lb_kind (DR, TUN, NAT), ipvsadm's option (-g, -i, -m) or word (Route, Tunnel, Masq; also
        in /proc/net/ip_vs), or the kernel's number (IP_VS_CONN_F_*: 0, 2, 3). Raises ValueError for anything else.
        """
        mode = _MODES.get(spelling.lower() if isinstance(spelling, str) else spelling)
        if mode is None:
            raise ValueError(f"{spelling!r} is no forwarding method; known are {', '.join(map(str, _MODES))}")
        return cls(mode)

    @property
    def lb_kind(self) -> str:
        """keepalived.conf(5): lb_kind."""
        return self.value.upper()

    @property
    def ipvsadm_option(self) -> str:
        """ipvsadm(8): packet-forwarding-method."""
        return {Mode.DR: "-g", Mode.TUN: "-i", Mode.NAT: "-m"}[self]


_SPELLINGS: dict[str, tuple[str | int, ...]] = {
    "dr": ("dr", "-g", "route", "gatewaying", 3),
    "tun": ("tun", "-i", "tunnel", "ipip", 2),
    "nat": ("nat", "-m", "masq", "masquerading", 0),
}
_MODES = {spelling: mode for mode, spellings in _SPELLINGS.items() for spelling in spellings}


class Role(StrEnum):
    """What a host is for."""

    DIRECTOR = "director"
    REAL_SERVER = "real_server"


class Check(StrEnum):
    """How a director finds out whether a server may get connections of a service."""

    SYNCED = "synced"
    """clustercheck `/`: Galera says Synced, in a primary component."""
    WRITABLE = "writable"
    """clustercheck `/writable`: that, and not read_only."""
    PRIMARY = "primary"
    """clustercheck `/master`: that, and wsrep_local_index 0 (the seed's second way to choose a writer)."""
    TCP = "tcp"
    """The port accepts a connection."""
    HTTP = "http"
    """GET of `check_path` on `check_port` answers 200."""
    NONE = "none"
    """Always alive: for a first test only."""

    @property
    def clustercheck_path(self) -> str | None:
        """The path that clustercheck serves for this check; None where clustercheck is not asked."""
        return {Check.SYNCED: "/", Check.WRITABLE: "/writable", Check.PRIMARY: "/master"}.get(self)


class ReturnPath(StrEnum):
    """NAT: how a server's answers find their way back through the director."""

    RULE = "rule"
    """A routing rule on address, protocol and source port: no netfilter."""
    FWMARK = "fwmark"
    """The seed's way: netfilter marks the answers, a rule sends marked packets to table 1."""
    SNAT = "snat"
    """Nothing on the servers: the director puts its own address in; servers then see the director as client."""


class BootFiles(StrEnum):
    """Who configures a host's network at boot, and so reads our files for it."""

    AUTO = "auto"
    """Whoever is seen to look after the host's interface."""
    IFUPDOWN = "ifupdown"
    """Debian's own: /etc/network/interfaces.d (interfaces(5))."""
    NETWORKD = "networkd"
    """systemd-networkd: /etc/systemd/network (systemd.network(5)). Netplan writes for it."""


SCHEDULERS = ("rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh")
"""ipvsadm(8), --scheduler: those that Debian's kernels have as modules."""

CLUSTERCHECK_PORT = 9200
"""TCP port of clustercheck on real servers (the seed's)."""

ROUTING_TABLE = 100
"""Our routing table on real servers, and the preference of the rule that leads there."""

MAIN_TABLE = 254
"""The number of the kernel's table "main" (rt_table in linux/rtnetlink.h)."""

SEED_ROUTING_TABLE = 1
"""The table and the mark of the seed's recipe, used by return_path = "fwmark"."""

SEGMENT_TABLE = 101
"""tun: our routing table on real servers for answers from virtual addresses, and the preference of the rules that lead there."""

SYNC_PORT = 8848
"""UDP port of the kernel's connection synchronisation (net/netfilter/ipvs/ip_vs_sync.c)."""

MYSQL_PORT = 3306
