"""What one director's hand-made keepalived.conf says."""

from collections.abc import Sequence

from cluster.keepalived_body import Body, Conf, Effect, as_number
from cluster.keepalived_conf import Statement
from cluster.keepalived_lvs import virtuals
from cluster.keepalived_vrrp import pair
from cluster.remarks import IN_GLOBAL, ON_TOP


def read(statements: Sequence[Statement], file: str) -> Conf:
    """What these statements say. Raises ConfError for what cannot be understood."""
    conf = Conf(file)
    top = Body(conf, statements, ON_TOP)
    version = 2
    for block in top.blocks("global_defs"):
        version = _globals(conf, block, version)
    groups = {b.words[1]: b for b in top.blocks("virtual_server_group") if len(b.words) > 1}
    for block in top.blocks("vrrp_instance"):
        conf.pairs.append(pair(conf, block, version))
    for block in top.blocks("virtual_server"):
        conf.virtuals += virtuals(conf, block, groups)
    top.tell_rest()
    return conf


def _globals(conf: Conf, block: Statement, version: int) -> int:
    body = Body(conf, block.body or (), IN_GLOBAL)
    conf.router_id = body.text("router_id", "lvs_id") or conf.router_id
    version = body.number(int, version, "vrrp_version")
    if timeouts := body.last("lvs_timeouts"):
        conf.timeouts_place = timeouts.place
        pairs = zip(timeouts.words[1::2], timeouts.words[2::2], strict=False)
        conf.timeouts = {name: as_number(int, value, timeouts) for name, value in pairs}
    if daemon := body.last("lvs_sync_daemon"):
        conf.synchronised = True
        conf.tell(
            daemon.place, Effect.NOTE, f"{daemon}: said by vrrp.synchronise_connections; the id is virtual_router_id's"
        )
    body.tell_rest()
    return version
