"""VRRP's terms and the times of connections in an imported declaration: what directors of the files agree on."""

from collections.abc import Sequence
from typing import Any

from cluster.declaration import Connections
from cluster.errors import RequestError
from cluster.importing_directors import ImportedDirector
from cluster.importing_services import Chosen
from cluster.keepalived_body import Conf, Effect, Pair, Remark
from cluster.rules import password_problem
from cluster.units import duration

_COPIED_AGAIN = Connections().copy_every
"""Import writes none of its own, so it is this."""


def terms(
    directors: Sequence[ImportedDirector], picked: Chosen, secret: str, remarks: list[Remark], *, floats: bool
) -> dict[str, Any]:
    first = directors[0].pair
    if first is None:
        return {}
    if not floats:
        what = "nothing floats, so there is no VRRP until a virtual address or a gateway is declared"
        remarks.append(Remark(Effect.NOTE, first.place.file, first.place.line, what))
        return {"virtual_router_id": first.virtual_router_id}
    for other in directors[1:]:
        _must_agree(first, other.pair, other.conf, remarks)
    said: dict[str, Any] = {"virtual_router_id": first.virtual_router_id, "version": first.version}
    every = first.advertise_every if first.version == 3 else max(1.0, round(first.advertise_every))  # noqa: PLR2004 (VRRP's)
    said["advertise_every"] = duration(every)
    if secret:
        said["password"] = {"file": secret}
    if first.preempt:
        said |= {"preempt": True, "preempt_delay": duration(first.preempt_delay)}
    if first.announce_every:
        said["announce_every"] = duration(first.announce_every)
    if first.unicast:
        said["unicast"] = True
    _told_of_vrrp(directors, first, picked, remarks)
    return said


def _told_of_vrrp(directors: Sequence[ImportedDirector], first: Pair, picked: Chosen, remarks: list[Remark]) -> None:
    place = first.place
    if any(v.address in directors[0].conf.floating for v in picked.virtuals) and len(first.addresses) > 1:
        what = (
            "one floating address is advertised from now on and the others move along: directors that announce different lists "
            "reject each other, so the passive one rests while the first deploy changes the active one"
        )
        remarks.append(Remark(Effect.NOTE, place.file, place.line, what))
    if len(directors) > 1 and not all(d.conf.synchronised for d in directors):
        what = "established connections are copied to the other director from now on (vrrp.synchronise_connections)"
        remarks.append(Remark(Effect.NOTE, place.file, place.line, what))
    early = len(directors) > 1 and first.preempt and first.preempt_delay < _COPIED_AGAIN
    if early:
        what = (
            f"the preferred director takes over {first.preempt_delay:g} s after it came back, and may know some connections only "
            f"after {_COPIED_AGAIN:g} s (connections.copy_every): the others are cut then, and by a first deploy while another "
            "director is active. vrrp.preempt = false ends that, or a longer vrrp.preempt_delay"
        )
        remarks.append(Remark(Effect.CLIENTS, place.file, place.line, what))
    known = {d.address for d in directors}
    for peer in (p for p in first.peers if p not in known):
        what = f"there is another director, {peer}, whose file was not given: with this declaration alone it would be a stranger"
        remarks.append(Remark(Effect.CLIENTS, place.file, place.line, what))


def _must_agree(first: Pair, other: Pair | None, conf: Conf, remarks: list[Remark]) -> None:
    names = ("virtual_router_id", "version", "advertise_every", "password", "unicast")
    differ = ["a vrrp_instance"] if other is None else [n for n in names if getattr(first, n) != getattr(other, n)]
    if other and {i.ip for i, _, _ in first.addresses} != {i.ip for i, _, _ in other.addresses}:
        differ.append("virtual_ipaddress")
    if differ:
        what = f"the directors differ in {', '.join(differ)}: they may both hold the addresses now; {first.place} is followed"
        remarks.append(Remark(Effect.CLIENTS, conf.file, other.place.line if other else 0, what))


def shared_password(directors: Sequence[ImportedDirector], remarks: list[Remark]) -> str | None:
    pair = directors[0].pair
    if pair is None or not pair.password:
        return None
    if pair.version == 3:  # noqa: PLR2004 (VRRP's version)
        what = "VRRP 3 has no passwords, and keepalived does not send this one"
        remarks.append(Remark(Effect.NOTE, pair.password_place.file, pair.password_place.line, what))
        return None
    if len(pair.password) > 8:  # noqa: PLR2004 (RFC 2338, 5.3.6)
        what = f"auth_pass has {len(pair.password)} characters; VRRP carries 8 and keepalived cuts the rest: so does import"
        remarks.append(Remark(Effect.NOTE, pair.password_place.file, pair.password_place.line, what))
    if problem := password_problem(pair.password[:8]):
        raise RequestError(
            f"{pair.password_place}: {problem}", cure="give all directors another one first, then import"
        )
    return pair.password[:8]


def remembered(conf: Conf) -> dict[str, Any]:
    keys = {"tcp": "idle", "tcpfin": "closing", "udp": "udp"}
    said: dict[str, Any] = {keys[k]: duration(v) for k, v in conf.timeouts.items() if k in keys and v}
    idle = conf.timeouts.get("tcp", 0)
    if 0 < idle <= 330:  # noqa: PLR2004 (what keepalive and keepalive_retry are together by default)
        said |= {"keepalive": duration(max(1, idle // 3)), "keepalive_retry": duration(max(1, idle // 10))}
    return said
