"""Shell (POSIX) that mends differences. Each kind of item has its builder; a script is one remote command.

Scripts travel on standard input, files inside them as here-documents: nothing of a file's content stands in a process list or a
log. Every write is atomic (temporary file beside the target, synced, renamed) and keeps the previous file.

A script that has arrived whole runs to its end, whatever becomes of the connection and the operator: nothing of it writes to the
connection before the end (apt would die of that, and leave dpkg half-way). Meanwhile it holds a lock, so that the next run waits.
Whatever it does may have been done already by one that was cut short: what is there already is no error, nor what is gone.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from shlex import quote

from cluster.difference import Action, Difference, show_route, show_rule
from cluster.kit import LIBRARY
from cluster.parts import LOCK, Address, Chain, File, Link, Rule, Unit, proc_path
from cluster.table import Mend
from templates import render

_OWN_FOLDERS = (".service.d", ".network.d", ".netdev.d")
"""How folders end that are made for a drop-in of ours: they go with the last file in them."""
WAIT = 120
"""Seconds that a script waits for the one of an earlier run."""

# needrestart, where it is, restarts nothing in the wake of apt, however it is set up: that would be MySQL on all servers at once
# (needrestart(1), ENVIRONMENT).
PRELUDE = (
    f"lock={LOCK} said=/run/lbctl.said wait={WAIT} missed=\n"
    """\
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 NEEDRESTART_MODE=l
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
umask 022
previous=/var/lib/lbctl/previous before=/var/lib/lbctl/before/sysctl
keep() { # FILE: the previous one stays readable for root
  [ -e "$1" ] || return 0
  [ -d "$previous" ] || (umask 077; mkdir -p "$previous")
  name=${1#/}
  while :; do case $name in */*) name=${name%%/*}:${name#*/};; *) break;; esac; done
  cp -p "$1" "$previous/$name"
}
stage() { # FILE MODE: standard input becomes a temporary file beside FILE, whose name is in $staged
  [ -d "${1%/*}" ] || mkdir -p "${1%/*}"
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
  [ -d "${before%/*}" ] || mkdir -p "${before%/*}"
  grep -q "^$1 = " "$before" 2>/dev/null || { echo "$1 = $(cat "$file")" >>"$before"; sync "$before"; }
  echo "$3" >"$file"
}
setting_back() { # KEY PATH
  value=$(grep "^$1 = " "$before") || return 0 # an earlier run has done it
  value=${value##* = }
  [ ! -e "/proc/sys/$2" ] || echo "$value" >"/proc/sys/$2"
  grep -v "^$1 = " "$before" >"$before.new" || :
  mv -f "$before.new" "$before"
}
unless() { # WORDS COMMAND…: failing with these words is no failure
  words=$1; shift
  answer=$("$@" 2>&1) || case $answer in *"$words"*) ;; *) echo "$answer" >&2; return 1;; esac
}
enabled() { # UNIT: at the next boot, too. One that is already is left alone: a SysV script registered anew takes seconds
  for link in /etc/systemd/system/*.wants/"$1"; do [ ! -e "$link" ] || return 0; done
  systemctl -q --no-reload enable "$1"; missed=yes
}
reread() { # UNIT…: systemd reads its files again, all of them, if it has missed something about these
  case $missed$(systemctl show -p NeedDaemonReload "$@") in *yes*|'') systemctl daemon-reload;; esac
}
alone() { # FUNCTION: while no other script of ours changes this host; what it says is told when it has ended
  exec 9>>"$lock"
  flock -w "$wait" 9 || { echo "an earlier run is still at work on this host, for more than $wait s" >&2; exit 75; }
  umask 077; : >"$said.out"; : >"$said.err"; umask 022
  (set -e; "$1") </dev/null >"$said.out" 2>"$said.err"
  status=$?
  [ ! -s "$said.out" ] || cat "$said.out"
  [ ! -s "$said.err" ] || cat "$said.err" >&2
  rm -f "$said.out" "$said.err"
  exit $status
}
"""
)


RESTART_LIMIT = 600
"""Seconds for a database server to stop and be up again: with Galera that may be a transfer of state."""


def script(found: Sequence[Difference], *, database_socket: str = "", checked: Iterable[str] = ()) -> str:
    """The shell that mends `found`, in its order.

    `checked` are paths of files that keepalived must accept before they take their place.
    """
    first = [d for d in found if d.is_software and d.kind != "package"]
    before, after = (
        [_command(difference, tuple(checked), database_socket) for difference in some]
        for some in (first, [d for d in found if d not in first])
    )
    lines = [":", *before, *_packages(found), *after, *_units(found)]
    return "\n".join([PRELUDE, "main() {", *lines, "}", "alone main", ""])


def _command(difference: Difference, checked: tuple[str, ...], database_socket: str) -> str:
    if difference.kind == "listener":
        return restart(difference.item)
    if difference.kind in {"package", "unit"} and difference.action is Action.BUILD:
        return ":"  # all at once: packages before, units after everything else
    if difference.kind == "database user":
        make = _database_user if difference.action is Action.BUILD else _remove_database_user
        return make(difference.item, database_socket)
    if difference.kind == "file" and difference.action is Action.BUILD and difference.item.path in checked:
        return checked_file(difference.item)
    return _BUILDERS[difference.kind, difference.action](difference.item)


_UNDISTURBED = """\
tried=0
undisturbed() { # COMMAND…: as soon as no other apt or dpkg is at work; what it complained of is in $answer
  while :; do
    status=0; "$@" 2>"$said.apt" || status=$?
    answer=$(cat "$said.apt"); rm -f "$said.apt"
    case $status,$tried,$answer in
      0,*|*,"$wait",*) break;;
      *'Could not get lock'*|*'locked by another process'*) tried=$((tried + 1)); sleep 1;;
      *) break;;
    esac
  done
  [ -z "$answer" ] || echo "$answer" >&2
  return $status
}"""
"""apt's own DPkg::Lock::Timeout is for dpkg's lock alone: apt gives up at once while another one fetches lists, as after each
boot; and so does dpkg.
"""


def _packages(found: Iterable[Difference]) -> list[str]:
    names = [quote(d.item) for d in found if d.kind == "package"]
    if not names:
        return []
    options = "-o Dpkg::Options::=--force-confold install --no-install-recommends"
    return [
        _UNDISTURBED,
        f"installed() {{ undisturbed apt-get -q -y {options} {' '.join(names)}; }}",
        # A machine that lost power in the middle of an installation: apt says so, having waited for dpkg's lock. Only then: while
        # another one is at work dpkg's journal is not empty either.
        "installed || { first=$answer; undisturbed dpkg --force-confold --configure -a && "
        "case $first in *'dpkg was interrupted'*) installed;; *) false;; esac; } ||",
        # The list of packages may be too old to find them: then, and only then, it is fetched anew.
        "{ undisturbed apt-get -q update && installed; }",
    ]


def _units(found: Sequence[Difference]) -> list[str]:
    """What systemd must do, after everything else is in place. It reads all files of all units again, which takes its time: once,
    and only where it must.
    """
    units = [d.item for d in found if d.kind == "unit" and d.action is Action.BUILD]
    lines = [f"enabled {quote(unit.name)}" for unit in units]
    gone = any(d.kind == "unit" and d.action is Action.REMOVE for d in found)
    if gone or any(d.kind == "file" and d.item.path.startswith("/etc/systemd/") for d in found):
        lines.append("systemctl daemon-reload")
    elif units:
        lines.append(f"reread {' '.join(quote(unit.name) for unit in units)}")
    return lines + [_start(unit) for unit in units]


def _start(unit: Unit) -> str:
    name = quote(unit.name)
    if unit.reload:
        return f"if systemctl -q is-active {name}; then systemctl reload {name}; else systemctl start {name}; fi"
    return f"systemctl restart {name}"


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


def _remove_file(file: File) -> str:
    folder = file.path.rpartition("/")[0]
    ours = folder == LIBRARY or folder.endswith(_OWN_FOLDERS)
    empty = f"; rmdir {quote(folder)} 2>/dev/null || :" if ours else ""
    # A mode that is only kept has not had its files written under their new names: without them the next boot would be another.
    old, new = quote(file.path), quote(file.successor)
    rename = f"if [ -e {old} ] && [ ! -e {new} ]; then mv {old} {new}; fi; " if file.successor else ""
    return f"keep {old}; {rename}rm -f {old}{empty}"


HARMLESS = "Truncating auth_pass|Ignoring track_interface|defaulting to BACKUP"
"""What keepalived -t remarks, with a failing status, about a file that it would run as meant."""


def checked_file(file: File) -> str:
    """Like any file, but keepalived must accept it before it takes its place."""
    return f'{_staged_and_checked(file)}\nkeep {quote(file.path)}; mv -f "$staged" {quote(file.path)}'


def check_script(file: File) -> str:
    """The shell that asks keepalived about a file and leaves nothing behind."""
    staged = _staged_and_checked(replace(file, path="/run/lbctl-proposed.conf"))
    body = f'{staged}\nrm -f "$staged"'
    return f"{PRELUDE}\nmain() {{\n{body}\n}}\nalone main\n"


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
    # By which plugin the server has: MariaDB may call itself MySQL 8.0. A MySQL that lets root in like that has its
    # own loaded. A node that is cut off answers SHOW, not SELECT.
    client = _client(socket)
    statement = f"CREATE USER IF NOT EXISTS '{name}'@'localhost' IDENTIFIED "
    return (
        f"if {client} -BNe 'SHOW PLUGINS' | grep -q ^unix_socket; then how='VIA unix_socket'; else how='WITH auth_socket'; fi; "
        f"""{client} -e {quote(statement)}"$how\""""
    )


def _remove_database_user(name: str, socket: str) -> str:
    statement = f"DROP USER IF EXISTS '{name}'@'localhost'"
    return f"{_client(socket)} -e {quote(statement)}"


def _client(socket: str) -> str:
    return f"$(command -v mariadb || command -v mysql) --no-defaults -S {quote(socket)}"


def _unless(*words: str) -> str:
    return " ".join(f"unless '{each}'" for each in words)


THERE = _unless("File exists")
GONE = {
    "link": _unless("Cannot find device"),
    "address": _unless("Cannot assign requested address", "Address not found"),
    "route": _unless("No such process", "FIB table does not exist"),
    "rule": _unless("No such file or directory"),
}
"""iproute2's words where there is nothing to remove (netlink's errors ENODEV, EADDRNOTAVAIL, ESRCH, ENOENT), and the kernel's
own, which iproute2 says instead where the kernel has some (Linux 6.18: of an address, and of a table that never had a route).
"""


def _add_link(link: Link) -> str:
    add = f"ip link show dev {link.name} >/dev/null 2>&1 || {THERE} ip link add {link.name} type dummy; "
    create = add if link.kind == "dummy" else ""
    return f"{create}ip link set {link.name} up"


def _remove_link(link: Link) -> str:
    remove = f"ip link del {link.name}" if link.kind == "dummy" else f"ip link set {link.name} down"
    return f"{GONE['link']} {remove}"


def _remove_chain(chain: Chain) -> str:
    # A deploy and the service that keeps the chain may both have found the jump missing, and each put one there.
    jump = f"iptables -w 10 -t {chain.table} -D {chain.hook} -j {chain.name}"
    jumps = f"while {jump} 2>/dev/null; do :; done; " if chain.hook else ""
    # An empty nat table still has the kernel list every connection: it goes, unless somebody else has rules in it.
    unload = "; modprobe -q -r iptable_nat 2>/dev/null || :" if chain.table == "nat" else ""
    is_there = f"if iptables -w 10 -t {chain.table} -n -L {chain.name} >/dev/null 2>&1; then"
    remove = f"iptables -w 10 -t {chain.table} -F {chain.name}; iptables -w 10 -t {chain.table} -X {chain.name}"
    return f"{jumps}{is_there} {remove}; fi{unload}"


def _add_user(name: str) -> str:
    options = "--system --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin"
    return f"id -u {quote(name)} >/dev/null 2>&1 || useradd {options} {quote(name)}"


def _remove_unit(unit: Unit) -> str:
    # systemd reads its files again at the end of the script, once.
    return f"systemctl -q --no-reload disable --now {quote(unit.name)}; rm -f /run/lbctl/{quote(unit.name)}"


def mended(mend: Mend) -> str:
    # With a peer a stop hands over first: the restart costs no client anything.
    return (
        " ".join(("ipvsadm", *map(quote, mend.arguments))) if mend.arguments else "systemctl restart keepalived.service"
    )


def _remove_address(address: Address) -> str:
    remove = f"ip addr del {address.address}/32 dev {address.device}"
    return f"{GONE['link']} {GONE['address']} {remove}"


def _rule(verb: str, harmless: str) -> Callable[[Rule], str]:
    return lambda rule: f"{harmless} ip rule {verb} {show_rule(rule)}"


_BUILDERS: dict[tuple[str, Action], Callable[..., str]] = {
    ("user", Action.BUILD): _add_user,
    ("user", Action.REMOVE): lambda name: f"id -u {quote(name)} >/dev/null 2>&1 && userdel {quote(name)} || :",
    # Last of all: what was kept for the day it is taken back was taken back by now.
    ("records", Action.REMOVE): lambda paths: f"rm -rf {' '.join(map(quote, paths))}",
    ("file", Action.BUILD): _file,
    ("file", Action.REMOVE): _remove_file,
    ("half-written file", Action.REMOVE): lambda path: f"rm -f {quote(path)}",
    ("module", Action.BUILD): lambda name: f"modprobe {quote(name)}",
    ("link", Action.BUILD): _add_link,
    ("link", Action.REMOVE): _remove_link,
    ("sysctl", Action.BUILD): lambda item: f"setting {item[0]} {proc_path(item[0])} {quote(str(item[1]))}",
    ("sysctl", Action.REMOVE): lambda key: f"setting_back {key} {proc_path(key)}",
    ("address", Action.BUILD): lambda a: f"ip addr replace {a.address}/32 dev {a.device}",
    ("address", Action.REMOVE): _remove_address,
    ("route", Action.BUILD): lambda route: f"ip route replace {show_route(route)}",
    ("route", Action.REMOVE): lambda route: f"{GONE['route']} ip route del {show_route(route)}",
    ("rule", Action.BUILD): _rule("add", THERE),
    ("rule", Action.REMOVE): _rule("del", GONE["rule"]),
    ("chain", Action.BUILD): lambda chain: render("chain.j2", {"chain": chain}).rstrip("\n"),
    ("chain", Action.REMOVE): _remove_chain,
    ("unit", Action.REMOVE): _remove_unit,
    ("table", Action.BUILD): mended,
}
