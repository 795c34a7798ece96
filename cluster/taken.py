"""Tables of routes that somebody else uses on a server. They are not taken over: what is sent by them would go astray. Pure."""

from collections.abc import Iterator

from cluster.difference import show_route, show_rule
from cluster.footprint import Blueprint
from cluster.keepalived import addresses_of_directors
from cluster.observed import HostState
from cluster.order import Seen
from cluster.parts import Part, Route
from cluster.routing import route_like_ours, rule_like_ours, tells_of_us
from cluster.vocabulary import SEED_ROUTING_TABLE, Mode, Role

CURE = (
    "give what uses it a table with another number there, now and for the next boot (netplan, /etc/network/interfaces, scripts); "
    "or choose a way that does without that table: nat.return_path, or another mode"
)


def taken_tables(blueprint: Blueprint, seen: Seen, modes: frozenset[Mode]) -> dict[str, str]:
    """Real servers that must not be prepared for `modes`, because a table that is needed there is somebody else's, and why."""
    servers = ((name, seen.get(name)) for name in blueprint.group(Role.REAL_SERVER))
    return {name: why for name, state in servers if state and (why := _taken(blueprint, name, modes, state))}


def _taken(blueprint: Blueprint, name: str, modes: frozenset[Mode], seen: HostState) -> str | None:
    for part in blueprint.footprint(name, modes, seen):
        for table in dict.fromkeys(route.table for route in part.routes):
            what = f"routing table {table}, which lbctl needs for its {part.thing}, is somebody else's there"
            if label := seen.table_names.get(table):
                return f"{what}: it has a name ({label}, in /etc/iproute2)"
            if found := list(_somebodys(blueprint, name, part, table, seen)):
                return f"{what}: {'; '.join(found)}"
    return None


def _somebodys(blueprint: Blueprint, name: str, part: Part, table: int, seen: HostState) -> Iterator[str]:
    """What is in the table, or leads there, and is not lbctl's. What came into one that is lbctl's already only stays."""
    routes = sorted((route for route in seen.routes if route.table == table), key=str)
    if any(map(tells_of_us, routes)):
        return
    devices = {route.device for route in part.routes}
    for route in routes:
        if not (route_like_ours(route) and route.device in devices and _leads_to_us(blueprint, route)):
            yield show_route(route)
    own = blueprint.host(name).address
    for rule in seen.rules:
        # One by hand for answers of nat may be for all that the server's own address sends.
        if rule.table == table and not (rule_like_ours(rule) or rule.source == own):
            yield show_rule(rule)


def _leads_to_us(blueprint: Blueprint, route: Route) -> bool:
    """Whether a default route goes to where answers of nat may; in the how-to's table that is whoever was the director then."""
    if route.destination != "default" or route.via is None:
        return True
    if route.table == SEED_ROUTING_TABLE:
        return route.via in blueprint.declaration.network
    declared = filter(None, (blueprint.declaration, blueprint.former))
    return any(route.via in addresses_of_directors(each) for each in declared)
