"""The faults that `lbctl doctor` knows by name: what each is, and what cures it.

Stated once: doctor prints from here, docs/doctor.md has a section for each (a test compares).
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class About:
    """What is said of a fault wherever it is found."""

    what: str
    cure: str


DEPLOY = "lbctl deploy"
BY_HAND = "take the edit into the declaration, or lbctl deploy --overwrite"


class Fault(StrEnum):
    """By the name of its section in docs/doctor.md."""

    DEAD_HOST = "dead-host"
    UNSEEN_HOST = "unseen-host"
    TRIAL = "trial-left"
    MODULE = "module-missing"
    FIREWALL = "firewall"
    SPLIT_BRAIN = "split-brain"
    NOBODY = "nobody-active"
    VRRP_STRANGER = "vrrp-stranger"
    VRRP_TERMS = "vrrp-terms"
    STOPPED = "keepalived-stopped"
    OLDER_FILE = "older-file"
    TABLE = "kernel-table"
    ADDRESS_TAKEN = "address-taken"
    ARP = "arp"
    NEIGHBOUR = "neighbour-cache"
    VIP_MISSING = "vip-missing"
    TUNNEL = "tunnel"
    PACKET_SIZE = "packet-size"
    RP_FILTER = "rp-filter"
    RETURN_PATH = "return-path"
    RETURN_PATH_DOUBLED = "return-path-doubled"
    GATEWAY = "wrong-gateway"
    REDIRECTS = "icmp-redirects"
    FORWARDING = "forwarding-off"
    MASQUERADE = "masquerade-missing"
    BOUND = "bound-elsewhere"
    DATABASE_DOWN = "database-down"
    NOT_SYNCED = "not-synced"
    CLUSTERCHECK = "clustercheck"
    OUT = "out-of-rotation"
    CLOCK = "clock"
    DENIED = "access-denied"
    NEXT_BOOT = "next-boot"
    OTHERWISE = "not-as-declared"
    UNFINISHED = "unfinished-change"
    LOCK = "lock-left"


ABOUT = {
    Fault.DEAD_HOST: About("the host cannot be asked", "bring it back; docs/guide.md says what to do meanwhile"),
    Fault.UNSEEN_HOST: About("the host's state cannot be read", "ssh to it: disk, memory, sudo"),
    Fault.TRIAL: About("a trial's hand-made table stands beside keepalived", DEPLOY),
    Fault.MODULE: About("a kernel module is missing", DEPLOY),
    Fault.FIREWALL: About("a firewall drops what the cluster lives on", "let it through, before that rule"),
    Fault.SPLIT_BRAIN: About(
        "several directors hold the virtual addresses", "find out why they do not hear each other"
    ),
    Fault.NOBODY: About("no director holds a virtual address", "systemctl status keepalived on the directors"),
    Fault.VRRP_STRANGER: About(
        "somebody else uses this cluster's VRRP id", "another vrrp.virtual_router_id, on one of the two clusters"
    ),
    Fault.VRRP_TERMS: About("a director advertises on other terms than declared", DEPLOY),
    Fault.STOPPED: About("keepalived does not run as it should", DEPLOY),
    Fault.OLDER_FILE: About("keepalived runs another file than is on disk", DEPLOY),
    Fault.TABLE: About("the kernel's table is not as declared", DEPLOY),
    Fault.ADDRESS_TAKEN: About("a stranger answers ARP for an address of the cluster", "find that machine by its MAC"),
    Fault.ARP: About("a real server answers ARP for a virtual address", DEPLOY),
    Fault.NEIGHBOUR: About(
        "a neighbour cache has a virtual address at a real server", "ip neigh flush to ADDRESS, on that host"
    ),
    Fault.VIP_MISSING: About("a real server lacks a virtual address", DEPLOY),
    Fault.TUNNEL: About("the tunnel's end is not there or down", DEPLOY),
    Fault.PACKET_SIZE: About(
        "packets are too large for a link on their way", "the same MTU on all hosts; lbctl deploy"
    ),
    Fault.RP_FILTER: About("the kernel drops packets by their source (rp_filter)", DEPLOY),
    Fault.RETURN_PATH: About("answers do not find back through the director", DEPLOY),
    Fault.RETURN_PATH_DOUBLED: About("a rule or mark of the return path is there twice", DEPLOY),
    Fault.GATEWAY: About("answers go to a passive director", "ip neigh flush to ADDRESS, on that host"),
    Fault.REDIRECTS: About("a director sends ICMP redirects", DEPLOY),
    Fault.FORWARDING: About("a director does not forward", DEPLOY),
    Fault.MASQUERADE: About("the masquerading chain is missing or changed", DEPLOY),
    Fault.BOUND: About("MySQL does not listen at an address of the service", "the line that is named; then restart it"),
    Fault.DATABASE_DOWN: About("nothing listens at the service's port", "systemctl status mariadb, and its log"),
    Fault.NOT_SYNCED: About("the Galera node does not serve", "SHOW STATUS LIKE 'wsrep%' on that node"),
    Fault.CLUSTERCHECK: About("clustercheck does not answer as it should", DEPLOY),
    Fault.OUT: About("a server is out of rotation", "journalctl -u keepalived on the active director"),
    Fault.CLOCK: About("the clock differs from the other hosts'", "timedatectl; chrony or systemd-timesyncd"),
    Fault.DENIED: About("AppArmor or SELinux forbids something", "the profile that is named: journalctl -k"),
    Fault.NEXT_BOOT: About(
        "the host's own configuration spoils the next boot", "the lines that are named, in that file"
    ),
    Fault.OTHERWISE: About("something else is not as declared", DEPLOY),
    Fault.UNFINISHED: About("a change was never finished", "lbctl switch-mode --resume goes on, --abort goes back"),
    Fault.LOCK: About("a lock was left behind", "lbctl unlock"),
}


@dataclass(frozen=True)
class Diagnosis:
    """One fault, where it is, and how that is known."""

    fault: Fault
    host: str
    evidence: tuple[str, ...]
    special: str = ""
    """A cure that fits better than the usual one."""
    hence: tuple[str, ...] = ()
    """What follows from it: no fault of its own."""

    @property
    def what(self) -> str:
        return ABOUT[self.fault].what

    @property
    def cure(self) -> str:
        return self.special or ABOUT[self.fault].cure

    @property
    def by_deploy(self) -> bool:
        """Whether `lbctl doctor --fix` cures it."""
        return self.cure == DEPLOY

    @property
    def by_overwriting(self) -> bool:
        """Whether `lbctl doctor --fix --overwrite` cures it, and an edit by hand is lost."""
        return self.cure == BY_HAND

    @property
    def page(self) -> str:
        return f"docs/doctor.md#{self.fault}"
