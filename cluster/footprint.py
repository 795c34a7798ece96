"""The footprint: all that one host must carry for a set of modes, stated once: plan, operations and doctor use it.

A host can carry several modes at once, which is what makes a live change of mode possible: nothing here interferes with
another mode (the return path takes replies from the server's own address only, never those from a VIP).
"""

import hashlib
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address
from typing import Any, Self

from cluster import boot
from cluster.declaration import Connections, Declaration, Director, Metrics, RealServer, Tun
from cluster.directors import DirectorParts
from cluster.keepalived import (
    Configuration,
    Endpoint,
    Left,
    configuration,
    contract,
    fading,
    floating_addresses,
    hand_over_seconds,
)
from cluster.kit import LIBRARY, Kit, Render, with_former_names
from cluster.metrics import MetricsParts
from cluster.observed import HostState
from cluster.parts import KEEPALIVED_CONF, File, Footprint, Part, Table, Thing, Unit
from cluster.real_servers import ETHERNET_MTU, RealServerParts, neighbours
from cluster.vocabulary import BootFiles, Mode, ReturnPath, Role

ALL_MODES = frozenset(Mode)


@dataclass(frozen=True)
class Blueprint:
    """From a declaration to footprints. `password` is VRRP's, already read; None where there is none.

    `former` and `leaving` are for a change that takes hosts out of the cluster: what was declared before it, and who of that is
    to carry nothing any more. `departed`: directors among those who do so already, which was seen; so no server answers their
    checks any more. `drained`: modes that no connection uses any more, which was seen; so nothing of them is kept.
    """

    declaration: Declaration
    render: Render
    password: str | None = field(default=None, repr=False)
    former: Declaration | None = None
    leaving: frozenset[str] = frozenset()
    departed: frozenset[str] = frozenset()
    drained: frozenset[Mode] = frozenset()
    _made: dict[tuple[str, frozenset[Mode], int, tuple[Endpoint, ...]], Footprint] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _confs: dict[tuple[str, Left, tuple[Endpoint, ...]], File] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __copy__(self) -> Self:
        """Itself, for it does not change: pyinfra copies data whenever one asks for them."""
        return self

    def to_json(self) -> str:
        """How pyinfra shows it in `debug-inventory`: the secret stays out."""
        return f"declaration {self.declaration.name} ({self.declaration.source})"

    @property
    def contract(self) -> str:
        """The hash of what directors must agree on."""
        return contract(self.declaration, self.password)

    def keepalived_conf(self, director: str, without: Left = frozenset(), former: tuple[Endpoint, ...] = ()) -> File:
        """keepalived.conf of one director, without the given servers in the given services, and with `former` places of services
        that it goes on serving.
        """
        key = director, frozenset(without), former
        if key not in self._confs:
            self._confs[key] = self._conf(configuration(self.declaration, director, self.password, without, former))
        return self._confs[key]

    def former_places(self, director: str, seen: HostState | None) -> tuple[Endpoint, ...]:
        """What a director that stays serves at former places of services (`cluster.keepalived.fading`)."""
        served = (service.endpoint for service in seen.services) if seen else ()
        return () if director in self.leaving else fading(self.declaration, director, served)

    def _conf(self, model: Configuration) -> File:
        values = {
            "configuration": model,
            "whose": f"{WHOSE}{self.declaration.name}",
            "contract": self.contract,
        }
        return File(
            KEEPALIVED_CONF,
            guarded_text(self.render("keepalived.conf.j2", values)),
            mode=0o600 if self.password else 0o644,
            secret=self.password is not None,
            guarded=True,
        )

    def group(self, role: Role) -> tuple[str, ...]:
        """All hosts of one kind, in the order of the declaration; those that leave come last."""
        d, before = self.declaration, self.former
        now = d.director if role is Role.DIRECTOR else d.real_server
        then = () if before is None else before.director if role is Role.DIRECTOR else before.real_server
        return (*now, *(name for name in then if name in self.leaving and name not in now))

    def host(self, name: str) -> Director | RealServer:
        """What is declared of a host, or was before it leaves. Raises KeyError."""
        if self.former is not None and name in self.leaving:
            return self.former.host(name)
        return self.declaration.host(name)

    def footprint(self, host: str, modes: AbstractSet[Mode], seen: HostState | None = None) -> Footprint:
        """All that `host` must carry so that every one of `modes` works there. What depends on its devices is as `seen`.

        Files for the next boot that depend on the host are marked; `cluster.boot.on_host` picks those that belong there.
        """
        if host in self.leaving:
            return ()
        former = self.former_places(host, seen) if self.role(host) is Role.DIRECTOR else ()
        key = (host, frozenset(modes), self._mtu(host, seen), former)
        if key not in self._made:
            parts: list[Part]
            if self.role(host) is Role.DIRECTOR:
                parts = [
                    *DirectorParts(self.declaration, self.render).parts(host, modes),
                    self._keepalived(host, former),
                    *MetricsParts(self.declaration, self.render).parts(host),
                ]
            else:
                server = RealServerParts(self.declaration, self.render, key[2], self._neighbours, self._still_ask)
                parts = list(server.parts(host, modes))
            parts.append(boot.networkd(Kit(self.declaration, self.render)))
            ordered = tuple(sorted(parts, key=lambda part: list(Thing).index(part.thing)))
            self._made[key] = boot.chosen(ordered, self.boot_files(host))
        return self._made[key]

    def known(self, host: str) -> Footprint:
        """All that a declaration of these hosts could have left on `host`: by any mode, by each of nat's return paths, for either
        kind of boot, and the health service also where nobody asks for it now; by an earlier lbctl, under other names. What of it
        is there and not wanted is a leftover.
        """
        if self.former is not None and host in self.leaving:
            known = self._before.known(host)
            # Galera takes a user away on all servers at once: the health services of those that stay ask as this one.
            stay = not self.leaving.issuperset(self.former.real_server)
            return tuple(replace(part, database_users=()) for part in known) if stay else known
        key = (host, frozenset[Mode](), 0, ())
        if key not in self._made:
            footprints = [way.footprint(host, ALL_MODES) for way in self._ways]
            parts = [part for footprint in footprints for part in footprint]
            if self.role(host) is Role.REAL_SERVER:
                parts.append(RealServerParts(self._ways[0].declaration, _without_text).clustercheck())
            else:
                # One that is alone now may have had a peer.
                parts.append(DirectorParts(self.declaration, _without_text).synchronisation())
            self._made[key] = merged(map(with_former_names, parts))
        return self._made[key]

    @cached_property
    def _before(self) -> "Blueprint":
        """The cluster before the change that this blueprint is for."""
        return Blueprint(self.former or self.declaration, self.render, self.password)

    @cached_property
    def _ways(self) -> tuple["Blueprint", ...]:
        """The same cluster with each of nat's return paths, and with all that can be switched off: what there can be, and not
        what it says. Leftovers are known by their names, and texts are most of the work.
        """
        d = self.declaration.anyhow_booted()
        # What is switched off now may have been on: these two tables are on by default, and so is this key.
        alone = {"direct_when_alone": True}
        on = {"connections": Connections(), "tun": Tun(), "metrics": Metrics(enabled=True)}
        ways = (
            d.model_copy(update=on | {"nat": d.nat.model_copy(update=alone | {"return_path": w})}) for w in ReturnPath
        )
        return tuple(Blueprint(way, _without_text, self.password) for way in ways)

    @cached_property
    def _neighbours(self) -> Mapping[IPv4Address, str]:
        return neighbours(self.declaration) | {address: str(address) for address in self._still_ask}

    @cached_property
    def _still_ask(self) -> tuple[IPv4Address, ...]:
        """Directors that leave check the servers until they have left: one that is refused takes them out of rotation."""
        then = self.former.director if self.former else {}
        return tuple(then[name].address for name in then if name in self.leaving - self.departed)

    def boot_files(self, host: str) -> BootFiles:
        """Who is declared to read the host's files at boot."""
        return self.host(host).boot_files or self.declaration.boot_files

    def _mtu(self, host: str, seen: HostState | None) -> int:
        """Of the largest packet that real server `host` sends through its interface; the usual one while that is not known."""
        server = self.declaration.real_server.get(host)
        link = seen.links.get(server.interface) if seen and server else None
        return link.mtu if link and link.mtu else ETHERNET_MTU

    def role(self, host: str) -> Role:
        return Role.DIRECTOR if isinstance(self.host(host), Director) else Role.REAL_SERVER

    def _keepalived(self, name: str, former: tuple[Endpoint, ...]) -> Part:
        conf = self.keepalived_conf(name, former=former)
        hand_over = File(f"{LIBRARY}/hand-over", self.render("hand-over.j2", {}), mode=0o755)
        synchronise = File(f"{LIBRARY}/synchronise", self.render("synchronise.j2", {}), mode=0o755)
        model = configuration(self.declaration, name)
        copied = f" {model.sync_interface} {model.sync_id}" if model.sync_interface else ""
        values = {"wait": hand_over_seconds(self.declaration), "copied": copied}
        text = self.render("keepalived.drop-in.j2", values)
        drop_in = File("/etc/systemd/system/keepalived.service.d/lbctl.conf", text)
        return Part(
            Thing.KEEPALIVED,
            packages=("keepalived", "ipvsadm"),
            files=(hand_over, synchronise, drop_in, conf),
            units=(Unit("keepalived.service", revision=conf.sha256, reload=True, ours=False),),
            table=table(self.declaration, name, former),
        )


def table(declaration: Declaration, director: str, former: tuple[Endpoint, ...] = ()) -> Table:
    """What this director's IPVS table must hold, with `former` places of services that it goes on serving."""
    servers = configuration(declaration, director, former=former).virtual_servers
    return Table(servers, frozenset(floating_addresses(declaration)))


def merged(parts: Iterable[Part]) -> Footprint:
    """One part for each thing, with what all of its versions consist of. Of a file the first version stays."""
    things: dict[Thing, list[Part]] = {}
    for part in parts:
        things.setdefault(part.thing, []).append(part)
    return tuple(_merged(thing, things[thing]) for thing in Thing if thing in things)


def _merged(thing: Thing, versions: list[Part]) -> Part:
    def each(name: str) -> tuple[Any, ...]:
        items = {
            getattr(item, "path", item): item for part in reversed(versions) for item in reversed(getattr(part, name))
        }
        return tuple(reversed(items.values()))

    names = (
        "packages",
        "users",
        "modules",
        "files",
        "links",
        "addresses",
        "routes",
        "rules",
        "chains",
        "database_users",
        "listeners",
    )
    units = {unit.name: unit for part in versions for unit in part.units}
    sysctls = {key: value for part in versions for key, value in part.sysctls.items()}
    items: dict[str, Any] = {name: each(name) for name in names}
    return Part(thing, sysctls=sysctls, units=tuple(units.values()), **items)


def _without_text(template: str, values: Mapping[str, Any]) -> str:
    """A render for footprints of which only the names count."""
    del template, values
    return ""


GUARD = "# Managed by lbctl: change the declaration, not this file. "
WHOSE = "# Cluster "
"""How the line after that begins: then the cluster's name, and a comma."""


def guarded_text(body: str) -> str:
    """The body under a first line that carries its hash, by which a later edit by hand is noticed."""
    return f"{GUARD}sha256:{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
