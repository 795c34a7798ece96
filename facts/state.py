"""The state of a host, by one remote command."""

import time
from collections.abc import Callable, Iterable, Iterator
from shlex import quote
from typing import Any

from pyinfra.api import FactBase, Host
from pyinfra.api.exceptions import FactProcessError

from cluster.footprint import GUARD, WHOSE
from cluster.kit import LAST
from cluster.observed import NETWORKD, BusyError, HostState, UnreadableStateError, parse
from cluster.parts import DAEMON_ARGS, LOCK, RECORDS, proc_path, staged_path
from cluster.question import Question
from facts import kept
from facts.environment import ENVIRONMENT

LIMIT = 20
"""Seconds that a host has to answer."""

OWN_LIMIT = LIMIT + 10
"""Seconds after which we stop waiting for a host on which not even `timeout` comes to its end."""

BUSY_LIMIT = 180
"""Seconds to wait for an earlier run that is still at work on a host: what it found is about to change."""


class State(FactBase["HostState | BusyError | None"]):
    """What a `Question` asks about, as a `HostState`. Call it by `look`.

    One shell command whose output ends with a mark. A host that gives no answer, or half of one, has no state (None): pyinfra
    would carry on with a default, and change a host that it knows nothing of.
    """

    def command(self, asked: Question) -> str:
        del asked
        return f"timeout -k 5 {LIMIT} sh -s"

    def process(self, output: Iterable[str]) -> HostState | BusyError | None:
        try:
            return parse("\n".join(output))
        except BusyError as error:
            return error
        except UnreadableStateError as error:
            raise FactProcessError(str(error)) from error

    @staticmethod
    def default() -> HostState | BusyError | None:
        return None


def look(host: Host, asked: Question, busy: Callable[[], None] = lambda: None) -> HostState | None:
    """The state of `host`; None when it could not be had (pyinfra has said why, and counts the host as failed).

    Raises BusyError when an earlier run does not come to its end there; `busy` is told while that is waited for. The script goes
    through standard input: in the command line it would fill logs with kilobytes of shell.
    """
    deadline = time.monotonic() + BUSY_LIMIT
    while isinstance(found := host.get_fact(State, asked, _stdin=script(asked), _timeout=OWN_LIMIT), BusyError):
        if time.monotonic() > deadline:
            raise found
        busy()
        time.sleep(1)
    return found


def script(asked: Question) -> str:
    """The shell (POSIX) that answers `asked`. It changes nothing."""
    lines = [
        ENVIRONMENT,
        "look() {",
    ]
    # The lock is there after our first change only. Held: the look would be of a moment that is over when it arrives.
    lines += [f"if [ -e {LOCK} ] && ! flock -n -s 9 9<{LOCK}; then echo '#busy'; exit; fi"]
    for section, body in _sections(asked):
        lines += [f"echo '#{section}'", body]
    # Said all at once: line by line, each would be a packet to encrypt, to send and to take apart again. On a line of its own:
    # somebody's ~/.bashrc may have begun one.
    return "\n".join([*lines, "echo '#end'", "}", "seen=$(look)", "printf '\\n%s\\n' \"$seen\"", ""])


def _words(items: Iterable[Any]) -> str:
    return " ".join(quote(str(item)) for item in items)


Section = tuple[str, str]
"""Its name, and the shell that prints it."""


def _sections(asked: Question) -> Iterator[Section]:
    yield from _files(asked)
    yield from _network(asked)
    yield from _services(asked)
    # As the last but for what its answer leads to: what it reads leaves the shell's own arguments alone.
    yield "read", _read(asked)
    if asked.ports:
        yield from _sockets(asked)
    if asked.database_users:
        yield "database", _database(asked)


def _files(asked: Question) -> Iterator[Section]:
    if asked.files:
        # Files that are not there are left out first: both programs fail for one that is missing.
        paths = " ".join("*".join(map(quote, path.split("*"))) for path in asked.files)
        yield (
            "files",
            f'set --; for f in {paths}; do [ -f "$f" ] && set -- "$@" "$f"; done\n'
            'if [ $# -gt 0 ]; then sha256sum "$@"; stat -c "%n %a %U:%G %Y" "$@"; fi',
        )
        halves = " ".join("*".join(map(quote, staged_path(path).split("*"))) for path in asked.files)
        yield "half-written", f'for f in {halves}; do [ -e "$f" ] && echo "$f"; done'
    if asked.guarded:
        # The shell takes the first line, and sha256sum goes on where it stopped. The second line says whose it is.
        yield (
            "guards",
            f'for f in {_words(asked.guarded)}; do [ -f "$f" ] && {{ IFS= read -r l && IFS= read -r c || :; }} <"$f"\n'
            f'case $l in {quote(GUARD)}*) s=$({{ IFS= read -r l || :; sha256sum; }} <"$f")\n'
            f"case $c in {quote(WHOSE)}*) c=${{c#{quote(WHOSE)}}}; c=${{c%%,*}};; *) c=;; esac\n"
            f'[ "$l" = {quote(GUARD)}"sha256:${{s%% *}}" ] && echo "$f kept $c" || echo "$f edited $c";; esac; done',
        )


def _network(asked: Question) -> Iterator[Section]:
    yield "records", f"[ -d {RECORDS[0]} ] && echo there"
    # Built-in modules have a folder, too.
    yield "modules", "for m in ip_vs ipip dummy; do [ -d /sys/module/$m ] && echo $m; done"
    # One process for all three. All tables: to ask for one that never had a route is an error.
    yield "network", "ip -j -d -s -batch - <<'END'\naddr show\nrule show\nroute show table all\nEND"
    if asked.netfilter:
        yield "chains", _CHAINS.replace("TABLES", _words(asked.netfilter))
    link = f"/sys/class/net/{asked.interface}/ifindex"
    # Who looks after the interface. The shell reads small files itself.
    yield (
        "boot",
        f"i= n= c=; [ -r {link} ] && read -r i <{link}; f=/run/systemd/netif/links/$i\n"
        '[ -n "$i" ] && [ -r "$f" ] && while IFS="=" read -r k v; do\n'
        '[ "$k" = NETWORK_FILE ] && n=$v && echo "networkd ${n##*/}"; done <"$f"\n'
        # CriticalConnection: the same by its former name, as Debian 12's netplan writes it; ours would overrule it.
        'if [ -n "$n" ]; then d=systemd/network/${n##*/}.d; for g in "$n" "/run/$d/"*.conf "/etc/$d/"*.conf; do\n'
        'case $g in */lbctl.conf) continue;; esac; [ -r "$g" ] && while IFS="= " read -r k v; do\n'
        'case $k in KeepConfiguration|CriticalConnection) c=$v;; esac; done <"$g"; done; fi\n'
        '[ -z "$c" ] || echo "keeps $c"\n'
        "if [ -x /sbin/ifup ] || [ -x /usr/sbin/ifup ]; then echo ifupdown; fi",
    )


# A table that iptables' legacy variant has never used holds nothing of ours, and to ask for it would load its module.
_CHAINS = r"""\
p=/usr/sbin/iptables-save; t=
if [ -x $p ]; then
  for w in TABLES; do t="$t $w"; done
  if [ $p -ef /usr/sbin/xtables-legacy-multi ]; then
    t=; [ -r /proc/net/ip_tables_names ] && while read -r n; do
      for w in TABLES; do [ "$n" = "$w" ] && t="$t $w"; done; done </proc/net/ip_tables_names
  fi
fi
[ -z "$t" ] || for w in $t; do $p -t $w 2>/dev/null; done | grep -E '^[*]|LBCTL-'"""


def _services(asked: Question) -> Iterator[Section]:
    if asked.units:
        properties = "Id,ActiveState,UnitFileState,NeedDaemonReload"
        # systemd goes looking for each one that it does not know. systemd-networkd is on every host and runs on few.
        yield (
            "units",
            f"set --; for u in {_words(asked.units)}; do\n"
            f'[ "$u" = {NETWORKD} ] && [ ! -e /run/systemd/netif/state ] && continue\n'
            "for f in /etc/systemd/system/$u /etc/systemd/system/*.wants/$u /usr/lib/systemd/system/$u \\\n"
            "  /lib/systemd/system/$u /run/systemd/units/invocation:$u /run/lbctl/$u; do\n"
            '  if [ -e "$f" ] || [ -L "$f" ]; then set -- "$@" "$u"; break; fi; done; done\n'
            f'[ $# -eq 0 ] || systemctl show -p {properties} "$@"',
        )
    if asked.director:
        yield "cluster-lock", kept.LOCK
        yield "history", kept.LAST_CHANGE
        # Without a table ipvsadm would load the module.
        yield "persistence", "[ -r /proc/net/ip_vs ] && command -v ipvsadm >/dev/null && ipvsadm -Sn"


def _read(asked: Question) -> str:
    """All that stands in files, by one process: each is a section of its own, or lines of one.

    dpkg's list is read as dpkg-query would, without sorting all of it; while there is news that is not yet in it (dpkg was
    interrupted), dpkg-query is asked.
    """
    names, update = _words(asked.packages), "/var/lib/dpkg/updates/[0-9]*"
    # The names of /etc/network/interfaces(5): `boot` says what ifupdown does beside what is ours.
    before = [
        "d=/var/lib/dpkg/status",
        f'for f in {update}; do [ -e "$f" ] && d=; done' if asked.packages else "",
        "[ -n \"$d\" ] || { echo '#packages'; "
        f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {names} 2>/dev/null; }}"
        if asked.packages
        else "",
        "set --; for f in /etc/network/interfaces /etc/network/interfaces.d/*; do",
        'case $f in */lbctl-*) ;; *) [ -f "$f" ] && set -- "$@" "$f";; esac; done',
    ]
    wanted = ["'#interfaces'", '"$@"']
    if asked.packages:
        wanted += ["'#packages'", '"$d"']
    if asked.users:
        wanted += ["'#users'", "/etc/passwd"]
    if asked.tables:
        wanted += ["'#table-names'", "/etc/iproute2/rt_tables", "/etc/iproute2/rt_tables.d/*.conf"]
    if asked.sysctls:
        wanted += ["'#sysctls'", *(quote(f"/proc/sys/{proc_path(key)}") for key in asked.sysctls)]
        wanted += ["'#before'", "/var/lib/lbctl/before/sysctl"]
        wanted += ["'#later'", *(f"{folder}/*.conf" for folder in _SYSCTL_FOLDERS)]
    if asked.units:
        wanted += ["'#revisions'", *(quote(f"/run/lbctl/{unit}") for unit in asked.units)]
    if asked.director:
        wanted += ["'#ipvs'", "/proc/net/ip_vs", "'#daemon-args'", DAEMON_ARGS]
    if asked.ports:
        wanted += ["'#listening'", "/proc/net/tcp", "/proc/net/tcp6"]
    ports = " ".join(f"{port:04X} {port}" for port in asked.ports)
    values = (
        f"-v packages={quote(' '.join(asked.packages))} -v users={quote(' '.join(asked.users))} -v ports={quote(ports)} "
        f"-v tables={quote(' '.join(map(str, asked.tables)))}"
    )
    return "\n".join([*filter(None, before), f"r=$(awk {values} {quote(_READER)} {' '.join(wanted)}) || exit", _SAY])


# interfaces(5): what pulls in other files, stanzas of devices, and commands that a stanza runs.
_INTERFACES = r"^[ \t]*(source|source-directory|auto|allow-[a-z]+|iface|(pre-|post-)?(up|down))[ \t]"

# sysctl.d(5): of files of one name only that in the first of these is read.
_SYSCTL_FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")

# POSIX awk. Arguments: sections, each with its files; one that is not there is passed over.
# /proc/net/tcp: the kernel's Documentation/networking/proc_net_tcp.rst; state 0A listens, 01 is connected.
_READER = r"""
function said(f, l, n,   w) {
  if (s == "#sysctls") print substr(f, 11) ":" l
  else if (s == "#packages") {
    if (l ~ /^Package: /) p = substr(l, 10)
    else if (l ~ /^Status: / && p in package) { split(l, w, " "); print p, w[4] }
  }
  else if (s == "#users") { split(l, w, ":"); if (w[1] in user) print w[1] }
  else if (s == "#table-names") { split(l, w, " "); if (w[1] in table) print w[1], w[2] }
  else if (s == "#interfaces") { if (l ~ INTERFACES) print f ":" n ":" l }
  else if (s == "#daemon-args") { if (l ~ /^[ \t]*DAEMON_ARGS=/) print l }
  else if (s == "#later") { if (l ~ /^[ \t]*[^ \t#;].*=/) print f ":" n ":" l }
  else if (s == "#revisions") { if (n == 1) { split(l, w, " "); first = w[1] } else if (n == 2) second = l }
  else if (s == "#listening") {
    split(l, w, " ")
    hex = substr(w[2], index(w[2], ":") + 1)
    if (!(hex in port)) return
    if (w[4] == "01" || w[4] == "03") connected = 1
    if (w[4] == "0A" && w[2] ~ /^00000000:/) everywhere = everywhere "LISTEN 0 0 0.0.0.0:" port[hex] " 0.0.0.0:*\n"
    else if (w[4] == "0A") closer = 1
  }
  else print l
}
function later(b) { # Names that need no quotes only: they go into a command.
  sub(/.*\//, "", b)
  return !had[b]++ && b > "LAST" && index(b, "LAST") != 1 && b ~ /^[A-Za-z0-9._-]+$/
}
BEGIN {
  n = split(packages, w, " "); for (i = 1; i <= n; i++) package[w[i]]
  n = split(users, w, " "); for (i = 1; i <= n; i++) user[w[i]]
  n = split(tables, w, " "); for (i = 1; i <= n; i++) table[w[i]]
  n = split(ports, w, " "); for (i = 1; i <= n; i += 2) port[w[i]] = w[i + 1]
  for (i = 1; i < ARGC; i++) {
    f = ARGV[i]
    if (f ~ /^#/) { s = f; print s; continue }
    if (s == "#later" && !later(f)) continue
    n = 0; first = second = ""
    while ((getline l < f) > 0) said(f, l, ++n)
    close(f)
    if (s == "#revisions" && n) { sub(/.*\//, "", f); print f, first, second }
  }
  if (closer) print "#closer"; else printf "%s", everywhere
  if (connected) print "#connected"
}""".replace("INTERFACES", f"/{_INTERFACES}/").replace("LAST", LAST)


# Not by echo, which would take a backslash in somebody's file for one of its own.
_SAY = "printf '%s\\n' \"$r\""


def _sockets(asked: Question) -> Iterator[Section]:
    """Who listens, unless it is at all addresses, which is all that is to be known; and who is connected, if anybody is."""
    wanted = " or ".join(f"sport = :{port}" for port in asked.ports)
    yield "bind", f"case $r in *'#closer'*) l=$(ss -Hltnp '( {wanted} )')\n{_BIND};; esac"
    # With those whose last packet of three is still on its way, or was lost: the client may have an open connection already.
    states = "state established state syn-recv"
    yield "established", f"case $r in *'#connected'*) ss -Htn {states} '( {wanted} )';; esac"


# Only where MySQL listens at single addresses: what it was told, and where that is written. It is asked itself, because which
# files and groups it reads depends on its version; of all that it says (passwords, too) only the address leaves the host.
# Anybody may have a program of that name listen somewhere. So it is run as whom it runs as already, with an environment of ours
# and with words that cannot be more than one, and one that listens at IPv6 addresses only is passed over.
_BIND = r"""\
printf '#listening\n%s\n#bind\n' "$l"
case $l in
  # One line with a wildcard, as nearly everywhere: no process is started for it.
  *' 0.0.0.0:'[0-9]*users:*users:*|*' *:'[0-9]*users:*users:*) p=x;; *' 0.0.0.0:'[0-9]*|*' *:'[0-9]*) p=;;
  *'"mariadbd"'*|*'"mysqld"'*) p=x;; *) p=;;
esac
[ -z "$p" ] || p=$(echo "$l" | grep -vE ' (0\.0\.0\.0|\*):[0-9]' | grep -E ' (\[::ffff:)?[0-9.]+]?(%[^ ]*)?:[0-9]' |
  sed -nE 's/.*\(\("(mariadbd|mysqld)",pid=([0-9]+).*/\2/p' | head -n 1)
if [ -n "$p" ]; then
  # A user's own manager may call its services as it likes.
  read -r g </proc/$p/cgroup; case $g in */user.slice/*) echo unit;; *) echo "unit ${g##*/}";; esac
  a=$(tr '\0' '\n' </proc/$p/cmdline)
  echo "$a" | sed -nE '/^--bind[-_]address$/{n;s/^/argument /p;}; s/^--(loose[-_])?bind[-_]address=/argument /p'
  # Which files and groups it reads. Only options that it takes with =, and none that it does not know: after any other one it
  # would not print, but start.
  d=$(echo "$a" | grep -E '^--defaults-(file|extra-file|group-suffix)=')
  e=$(tr '\0' '\n' </proc/$p/environ | grep -E '^(MYSQL|MARIADB)_GROUP_SUFFIX=')
  if echo "$a" | grep -qx -e --no-defaults; then o=; d=--defaults-file=/dev/null; echo asked
  elif printf '%s\n' "$d" "$e" | grep -q '[^A-Za-z0-9/._=+:@,-]'; then o= d=
  else
    u=$(stat -c '--reuid=%u --regid=%g' /proc/$p) m=$(readlink /proc/$p/exe) # (deleted): it was upgraded since
    o=$(timeout 10 setpriv $u --clear-groups env -i PATH="$PATH" HOME=/nonexistent $e \
      "${m% (deleted)}" $d --print-defaults 2>/dev/null) && echo asked
  fi
  echo "$o" | sed 's/ --/\n--/g' |
    sed -nE 's/^--(loose[-_])?bind[-_]address=/default /p'
  f=$(echo "$d" | sed -n 's/^--defaults-file=//p')
  x=$(echo "$d" | sed -n 's/^--defaults-extra-file=//p')
  all= i=${f:-/etc/my.cnf /etc/mysql/my.cnf $x}
  for depth in 1 2 3 4; do # those that these include, and so on
    set --; for g in $i; do [ -f "$g" ] && set -- "$@" "$g"; done
    [ $# -gt 0 ] || break
    all="$all $*"
    i=$(sed -nE 's/^[[:space:]]*!include[[:space:]]+//p; s|^[[:space:]]*!includedir[[:space:]]+([^[:space:]]+).*|\1/*.cnf|p' "$@")
  done
  set -- $all
  [ $# -eq 0 ] || grep -nHE '^[[:space:]]*(loose[-_])?bind[-_]address[[:space:]]*=' "$@" /dev/null |
    sed -E 's/^([^:]*:[0-9]+:)[^=]*=[[:space:]]*([^#]*)/line \1\2/; s/#.*//'
fi"""


def _database(asked: Question) -> str:
    """Prints up, how the node is, and the users that are there; or down.

    A node that is cut off or not ready answers SHOW, and nothing that reads a table or begins with SELECT. wsrep_on
    is not asked for as a global one: Percona XtraDB Cluster has it for a session only.
    """
    users = ",".join(f"'{user}'" for user in asked.database_users)
    # The names are our own constants. The mark in the answer begins the next section.
    there = f"SELECT User FROM mysql.user WHERE User IN ({users}) AND Host='localhost'"  # noqa: S608
    galera = "'wsrep_cluster_status','wsrep_local_state','wsrep_ready'"
    query = (
        # Where it is set for all, every answer would wait for what is yet to be applied. Only Galera knows it: --force goes on.
        "SET SESSION wsrep_sync_wait=0; SHOW VARIABLES WHERE Variable_name IN ('wsrep_on','wsrep_cluster_address'); "
        f"SHOW GLOBAL STATUS WHERE Variable_name IN ({galera}); "
        f"SELECT '#database-users' UNION ALL {there}"
    )
    socket = quote(asked.database_socket)
    return (
        f"if [ -S {socket} ] && c=$(command -v mariadb || command -v mysql) && "
        f"{{ a=$(timeout 3 $c --no-defaults --force --connect-timeout=2 -S {socket} -BNe {quote(query)} 2>/dev/null); "
        '[ -n "$a" ]; }; then echo up; echo \'#galera\'; echo "$a"; else echo down; fi'
    )
