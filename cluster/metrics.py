"""What a director tells Prometheus: each metric once, and the part that tells it.

Debian's node exporter answers. What it does not know itself stands in a text file that a program of ours writes
(templates/metrics.j2), in the exposition format (https://prometheus.io/docs/instrumenting/exposition_formats/). The program
judges by what is on the host alone: the kernel's table, addresses, keepalived's file, and what health checks are answered.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint, VirtualServer, configuration, floating_addresses
from cluster.kit import LIBRARY, Kit
from cluster.parts import File, Part, Thing, Unit
from cluster.pulse import PATIENCE, asks
from cluster.vocabulary import Mode

EVERY = 15
"""Seconds between two looks; Prometheus asks as often."""

FOLDER = "/var/lib/prometheus/node-exporter"
"""Where Debian's node exporter looks for text files."""
TEXT = f"{FOLDER}/lbctl.prom"

EXPORTER = "prometheus-node-exporter"
"""Debian's package, and its unit."""
DROP_IN = f"/etc/systemd/system/{EXPORTER}.service.d/lbctl.conf"


@dataclass(frozen=True)
class Metric:
    """All are gauges. Every sample also has the labels `cluster` and `director`."""

    name: str
    labels: tuple[str, ...]
    meaning: str
    """With its unit. One line; it also stands in the text as its HELP."""


_SERVER = ("service", "endpoint", "server")

METRICS = (
    Metric("lbctl_written_timestamp_seconds", (), "When this was written, in seconds since 1970."),
    Metric("lbctl_info", ("mode",), "Always 1; the declared forwarding method."),
    Metric("lbctl_keepalived_running", (), "1: systemd says that keepalived is active."),
    Metric("lbctl_director_active", (), "1: it holds an address that floats; where none does: keepalived runs."),
    Metric("lbctl_floating_addresses_declared", (), "Number of addresses that float between directors."),
    Metric("lbctl_floating_addresses_held", (), "Number of those that are on this director's interface."),
    Metric("lbctl_vrrp_priority", (), "VRRP priority as declared, 1 to 254."),
    Metric("lbctl_sync_daemon", ("role",), "1: the kernel's copying of connections runs as master or backup."),
    Metric("lbctl_service_present", ("service", "endpoint"), "1: the kernel's table has this endpoint."),
    Metric("lbctl_service_method", ("service", "endpoint", "method"), "Number of servers the kernel reaches so."),
    Metric("lbctl_server_in_rotation", _SERVER, "1: in the kernel's table with a weight above 0."),
    Metric("lbctl_server_weight", _SERVER, "Weight in the kernel's table; 0 when it is not there."),
    Metric("lbctl_server_weight_declared", _SERVER, "Weight as declared; 0 when it is drained."),
    Metric("lbctl_server_out", (*_SERVER, "reason"), "Always 1, and only while a server is not in rotation: why."),
    Metric("lbctl_drift", ("what",), "Number of places that differ from what was deployed."),
    Metric(
        "lbctl_last_change_timestamp_seconds", (), "When the last change of the cluster was noted here, since 1970."
    ),
    Metric("lbctl_last_change_done", (), "1: that change ended well. 0: it failed, was cut short, or is under way."),
    Metric("lbctl_locked", (), "1: an operator's lbctl holds the cluster's lock, or left it behind."),
)

REASONS = {
    "weight_0": "in the kernel's table with weight 0",
    "passes": "its check passes when this director asks now; keepalived has not taken it in yet, or does not run",
    "donor": "gives another node its state",
    "not_synced": "not Synced",
    "not_primary_component": "cut off from most of the cluster",
    "not_index_0": 'not chosen as writer (`check = "primary"`)',
    "read_only": "takes no writes",
    "not_ready": "Galera refuses queries there",
    "no_database": "clustercheck does not reach MySQL",
    "database_hangs": "MySQL does not answer clustercheck",
    "refused": "nobody listens at the check's port",
    "no_answer": "no answer to the check within a second",
    "unreachable": "the network says that there is no such host",
    "other": "another answer; `lbctl status` shows it",
}
"""What `reason` of lbctl_server_out can be."""

DRIFTS = {
    "edited": "keepalived.conf is not as lbctl wrote it",
    "not_loaded": "keepalived runs with another file than is on disk",
    "service_missing": "an endpoint that is not in the kernel's table",
    "service_unknown": "an endpoint in the table at one of our addresses that is not declared",
    "scheduler": "an endpoint with another scheduler or persistence",
    "server_unknown": "a server in the table that is not declared",
    "method": "a server that is reached by another method",
    "weight": "a server with another weight",
}
"""What `what` of lbctl_drift is: one sample each, always."""

_METHODS = {Mode.DR: "Route", Mode.TUN: "Tunnel", Mode.NAT: "Masq"}
"""As /proc/net/ip_vs has them."""


class MetricsParts(Kit):
    """The part of directors that tells Prometheus."""

    def parts(self, director: str) -> Iterator[Part]:
        """Nothing unless it is switched on."""
        if self.declaration.metrics.enabled:
            yield self._metrics(director)

    def _metrics(self, director: str) -> Part:
        program = File(f"{LIBRARY}/metrics", self.render("metrics.j2", self._values(director)), mode=0o755)
        values = {"program": program.path, "text": TEXT, "folder": FOLDER}
        unit_file, unit = self.service("lbctl-metrics", "metrics.service.j2", values, program)
        exporter, revision = self.revised("node-exporter.drop-in.j2", self._exporter(director))
        return Part(
            Thing.METRICS,
            packages=(EXPORTER,),
            # The drop-in first of all: the package starts its exporter at once, which would listen at all addresses.
            files=(File(DROP_IN, exporter, early=True), program, unit_file),
            units=(Unit(f"{EXPORTER}.service", revision, ours=False, lent_by=DROP_IN), unit),
        )

    def _exporter(self, director: str) -> dict[str, object]:
        d = self.declaration
        me = d.director[director].address
        return {"address": me, "port": d.metrics.port, "allow": ("localhost", me, *(d.metrics.allow or (d.network,)))}

    def _values(self, director: str) -> dict[str, object]:
        d = self.declaration
        servers = configuration(d, director).virtual_servers
        floating = floating_addresses(d)
        return {
            "cluster": d.name,
            "director": director,
            "mode": d.mode,
            "methods": {word: mode for mode, word in _METHODS.items()},
            "interface": d.director[director].interface,
            "priority": d.director[director].priority,
            "synchronised": d.vrrp.synchronise_connections and len(d.director) > 1 and bool(floating),
            "floating": floating,
            "ours": [f"{int(address):08X}" for address in floating],
            "former": _former_places(d, director, servers),
            "services": [_service(server) for server in servers],
            "servers": list(_servers(d, director, servers)),
            "metrics": METRICS,
            "drifts": tuple(DRIFTS),
            "patience": PATIENCE,
            "every": EVERY,
            "text": TEXT,
        }


def _service(server: VirtualServer) -> dict[str, object]:
    mask = server.persistence_granularity if server.persistence_timeout else None
    return {
        "key": key(server.endpoint),
        "labels": labels(server.endpoint),
        "method": _METHODS[server.mode],
        "kind": f"{server.scheduler} {int(mask):08X}" if mask is not None else server.scheduler,
    }


def _servers(
    declaration: Declaration, director: str, servers: tuple[VirtualServer, ...]
) -> Iterator[dict[str, object]]:
    questions = {(e, name): ask for e, name, _, _, ask in asks(declaration, director)}
    for server in servers:
        for d in server.destinations:
            ask = questions.get((server.endpoint, d.name))
            yield {
                "endpoint": key(server.endpoint),
                "key": _hexadecimal(d.address, d.port),
                "labels": f'{labels(server.endpoint)},server="{d.name}"',
                "method": _METHODS[server.mode],
                "weight": d.weight,
                "ask": f"{ask.address} {ask.port} {ask.path or '-'}" if ask else "",
            }


def _former_places(declaration: Declaration, director: str, servers: tuple[VirtualServer, ...]) -> tuple[str, ...]:
    """Where a director may go on serving those who are still connected (`cluster.keepalived.fading`): no drift."""
    now = {key(server.endpoint) for server in servers}
    own = {declaration.gateway_for(director), declaration.director[director].address}
    places = (
        key(Endpoint(name, address, service.nat_port, service.protocol))
        for name, service in declaration.service.items()
        if service.nat_port
        for address in sorted(own)
    )
    return tuple(place for place in places if place not in now)


def key(endpoint: Endpoint) -> str:
    """How /proc/net/ip_vs writes an endpoint, one blank between its words."""
    return f"{endpoint.protocol.upper()} {_hexadecimal(endpoint.address, endpoint.port)}"


def labels(endpoint: Endpoint) -> str:
    return f'service="{endpoint.service}",endpoint="{endpoint}"'


def _hexadecimal(address: IPv4Address, port: int) -> str:
    return f"{int(address):08X}:{port:04X}"
