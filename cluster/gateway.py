"""Whether nat's gateway may become another address now. Pure.

Answers of nat leave a server through the address that its route names. Servers are prepared before directors change, and an
address that floats between directors comes to them with their new configuration only, in which the former one goes: in either
order answers would be sent to nobody for a while. So it moves while nobody comes by nat. What may change at any time is from an
address to another one that the director in charge has already, or takes first (`cluster.order.first_to_float`).
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address

from cluster.declaration import Declaration
from cluster.keepalived import floating_addresses
from cluster.observed import HostState
from cluster.order import CONNTRACK, Seen, answers_by, first_to_float
from cluster.still_used import in_use_by
from cluster.vocabulary import ROUTING_TABLE, SEED_ROUTING_TABLE, Mode, ReturnPath

CURE = (
    "put nat.gateway back as it was and lbctl switch-mode dr (or tun); when that is done, also with connections that came by "
    "nat: change nat.gateway, lbctl deploy, and lbctl switch-mode nat"
)
ONE_BY_ONE = (
    'one by one: nat.gateway with return_path = "snat" as it was, lbctl deploy; then nat.return_path, lbctl deploy'
)
MEND = "mend {who}, which cannot be asked, or drain it, first"
PATH_FIRST = "one by one: nat.return_path, lbctl deploy; then nat.gateway, lbctl deploy"
TO_ONE_DIRECTOR = "lbctl failover first, so that {owner} serves"


def moves_in_use(
    declaration: Declaration, directors: Seen, servers: Seen, prepared: AbstractSet[Mode]
) -> tuple[str, str] | None:
    """Why nat's gateway must not change now, and what to do; None when nothing speaks against it.

    `directors`: also those that leave. `prepared`: the modes for which servers are prepared before directors change.
    """
    found = {name: way for name, state in servers.items() if state and (way := answers_by(state))}
    ways = {name: via for name, (via, _) in found.items()}
    new = declaration.gateway_for(next(iter(declaration.director)))
    owner = next((name for name, director in declaration.director.items() if director.address == new), None)
    if unsure := _answers_by_what_goes(declaration, directors, servers):
        return unsure
    if not owner and _ends_to_translate(declaration, directors):
        why = f"servers answer the directors themselves until these translate no more, and then by {new}, which none has yet"
        return None if _holds(directors.values(), new) else (why, ONE_BY_ONE)
    others = sorted(name for name, via in ways.items() if via != new and name in declaration.real_server)
    if not others or not _in_use(declaration, directors, servers):
        return None
    old, table = found[others[0]]
    # A way of another kind comes beside the old one, by which answers go until it is taken away.
    stays = table != (SEED_ROUTING_TABLE if declaration.nat.return_path is ReturnPath.FWMARK else ROUTING_TABLE)
    cure = CURE
    if old in {director.address for director in declaration.director.values()}:
        # A director's own address stays there.
        first = first_to_float(declaration, directors)
        if Mode.NAT in prepared and first and stays and declaration.vrrp.preempt and len(declaration.director) > 1:
            # One that joins takes over at once, and answers still go to the first one's own address, which does not float.
            return (
                f"{others[0]} answers by {old} until its way back is of the new kind, and {first} may lose its turn before",
                PATH_FIRST,
            )
        silent = _in_rotation_unseen(declaration, directors.get(first or ""), servers)
        safe = Mode.NAT not in prepared or owner or (first and not silent) or _holds(directors.values(), new)
        cure = MEND.format(who=", ".join(silent)) if first and silent else CURE
    elif Mode.NAT not in prepared:
        # Servers keep the way that they have for what is still connected; only the directors' part of it would go.
        safe = not _there(old, directors)
    elif owner:
        safe = (_holds([directors.get(owner)], old) and not stays) or not _there(old, directors)
        cure = CURE if stays else TO_ONE_DIRECTOR.format(owner=owner)
    else:
        safe = (_holds(directors.values(), new) and not stays) or not _there(old, directors)
    if safe:
        return None
    why = f"nat is in use, and {', '.join(others)} answer by {old}: by {new} they would speak to nobody until directors have it"
    return why, cure


def not_there_yet(declaration: Declaration, directors: Seen, servers: Seen, prepared: AbstractSet[Mode]) -> str | None:
    """Why servers must not be prepared now, though the plan was not refused: the director that was to take the gateway first has
    not, or cannot be asked any more whether it has. They would answer by what nobody has. None when nothing speaks against it.
    """
    ways = {way[0] for state in servers.values() if state and (way := answers_by(state))}
    # Where all go by the gateway already, one that cannot be asked has it.
    if ways != {declaration.nat.gateway} and (first := first_to_float(declaration, directors)):
        return f"{first} has not taken the gateway {declaration.nat.gateway}: answers would go to nobody"
    moves = moves_in_use(declaration, directors, servers, prepared) if None in directors.values() else None
    return moves[0] if moves else None


def _answers_by_what_goes(declaration: Declaration, directors: Seen, servers: Seen) -> tuple[str, str] | None:
    """A director gives up an address, and a server that it sends to by nat, and that cannot be asked, may answer by it."""
    stay = {*floating_addresses(declaration), *(director.address for director in declaration.director.values())}
    for name, state in directors.items():
        if state and Mode.NAT in state.modes and name in declaration.director:
            # What somebody has for himself elsewhere, on lo or beyond the network, is no server's way and stays.
            held = {address for each in state.addresses if state.holds(address := each.address)}
            goes = sorted(address for address in held - stay if address in declaration.network)
            silent = _in_rotation_unseen(declaration, state, servers)
            if goes and silent:
                who, what = ", ".join(silent), ", ".join(map(str, goes))
                return f"{who} cannot be asked, and may answer by {what}, which {name} gives up", MEND.format(who=who)
    return None


def _in_rotation_unseen(declaration: Declaration, director: HostState | None, servers: Seen) -> list[str]:
    """Servers that this director sends to and that cannot be asked: it does not change before they are known to be ready."""
    sent = director.destinations if director else ()
    unseen = (name for name, state in servers.items() if state is None and name in declaration.real_server)
    return [name for name in unseen if declaration.real_server[name].address in sent]


def _ends_to_translate(declaration: Declaration, directors: Seen) -> bool:
    """Whether directors that serve by nat put their own address in the client's place, and are not to do so any more."""
    return declaration.nat.return_path is not ReturnPath.SNAT and any(
        state and Mode.NAT in state.modes and state.sysctls.get(CONNTRACK) == "1" for state in directors.values()
    )


def _in_use(declaration: Declaration, directors: Seen, servers: Seen) -> bool:
    """Whether somebody comes by nat, or may: a director that cannot be asked may send by any method."""
    sends = any(state is None or Mode.NAT in state.modes for state in directors.values())
    return sends or bool(in_use_by(declaration, {Mode.NAT}, servers))


def _holds(directors: Iterable[HostState | None], address: IPv4Address) -> bool:
    return any(state and state.holds(address) for state in directors)


def _there(address: IPv4Address, directors: Seen) -> bool:
    """Whether a director has it, or one that cannot be asked may. What nobody has serves nobody, and a change may be the cure."""
    return None in directors.values() or _holds(directors.values(), address)
