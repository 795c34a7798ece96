"""Routes and rules: as `ip -j` says them, and which of those in a table of our number can be lbctl's work. Pure.

A number is no claim. A server with a second network card often has a table for what is to leave by that one, and 100 is a number
that people take (`from 192.168.1.5 lookup 100`, and there a default route by eth1). What lbctl writes has a shape of its own,
whatever addresses, ports and gateways were declared when it did.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any

from cluster.parts import Route, Rule
from cluster.vocabulary import SEED_ROUTING_TABLE, SEGMENT_TABLE

WORST_METRIC = 4278198272
"""Just under the kernel's last resort, as in the kernel's own documentation of VRF (Documentation/networking/vrf.rst):
`unreachable default` with it catches replies when the table's other routes are gone."""


def seen_rule(rule: Mapping[str, Any]) -> Rule:
    source = rule.get("src")
    table = str(rule.get("table", 0))
    return Rule(
        preference=int(rule["priority"]),
        # One that somebody gave a name (rt_tables) is none of ours.
        table={"local": 255, "main": 254, "default": 253}.get(table) or (int(table) if table.isdigit() else 0),
        source=IPv4Address(source) if source and source not in {"all", "default"} and "srclen" not in rule else None,
        protocol=rule.get("ipproto"),
        source_port=int(rule["sport"]) if "sport" in rule else None,
        mark=int(str(rule["fwmark"]), 0) if "fwmark" in rule else None,
    )


def has_number(route: Mapping[str, Any]) -> bool:
    """IPv4, and in a table with a number: those with names are the system's, or somebody's."""
    return str(route.get("table", "")).isdigit() and ":" not in f"{route['dst']}{route.get('gateway', '')}"


def seen_route(route: Mapping[str, Any]) -> Route:
    kind = route.get("type", "unicast")
    return Route(
        table=int(route["table"]),
        destination=route["dst"],
        device=route.get("dev") if kind == "unicast" else None,
        via=IPv4Address(route["gateway"]) if "gateway" in route else None,
        kind=kind,
        metric=route.get("metric"),
        advmss=next((each["advmss"] for each in route.get("metrics", ()) if "advmss" in each), None),
    )


def rule_like_ours(rule: Rule) -> bool:
    """Whether lbctl or the how-to may have written this rule for one of our tables."""
    matches = (rule.source, rule.protocol, rule.source_port)
    if rule.table == SEED_ROUTING_TABLE:
        # The how-to's has no preference of its own.
        return rule.mark == SEED_ROUTING_TABLE and not any(matches)
    # Whatever its preference: one that is there twice has another.
    return rule.mark is None and all(matches)


def route_like_ours(route: Route) -> bool:
    """Whether lbctl or the how-to may have written this route in one of our tables. Its device is for the caller to judge."""
    if route.kind != "unicast":
        return _catches(route)
    if route.device is None:
        return False
    sized = (route.advmss is not None) is (route.table == SEGMENT_TABLE)
    return sized and route.metric is None and (route.via is not None or route.destination != "default")


def tells_of_us(route: Route) -> bool:
    """Whether the table that this route is in is lbctl's already: nobody else would have it there."""
    return _catches(route) or (route.table == SEGMENT_TABLE and route.advmss is not None)


def _catches(route: Route) -> bool:
    return (route.kind, route.destination, route.metric) == ("unreachable", "default", WORST_METRIC)
