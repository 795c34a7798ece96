"""Which file is which director's, and where that director is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.errors import RequestError
from cluster.keepalived_body import Conf, Effect, Pair
from cluster.vocabulary import Mode


@dataclass(frozen=True)
class ImportedDirector:
    """One director and its file."""

    name: str
    address: IPv4Address
    conf: Conf
    pair: Pair | None

    @property
    def priority(self) -> int:
        return self.pair.priority if self.pair else 100


def in_order(confs: Sequence[Conf], said: Mapping[str, str]) -> list[ImportedDirector]:
    """The preferred one first."""
    pairs = [_main(conf) for conf in confs]
    taken: dict[str, str] = {}
    found = []
    for number, (conf, pair) in enumerate(zip(confs, pairs, strict=True)):
        name = _name_of(conf, number, [c.router_id for c in confs], pair, said)
        if name in taken:
            raise RequestError(
                f"{conf.file} and {taken[name]} would both be director {name}",
                cure="name them in the order of the files: --director lb1=ADDRESS --director lb2=ADDRESS",
            )
        taken[name] = conf.file
        found.append(ImportedDirector(name, _own_address(name, conf, pair, confs, said), conf, pair))
    return sorted(found, key=lambda d: -d.priority)


def _main(conf: Conf) -> Pair | None:
    """The VRRP instance that holds most of what is served."""
    served = [virtual.address for virtual in conf.virtuals]

    def holds(pair: Pair) -> int:
        floating = {interface.ip for interface, _, _ in pair.addresses}
        return sum(address in floating for address in served)

    best = max(conf.pairs, key=holds, default=None)
    for other in conf.pairs:
        if other is not best and best is not None:
            floating = ", ".join(str(i.ip) for i, _, _ in other.addresses) or "nothing"
            conf.tell(
                other.place,
                Effect.CLIENTS if holds(other) else Effect.LOST,
                f"vrrp_instance {other.name} ({floating}): there is one instance for all that floats, {best.name}, "
                "and one director is active for all of it",
            )
    return best


def _name_of(conf: Conf, number: int, ids: Sequence[str], pair: Pair | None, said: Mapping[str, str]) -> str:
    """By the director's address where it is said, by router_id, else in the order of the files."""
    own = name_from(conf.router_id.partition(".")[0])
    if own in said:
        return own
    if pair and pair.source:
        for name, address in said.items():
            if address == str(pair.source):
                return name
    if number < len(said):
        return list(said)[number]
    unique = own and [name_from(each.partition(".")[0]) for each in ids].count(own) == 1
    return own if unique else f"lb{number + 1}"


def _own_address(
    name: str, conf: Conf, pair: Pair | None, confs: Sequence[Conf], said: Mapping[str, str]
) -> IPv4Address:
    if name in said:
        try:
            return IPv4Address(said[name])
        except ValueError:
            raise RequestError(f'--director {name}: "{said[name]}" is no address') from None
    if pair and pair.source:
        return pair.source
    # nat: what is served and does not float is the director's own.
    fixed = {v.address for v in conf.virtuals if v.mode is Mode.NAT} - set(conf.floating)
    if len(fixed) == 1:
        return fixed.pop()
    peers = {p for other in confs if other is not conf for each in other.pairs for p in each.peers}
    if len(confs) == 2 and len(peers) == 1:  # noqa: PLR2004 (the other one's peer is this one)
        return peers.pop()
    raise RequestError(
        f"{conf.file} does not say this director's own address (no unicast_src_ip)",
        cure=f"say it: --director {name}=ADDRESS",
    )


def name_from(text: str) -> str:
    """A host name made of what somebody wrote; empty where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
