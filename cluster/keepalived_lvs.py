"""virtual_server of a hand-made keepalived.conf (keepalived.conf(5), virtual servers). Defaults are those of keepalived 2.2."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from cluster.keepalived_body import MOST, Body, Checking, Conf, Effect, Served, Virtual, address_of, as_number
from cluster.keepalived_conf import ConfError, Place, Statement
from cluster.remarks import IN_CHECKER, IN_SERVER, IN_VIRTUAL
from cluster.vocabulary import SCHEDULERS, Mode

_N = TypeVar("_N", int, float)


_PERSISTENT = 360
"""Seconds, where persistence_timeout names none (IPVS_SVC_PERSISTENT_TIMEOUT)."""


def virtuals(conf: Conf, block: Statement, groups: Mapping[str, Statement]) -> list[Virtual]:
    places = _places(conf, block, groups)
    if not places:
        return []
    body = Body(conf, block.body or (), IN_VIRTUAL)
    protocol = _protocol(conf, block, body)
    mode = _mode(conf, body, Mode.NAT)
    timeout = body.last("persistence_timeout")
    granularity = body.text("persistence_granularity")
    persistence = None
    if timeout:
        persistence = as_number(int, timeout.words[1], timeout) if len(timeout.words) > 1 else _PERSISTENT
    elif granularity:
        persistence = _PERSISTENT  # pgr_handler in keepalived's check/check_parser.c
    mask = address_of(granularity, block.place) if granularity else IPv4Address("255.255.255.255")
    scheduler = _scheduler(conf, block, body)
    alpha = body.flag("alpha")
    inherited = _Times(body, _Times())
    servers = [s for b in body.blocks("real_server") if (s := _served(conf, b, mode, inherited))]
    body.tell_rest()
    return [
        Virtual(
            address, port, protocol, scheduler, mode, alpha, persistence, mask if persistence else None,
            tuple(servers), name, block.place,
        )
        for address, port, name in places
    ]  # fmt: skip


def _places(conf: Conf, block: Statement, groups: Mapping[str, Statement]) -> list[tuple[IPv4Address, int, str]]:
    kind, *rest = block.words[1:] or [""]
    not_served = "its clients are not served by what this declaration deploys"
    if kind == "group":
        name = rest[0] if rest else ""
        if name not in groups:
            raise ConfError(block.place, f"there is no virtual_server_group {name}")
        found = [_place(conf, each, not_served) for each in groups[name].body or ()]
        # vs_iseq in keepalived's check/ipwrapper.c: one with a group and one without are never the same.
        if any(found):
            what = (
                f"virtual_server group {name}: to keepalived a plain service is never that of a group. The deploy that replaces "
                "this file takes each of its services out of the kernel's table and puts it in anew: connections are cut, "
                "and for a moment new ones are refused"
            )
            conf.tell(block.place, Effect.CLIENTS, what)
        return [(address, port, name) for one in found for address, port in one]
    return [(address, port, "") for address, port in _place(conf, block, not_served, skip=1)]


def _place(conf: Conf, statement: Statement, not_served: str, skip: int = 0) -> list[tuple[IPv4Address, int]]:
    if not statement.words[skip:]:
        raise ConfError(statement.place, f"{statement.keyword} has no address")
    first, *rest = statement.words[skip:]
    what = " ".join(statement.words)
    if first == "fwmark":
        conf.tell(statement.place, Effect.CLIENTS, f"{what}: a declaration has no marks; {not_served}")
    elif ":" in first:
        conf.tell(statement.place, Effect.CLIENTS, f"{what}: IPv6; {not_served}")
    elif not rest or rest[0] == "0":
        conf.tell(statement.place, Effect.CLIENTS, f"{what}: all ports of an address; {not_served}")
    else:
        port = as_number(int, rest[0], statement, most=MOST)
        return [(address, port) for address in _range(first, statement.place)]
    return []


_MANY = 256
"""Services of one line of a group."""


def _range(text: str, place: Place) -> list[IPv4Address]:
    """One address, or those of 10.0.0.10-15, 10.0.0.250-10.0.1.3, 10.0.0.8/30."""
    try:
        if "/" in text:
            network = IPv4Network(text, strict=False)
            numbers = range(int(network[0]), int(network[-1]) + 1)
        else:
            first, _, last = text.partition("-")
            end = f"{first.rpartition('.')[0]}.{last}" if last and "." not in last else last or first
            numbers = range(int(IPv4Address(first)), int(IPv4Address(end)) + 1)
    except ValueError:
        raise ConfError(place, f'"{text}" is no address') from None
    if not 0 < len(numbers) <= _MANY:
        raise ConfError(place, f'"{text}" stands for {len(numbers)} addresses: 1 to {_MANY} are read')
    return [IPv4Address(number) for number in numbers]


def _protocol(conf: Conf, block: Statement, body: Body) -> str:
    protocol = body.text("protocol")
    if protocol is None:
        conf.tell(
            block.place,
            Effect.NOTE,
            "no protocol is said: keepalived 2.2 takes that for UDP, older ones for TCP; import takes TCP",
        )
        return "tcp"
    return protocol.lower()


def _mode(conf: Conf, body: Body, default: Mode) -> Mode:
    statement = body.last("lb_kind", "lvs_method")
    if statement is None or len(statement.words) < 2:  # noqa: PLR2004 (keyword and value)
        return default
    try:
        mode = Mode.of(statement.words[1])
    except ValueError:
        raise ConfError(
            statement.place,
            f"{statement}: no forwarding method; keepalived would take NAT",
            cure="write DR, TUN or NAT",
        ) from None
    match statement.words[2:]:
        case () | ("type", "ipip"):
            pass
        case ("type", *_) if mode is Mode.TUN:
            what = f"{statement}: servers are to take tunnelled packets out of IPIP from now on, which is all that lbctl knows"
            conf.tell(statement.place, Effect.CLIENTS, what)
        case ignored:
            conf.tell(statement.place, Effect.NOTE, f"{statement}: {' '.join(ignored)} is not carried over")
    return mode


def _scheduler(conf: Conf, block: Statement, body: Body) -> str:
    said = body.text("lb_algo", "lvs_sched")
    if said in SCHEDULERS:
        return said
    conf.tell(
        block.place, Effect.CLIENTS if said else Effect.NOTE, f"scheduler {said or 'not said'}: wlc, as keepalived does"
    )
    return "wlc"


@dataclass
class _Times:
    """How often and how long is checked: a server's own words go before its service's, a checker's before both."""

    body: Body | None = None
    above: "_Times | None" = None

    def get(self, kind: type[_N], default: _N, *names: str) -> _N:
        inherited = self.above.get(kind, default, *names) if self.above else default
        return self.body.number(kind, inherited, *names) if self.body else inherited


def _served(conf: Conf, block: Statement, mode: Mode, inherited: _Times) -> Served | None:
    if len(block.words) < 2:  # noqa: PLR2004 (keyword and address)
        raise ConfError(block.place, "real_server has no address")
    address = address_of(block.words[1], block.place)
    if address is None:
        conf.tell(block.place, Effect.CLIENTS, f"{block}: IPv6 servers get nothing")
        return None
    port = as_number(int, block.words[2], block, most=MOST) if len(block.words) > 2 else 0  # noqa: PLR2004 (as above)
    body = Body(conf, block.body or (), IN_SERVER)
    own = _Times(body, inherited)
    served = Served(
        address,
        port,
        body.number(int, 1, "weight", most=MOST),
        _mode(conf, body, mode),
        _checking(conf, block, body, own, port),
        block.place,
    )
    body.tell_rest()
    return served


_CHECKERS = (
    *("HTTP_GET", "TCP_CHECK", "SSL_GET", "MISC_CHECK", "SMTP_CHECK"),
    *("DNS_CHECK", "UDP_CHECK", "BFD_CHECK", "PING_CHECK", "FILE_CHECK"),
)


def _checking(conf: Conf, block: Statement, body: Body, times: _Times, port: int) -> Checking:
    found = body.all(*_CHECKERS)
    every = times.get(float, 60.0, "delay_loop")
    times.get(int, 1, "retry")
    if not found:
        return Checking("none", port, every=every, place=block.place)
    first = next((s for s in found if s.keyword in {"HTTP_GET", "TCP_CHECK"}), found[0])
    for other in found:
        if other is not first:
            conf.tell(
                other.place,
                Effect.CLIENTS,
                f"a second check ({other.keyword}) is not carried over: each server has one",
            )
    inner = Body(conf, first.body or (), IN_CHECKER)
    http = first.keyword in {"HTTP_GET", "SSL_GET"}
    own = _Times(inner, times)
    checking = Checking(
        kind={"HTTP_GET": "http", "TCP_CHECK": "tcp"}.get(first.keyword, first.keyword),
        port=inner.number(int, port, "connect_port", most=MOST),
        path=_path(conf, first, inner) if http else "/",
        every=own.get(float, 60.0, "delay_loop"),
        timeout=own.get(float, 5.0, "connect_timeout"),
        retry=own.get(int, 1, "retry", "nb_get_retry"),
        retry_after=own.get(float, 3.0 if http else 1.0, "delay_before_retry"),
        place=first.place,
    )
    where = inner.text("connect_ip")
    if where and where != block.words[1]:
        conf.tell(first.place, Effect.CLIENTS, f"{block} is checked at {where}; lbctl checks the server's own address")
    inner.tell_rest()
    return checking


def _path(conf: Conf, checker: Statement, inner: Body) -> str:
    urls = inner.blocks("url")
    if not urls:
        raise ConfError(checker.place, f"{checker.keyword} has no url")
    for other in urls[1:]:
        conf.tell(other.place, Effect.CLIENTS, "a second url is not asked for: a check is one question")
    url = Body(conf, urls[0].body or (), IN_CHECKER)
    path = url.text("path") or "/"
    status = url.last("status_code")
    if status is not None and status.words[1:] != ("200",):
        conf.tell(status.place, Effect.CLIENTS, f"{status}: only an answer of 200 counts as alive")
    elif status is None and not any(s.keyword == "digest" for s in urls[0].body or ()):
        conf.tell(urls[0].place, Effect.NOTE, "no status_code is said, and 200 to 299 counts; then only 200 does")
    url.tell_rest()
    return path
