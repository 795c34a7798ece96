# ruff: noqa: INP001, E501 (run as a file; lines of a Markdown table are long)
"""Writes docs/declaration.md from the models: `python docs/make_declaration.py`. A test compares the two.

Types and defaults come from the models; what a key means is said here, for every one of them.
"""

import sys
from collections.abc import Iterator
from enum import Enum
from ipaddress import IPv4Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cluster import declaration as models
from cluster.units import Seconds, duration

TARGET = Path(__file__).with_name("declaration.md")

HEAD = """\
# The declaration

One TOML file says what a cluster should be. Which file: `--cluster FILE`, else the environment's `LBCTL_CLUSTER`, else
`inventory/galera.toml`. `lbctl init` writes a new one, `lbctl validate` checks it.
[inventory/galera.toml](../inventory/galera.toml) is the how-to's cluster, with every key.

An unknown key is an error, so a typing mistake does not pass silently. All faults of keys are reported at once, then those of keys
together, each with its line. Durations are written `200ms`, `6s`, `10m`, `1h`, `1d`, or as a number of seconds. Addresses are IPv4. Where
the default is empty the key is not set. Why a default is what it is stands beside it, or on the page that the table names.

<!-- runnable -->
```console
$ lbctl validate inventory/galera.toml inventory/lab.toml
```

<!-- written by docs/make_declaration.py: change the models or that file, not this one -->
"""

TAIL = """
## What is checked beyond each single key

- dr and tun: every service has a `vip`, and the port on the servers is the same. These modes cannot change ports.
- nat: every service has a `vip`, a `nat_port`, or both. With two directors and a return path other than `snat` there is a
  `gateway`; it is none of the VIPs.
- VIPs and the gateway lie in `network` and are no host's address. No two services share an address and port.
- Directors lie in `network`. So do real servers, unless the mode is tun.
- No host is named twice, no address is given twice. A real server is not a director.
- Priorities differ. At least one server is in rotation: not drained, its weight above 0.
- VRRP 3: no password. VRRP 2: whole seconds, and a password of 1 to 8 characters. (VRRP 2 has room for eight; keepalived cuts
  what is longer. The how-to's own password has ten.)
- `persistence` is not combined with scheduler `fo`, which sends all to one server already.

Some things are allowed and yet worth a second thought: one director, one serving server, `check = "none"`, a writer chosen by
`check = "primary"`, automatic failback without delay, several services
that share servers in nat. `lbctl validate` says what each of them means.

## Three ways to choose the writer

| way | keys of the service | what happens |
|---|---|---|
| by rank (`lbctl init` proposes it) | `check = "writable"`, `scheduler = "fo"` | The heaviest live server takes all writes; where weights are equal, the first in the file. Every director chooses the same. When it returns, it takes the writes back. |
| persistent (the how-to's first way) | `persistence = { timeout = "1d", granularity = "0.0.0.0" }` | The first connection chooses, all later ones follow, from all clients. No failback. With two directors the choice is copied to the other. |
| elected (the how-to's second way) | `check = "primary"` | The node with `wsrep_local_index` 0. A node that joins takes index 0 before it is Synced: seconds without a writer (9 s were measured), more with a full state transfer. |
"""

TABLES: dict[str, tuple[type[BaseModel], str]] = {
    "": (models.Declaration, "At the top of the file."),
    "service.NAME": (models.Service, "A virtual service: what clients connect to. At least one."),
    "service.NAME.persistence": (models.Persistence, 'A client sticks to its server. Written inline: `persistence = { timeout = "1d" }`.'),
    "vrrp": (models.Vrrp, "What the directors must agree on. Why these defaults: [vrrp.md](vrrp.md)."),
    "vrrp.password": (models.Secret, "Where the secret is: one of the two. The secret itself never stands in the file."),
    "health": (models.Health, "How soon a dead server is out of rotation: by the defaults in under 2 s, and one lost packet throws nobody out ([vrrp.md](vrrp.md))."),
    "connections": (models.Connections, "How long directors remember a silent connection, and what clients of dead servers get: [connection-pools.md](connection-pools.md)."),
    "tun": (models.Tun, "What only mode tun needs."),
    "nat": (models.Nat, "What only mode nat needs."),
    "clustercheck": (models.Clustercheck, "The health service on the real servers."),
    "mysql": (models.Mysql, "The database servers themselves. Their configuration is never touched."),
    "metrics": (models.Metrics, "What Prometheus is told of directors, by Debian's node exporter: [metrics.md](metrics.md)."),
    "ssh": (models.Ssh, "How hosts are reached. A host's own `ssh = { … }` goes before it, key by key."),
    "director.NAME": (models.Director, "A host that forwards. One or more; the order of the file is kept."),
    "client.NAME": (models.ClientHost, "Where `lbctl verify --from NAME` connects from. None is needed."),
    "real_server.NAME": (models.RealServer, "A host that is forwarded to. One or more; the order of the file is kept."),
}  # fmt: skip

MEANING: dict[str, str] = {
    "name": "The cluster's name. It also names the VRRP instance.",
    "mode": "Forwarding method of all services ([modes.md](modes.md)).",
    "network": "The network that directors, VIPs and (but for tun) real servers are in.",
    "router": "Router through which real servers reach clients beyond `network`. For mode tun (such clients too are asked for smaller packets) and for `nat.direct`.",
    "transport": "`lab`: the hosts are machines of `lbctl lab`; which lab, `LBCTL_LAB` says.",
    "boot_files": (
        "Who reads our files for the next boot ([boot.md](boot.md)). `auto`: whoever is seen to look after the host's interface."
    ),
    "service": "The services, by name.",
    "vrrp": "See [vrrp].",
    "health": "See [health].",
    "connections": "See [connections].",
    "tun": "See [tun].",
    "nat": "See [nat].",
    "clustercheck": "See [clustercheck].",
    "mysql": "See [mysql].",
    "metrics": "See [metrics].",
    "ssh": "See [ssh].",
    "client": "Hosts of applications that `lbctl verify --from NAME` connects from. Nothing is installed there.",
    "client.NAME.ssh": "See [ssh]; `host` where NAME alone does not reach it.",
    "director": "The directors, by name.",
    "real_server": "The real servers, by name.",
    "service.NAME.vip": "Virtual address. Needed in dr and tun; in nat it is served beside `nat_port`.",
    "service.NAME.port": "Port at the VIP, and on the servers. MySQL's.",
    "service.NAME.server_port": "Port on the servers where it differs from `port`: nat only.",
    "service.NAME.nat_port": "nat: a second way in, at the gateway, or at the director's own address where there is no gateway.",
    "service.NAME.protocol": "What is forwarded.",
    "service.NAME.scheduler": "How servers take turns: ipvsadm(8). `rr`, the how-to's, one after the other; `fo`, all to the first that is alive.",
    "service.NAME.check": (
        "Whether a server may get connections. clustercheck: `synced` asks `/`, `writable` asks `/writable` (not read_only), "
        "`primary` asks `/master` (index 0). `tcp`: the port answers. `http`: `check_path` answers 200. `none`: always alive."
    ),
    "service.NAME.check_port": "Port of the check, where it is not the usual one: 9200 for clustercheck, else the servers' port.",
    "service.NAME.check_path": 'For `check = "http"`.',
    "service.NAME.persistence": "Clients stick to their server.",
    "service.NAME.persistence.timeout": "How long after its last connection a client is remembered. Whole seconds; the how-to's 86400.",
    "service.NAME.persistence.granularity": (
        "Network mask: clients whose addresses agree under it share a server. `0.0.0.0`: all of them, so there is one writer."
    ),
    "vrrp.virtual_router_id": "No other VRRP group in this network may have it; `lbctl init` makes one of the name. The connection copying uses the same number.",
    "vrrp.version": "3 has intervals below a second. 2 is the how-to's: whole seconds and a password.",
    "vrrp.announce_every": "How often the active director announces its addresses again (gratuitous ARP), for whom a takeover was lost on.",
    "vrrp.advertise_every": "A director's crash is noticed after three of these and a bit: 0.7 s. Less is noticed sooner, and on a busy machine takes late ones for a crash.",
    "vrrp.password": "Version 2 only.",
    "vrrp.preempt": "The preferred director takes over again when it is back: the how-to's automatic failback. A second move for each failure.",
    "vrrp.preempt_delay": "With `preempt`: how long it waits, so that connections have crossed to it: longer than `connections.copy_every`. Without the wait they are cut.",
    "vrrp.unicast": "Advertisements go to the other directors by unicast, for networks without multicast. Copies of connections are multicast all the same: there `synchronise_connections = false`, knowing that a failover cuts.",
    "vrrp.synchronise_connections": "Established connections are copied to the other director. Without it a failover cuts all of them.",
    "vrrp.password.file": "A file, relative to the declaration's folder.",
    "vrrp.password.env": "An environment variable.",
    "health.every": "Time between two checks of one server, by each director. clustercheck answers them from memory, so they cost MySQL nothing.",
    "health.timeout": "How long a check may take. More for machines that stand still now and then, as emulated ones do.",
    "health.retry": "How often a failed check is repeated before the server is out. 0: a single lost packet throws it out.",
    "health.retry_after": "Pause before that.",
    "health.alpha": "A server is out until its first check has passed. `false`: it is in from the start, and a dead one gets connections until its first check fails (1.3 s).",
    "connections.idle": "A director forgets an established TCP connection that is silent for so long; its client's next packet is answered with a reset. Whole seconds, as all of this table.",
    "connections.closing": "The same after one side has closed. The kernel's own default.",
    "connections.udp": "The same for UDP. The kernel's own default.",
    "connections.keepalive": "Servers ask a client that was silent for so long; the answer renews what directors know. With `keepalive_retry` shorter than `idle`. `0s`: the servers' own setting stays.",
    "connections.keepalive_retry": "Pause between two such questions when there is no answer. After nine the server closes the connection.",
    "connections.copy_every": "With two directors: how old the other one's copy of a connection may become.",
    "connections.reset_dead": "A client of a server that was taken out gets a reset at its next packet. `false`: it hangs.",
    "connections.unstick_dead": "A client that sticks to a server of weight 0 goes to another one. `false`: it keeps on going there.",
    "connections.refuse": "While no server is alive every client is refused at once. `false`: one a second is, the others wait for their time-out.",
    "tun.mtu": "Bytes of the largest packet that passes from directors to servers. Default: what each server's interface sends.",
    "tun.fragment": "Packets that are too large for the tunnel travel in two pieces. `false`: the client is told by ICMP to send smaller ones; where that is filtered, large requests hang.",
    "nat.direct": "Hosts (`\"10.0.0.200\"`) and networks (`\"10.9.0.0/24\"`) that connect to the servers' own addresses, also while no director is alive: they get their answers directly. They cannot use the load balancer in nat. Other real servers and directors need not be named.",
    "nat.direct_when_alone": "While the gateway does not answer, all connections to servers' own addresses get their answers directly.",
    "nat.gateway": "Floating address that answers leave through. Needed with two directors. Servers must not carry it.",
    "nat.return_path": (
        "How answers find back through the director. `rule`: a routing rule on each server. `fwmark`: the how-to's netfilter "
        "mark and table 1. `snat`: nothing on the servers; they see the director's address as client."
    ),
    "clustercheck.socket": "MySQL's unix socket, where Debian has it.",
    "clustercheck.serve_donor": "A donor of a state transfer goes on serving. Good with mariabackup; wrong with rsync, which blocks it.",
    "mysql.restart": (
        "A server that listens at a list of addresses takes a VIP that came after its start only when it is started again. `needed`: "
        "where its list names the VIP it is restarted, one server after another. `never`: it is named instead."
    ),
    "metrics.enabled": "Directors have the node exporter, with facts of ours. Switched off again, it is stopped and nothing of ours stays; the package does.",
    "metrics.port": "TCP port at each director's own address.",
    "metrics.allow": "Hosts (`\"10.0.0.200\"`) and networks that may ask. Default: the cluster's `network`.",
    "ssh.host": "Name or address to connect to, where it is not the host's `address`. For one host only.",
    "ssh.port": "Port of sshd.",
    "ssh.user": "Default: who runs the tool, or what ssh_config says.",
    "ssh.key": "Private key file. Default: ssh_config's, then the agent's keys, then `~/.ssh/id_*`.",
    "ssh.known_hosts": "File with the hosts' public keys, beside the user's and the system's.",
    "ssh.host_keys": "`strict`: a host whose key is not known is refused, so that nobody answers in its place. `accept-new` trusts an unknown host at first contact.",
    "ssh.sudo": "Log in as `user` and change things with sudo, which must not ask for a password.",
    "director.NAME.address": "Its own address.",
    "director.NAME.interface": "The network device in `network`.",
    "director.NAME.priority": "The highest is active first. No two alike, so with two directors at least one says it.",
    "director.NAME.boot_files": "Where it is not the cluster's.",
    "director.NAME.ssh": "See [ssh].",
    "real_server.NAME.address": "Its own address.",
    "real_server.NAME.interface": "The network device that answers leave through.",
    "real_server.NAME.drained": "`true`: no new connections; those that stand go on. `lbctl real-server drain` writes it.",
    "real_server.NAME.weight": "Share of connections, in schedulers that look at it; rank with `fo`. 0: no new connections.",
    "real_server.NAME.boot_files": "Where it is not the cluster's.",
    "real_server.NAME.ssh": "See [ssh].",
}  # fmt: skip


def page() -> str:
    parts = [HEAD, *(_table(path, model, intro) for path, (model, intro) in TABLES.items()), TAIL]
    if unsaid := set(MEANING) - {path for path, _ in _keys()}:
        raise LookupError(f"meanings of keys that do not exist: {', '.join(sorted(unsaid))}")
    return "".join(parts)


def _keys() -> Iterator[tuple[str, FieldInfo]]:
    for path, (model, _) in TABLES.items():
        for name, field in model.model_fields.items():
            yield f"{path}.{name}".lstrip("."), field


def _table(path: str, model: type[BaseModel], intro: str) -> str:
    title = f"## [{path}]" if path else "## Top level"
    rows = "".join(
        f"| `{name}` | {_type(_whole(field))} | {_default(field)} | {MEANING[f'{path}.{name}'.lstrip('.')]} |\n"
        for name, field in model.model_fields.items()
    )
    return f"\n{title}\n\n{intro}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}"


def _whole(field: FieldInfo) -> Any:
    """The annotation with what pydantic took out of it."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _type(annotation: Any) -> str:
    if known := next((words for kind, words in _WORDS if annotation == kind), None):
        return known
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return " or ".join(_type(one) for one in inside if one is not NoneType)
    if origin is Annotated:
        return _type(inside[0]) + _bounds(inside[1:])
    if origin is tuple:
        return f"list of {_type(inside[0])}s"
    if origin is Literal:
        return " · ".join(f"`{value}`" for value in inside)
    return _class(annotation) if isinstance(annotation, type) and not origin else "tables"


def _class(kind: type) -> str:
    if issubclass(kind, Enum):
        return " · ".join(f"`{value.value}`" for value in kind)
    return "table" if issubclass(kind, BaseModel) else _PLAIN[kind]


_WORDS = (
    (Annotated[(get_args(Seconds))], "duration"),
    (models.Address, "address"),
    (models.Network, "network"),
    (models.Port, "number 1–65535"),
    (models.Weight, "number 0–65535"),
    (models.Scheduler, "scheduler"),
    (models.Name, "host name"),
    (models.Interface, "interface name"),
)
_PLAIN: dict[Any, str] = {str: "text", int: "number", bool: "true · false", IPv4Network: "network"}


def _bounds(metadata: tuple[Any, ...]) -> str:
    lowest = next((one.ge for one in metadata if hasattr(one, "ge")), None)
    highest = next((one.le for one in metadata if hasattr(one, "le")), None)
    return f" {lowest}–{highest}" if lowest is not None and highest is not None else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*needed*"
    value = field.default
    if value is None or value == {} or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if _type(_whole(field)) == "duration":
        return f'`"{duration(value)}"`'
    if isinstance(value, tuple):
        return f"`{[str(one) for one in value]}`"
    return f"`{value}`" if isinstance(value, int) else f'`"{value}"`'


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
    print(f"{TARGET} is written", file=sys.stderr)
