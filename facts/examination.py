"""What `lbctl doctor` asks beyond a host's state and its pulse: the shell for `cluster.examined.parse`. It changes nothing."""

import secrets
from collections.abc import Iterator
from shlex import quote

from cluster.declaration import Declaration
from cluster.footprint import Blueprint
from cluster.keepalived import floating_addresses
from cluster.vocabulary import Role
from facts.environment import ENVIRONMENT
from templates import render

ARP_SECONDS = 0.6
"""For how long answers to an ARP question are waited for."""

# Both of iptables' variants may have rules. Where neither has a name of its own (before Debian 10) there is one. A host that
# uses the legacy one is not made to load what the other needs.
_IPTABLES = r"""
p=/usr/sbin/iptables-nft-save
[ -x $p ] || [ -x /usr/sbin/iptables-legacy-save ] || p=/usr/sbin/iptables-save
[ /usr/sbin/iptables-save -ef /usr/sbin/xtables-legacy-multi ] && [ ! -d /sys/module/nf_tables ] && p=
[ -x "$p" ] && $p 2>/dev/null | grep -E '^[*:]|^-A'"""

# A table that the legacy variant has never used has no rules, and to ask for it would load its module.
_LEGACY = r"""
p=/usr/sbin/iptables-legacy-save
if [ -x $p ] && [ -r /proc/net/ip_tables_names ]; then
  while read -r t; do $p -t "$t"; done </proc/net/ip_tables_names 2>/dev/null | grep -E '^[*:]|^-A'
fi"""

_PROGRAMS = "mariadbd|mysqld|keepalived|clustercheck|lbctl"
_DENIED = (
    "journalctl -q -k --since -1h -o cat 2>/dev/null | "
    f"grep -aE '(apparmor=\"DENIED\"|avc: +denied).*({_PROGRAMS})' | cut -c1-300 | tail -n 3"
)


def listens(declaration: Declaration) -> float:
    """For how long advertisements are listened for, in seconds: three of them, and at least a second."""
    return max(1.0, 3 * declaration.vrrp.advertise_every + 0.3)


def script(blueprint: Blueprint, host: str, salt: str) -> str:
    """The shell (POSIX) to run on `host`. `salt`: the same for all hosts of one look."""
    lines = [ENVIRONMENT, "look() {"]
    for section, body in _sections(blueprint, host, salt):
        lines += [f"echo '#{section}'", body]
    return "\n".join([*lines, "echo '#end'", "}", "seen=$(look)", "printf '%s\\n' \"$seen\"", ""])


def salt() -> str:
    """A new one."""
    return secrets.token_hex(4)


def _sections(blueprint: Blueprint, host: str, salt_: str) -> Iterator[tuple[str, str]]:
    declaration = blueprint.declaration
    interface = quote(declaration.host(host).interface)
    folder = f"/sys/class/net/{interface}"
    yield "clock", "date +%s.%N"
    yield (
        "link",
        f'for f in address mtu; do read -r v <{folder}/$f && echo "$f $v"; done 2>/dev/null | sed s/^address/mac/',
    )
    # A bond's devices have each an address of their own, or had one.
    yield "devices", "cat /sys/class/net/*/address /sys/class/net/*/bonding_slave/perm_hwaddr 2>/dev/null | sort -u"
    yield "addresses", "ip -4 -o addr show"
    yield "neighbours", f"ip -4 neigh show dev {interface}"
    yield "iptables", _IPTABLES.strip()
    yield "legacy", _LEGACY.strip()
    yield "nft", "command -v nft >/dev/null && nft list ruleset 2>/dev/null"
    yield "denied", _DENIED
    floating = " ".join(map(str, floating_addresses(declaration)))
    if floating:
        yield "arp", _perl("arp-probe.pl.j2", {"seconds": ARP_SECONDS}, f"{interface} {floating}")
    if floating and blueprint.role(host) is Role.DIRECTOR:
        values = {"seconds": listens(declaration), "salt": salt_}
        yield "vrrp", _perl("vrrp-listen.pl.j2", values, f"{interface} {declaration.vrrp.virtual_router_id}")


def _perl(template: str, values: dict[str, object], arguments: str) -> str:
    return f"perl - {arguments} 2>/dev/null <<'PERL'\n{render(template, values)}\nPERL"
