"""From hand-made configurations of one or two directors to a declaration, and a list of what it does not say.

The declaration means the same table and the same VRRP terms as the files. Where it cannot, that is told, and what clients would
notice is told first. Nothing is told to be the same that is not.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cluster.errors import RequestError
from cluster.importing_directors import ImportedDirector, in_order, name_from
from cluster.importing_services import Chosen, Own, chosen, health, services
from cluster.importing_terms import remembered, shared_password, terms
from cluster.keepalived_body import Conf, Effect, Remark, Virtual
from cluster.keepalived_conf import Place, printable
from cluster.reading import DeclarationError, read
from cluster.vocabulary import Mode

PASSWORD_FILE = "secrets/{name}-vrrp"  # noqa: S105 (where it will be, not what it is)


@dataclass(frozen=True)
class Wish:
    """What the operator says besides, because no keepalived.conf does."""

    name: str = ""
    network: str = ""
    directors: Mapping[str, str] = field(default_factory=dict)
    """Name → own address."""
    real_servers: Mapping[str, str] = field(default_factory=dict)
    gateway: str = ""
    only: tuple[str, ...] = ()
    """ADDRESS:PORT of the services that are wanted. Empty: as many as fit into one declaration."""
    clustercheck: bool = False
    """lbctl's own health service takes the place of the one on port 9200."""


@dataclass(frozen=True)
class Imported:
    """A declaration, and what it does not say, the worst first."""

    text: str
    name: str
    remarks: tuple[Remark, ...]
    password: str | None = field(repr=False)
    password_file: str = ""


def imported(confs: Sequence[Conf], wish: Wish) -> Imported:
    """Raises RequestError with what is missing, or with what no declaration can say."""
    remarks: list[Remark] = []
    directors = in_order(confs, wish.directors)
    first = directors[0]
    picked = chosen(first.conf, wish.only, remarks)
    _compare(directors, picked, remarks)
    name = wish.name or name_from(first.pair.name if first.pair else "") or "imported"
    tree: dict[str, Any] = {"name": name, "mode": str(picked.mode)}
    gateway = _gateway(directors, picked, wish, remarks)
    own = Own({director.address for director in directors}, gateway)
    tree["network"] = _network(directors, picked, gateway, wish, remarks)
    tree["service"] = services(first.conf, picked, own, remarks, clustercheck=wish.clustercheck)
    floats = gateway is not None or any("vip" in service for service in tree["service"].values())
    password = shared_password(directors, remarks) if floats else None
    secret = PASSWORD_FILE.format(name=name) if password else ""
    tree["vrrp"] = terms(directors, picked, secret, remarks, floats=floats)
    tree["health"] = health(first.conf, picked, remarks)
    if connections := remembered(first.conf):
        tree["connections"] = connections
    if gateway:
        tree["nat"] = {"gateway": str(gateway)}
    tree["director"] = _hosts(directors, remarks)
    tree["real_server"] = _real_servers(picked, wish)
    _assumed(directors, picked, remarks)
    text = _text(tree, [conf.file for conf in confs])
    _refuse_invalid(text, _places(tree, directors, picked))
    all_ = [remark for conf in confs for remark in conf.remarks] + remarks
    return Imported(text, name, tuple(sorted(set(all_))), password, secret)


def _places(
    tree: Mapping[str, Any], directors: Sequence[ImportedDirector], picked: Chosen
) -> Iterator[tuple[str, Place]]:
    """Where the files say what has these keys."""
    yield from ((f"service.{name}", v.place) for name, v in zip(tree["service"], picked.virtuals, strict=True))
    yield from ((f"director.{d.name}", d.pair.place) for d in directors if d.pair)
    served = {server.address: server.place for virtual in reversed(picked.virtuals) for server in virtual.servers}
    yield from ((f"real_server.{name}", served[a]) for name, a in zip(tree["real_server"], picked.weights, strict=True))
    if pair := directors[0].pair:
        yield "vrrp", pair.place


def _refuse_invalid(text: str, places: Iterable[tuple[str, Place]]) -> None:
    try:
        read(text, "")
    except DeclarationError as error:
        known = dict(places)

        def place(key: str) -> str:
            return next((f"{at}: " for begin, at in known.items() if f"{key}.".startswith(f"{begin}.")), "")

        faults = "\n".join(printable(f"{place(c.key)}{c.key}: {c.message}") for c in error.complaints)
        raise RequestError(
            f"no declaration can say what these files say:\n{faults}",
            cure="lbctl import --help: options say what the files do not (--network, --gateway, --only)",
        ) from None


# Hosts


def _hosts(directors: Sequence[ImportedDirector], remarks: list[Remark]) -> dict[str, Any]:
    hosts: dict[str, Any] = {}
    priority = 255
    for director in directors:
        # 255 is an owner's (RFC 5798, 5.2.4). Equal ones cannot be declared: the first file's is the preferred one.
        priority = min(director.priority, priority - 1)
        host: dict[str, Any] = {"address": str(director.address)}
        if director.pair:
            host["interface"] = director.pair.interface
            if priority != director.priority:
                remarks.append(_other_priority(director, priority, directors[0]))
        hosts[director.name] = host | {"priority": priority}
    return hosts


def _other_priority(director: ImportedDirector, priority: int, first: ImportedDirector) -> Remark:
    what = f"priority {director.priority} becomes {priority}"
    if director is first:
        what += ", the highest of a declaration: 255 would be an owner, which takes over at once whatever preempt says"
    else:
        what += (
            f": no two directors have the same one, and {first.name}, whose file comes first, is the preferred one from now on. "
            f"If {director.name} is active now, give its file first"
        )
    place = director.pair.place if director.pair else Place(director.conf.file, 0)
    return Remark(Effect.CLIENTS, place.file, place.line, what)


def _compare(directors: Sequence[ImportedDirector], picked: Chosen, remarks: list[Remark]) -> None:
    """What the second director's file says otherwise."""
    first = directors[0]
    ours = {_anywhere(virtual, first) for virtual in first.conf.virtuals}
    for other in directors[1:]:
        theirs = {_anywhere(virtual, other) for virtual in other.conf.virtuals}
        for virtual in other.conf.virtuals:
            if _anywhere(virtual, other) not in ours:
                what = f"virtual_server {virtual} is not as in {first.conf.file}, which is followed"
                remarks.append(Remark(Effect.CLIENTS, virtual.place.file, virtual.place.line, what))
        for virtual in picked.virtuals:
            if _anywhere(virtual, first) not in theirs:
                what = f"virtual_server {virtual} is not the same in {other.conf.file}: a failover changes what clients find"
                remarks.append(Remark(Effect.NOTE, virtual.place.file, virtual.place.line, what))
        if other.conf.timeouts != first.conf.timeouts:
            place = other.conf.timeouts_place or Place(other.conf.file, 0)
            what = f"lvs_timeouts are not as in {first.conf.file}, which is followed: connections are forgotten at another time"
            remarks.append(Remark(Effect.CLIENTS, place.file, place.line, what))


def _anywhere(virtual: Virtual, director: ImportedDirector) -> tuple[object, ...]:
    """To compare: a director's own address is another one on the other."""
    address = "own" if virtual.address == director.address else virtual.address
    servers = frozenset((s.address, s.port, s.weight, s.mode, s.check) for s in virtual.servers)
    return (
        address,
        virtual.port,
        virtual.protocol,
        virtual.scheduler,
        virtual.persistence,
        virtual.granularity,
        virtual.alpha,
        servers,
    )


# Addresses


def _gateway(
    directors: Sequence[ImportedDirector], picked: Chosen, wish: Wish, remarks: list[Remark]
) -> IPv4Address | None:
    """nat: what answers go through. A floating address that serves nothing; or the only one that serves, by its ports."""
    first = directors[0]
    served = {virtual.address for virtual in picked.virtuals}
    free = [address for address in first.conf.floating if address not in {v.address for v in first.conf.virtuals}]
    found: IPv4Address | None = None
    if wish.gateway:
        try:
            found = IPv4Address(wish.gateway)
        except ValueError:
            raise RequestError(f'--gateway: "{wish.gateway}" is no address') from None
    elif picked.mode is Mode.NAT and len(free) == 1:
        found = free[0]
        what = f"{found} floats and serves nothing: it is taken for the address that answers go through (nat.gateway)"
        remarks.append(Remark(Effect.NOTE, first.conf.file, 0, what))
    elif picked.mode is Mode.NAT and len(served) == 1 and served <= set(first.conf.floating):
        found = next(iter(served))
    if picked.mode is Mode.NAT and len(directors) > 1 and found is None:
        raise RequestError(
            "mode nat with two directors: no file says through which floating address answers go",
            cure="name it, or a free one: --gateway ADDRESS",
        )
    for director in directors:
        remarks += _of_what_floats(director, served | {found})
    return found


def _of_what_floats(director: ImportedDirector, stays: AbstractSet[IPv4Address | None]) -> Iterator[Remark]:
    for interface, _, place in director.pair.addresses if director.pair else ():
        if interface.ip not in stays:
            what = f"{interface.ip} floats no more: nothing that is carried over is served there"
            yield Remark(Effect.CLIENTS, place.file, place.line, what)
        elif interface.network.prefixlen not in {32, 0}:
            what = f"{interface} becomes {interface.ip}/32: the host's own address has the network already"
            yield Remark(Effect.NOTE, place.file, place.line, what)


def _network(
    directors: Sequence[ImportedDirector],
    picked: Chosen,
    gateway: IPv4Address | None,
    wish: Wish,
    remarks: list[Remark],
) -> str:
    if wish.network:
        return wish.network
    inside = {d.address for d in directors} | {v.address for v in picked.virtuals} | ({gateway} if gateway else set())
    if picked.mode is not Mode.TUN:
        inside |= set(picked.weights)
    pair = directors[0].pair
    said = [i.network for i, _, _ in pair.addresses if 0 < i.network.prefixlen < 32] if pair else []  # noqa: PLR2004 (IPv4)
    guess = IPv4Network((directors[0].address, 24), strict=False)
    for network in [*said, guess]:
        if all(address in network for address in inside):
            if network not in said:
                remarks.append(
                    Remark(Effect.NOTE, directors[0].conf.file, 0, f"network {network} is a guess: look at it")
                )
            return str(network)
    raise RequestError(
        "no file says which network directors and virtual addresses are in", cure="--network 10.0.0.0/24"
    )


def _real_servers(picked: Chosen, wish: Wish) -> dict[str, Any]:
    names = {address: name for name, address in wish.real_servers.items()}
    unknown = set(names) - {str(address) for address in picked.weights}
    if unknown:
        raise RequestError(f"--real-server: {', '.join(sorted(unknown))} is no real_server in these files")
    word = "db" if picked.is_mysql else "server"
    free = (name for number in range(1, 1000) if (name := f"{word}{number}") not in wish.real_servers)
    return {
        names.get(str(address)) or next(free): {"address": str(address), "weight": weight}
        for address, weight in picked.weights.items()
    }


def _assumed(directors: Sequence[ImportedDirector], picked: Chosen, remarks: list[Remark]) -> None:
    file = directors[0].conf.file

    def note(what: str) -> None:
        remarks.append(Remark(Effect.NOTE, file, 0, what))

    note("real servers: names are made up, and their network interface is taken to be eth0")
    if any(director.pair is None for director in directors):
        note("directors: no vrrp_instance names the network interface, which is taken to be eth0")
    if picked.mode is Mode.NAT:
        note(
            "how answers find back to the director is not in keepalived.conf: lbctl brings its own rule (nat.return_path)"
        )
    else:
        note(
            "what servers carry (VIPs on dummy0 or tunl0, arp_ignore) is not in keepalived.conf: lbctl plan looks at it"
        )


# Text


def _text(tree: Mapping[str, Any], files: Iterable[str]) -> str:
    lines = [
        f"# Imported from {printable(', '.join(dict.fromkeys(files)))}.",
        "# inventory/galera.toml explains every key; lbctl plan says what a deploy would change.",
        "",
    ]
    lines += [f"{key} = {_value(value)}" for key, value in tree.items() if not isinstance(value, Mapping)]
    for key, table in tree.items():
        if isinstance(table, Mapping) and table:
            named = key in {"service", "director", "real_server"}
            for name, inner in table.items() if named else [("", table)]:
                lines += ["", f"[{key}.{_key(name)}]" if name else f"[{key}]"]
                lines += [f"{inner_key} = {_value(value)}" for inner_key, value in inner.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if "." not in name else json.dumps(name)


def _value(value: Any) -> str:
    """As TOML writes it: texts, numbers, true and false are written as in JSON."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value)
