"""Shell (POSIX) that mends differences. Each kind of item has its builder; a script is one remote command.

Scripts travel on standard input, files inside them as here-documents: nothing of a file's content stands in a process list or a
log. Every write is atomic (temporary file beside the target, synced, renamed) and keeps the previous file.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from shlex import quote

from cluster.difference import Action, Difference, show_route, show_rule
from cluster.parts import Address, Chain, File, Link, Route, Rule, Unit, proc_path
from templates import render

PRELUDE = """\
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
previous=/var/lib/lbctl/previous before=/var/lib/lbctl/before/sysctl
keep() { # FILE: the previous one stays readable for root
  [ ! -e "$1" ] || { (umask 077; mkdir -p "$previous") && cp -p "$1" "$previous/$(echo "${1#/}" | tr / :)"; }
}
stage() { # FILE MODE: standard input becomes a temporary file beside FILE, whose name is in $staged
  mkdir -p "${1%/*}"
  staged=${1%/*}/.${1##*/}.lbctl
  (umask 077; cat >"$staged") && chmod "$2" "$staged" && sync "$staged" || { rm -f "$staged"; return 1; }
}
put() { # FILE MODE
  stage "$1" "$2"
  keep "$1"
  mv -f "$staged" "$1"
}
setting() { # KEY PATH VALUE: the value from before our first change is kept for the day it is taken back
  file=/proc/sys/$2
  [ -e "$file" ] || { echo "kernel setting $1 is not there" >&2; return 1; }
  mkdir -p "${before%/*}"
  grep -q "^$1 = " "$before" 2>/dev/null || echo "$1 = $(cat "$file")" >>"$before"
  echo "$3" >"$file"
}
setting_back() { # KEY PATH
  value=$(grep "^$1 = " "$before") && value=${value##* = }
  [ ! -e "/proc/sys/$2" ] || echo "$value" >"/proc/sys/$2"
  grep -v "^$1 = " "$before" >"$before.new" || :
  mv -f "$before.new" "$before"
}
"""


RESTART_LIMIT = 600
"""Seconds for a database server to stop and be up again: with Galera that may be a transfer of state."""


def script(found: Sequence[Difference], *, database_socket: str = "", checked: Iterable[str] = ()) -> str:
    """The shell that mends `found`, in its order.

    `checked` are paths of files that keepalived must accept before they take their place.
    """
    body = [_command(difference, tuple(checked), database_socket) for difference in found]
    return "\n".join([PRELUDE, "main() {", *_packages(found), *body, *_units(found), "}", "main </dev/null", ""])


def _command(difference: Difference, checked: tuple[str, ...], database_socket: str) -> str:
    if difference.kind == "listener":
        return restart(difference.item)
    if difference.kind in {"package", "unit"} and difference.action is Action.BUILD:
        return ":"  # all at once: packages before, units after everything else
    if difference.kind == "database user":
        return _database_user(difference.item, database_socket)
    if difference.kind == "file" and difference.action is Action.BUILD and difference.item.path in checked:
        return checked_file(difference.item)
    return _BUILDERS[difference.kind, difference.action](difference.item)


def _packages(found: Iterable[Difference]) -> list[str]:
    names = [quote(d.item) for d in found if d.kind == "package"]
    if not names:
        return []
    install = (
        "apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold install --no-install-recommends"
    )
    # The list of packages may be too old to find them: then, and only then, it is fetched anew.
    return [f"{install} {' '.join(names)} || {{ apt-get -q update && {install} {' '.join(names)}; }}"]


def _units(found: Sequence[Difference]) -> list[str]:
    """What systemd must do, after everything else is in place."""
    lines = []
    if any(d.kind == "unit" or (d.kind == "file" and d.item.path.startswith("/etc/systemd/")) for d in found):
        lines.append("systemctl daemon-reload")
    lines += [_start(d.item) for d in found if d.kind == "unit" and d.action is Action.BUILD]
    return lines


def _start(unit: Unit) -> str:
    name = quote(unit.name)
    if unit.reload:
        reload = f"if systemctl -q is-active {name}; then systemctl reload {name}; else systemctl start {name}; fi"
        return f"systemctl -q enable {name}; {reload}"
    return f"systemctl -q enable {name}; systemctl restart {name}"


def restart(unit: str) -> str:
    """Restarts a database server; its own last words if it does not come up."""
    name = quote(unit)
    return (
        f"timeout {RESTART_LIMIT} systemctl restart {name} || "
        f"{{ echo '{name} did not start again within {RESTART_LIMIT} s; journalctl -u {name}:' >&2; "
        f"journalctl --no-pager -q -n 5 -o cat -u {name} >&2; return 1; }}"
    )


def here_document(text: str) -> str:
    """`text` as a here-document, under an end mark that cannot stand in it."""
    mark = f"LBCTL-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return f"<<'{mark}'\n{text}{mark}"


def _file(file: File) -> str:
    return f"put {quote(file.path)} {file.mode:o} {here_document(file.text)}"


HARMLESS = "Truncating auth_pass|Ignoring track_interface|defaulting to BACKUP"
"""What keepalived -t remarks, with a failing status, about a file that it would run as meant."""


def checked_file(file: File) -> str:
    """Like any file, but keepalived must accept it before it takes its place."""
    return f'{_staged_and_checked(file)}\nkeep {quote(file.path)}; mv -f "$staged" {quote(file.path)}'


def check_script(file: File) -> str:
    """The shell that asks keepalived about a file and leaves nothing behind."""
    staged = _staged_and_checked(replace(file, path="/run/lbctl-proposed.conf"))
    body = f'{staged}\nrm -f "$staged"'
    return f"{PRELUDE}\nmain() {{\n{body}\n}}\nmain </dev/null\n"


def _staged_and_checked(file: File) -> str:
    return (
        f"stage {quote(file.path)} {file.mode:o} {here_document(file.text)}\n"
        '[ -s "$staged" ] || { rm -f "$staged"; echo "refusing an empty keepalived.conf" >&2; return 1; }\n'
        'if ! remarks=$(timeout 20 keepalived --config-test -f "$staged" 2>&1) && '
        f'echo "$remarks" | grep -vE {quote(HARMLESS)} | grep -q .; then\n'
        '  rm -f "$staged"; echo "keepalived rejects the new configuration; the old one stays in place:" >&2\n'
        '  echo "$remarks" >&2; return 1\n'
        "fi"
    )


def _database_user(name: str, socket: str) -> str:
    # No password at all: the server asks the kernel who is at the other end of its socket. USAGE is enough for status.
    statement = f"CREATE USER IF NOT EXISTS '{name}'@'localhost' IDENTIFIED VIA unix_socket"
    return f"$(command -v mariadb || command -v mysql) --no-defaults -S {quote(socket)} -e {quote(statement)}"


def _add_link(link: Link) -> str:
    create = (
        f"ip link show dev {link.name} >/dev/null 2>&1 || ip link add {link.name} type dummy; "
        if link.kind == "dummy"
        else ""
    )
    return f"{create}ip link set {link.name} up"


def _remove_link(link: Link) -> str:
    return f"ip link del {link.name}" if link.kind == "dummy" else f"ip link set {link.name} down"


def _remove_chain(chain: Chain) -> str:
    jump = f"iptables -w 10 -t {chain.table} -D {chain.hook} -j {chain.name} 2>/dev/null || :; " if chain.hook else ""
    # An empty nat table still has the kernel list every connection: it goes, unless somebody else has rules in it.
    unload = "; modprobe -q -r iptable_nat 2>/dev/null || :" if chain.table == "nat" else ""
    remove = f"iptables -w 10 -t {chain.table} -F {chain.name}; iptables -w 10 -t {chain.table} -X {chain.name}"
    return f"{jump}{remove}{unload}"


def _add_user(name: str) -> str:
    return f"useradd --system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin {quote(name)}"


def _remove_unit(unit: Unit) -> str:
    return f"systemctl -q disable --now {quote(unit.name)}; rm -f /run/lbctl/{quote(unit.name)}"


def _address(verb: str) -> Callable[[Address], str]:
    return lambda address: f"ip addr {verb} {address.address}/32 dev {address.device}"


def _rule(verb: str) -> Callable[[Rule], str]:
    return lambda rule: f"ip rule {verb} {show_rule(rule)}"


def _route(verb: str) -> Callable[[Route], str]:
    return lambda route: f"ip route {verb} {show_route(route)}"


_BUILDERS: dict[tuple[str, Action], Callable[..., str]] = {
    ("user", Action.BUILD): _add_user,
    ("file", Action.BUILD): _file,
    ("file", Action.REMOVE): lambda file: f"keep {quote(file.path)}; rm -f {quote(file.path)}",
    ("module", Action.BUILD): lambda name: f"modprobe {quote(name)}",
    ("link", Action.BUILD): _add_link,
    ("link", Action.REMOVE): _remove_link,
    ("sysctl", Action.BUILD): lambda item: f"setting {item[0]} {proc_path(item[0])} {item[1]}",
    ("sysctl", Action.REMOVE): lambda key: f"setting_back {key} {proc_path(key)}",
    ("address", Action.BUILD): _address("replace"),
    ("address", Action.REMOVE): _address("del"),
    ("route", Action.BUILD): _route("replace"),
    ("route", Action.REMOVE): _route("del"),
    ("rule", Action.BUILD): _rule("add"),
    ("rule", Action.REMOVE): _rule("del"),
    ("chain", Action.BUILD): lambda chain: render("chain.j2", {"chain": chain}).rstrip("\n"),
    ("chain", Action.REMOVE): _remove_chain,
    ("unit", Action.REMOVE): _remove_unit,
}
