"""The state of a host, by one remote command."""

import time
from collections.abc import Iterable, Iterator
from shlex import quote
from typing import Any

from pyinfra.api import FactBase, Host
from pyinfra.api.exceptions import FactProcessError

from cluster.footprint import GUARD
from cluster.observed import BusyError, HostState, UnreadableStateError, parse
from cluster.parts import LOCK, proc_path, staged_path
from cluster.question import Question

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


def look(host: Host, asked: Question) -> HostState | None:
    """The state of `host`; None when it could not be had (pyinfra has said why, and counts the host as failed).

    Raises BusyError when an earlier run does not come to its end there. The script goes through standard input: in the command
    line it would fill logs with kilobytes of shell.
    """
    deadline = time.monotonic() + BUSY_LIMIT
    while isinstance(found := host.get_fact(State, asked, _stdin=script(asked), _timeout=OWN_LIMIT), BusyError):
        if time.monotonic() > deadline:
            raise found
        time.sleep(1)
    return found


def script(asked: Question) -> str:
    """The shell (POSIX) that answers `asked`. It changes nothing."""
    lines = [
        "export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "look() {",
    ]
    # The lock is there after our first change only. Held: the look would be of a moment that is over when it arrives.
    lines += [f"if [ -e {LOCK} ] && ! flock -n -s {LOCK} true; then echo '#busy'; exit; fi"]
    for section, body in _sections(asked):
        lines += [f"echo '#{section}'", body]
    # Said all at once: line by line, each would be a packet to encrypt, to send and to take apart again.
    return "\n".join([*lines, "echo '#end'", "}", "seen=$(look)", "printf '%s\\n' \"$seen\"", ""])


def _words(items: Iterable[Any]) -> str:
    return " ".join(quote(str(item)) for item in items)


Section = tuple[str, str]
"""Its name, and the shell that prints it."""


def _sections(asked: Question) -> Iterator[Section]:
    yield from _files(asked)
    yield from _software(asked)
    yield from _network(asked)
    yield from _boot(asked)
    yield from _services(asked)


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
        yield (
            "guards",
            f'for f in {_words(asked.guarded)}; do [ -f "$f" ] || continue; IFS= read -r l <"$f" || :\n'
            f'case $l in {quote(GUARD)}*) s=$(tail -n +2 "$f" | sha256sum); '
            f'[ "$l" = {quote(GUARD)}"sha256:${{s%% *}}" ] && echo "$f kept" || echo "$f edited";; esac; done',
        )


def _software(asked: Question) -> Iterator[Section]:
    if asked.packages:
        show = "dpkg-query -W -f '${Package} ${db:Status-Status}\\n'"
        yield "packages", f"{show} {_words(asked.packages)} 2>/dev/null"
    if asked.users:
        yield (
            "users",
            f'while IFS=: read -r u _; do for w in {_words(asked.users)}; do [ "$u" = $w ] && echo $u; done; done </etc/passwd',
        )
    # Built-in modules have a folder, too.
    yield "modules", "for m in ip_vs ipip dummy; do [ -d /sys/module/$m ] && echo $m; done"


def _network(asked: Question) -> Iterator[Section]:
    if asked.sysctls:
        # grep reads each file at once: the shell's own `read` goes byte by byte, and /proc ends after the first.
        yield "sysctls", f"cd /proc/sys && grep -sH . {_words(map(proc_path, asked.sysctls))}; cd /"
        yield (
            "before",
            '[ -f /var/lib/lbctl/before/sysctl ] && while read -r l; do echo "$l"; done </var/lib/lbctl/before/sysctl',
        )
    # One process for all three. All tables: to ask for one that never had a route is an error.
    yield "network", "printf 'addr show\\nrule show\\nroute show table all\\n' | ip -j -d -s -batch -"
    if asked.netfilter:
        tables = "; ".join(f"iptables-save -t {quote(table)} 2>/dev/null" for table in asked.netfilter)
        yield "chains", f"if command -v iptables-save >/dev/null; then {tables}; fi | grep -E '^[*]|LBCTL-'"


# interfaces(5): what pulls in other files, stanzas of devices, and commands that a stanza runs.
_INTERFACES = r"^[[:space:]]*(source|source-directory|auto|allow-[a-z]+|iface|(pre-|post-)?(up|down))[[:space:]]"


def _boot(asked: Question) -> Iterator[Section]:
    """Who looks after the interface, and what ifupdown's files that are not ours do. The shell reads small files itself."""
    link = f"/sys/class/net/{asked.interface}/ifindex"
    yield (
        "boot",
        f"i=; [ -r {link} ] && read -r i <{link}; f=/run/systemd/netif/links/$i\n"
        '[ -n "$i" ] && [ -r "$f" ] && while IFS="=" read -r k v; do\n'
        '[ "$k" = NETWORK_FILE ] && echo "networkd ${v##*/}"; done <"$f"\n'
        "if [ -x /sbin/ifup ] || [ -x /usr/sbin/ifup ]; then echo ifupdown; fi",
    )
    yield (
        "interfaces",
        "set --; for f in /etc/network/interfaces /etc/network/interfaces.d/*; do\n"
        'case $f in */lbctl-*) ;; *) [ -f "$f" ] && set -- "$@" "$f";; esac; done\n'
        f'[ $# -eq 0 ] || grep -nHsE {quote(_INTERFACES)} "$@"',
    )


def _services(asked: Question) -> Iterator[Section]:
    if asked.units:
        properties = "Id,ActiveState,UnitFileState,NeedDaemonReload"
        yield "units", f"systemctl show -p {properties} {_words(asked.units)}"
        yield (
            "revisions",
            f"for u in {_words(asked.units)}; do f=/run/lbctl/$u; "
            '[ -f "$f" ] && { read -r r _; c=; read -r c; echo "$u $r $c"; } <"$f"; done',
        )
    if asked.director:
        yield "ipvs", "[ -r /proc/net/ip_vs ] && cat /proc/net/ip_vs"
        # Without a table ipvsadm would load the module.
        yield "persistence", "[ -r /proc/net/ip_vs ] && command -v ipvsadm >/dev/null && ipvsadm -Sn | grep -e ' -p '"
    if asked.ports:
        wanted = " or ".join(f"sport = :{port}" for port in asked.ports)
        yield "listening", f"l=$(ss -Hltnp '( {wanted} )'); echo \"$l\""
        yield "bind", _BIND
        # With those whose last packet of three is still on its way, or was lost: the client may have an open connection already.
        yield "established", f"ss -Htn state established state syn-recv '( {wanted} )'"
    if asked.database_users:
        yield "database", _database(asked)


# Only where MySQL listens at single addresses: what it was told, and where that is written. It is asked itself, because which
# files and groups it reads depends on its version; of all that it says (passwords, too) only the address leaves the host.
_BIND = r"""\
case $l in
  # One line with a wildcard, as nearly everywhere: no process is started for it.
  *' 0.0.0.0:'[0-9]*users:*users:*|*' *:'[0-9]*users:*users:*) p=x;; *' 0.0.0.0:'[0-9]*|*' *:'[0-9]*) p=;;
  *'"mariadbd"'*|*'"mysqld"'*) p=x;; *) p=;;
esac
[ -z "$p" ] || p=$(echo "$l" | grep -vE ' (0\.0\.0\.0|\*):[0-9]' |
  sed -nE 's/.*\(\("(mariadbd|mysqld)",pid=([0-9]+).*/\2/p' | head -n 1)
if [ -n "$p" ]; then
  sed -n 's|.*/|unit |p;q' /proc/$p/cgroup
  tr '\0' '\n' </proc/$p/cmdline | sed -nE 's/^--bind[-_]address=/argument /p'
  d=$(tr '\0' '\n' </proc/$p/cmdline | grep -E '^--defaults-(extra-)?file=')
  o=$(HOME=/nonexistent timeout 10 /proc/$p/exe $d --print-defaults 2>/dev/null) && echo asked
  echo "$o" | sed 's/ --/\n--/g' |
    sed -nE 's/^--(loose[-_])?bind[-_]address=/default /p'
  set --
  for f in ${d#*=} /etc/my.cnf /etc/mysql/my.cnf; do
    [ -f "$f" ] || continue
    set -- "$@" "$f"
    for i in $(sed -nE 's/^[[:space:]]*!includedir[[:space:]]+//p' "$f"); do
      for g in "${i%/}"/*.cnf; do [ -f "$g" ] && set -- "$@" "$g"; done
    done
  done
  [ $# -eq 0 ] || grep -nHE '^[[:space:]]*(loose[-_])?bind[-_]address[[:space:]]*=' "$@" /dev/null |
    sed -E 's/^([^:]*:[0-9]+:)[^=]*=[[:space:]]*([^#]*)/line \1\2/; s/#.*//'
fi"""


def _database(asked: Question) -> str:
    """Prints up and the users that are there, or down."""
    users = ",".join(f"'{user}'" for user in asked.database_users)
    # The names are our own constants. The mark in the answer begins the next section.
    there = f"SELECT User FROM mysql.user WHERE User IN ({users}) AND Host='localhost'"  # noqa: S608
    galera = "'wsrep_cluster_status','wsrep_local_state','wsrep_ready'"
    query = (
        f"SELECT '#database-users' UNION ALL {there}; SELECT '#galera'; SHOW GLOBAL VARIABLES LIKE 'wsrep_on'; "
        f"SHOW GLOBAL STATUS WHERE Variable_name IN ({galera})"
    )
    socket = quote(asked.database_socket)
    return (
        f"if [ -S {socket} ] && c=$(command -v mariadb || command -v mysql) && "
        f"a=$(timeout 3 $c --no-defaults --connect-timeout=2 -S {socket} -BNe {quote(query)} 2>/dev/null); "
        'then echo up; echo "$a"; else echo down; fi'
    )
