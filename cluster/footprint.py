"""The footprint: all that one host must carry for a set of modes, stated once: plan, operations and doctor use it.

A host can carry several modes at once, which is what makes a live change of mode possible: nothing here interferes with
another mode (the return path takes replies from the server's own address only, never those from a VIP).
"""

import hashlib
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from cluster.declaration import Declaration
from cluster.directors import DirectorParts
from cluster.keepalived import Left, configuration, contract
from cluster.kit import Render
from cluster.parts import File, Footprint, Part, Thing, Unit
from cluster.real_servers import RealServerParts
from cluster.vocabulary import Mode, ReturnPath, Role

ALL_MODES = frozenset(Mode)


@dataclass(frozen=True)
class Blueprint:
    """From a declaration to footprints. `password` is VRRP's, already read; None where there is none."""

    declaration: Declaration
    render: Render
    password: str | None = field(default=None, repr=False)
    _made: dict[tuple[str, frozenset[Mode]], Footprint] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> str:
        """How pyinfra shows it in `debug-inventory`: the secret stays out."""
        return f"declaration {self.declaration.name} ({self.declaration.source})"

    @property
    def contract(self) -> str:
        """The hash of what directors must agree on."""
        return contract(self.declaration, self.password)

    def keepalived_conf(self, director: str, without: Left = frozenset()) -> File:
        """keepalived.conf of one director, without the given servers in the given services."""
        model = configuration(self.declaration, director, self.password, without)
        values = {"configuration": model, "cluster": self.declaration.name, "contract": self.contract}
        return File(
            "/etc/keepalived/keepalived.conf",
            guarded_text(self.render("keepalived.conf.j2", values)),
            mode=0o600 if self.password else 0o644,
            secret=self.password is not None,
            guarded=True,
        )

    def footprint(self, host: str, modes: AbstractSet[Mode]) -> Footprint:
        """All that `host` must carry so that every one of `modes` works there."""
        key = (host, frozenset(modes))
        if key not in self._made:
            if self.role(host) is Role.DIRECTOR:
                parts = [*DirectorParts(self.declaration, self.render).parts(host, modes), self._keepalived(host)]
            else:
                parts = list(RealServerParts(self.declaration, self.render).parts(host, modes))
            self._made[key] = tuple(sorted(parts, key=lambda part: list(Thing).index(part.thing)))
        return self._made[key]

    def known(self, host: str) -> Footprint:
        """All that a declaration of these hosts could have left on `host`: by any mode, by each of nat's return paths, and the
        health service also where nobody asks for it now. What of it is there and not wanted is a leftover.
        """
        key = (host, frozenset[Mode]())
        if key not in self._made:
            d = self.declaration
            ways = [d.model_copy(update={"nat": d.nat.model_copy(update={"return_path": way})}) for way in ReturnPath]
            footprints = [Blueprint(way, self.render, self.password).footprint(host, ALL_MODES) for way in ways]
            parts = [part for footprint in footprints for part in footprint]
            if self.role(host) is Role.REAL_SERVER:
                parts.append(RealServerParts(d, self.render).clustercheck())
            self._made[key] = merged(parts)
        return self._made[key]

    def role(self, host: str) -> Role:
        return Role.DIRECTOR if host in self.declaration.director else Role.REAL_SERVER

    def _keepalived(self, name: str) -> Part:
        conf = self.keepalived_conf(name)
        drop_in = File("/etc/systemd/system/keepalived.service.d/lbctl.conf", self.render("keepalived.drop-in.j2", {}))
        return Part(
            Thing.KEEPALIVED,
            packages=("keepalived", "ipvsadm"),
            files=(drop_in, conf),
            units=(Unit("keepalived.service", revision=conf.sha256, reload=True, ours=False),),
        )


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
    return Part(thing, sysctls=sysctls, units=tuple(units.values()), **{name: each(name) for name in names})


GUARD = "# Managed by lbctl: change the declaration, not this file. "


def guarded_text(body: str) -> str:
    """The body under a first line that carries its hash, by which a later edit by hand is noticed."""
    return f"{GUARD}sha256:{hashlib.sha256(body.encode()).hexdigest()}\n{body}"
