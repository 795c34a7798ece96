"""What changes by the second on a host, by one remote command: the shell for `cluster.pulse.parse`. It changes nothing."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from shlex import quote

from cluster.declaration import Declaration
from cluster.pulse import PATIENCE, Ask, asks, own_asks
from facts import kept
from facts.environment import ENVIRONMENT
from templates import render


# bash is on every Debian (it is "essential"), and connects by itself: curl and netcat may not be there. Status and first line of
# the body; without a path the connection alone. All at once: a dead server holds up nobody else's answer. One bash for all, which
# only forks: with programs started for each question, two hundred of them kept two processors busy for a second.
def _ask() -> str:
    return render("ask.j2", {"patience": PATIENCE}).rstrip("\n")


# Where there is no table yet ipvsadm would load its module.
_TABLE = "[ -r /proc/net/ip_vs ]"

# Pairs of service and server as the kernel writes them. The shell itself takes the table apart: a program that is started costs
# a small machine more than the whole rest.
_PRESENT = """\
present= what=
for word in $table; do
  case $word in
    TCP|UDP) kind=$word what=service ;; FWM) service= what= ;; "->") what=server ;;
    *) case $what in service) service="$kind $word" ;; server) present="$present $service $word," ;; esac; what= ;;
  esac
done"""


END = "#end"
"""The last line of its answer."""

_ASK = '[ -z "$ask" ] || printf %s "$ask" | ask_all'


def script(declaration: Declaration, host: str, *, kernel: bool = True) -> str:
    """The shell (POSIX) to run on `host`. Without `kernel` a director's table is not asked for: it is had otherwise."""
    lines = [ENVIRONMENT, "look() {"]
    if host not in declaration.director:
        asked = [*_server(declaration, host)]
    else:
        lines += [f"table=; {_TABLE} && table=$(cat /proc/net/ip_vs)"]
        asked = [*_keepalived(), *(_kernel() if kernel else ()), *_kept_and_asked(declaration, host)]
    for section, body in asked:
        lines += [f"echo '#{section}'", body]
    return "\n".join([*lines, f"echo '{END}'", "}", _ask(), "seen=$(look)", "printf '%s\\n' \"$seen\"", ""])


def _kernel() -> Iterator[tuple[str, str]]:
    yield "ipvs", 'echo "$table"'
    counted = f"{_TABLE} && command -v ipvsadm >/dev/null && ipvsadm -Ln --exact"
    yield "totals", f"{counted} --stats"
    yield "rates", f"{counted} --rate"


def _keepalived() -> Iterator[tuple[str, str]]:
    yield "addresses", "ip -4 -o addr show"
    yield "keepalived", "systemctl show -p ActiveState --value keepalived.service"
    yield (
        "priority",
        "sed -nE '/^[[:space:]]*priority[[:space:]]+[0-9]/{s/^[^0-9]*([0-9]+).*/\\1/p;q}' /etc/keepalived/keepalived.conf",
    )


def _kept_and_asked(declaration: Declaration, host: str) -> Iterator[tuple[str, str]]:
    yield "cluster-lock", kept.LOCK
    yield "history", kept.LAST_CHANGE
    wanted: dict[Ask, list[str]] = {}
    for endpoint, _, address, port, ask in asks(declaration, host):
        pair = (
            f"{endpoint.protocol.upper()} {_hexadecimal(endpoint.address, endpoint.port)} {_hexadecimal(address, port)}"
        )
        wanted.setdefault(ask, []).append(pair)
    yield "answers", "\n".join([_PRESENT, "ask=", *_missing(wanted), _ASK])


def _missing(wanted: dict[Ask, list[str]]) -> Iterator[str]:
    """Asks where one of the pairs is not in the table."""
    for ask, pairs in wanted.items():
        yield f"for p in {' '.join(map(quote, pairs))}; do"
        yield f'case $present in *"$p,"*) ;; *) ask=$ask{_question(ask)}; break ;; esac; done'


def _server(declaration: Declaration, host: str) -> Iterator[tuple[str, str]]:
    ports = sorted({service.server_port or service.port for service in declaration.service.values()})
    own = own_asks(declaration, host)
    asked = sorted({*ports, *(ask.port for ask in own)})
    yield "listening", f"l=$(ss -Hltn '( {' or '.join(f'sport = :{port}' for port in asked)} )'); echo \"$l\""
    # Where nobody listens no program is started to be told so.
    questions = (
        f"case $l in *:{ask.port}' '*) ask=$ask{_question(ask, '127.0.0.1')} ;; "
        f"*) echo 127.0.0.1 {ask.port} {quote(ask.path)} Connection refused ;; esac"
        for ask in own
    )
    yield "answers", "\n".join(["ask=", *questions, _ASK])


def _question(ask: Ask, instead: str = "") -> str:
    return quote(f"{instead or ask.address} {ask.port} {ask.path or '-'}\n")


def _hexadecimal(address: IPv4Address, port: int) -> str:
    return f"{int(address):08X}:{port:04X}"
