"""vrrp_instance of a hand-made keepalived.conf (keepalived.conf(5), VRRP instance)."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Interface

from cluster.keepalived_body import Body, Conf, Effect, Pair, address_of
from cluster.keepalived_conf import ConfError, Place, Statement
from cluster.remarks import IN_INSTANCE


def pair(conf: Conf, block: Statement, version: int) -> Pair:
    body = Body(conf, block.body or (), IN_INSTANCE)
    name = block.words[1] if len(block.words) > 1 else ""
    interface = body.text("interface")
    if interface is None:
        raise ConfError(block.place, f"vrrp_instance {name} names no interface")
    vrid = body.number(int, 0, "virtual_router_id")
    if not vrid:
        raise ConfError(block.place, f"vrrp_instance {name} has no virtual_router_id")
    master = (body.text("state") or "BACKUP").upper() == "MASTER"
    nopreempt = body.last("nopreempt")
    if master and nopreempt:
        conf.tell(
            nopreempt.place,
            Effect.NOTE,
            "nopreempt beside state MASTER: keepalived clears it, so this director takes over",
        )
    source = body.last("unicast_src_ip") or body.last("mcast_src_ip")
    peers = [s for b in body.blocks("unicast_peer") for s in b.body or ()]
    password, place = _password(conf, body)
    found = Pair(
        name=name,
        interface=interface,
        priority=body.number(int, 100, "priority"),
        virtual_router_id=vrid,
        version=body.number(int, version, "version"),
        advertise_every=body.number(float, 1.0, "advert_int"),
        announce_every=body.number(int, 0, "garp_master_refresh"),
        preempt=master or nopreempt is None,
        preempt_delay=body.number(float, 0.0, "preempt_delay"),
        password=password,
        password_place=place or block.place,
        source=address_of(source.words[1], source.place) if source and len(source.words) > 1 else None,
        unicast=bool(peers),
        peers=tuple(a for s in peers if (a := address_of(s.words[0], s.place))),
        addresses=tuple(_floating(conf, body, interface)),
        place=block.place,
    )
    for tracked in body.blocks("track_interface"):
        _tracked(conf, tracked, interface)
    body.tell_rest()
    return found


def _password(conf: Conf, body: Body) -> tuple[str | None, Place | None]:
    password, place = None, None
    for block in body.blocks("authentication"):
        inner = Body(conf, block.body or (), {}, secret=True)
        kind = inner.text("auth_type")
        place = said.place if (said := inner.last("auth_pass")) else place
        password = inner.text("auth_pass")
        if kind and kind.upper() == "AH":
            conf.tell(block.place, Effect.LOST, "auth_type AH: a declaration has passwords only (PASS)")
        inner.tell_rest()
    return password, place


def _tracked(conf: Conf, tracked: Statement, own: str) -> None:
    for each in tracked.body or ():
        if each.keyword != own:
            conf.tell(
                each.place, Effect.LOST, f"track_interface {each}: a director gives up its addresses only with {own}"
            )


def _floating(conf: Conf, body: Body, own: str) -> Iterator[tuple[IPv4Interface, str, Place]]:
    lists = [*body.blocks("virtual_ipaddress"), *body.blocks("virtual_ipaddress_excluded")]
    for each in (s for statement in lists for s in statement.body or ()):
        first, options = each.words[0], each.words[1:]
        if ":" in first:
            conf.tell(each.place, Effect.CLIENTS, f"{first}: IPv6 is not served")
            continue
        try:
            interface = IPv4Interface(first)
        except ValueError:
            raise ConfError(each.place, f'"{first}" is no address') from None
        said = dict(_options(options))
        device = said.pop("dev", "") or own
        if device != own:
            conf.tell(each.place, Effect.CLIENTS, f"{first} is on {device}; lbctl puts all that floats on {own}")
        for option in said.keys() - {"brd", "broadcast"}:
            conf.tell(each.place, Effect.NOTE, f"{first}: {f'{option} {said[option]}'.strip()} is not carried over")
        yield interface, device, each.place


_WITH_A_VALUE = {"dev", "brd", "broadcast", "scope", "label", "peer", "track_group", "preferred_lft", "metric"}
"""Of what may follow an address (keepalived.conf(5), virtual_ipaddress); all else stands for itself: no_track, home, …"""


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        yield word, next(rest, "") if word in _WITH_A_VALUE else ""
