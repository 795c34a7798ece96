"""What a connection's course means: whether it worked as declared, else where it ends and why it may, with the faults of
`lbctl doctor` by their names.

A reason that was seen (an address that is not there, a table without servers) is told alone. Where none was, what is left is
told: mostly packet filters, which captures do not see.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from cluster.faults import Fault
from cluster.observed import SeenService
from cluster.packets import Capture, Direction, IcmpError, Packet
from cluster.trace import CLIENT, TUNNEL, At, Course, Hop, Leg
from cluster.vocabulary import Mode


@dataclass(frozen=True)
class Reason:
    """Why it may end there."""

    text: str
    fault: Fault | None = None
    seen: bool = False
    """That it is so was seen; else it is what is left."""


@dataclass(frozen=True)
class Verdict:
    """What came of the connection."""

    good: bool
    """It worked, by the declared way."""
    host: str
    """Where it ends, or leaves the declared way; empty: nowhere."""
    what: str
    seen: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    dies: bool = False
    """It ends at `host`."""


def judge(course: Course) -> Verdict:
    """Good, or why not."""
    case = course.case
    if not course.followed and (_surely_unseen(course) if case.attempt.connected else course.before_end is None):
        return _unfollowed(course)
    if course.end is not None:
        return _dead_end(course, course.end)
    if not case.attempt.connected:
        what = f"the answer came back to the client, and its connection failed all the same ({case.attempt.word})"
        reasons = (Reason("a packet filter or rp_filter on the client's own machine", Fault.FIREWALL),)
        return _bad(course, CLIENT, what, (), reasons)
    if otherwise := _other_way(course):
        return otherwise
    greeting = f": {case.attempt.greeting}" if case.attempt.greeting else ""
    what = f"the connection works, by {course.mode} to {course.server or 'a server that was not watched'}{greeting}"
    return Verdict(good=True, host="", what=what, notes=_notes(course))


def _bad(course: Course, host: str, what: str, seen: tuple[str, ...] = (), reasons: tuple[Reason, ...] = ()) -> Verdict:
    dies = course.end is not None or not course.case.attempt.connected
    return Verdict(good=False, host=host, what=what, seen=seen, reasons=reasons, notes=_notes(course), dies=dies)


def _surely_unseen(course: Course) -> bool:
    """Whether it must have been seen: all directors were watched. Or no host was, and nothing can be said."""
    case = course.case
    return all(map(case.watched, case.declaration.director)) or not any(map(case.watched, case.declaration.hosts()))


def _unfollowed(course: Course) -> Verdict:
    """No host saw a packet with the client's port."""
    case = course.case
    watched = [name for name in case.declaration.hosts() if case.watched(name)]
    if case.attempt.connected and not watched:
        return _bad(course, "", "the connection works, and no host could be watched")
    if case.attempt.connected:
        what = "the connection works, but no host saw it: between client and cluster something changes its port (NAT, a proxy)"
        return _bad(course, CLIENT, what, ("name a client nearer to the cluster: --from HOST",))
    what = f"nothing of it reached {', '.join(watched) or 'a host that could be watched'}"
    refused = (Reason("somebody else refuses it: a firewall, or a stranger with that address", Fault.ADDRESS_TAKEN),)
    way = (Reason("the client's own route, or a firewall on the way"),)
    reasons = refused if case.attempt.word == "refused" else way
    nobody = tuple(_nobody_holds(course))
    return _bad(course, CLIENT, what, (f"the client says: {_words(course)}",), nobody or reasons)


def _words(course: Course) -> str:
    attempt = course.case.attempt
    return f"{attempt.word} ({attempt.why})" if attempt.why else attempt.word


def _other_way(course: Course) -> Verdict | None:
    """It worked, but not as declared."""
    case = course.case
    skipped = [h for h in course.passed_by if (h.leg, h.at, h.direction) == (Leg.SYN, At.DIRECTOR, Direction.IN)]
    if skipped and not case.captures[course.director or CLIENT].lost:
        first = course.at(Leg.SYN, At.CLIENT, Direction.OUT) or course.at(Leg.SYN, At.SERVER, Direction.IN)
        mac = f"the client sent it to the MAC of {_owner(course, first)}" if first else ""
        what = f"it went past the director, straight to {course.server}"
        said = f"{course.server} answers ARP for {case.endpoint.address}, or did, and a neighbour cache still has it"
        reasons = (Reason(said, Fault.ARP),)
        return _bad(course, course.server, what, (mac,), reasons)
    if course.mode is not case.declaration.mode:
        what = f"the connection works, by {course.mode}; declared is {case.declaration.mode}"
        reasons = (Reason("the table is another than declared, or a change is under way", Fault.TABLE, seen=True),)
        return _bad(course, course.director, what, (), reasons)
    return None


def _dead_end(course: Course, hop: Hop) -> Verdict:
    before = course.before_end
    blind = [h for h in course.hops[: course.hops.index(hop)] if h.seen is None and h.host != CLIENT]
    blind = [h for h in blind if before is None or course.hops.index(h) > course.hops.index(before)]
    host = hop.host or (before.host if before else CLIENT)
    last = f"{before.leg} was last seen {_place(before)}, and " if before else ""
    last += f"not {_place(hop)}" if before and before.leg is hop.leg else f"{hop.leg} was not seen {_place(hop)}"
    if blind:
        # It may have ended where nobody could look.
        host = blind[0].host or " or ".join(course.case.unasked)
        why = course.case.unasked.get(host, "")
        reasons = (Reason(f"{host} cannot be watched{': ' if why else ''}{why}", Fault.DEAD_HOST, seen=True),)
        what = f"it does not get through, and where it dies is not known: {last}; {host} could not be watched"
        return replace(_bad(course, host, what, (), reasons), dies=False)
    found = list(_REASONS[hop.leg, hop.at, hop.direction](course, hop))
    certain = [reason for reason in found if reason.seen]
    if certain and before and hop.direction is Direction.IN and hop.at is not At.TUNNEL_END:
        host = before.host  # it was sent the wrong way
    seen = (*_refusals(course), f"the client says: {_words(course)}")
    return _bad(course, host, last, seen, tuple(certain or found))


def _place(hop: Hop | None) -> str:
    if hop is None:
        return ""
    host = hop.host or "at any server"
    if hop.at is At.TUNNEL_END:
        return f"coming out of the tunnel on {host}"
    if not hop.host:
        return f"arriving {host}"
    return f"{'entering' if hop.direction is Direction.IN else 'leaving'} {host}"


def _refusals(course: Course) -> Iterator[str]:
    for said in course.said:
        yield f"{said.host} {said.interface} {said.direction}: {said.what}"


# Why a packet is not seen at a place. In each: what was seen before what may be.


def _client_sends(course: Course, hop: Hop) -> Iterator[Reason]:
    """The client's machine let nothing out."""
    case, own = course.case, course.case.captures[CLIENT]
    if hop.leg is Leg.ACK:
        yield Reason("a packet filter or rp_filter on the client's own machine", Fault.FIREWALL)
        return
    for asked in sorted({arp.target for arp in own.arps if own.unanswered(arp.target)}):
        if asked == case.endpoint.address:
            yield from _nobody_holds(course)
            yield Reason(f"nobody answers the client's ARP question for {asked}", seen=True)
        else:
            yield Reason(f"nobody answers the client's ARP question for {asked}, its way there", seen=True)
    yield Reason("the client has no route there, or its own packet filter drops it", Fault.FIREWALL)


def _director_gets(course: Course, hop: Hop) -> Iterator[Reason]:
    del hop
    case = course.case
    yield from _nobody_holds(course)
    first = course.at(Leg.SYN, At.CLIENT, Direction.OUT)
    owner = _owner(course, first)
    if first and owner in case.declaration.real_server:
        said = f"the client sends it to the MAC of {owner}, a real server: {owner} answers ARP, or did"
        yield Reason(said, Fault.ARP, seen=True)
    elif first and owner in case.declaration.director and owner != course.director:
        yield Reason(f"the client sends it to the MAC of {owner}", Fault.NEIGHBOUR, seen=True)
    elif first and owner not in case.captures and first.source in case.declaration.network:
        yield Reason(f"the client sends it to {owner}, none of the cluster's hosts", Fault.ADDRESS_TAKEN, seen=True)
    yield Reason("the network between client and director: a switch, a router, a firewall on the way")


def _director_sends(course: Course, hop: Hop) -> Iterator[Reason]:
    case, own = course.case, course.case.captures[hop.host]
    endpoint = case.endpoint
    if endpoint.address not in own.addresses:
        holders = " and ".join(case.holders(endpoint.address)) or "nobody"
        said = f"{hop.host} does not hold {endpoint.address}, {holders} does"
        yield Reason(said, Fault.NEIGHBOUR if holders != "nobody" else Fault.NOBODY, seen=True)
        return
    service = _service(own, course)
    if service is None:
        why = "it is empty" if not own.table else f"it has {', '.join(str(each.endpoint) for each in own.table)}"
        yield Reason(f"{hop.host}'s table does not have {endpoint}: {why}", Fault.TABLE, seen=True)
        return
    if not any(destination.weight for destination in service.destinations):
        yield Reason(f"{hop.host}'s table has no server in rotation for {endpoint}", Fault.OUT, seen=True)
        return
    for destination in service.destinations:
        if own.unanswered(destination.address) or own.neighbours.get(destination.address) == "":
            yield Reason(f"{destination.address} does not answer {hop.host}'s ARP question", Fault.DEAD_HOST, seen=True)
    if own.unanswered(endpoint.address):
        said = (
            f"{hop.host} asks by ARP for its own {endpoint.address}: the kernel's way to a server is another method's"
        )
        yield Reason(said, Fault.OTHERWISE, seen=True)
    yield Reason(f"a packet filter on {hop.host} drops or rejects it (its table has servers)", Fault.FIREWALL)
    if hop.leg is Leg.ACK:
        yield Reason(f"{hop.host} has lost the connection: its table changed at this moment", Fault.TABLE)


def _server_gets(course: Course, hop: Hop) -> Iterator[Reason]:
    case = course.case
    sent = course.at(hop.leg, At.DIRECTOR, Direction.OUT)
    owner = _owner(course, sent)
    if sent and not hop.host:
        said = f"{course.director} sends it to {owner}: no server's that is known"
        yield Reason(said, Fault.NEIGHBOUR, seen=True)
    elif sent and owner != hop.host and case.declaration.addresses()[hop.host] in case.declaration.network:
        yield Reason(f"{course.director} sends it to {owner}, not to {hop.host}'s", Fault.NEIGHBOUR, seen=True)
    where = f"between {course.director} and {hop.host}" if hop.host else "the director's neighbour cache"
    tunnel = " (does it let IPIP, protocol 4, through?)" if course.mode is Mode.TUN else ""
    yield Reason(f"the network {where}: no filter on {hop.host} itself, which comes later{tunnel}")


def _tunnel_ends(course: Course, hop: Hop) -> Iterator[Reason]:
    own = course.case.captures[hop.host]
    tunnel = own.interfaces.get(TUNNEL)
    if tunnel is None:
        yield Reason(f"{hop.host} has no {TUNNEL}: module ipip is not loaded", Fault.MODULE, seen=True)
    elif not tunnel.up:
        yield Reason(f"{TUNNEL} on {hop.host} is down", Fault.TUNNEL, seen=True)
    yield Reason(f"a packet filter on {hop.host} drops IPIP (protocol 4)", Fault.FIREWALL)


def _server_answers(course: Course, hop: Hop) -> Iterator[Reason]:
    own = course.case.captures[hop.host]
    if hop.leg is Leg.WORDS:
        yield Reason("MySQL asks the name service for the client's name first (skip_name_resolve = ON ends that)")
        yield Reason("MySQL hangs, or is no MySQL", Fault.DATABASE_DOWN)
        return
    arrived = course.at(Leg.SYN, At.TUNNEL_END, Direction.IN) or course.at(Leg.SYN, At.SERVER, Direction.IN)
    if arrived is None:  # its SYN-ACK is looked for, so its SYN was seen or nobody could look
        return
    target, port = arrived.target, arrived.target_port
    if target not in own.addresses:
        fault = Fault.VIP_MISSING if course.mode is not Mode.NAT else None
        yield Reason(f"{hop.host} does not have {target}", fault, seen=True)
        return
    yield from list(_listening(own, target, port)) or _rejected(course, hop)
    if course.mode is Mode.TUN and (strict := _tunnel_filter(own)):
        yield Reason(f"rp_filter on {hop.host}: {strict}", Fault.RP_FILTER, seen=True)
    for asked in sorted({arp.target for arp in own.arps if own.unanswered(arp.target)}):
        through = Fault.RETURN_PATH if course.mode is Mode.NAT else None
        yield Reason(f"nobody answers {hop.host}'s ARP question for {asked}, its way back", through, seen=True)
    yield Reason(f"a packet filter on {hop.host} drops it, or its answer", Fault.FIREWALL)
    if course.mode is Mode.NAT:
        yield Reason(f"{hop.host} has no route for the answer", Fault.RETURN_PATH)
    else:
        yield Reason(f"rp_filter on {hop.host} drops what would be answered another way", Fault.RP_FILTER)


def _listening(own: Capture, target: IPv4Address, port: int) -> Iterator[Reason]:
    at_port = [address for address, own_port in own.listens if own_port == port]
    if not at_port:
        yield Reason(f"nothing listens at port {port} on {own.host}", Fault.DATABASE_DOWN, seen=True)
    elif _ANY not in at_port and target not in at_port:
        places = ", ".join(f"{address}:{port}" for address in at_port)
        yield Reason(f"on {own.host} MySQL listens at {places} only", Fault.BOUND, seen=True)


def _rejected(course: Course, hop: Hop) -> Iterator[Reason]:
    """The server sent a refusal, though somebody listens."""
    own = course.case.captures[hop.host]
    told: list[Packet | IcmpError] = [*(p for p in own.packets if "RST" in p.flags), *own.errors]
    for each in told:
        if each.frame.direction is Direction.OUT:
            yield Reason(f"a packet filter on {hop.host} rejects it ({each})", Fault.FIREWALL, seen=True)
            return


def _tunnel_filter(own: Capture) -> str:
    """Why packets out of the tunnel are dropped by their source, if they are (ip-sysctl.rst, rp_filter; the larger counts).

    2 drops only where the tunnel has no address (measured).
    """
    values = {name: int(own.settings.get(f"conf/{name}/rp_filter", 0)) for name in ("all", TUNNEL)}
    value = max(values.values())
    bad = value == 1 or (value == 2 and TUNNEL not in own.addresses.values())  # noqa: PLR2004 (its values are 0, 1, 2)
    return ", ".join(f"{name} is {number}" for name, number in values.items()) if bad else ""


def _director_gets_back(course: Course, hop: Hop) -> Iterator[Reason]:
    case = course.case
    sent = course.at(hop.leg, At.SERVER, Direction.OUT)
    owner = _owner(course, sent)
    if owner in case.declaration.director and owner != hop.host:
        yield Reason(f"{course.server} sends its answer to {owner}, the passive one", Fault.GATEWAY, seen=True)
    elif owner != hop.host:
        yield Reason(f"{course.server} sends its answer to {owner}, past {hop.host}", Fault.RETURN_PATH, seen=True)
    yield Reason(f"the network between {course.server} and {hop.host}")


def _director_sends_back(course: Course, hop: Hop) -> Iterator[Reason]:
    if course.case.captures[hop.host].settings.get("ip_forward") == "0":
        yield Reason(f"net.ipv4.ip_forward is 0 on {hop.host}", Fault.FORWARDING, seen=True)
    yield Reason(f"a packet filter on {hop.host} drops what is forwarded (chain FORWARD)", Fault.FIREWALL)


def _client_gets(course: Course, hop: Hop) -> Iterator[Reason]:
    case = course.case
    at = At.DIRECTOR if course.mode is Mode.NAT else At.SERVER
    sent = course.at(hop.leg, at, Direction.OUT)
    owner = _owner(course, sent)
    if course.mode is not Mode.NAT and owner in case.declaration.director:
        said = f"{course.server} sends its answer to {owner}, which has {case.endpoint.address} itself and drops it"
        yield Reason(said, Fault.RETURN_PATH_DOUBLED, seen=True)
    elif owner != CLIENT and owner not in case.declaration.hosts():
        yield Reason(f"a router ({owner}) drops it: its source is not the host that sends it", Fault.RP_FILTER)
    yield Reason("the network on the way back to the client: a switch, a router, a firewall")


def _nobody_holds(course: Course) -> Iterator[Reason]:
    case = course.case
    directors = case.declaration.director
    if all(name in case.captures for name in directors) and not case.holders(case.endpoint.address):
        said = f"no director holds {case.endpoint.address}"
        yield Reason(said, Fault.NOBODY, seen=True)


def _service(own: Capture, course: Course) -> SeenService | None:
    wanted = course.case.endpoint
    for service in own.table:
        there = service.endpoint
        if (there.address, there.port, there.protocol) == (wanted.address, wanted.port, wanted.protocol):
            return service
    return None


def _owner(course: Course, packet: Packet | None) -> str:
    """Whose MAC it goes to: a host's name, or the MAC."""
    if packet is None:
        return ""
    mac = packet.frame.macs[1]
    return course.case.owner(mac) or f"MAC {mac}"


def _notes(course: Course) -> tuple[str, ...]:
    return tuple(_each_note(course))


def _each_note(course: Course) -> Iterator[str]:
    case = course.case
    holders = case.holders(case.endpoint.address)
    if len(holders) > 1:
        yield f"{' and '.join(holders)} both hold {case.endpoint.address} (docs/doctor.md#{Fault.SPLIT_BRAIN})"
    syn = next((hop for hop in course.hops if hop.seen), None)
    if syn and syn.times > 1:
        yield f"{syn.leg} was sent {syn.times} times"
    for name, capture in case.captures.items():
        who = "the client's machine" if name == CLIENT else name
        if capture.unable:
            yield f"{who} could not be watched: {capture.unable}"
        if capture.lost:
            yield f"{who} lost {capture.lost} packets: what was not seen there may have been"
    for name, why in case.unasked.items():
        yield f"{name} could not be watched: {why}"


_ANY = IPv4Address(0)

_Why = Callable[[Course, Hop], Iterator[Reason]]
_THERE: dict[tuple[At, Direction], _Why] = {
    (At.CLIENT, Direction.OUT): _client_sends,
    (At.DIRECTOR, Direction.IN): _director_gets,
    (At.DIRECTOR, Direction.OUT): _director_sends,
    (At.SERVER, Direction.IN): _server_gets,
    (At.TUNNEL_END, Direction.IN): _tunnel_ends,
}
_BACK: dict[tuple[At, Direction], _Why] = {
    (At.SERVER, Direction.OUT): _server_answers,
    (At.DIRECTOR, Direction.IN): _director_gets_back,
    (At.DIRECTOR, Direction.OUT): _director_sends_back,
    (At.CLIENT, Direction.IN): _client_gets,
}
_REASONS: dict[tuple[Leg, At, Direction], _Why] = {
    (leg, *place): why for leg in Leg for place, why in (_THERE if leg.there else _BACK).items()
}
