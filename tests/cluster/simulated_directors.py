"""keepalived for pure tests: what a start, a reload and a stop make of the IPVS table, and who holds the virtual addresses.

As measured with keepalived 2.2.7: a reload compares its file with the file before, never with the kernel; one that changes the
method puts dead servers back, for good; peers on different terms do not hear each other.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address

from cluster.footprint import Blueprint
from cluster.keepalived import Configuration, Destination, Endpoint, Left, VirtualServer, configuration
from cluster.observed import HostState, SeenDestination, SeenService, SeenUnit
from cluster.parts import Address

CONF = "/etc/keepalived/keepalived.conf"
UNIT = "keepalived.service"

Key = tuple[IPv4Address, int, str]
Alive = Callable[[str, Endpoint], bool]
"""Whether a server passes its check for an endpoint's service."""


@dataclass(frozen=True)
class Text:
    """What a keepalived.conf says."""

    configuration: Configuration
    contract: str


def key_of(endpoint: Endpoint) -> Key:
    return endpoint.address, endpoint.port, endpoint.protocol


@dataclass
class Directors:
    """All keepalived daemons. What their files say is looked up by the file's hash."""

    states: dict[str, HostState]
    alive: Alive
    texts: dict[str, Text] = field(default_factory=dict)
    runs: dict[str, Text] = field(default_factory=dict)
    """Director → what its keepalived runs."""
    masters: set[str] = field(default_factory=set)
    stuck: set[tuple[str, Key, str]] = field(default_factory=set)
    """Director, endpoint and dead server that keepalived believes to be out."""

    connections: Counter[tuple[Key, IPv4Address]] = field(default_factory=Counter)
    """How many are established, by endpoint and server."""

    def learn(
        self, blueprint: Blueprint, director: str, without: Left = frozenset(), former: tuple[Endpoint, ...] = ()
    ) -> None:
        text = Text(
            configuration(blueprint.declaration, director, blueprint.password, without, former), blueprint.contract
        )
        self.texts[blueprint.keepalived_conf(director, without, former).sha256] = text

    def start_or_reload(self, name: str) -> None:
        state = self.states[name]
        text = self.texts[state.files[CONF].sha256]
        before = self.runs.get(name)
        unit = SeenUnit(True, True, False, state.files[CONF].sha256, contract=text.contract)  # noqa: FBT003
        table = self._table(name, before.configuration if before else None, text.configuration)
        self.states[name] = replace(state, units={**state.units, UNIT: unit}, services=table)
        self.runs[name] = text
        self.elect()
        self.check()

    def stop(self, name: str) -> None:
        """Stopped and disabled: a peer takes over, then what it served is gone."""
        text = self.runs.pop(name, None)
        state = self.states[name]
        if text:
            own = {key_of(server.endpoint) for server in text.configuration.virtual_servers}
            services = tuple(service for service in state.services if key_of(service.endpoint) not in own)
            unit = replace(state.units[UNIT], active=False, enabled=False)
            self.states[name] = replace(state, units={**state.units, UNIT: unit}, services=services)
        self.elect()

    def elect(self) -> None:
        """Who holds the addresses: one of each group of peers that hear each other. None gives them up for a peer that starts."""
        groups: dict[str, list[str]] = {}
        for name, text in self.runs.items():
            if text.configuration.instance:
                groups.setdefault(text.contract, []).append(name)
        self.masters = {self._master(members) for members in groups.values()}
        for name in self.states:
            self._hold(name)

    def _master(self, members: Sequence[str]) -> str:
        """RFC 5798, 6.4.2: a backup takes over from a master of a lower priority if it is itself told to preempt."""
        instances = {name: self.runs[name].configuration.instance for name in members}

        def priority(name: str) -> int:
            instance = instances[name]
            assert instance
            return instance.priority

        now = max((name for name in members if name in self.masters), key=priority, default=None)
        if now is None:
            return max(members, key=priority)
        challengers = [
            name for name, each in instances.items() if each and each.preempt and priority(name) > priority(now)
        ]
        return max((now, *challengers), key=priority)

    def _hold(self, name: str) -> None:
        floating = {address for text in self.texts.values() for address in _floating(text)}
        kept = {a for a in self.states[name].addresses if a.device != "eth0" or a.address not in floating}
        held = _floating(self.runs[name]) if name in self.masters else ()
        self.states[name] = replace(
            self.states[name], addresses=frozenset(kept | {Address("eth0", address) for address in held})
        )

    def check(self) -> None:
        """Health checks: dead servers go out of the tables, live ones in."""
        for name, text in self.runs.items():
            servers = {key_of(server.endpoint): server for server in text.configuration.virtual_servers}
            self.states[name] = replace(
                self.states[name],
                services=tuple(
                    self._checked(name, service, servers.get(key_of(service.endpoint)))
                    for service in self.states[name].services
                ),
            )

    def _checked(self, name: str, there: SeenService, server: VirtualServer | None) -> SeenService:
        if server is None:
            return there
        found = {(d.address, d.port): d for d in there.destinations}
        for wanted in server.destinations:
            place = (wanted.address, wanted.port)
            stuck = (name, key_of(server.endpoint), wanted.name)
            if self.alive(wanted.name, server.endpoint):
                self.stuck.discard(stuck)
                found.setdefault(place, _destination(server, wanted))
            elif stuck not in self.stuck:
                found.pop(place, None)
        key = key_of(there.endpoint)
        return replace(
            there, destinations=tuple(replace(d, active=self.connections[key, d.address]) for d in found.values())
        )

    def _table(self, name: str, before: Configuration | None, now: Configuration) -> tuple[SeenService, ...]:
        old = {key_of(server.endpoint): server for server in before.virtual_servers} if before else {}
        new = {key_of(server.endpoint): server for server in now.virtual_servers}
        table = {
            key_of(s.endpoint): s for s in self.states[name].services if key_of(s.endpoint) not in old.keys() - new
        }
        for key, server in new.items():
            if key in old and key in table:
                table[key] = self._edited(name, table[key], old[key], server)
            elif key not in table:  # "Service already exists" else, and stays as it is
                table[key] = SeenService(
                    server.endpoint, server.scheduler, server.persistence_timeout, server.persistence_granularity, ()
                )
        return tuple(table.values())

    def _edited(self, name: str, there: SeenService, old: VirtualServer, new: VirtualServer) -> SeenService:
        wanted = {(d.address, d.port): d for d in new.destinations}
        declared = {(d.address, d.port) for d in old.destinations}
        found = {(d.address, d.port): d for d in there.destinations}
        kept = {place: d for place, d in found.items() if place in wanted or place not in declared}
        for place, destination in wanted.items():
            if place in kept or (new.mode is not old.mode and place in declared):
                if place not in kept:
                    self.stuck.add((name, key_of(new.endpoint), destination.name))
                mode = new.mode if new.mode is not old.mode or place not in kept else kept[place].mode
                kept[place] = SeenDestination(destination.address, destination.port, mode, destination.weight, 0, 0)
        return SeenService(
            new.endpoint, new.scheduler, new.persistence_timeout, new.persistence_granularity, tuple(kept.values())
        )


def _destination(server: VirtualServer, wanted: Destination) -> SeenDestination:
    return SeenDestination(wanted.address, wanted.port, server.mode, wanted.weight, 0, 0)


def _floating(text: Text) -> tuple[IPv4Address, ...]:
    instance = text.configuration.instance
    return (*instance.advertised, *instance.excluded) if instance else ()
