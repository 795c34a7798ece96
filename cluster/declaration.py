"""What the cluster should be: the models that a declaration (TOML) is read into.

Only shapes live here; rules that look at several keys at once are in `cluster.rules`, reading text is in `cluster.reading`.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from cluster.units import Seconds, host_name, interface_name, sized_network
from cluster.vocabulary import MYSQL_PORT, SCHEDULERS, BootFiles, Check, Mode, ReturnPath


def _known_scheduler(text: str) -> str:
    if text not in SCHEDULERS:
        raise ValueError(f'"{text}" is no scheduler of LVS; known are {", ".join(SCHEDULERS)}')
    return text


def _only_ipv4(value: object) -> object:
    if not isinstance(value, str):
        # A number would be taken for an address: 10 for 0.0.0.10.
        raise ValueError('an address is a text in quotes, such as "10.0.0.1"')  # noqa: TRY004 (pydantic takes a ValueError as the fault of the value)
    if ":" in value:
        raise ValueError(f'"{value}" is an IPv6 address, and this version serves IPv4 only')
    return value


Name = Annotated[str, AfterValidator(host_name)]
Interface = Annotated[str, AfterValidator(interface_name)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Scheduler = Annotated[str, AfterValidator(_known_scheduler)]
Address = Annotated[IPv4Address, BeforeValidator(_only_ipv4)]
Network = Annotated[IPv4Network, BeforeValidator(_only_ipv4)]
SizedNetwork = Annotated[IPv4Network, BeforeValidator(sized_network), BeforeValidator(_only_ipv4)]
Switch = Annotated[bool, Field(strict=True)]
Weight = Annotated[int, Field(ge=0, le=65535, strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Persistence(_Strict):
    """A client sticks to its server: keepalived.conf(5), persistence_timeout and persistence_granularity."""

    timeout: Seconds = 86400
    granularity: Address = IPv4Address("255.255.255.255")
    """Clients whose addresses agree under this mask share a server; 0.0.0.0: all clients, so there is one writer."""


class Service(_Strict):
    """A virtual service: what clients connect to."""

    vip: Address | None = None
    """Virtual address that floats between the directors. Needed in dr and tun."""
    port: Port = MYSQL_PORT
    server_port: Port | None = None
    """Port on the real servers, when it differs from `port`: nat only."""
    nat_port: Port | None = None
    """nat: additional port on the gateway address, or on the director's own address where there is no gateway."""
    protocol: Literal["tcp", "udp"] = "tcp"
    scheduler: Scheduler = "rr"
    check: Check = Check.SYNCED
    check_port: Port | None = None
    check_path: str = Field(default="/", pattern=r"^/[A-Za-z0-9/._~?=&%-]*$")
    persistence: Persistence | None = None

    @property
    def port_at_servers(self) -> int:
        return self.server_port or self.port


class Secret(_Strict):
    """Where a secret is; the secret itself never stands in a declaration."""

    file: str | None = None
    env: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _not_in_clear(cls, value: object) -> object:
        # The text must not be repeated in the error: errors are logged.
        if not isinstance(value, Mapping):
            message = 'a secret does not belong in this file; write { file = "secrets/vrrp" } or { env = "NAME" }'
            raise ValueError(message)  # noqa: TRY004 (pydantic takes a ValueError as the fault of the value)
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError('name one place: { file = "secrets/vrrp" } or { env = "NAME" }')
        return self


class Vrrp(_Strict):
    """What the directors must agree on among themselves (RFC 5798; keepalived.conf(5), VRRP instance)."""

    virtual_router_id: int = Field(default=51, ge=1, le=255, strict=True)
    version: Literal[2, 3] = 3
    advertise_every: Seconds = 0.2
    password: Secret | None = None
    preempt: Switch = False
    """True is the seed's automatic failback; it costs a second move for each failure."""
    preempt_delay: Seconds = 90
    """With preempt: how long a director that came back waits, so that connections have crossed to it: longer than
    `connections.copy_every`, after which the other one copies again those that it had copied before."""
    announce_every: Seconds = 30
    """How often the active director says again, by gratuitous ARP, that the addresses are its own."""
    unicast: Switch = False
    synchronise_connections: Switch = True
    """The kernel's sync daemon between directors, without which a failover cuts all established connections."""


class Health(_Strict):
    """How soon a dead server is out of rotation: keepalived.conf(5), delay_loop, connect_timeout, retry."""

    every: Seconds = 0.5
    timeout: Seconds = 0.5
    retry: int = Field(default=1, ge=0, le=10, strict=True)
    retry_after: Seconds = 0.2
    alpha: Switch = True
    """A server is out until its first check has passed (keepalived.conf(5), alpha)."""


class Nat(_Strict):
    """What only NAT needs."""

    gateway: Address | None = None
    """Floating address that replies go through. Needed with two directors: it must not be a VIP that servers carry."""
    return_path: ReturnPath = ReturnPath.RULE

    direct: tuple[Network, ...] = ()
    """Hosts and networks that connect to the servers' own addresses: these get their answers directly, past the director."""
    direct_when_alone: Switch = True
    """While the gateway does not answer, all connections to the servers' own addresses get their answers directly."""


class Tun(_Strict):
    """What only tunnelling needs: a packet gets an outer one of 20 bytes on its way to the server."""

    mtu: int | None = Field(default=None, ge=576, le=65535, strict=True)
    """Bytes of the largest packet that passes from directors to servers. None: what each server's interface sends."""
    fragment: Switch = True
    """Packets that are too large for the tunnel travel in two pieces. False: the director sends their client an ICMP message,
    and where that is filtered, large requests hang for good."""


class Connections(_Strict):
    """How long directors remember a silent connection, and what becomes of clients whose server is gone.

    IPVS forgets by its own clock (ipvsadm(8), --set; here keepalived.conf(5), lvs_timeouts), MySQL by wait_timeout, a pool by
    its own: docs/connection-pools.md brings them together.
    """

    idle: Seconds = 900
    """TCP, established."""
    closing: Seconds = 120
    """TCP, after a FIN."""
    udp: Seconds = 300
    keepalive: Seconds = 300
    """Servers ask a client that was silent for so long (tcp(7), tcp_keepalive_time); its answer renews what directors know.
    0: the servers' own setting stays."""
    keepalive_retry: Seconds = 30
    """Pause between two such questions without an answer (tcp_keepalive_intvl)."""
    copy_every: Seconds = 60
    """How old the other director's copy of a connection may become while packets pass (ipvs-sysctl.rst,
    sync_refresh_period)."""
    reset_dead: Switch = True
    """A client of a server that was taken out gets a reset instead of a hang (expire_nodest_conn)."""
    unstick_dead: Switch = True
    """A client that sticks to a server of weight 0 goes to another one (expire_quiescent_template)."""
    refuse: Switch = True
    """While no server is alive every client is refused at once; else most of them wait for their time-out."""


class Ssh(_Strict):
    """How a host is reached. A host's own table goes before the cluster's `[ssh]`."""

    host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$")
    port: Port = 22
    user: str | None = Field(default=None, pattern=r"^[a-z_][a-z0-9_-]*$")
    key: str | None = None
    known_hosts: str | None = None
    host_keys: Literal["strict", "accept-new"] = "strict"
    sudo: Switch = False


class Director(_Strict):
    """Host that runs keepalived and IPVS."""

    address: Address
    interface: Interface = "eth0"
    priority: int = Field(default=100, ge=1, le=254, strict=True)
    """VRRP priority (RFC 5798, 5.2.4): 255 is reserved for the owner of an address, 0 for leaving."""
    boot_files: BootFiles | None = None
    """None: the cluster's."""
    ssh: Ssh | None = None


class RealServer(_Strict):
    """Host that connections are forwarded to."""

    address: Address
    interface: Interface = "eth0"
    weight: Weight = 10
    drained: Switch = False
    """True: it gets no new connections, and keeps those that it has (`lbctl real-server drain`)."""
    boot_files: BootFiles | None = None
    """None: the cluster's."""
    ssh: Ssh | None = None

    @property
    def share(self) -> int:
        """The weight by which it gets new connections."""
        return 0 if self.drained else self.weight


class ClientHost(_Strict):
    """Host of an application, from which `lbctl verify --from NAME` connects. Nothing is installed there."""

    ssh: Ssh


class Clustercheck(_Strict):
    """The health service on the real servers."""

    socket: str = Field(default="/run/mysqld/mysqld.sock", pattern=r"^/[A-Za-z0-9/._-]+$")
    serve_donor: Switch = False
    """A donor of a state transfer counts as able to serve (good with mariabackup, wrong with rsync)."""


class Mysql(_Strict):
    """The database servers themselves. Their configuration is never touched."""

    restart: Literal["needed", "never"] = "needed"
    """Whether one that listens at a list of addresses may be restarted when the list names a VIP that came after its start."""


class Metrics(_Strict):
    """What Prometheus is told of directors, by Debian's node exporter."""

    enabled: Switch = False
    port: Port = 9100
    allow: tuple[Network, ...] = ()
    """Hosts and networks that may ask. None: the cluster's network."""


class Declaration(_Strict):
    """A whole cluster. Directors and servers keep the order of the file."""

    name: Name
    mode: Mode
    network: SizedNetwork
    router: Address | None = None
    """Through it real servers reach clients beyond the network."""
    transport: Literal["ssh", "lab"] = "ssh"
    boot_files: BootFiles = BootFiles.AUTO
    """Who reads our files for the next boot; a host's own goes before it."""
    service: Mapping[Name, Service] = Field(min_length=1)
    vrrp: Vrrp = Vrrp()
    health: Health = Health()
    connections: Connections = Connections()
    tun: Tun = Tun()
    nat: Nat = Nat()
    clustercheck: Clustercheck = Clustercheck()
    mysql: Mysql = Mysql()
    metrics: Metrics = Metrics()
    ssh: Ssh = Ssh()
    director: Mapping[Name, Director] = Field(min_length=1)
    real_server: Mapping[Name, RealServer] = Field(min_length=1)
    client: Mapping[Name, ClientHost] = {}
    _source: str = PrivateAttr(default="")

    @property
    def source(self) -> str:
        """The file it was read from; secrets' paths are relative to its folder. Empty: none."""
        return self._source

    def hosts(self) -> Iterator[str]:
        """All names, real servers first: the order in which a deploy goes."""
        yield from self.real_server
        yield from self.director

    def addresses(self) -> dict[str, IPv4Address]:
        """Each host's own address."""
        servers = {name: server.address for name, server in self.real_server.items()}
        return servers | {name: director.address for name, director in self.director.items()}

    def host(self, name: str) -> Director | RealServer:
        """The director or real server of that name. Raises KeyError."""
        return self.director[name] if name in self.director else self.real_server[name]

    def gone_from(self, later: "Declaration | None") -> set[str]:
        """Names of hosts that are not in `later`, or of all where there is none. One whose address another host of its kind has
        there was given another name.
        """
        if later is None:
            return set(self.hosts())
        directors = {host.address for host in later.director.values()}
        servers = {host.address for host in later.real_server.values()}
        gone = {name for name, host in self.director.items() if host.address not in directors}
        gone |= {name for name, host in self.real_server.items() if host.address not in servers}
        return gone - set(later.hosts())

    def anyhow_booted(self) -> Self:
        """The same, without a choice of who reads files for the next boot."""
        chosen = {"boot_files": None}
        return self.model_copy(
            update={
                "boot_files": BootFiles.AUTO,
                "director": {name: host.model_copy(update=chosen) for name, host in self.director.items()},
                "real_server": {name: host.model_copy(update=chosen) for name, host in self.real_server.items()},
            }
        )

    @property
    def vips(self) -> tuple[IPv4Address, ...]:
        """Each declared VIP once, in the order of the file."""
        return tuple(dict.fromkeys(service.vip for service in self.service.values() if service.vip))

    @property
    def clustercheck_wanted(self) -> bool:
        """Whether any service's check asks clustercheck."""
        return any(service.check.clustercheck_path for service in self.service.values())

    def gateway_for(self, director: str) -> IPv4Address:
        """NAT: the address of this director that replies go through, and that nat ports are served on."""
        return self.nat.gateway or self.director[director].address
