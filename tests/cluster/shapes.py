"""Two declarations of one cluster, and what befalls it while the first becomes the second: what Hypothesis draws from."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from cluster.declaration import Declaration
from cluster.footprint import Blueprint
from cluster.observed import HostState
from cluster.rules import problems
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.simulation import ROUTER
from tests.cluster.states import IFUPDOWN, NETWORKD

GATEWAY, OTHER_GATEWAY = "10.0.0.12", "10.0.0.13"


def plain(name: str, values: Any) -> str:
    """Instead of a template: a text that differs when what goes into it does. Nothing reads it here."""
    return f"{name} {sorted(values.items())!r}\n"


@dataclass(frozen=True)
class Change:
    """From one declaration to another."""

    old: Declaration
    new: Declaration
    kind: HostState
    """How the machines' networks are configured."""
    dead: frozenset[str] = frozenset()
    """Servers that fail their checks all the time."""
    unreachable: frozenset[str] = frozenset()
    """Hosts that the operator cannot reach during the change."""
    connected: bool = True
    """Connections are established before it and stay until it is over."""

    @cached_property
    def blueprints(self) -> tuple[Blueprint, Blueprint]:
        old = Blueprint(self.old, plain, "secret")
        return old, Blueprint(self.new, plain, "secret", former=self.old, leaving=self.leaving)

    @property
    def leaving(self) -> frozenset[str]:
        return frozenset(self.old.hosts()) - frozenset(self.new.hosts())

    def __repr__(self) -> str:
        return (
            f"Change({_told(self.old)}\n  → {_told(self.new)}, dead={[*self.dead]}, unreachable={[*self.unreachable]})"
        )


def _told(declaration: Declaration) -> str:
    keys = ("mode", "service", "vrrp", "nat", "tun", "connections", "director", "real_server", "router")
    return str(declaration.model_dump(include=set(keys), exclude_defaults=True, mode="json"))


@st.composite
def _services(draw: st.DrawFn) -> dict[str, Any]:
    """One or two, with a VIP and perhaps a port for nat: what is not in both declarations is cut off rightly."""
    found: dict[str, Any] = {}
    for place, name in enumerate(("read", "write")[: draw(st.integers(1, 2))]):
        found[name] = {
            "vip": f"10.0.0.{10 + place}",
            "scheduler": draw(st.sampled_from(["rr", "fo"])),
            "check": draw(st.sampled_from(["synced", "writable"])),
        }
        if draw(st.booleans()):
            found[name]["nat_port"] = 5506 + place
    return found


@st.composite
def _trees(draw: st.DrawFn, directors: tuple[str, ...]) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "name": "galera",
        "mode": draw(st.sampled_from(["dr", "tun", "nat"])),
        "network": "10.0.0.0/24",
        "service": draw(_services()),
        "vrrp": {"unicast": draw(st.booleans()), "preempt": draw(st.booleans())},
        "connections": {"keepalive": draw(st.sampled_from([0, 300])), "refuse": draw(st.booleans())},
        "tun": {"fragment": draw(st.booleans())},
        "nat": {
            "return_path": draw(st.sampled_from(["rule", "fwmark", "snat"])),
            "direct": draw(st.sampled_from([[], ["10.0.0.64/27"]])),
        },
        "director": {
            name: {"address": f"10.0.0.{last}", "priority": priority}
            for name, last, priority in (("lb1", 4, 101), ("lb2", 6, draw(st.sampled_from([100, 102]))))
            if name in directors
        },
        "real_server": {
            f"db{n}": {"address": f"10.0.0.{n}", "weight": draw(st.sampled_from([10, 20]))}
            for n in range(1, 1 + draw(st.integers(2, 3)))
        },
    }
    if len(directors) > 1 or draw(st.booleans()):
        tree["nat"]["gateway"] = draw(st.sampled_from([GATEWAY, GATEWAY, OTHER_GATEWAY]))
    if draw(st.booleans()):
        tree["router"] = str(ROUTER)
    return tree


@st.composite
def changes(draw: st.DrawFn) -> Change:
    """Hosts may join and leave."""
    pair = ("lb1", "lb2")
    before, after = draw(
        st.sampled_from([(pair[:1], pair[:1]), (pair[:1], pair), (pair, pair), (pair, pair[:1]), (pair, pair[1:])])
    )
    trees = [draw(_trees(names)) for names in (before, after)]
    old, new = (Declaration.model_validate(tree) for tree in trees)
    assert problems(old) == problems(new) == []  # else these are not the valid ones
    # What servers see as client with snat is one director's own address: such connections end when the other one takes over.
    moves = new.vrrp.preempt or not old.director.keys() <= new.director.keys()
    assume(not (old.mode is Mode.NAT and old.nat.return_path is ReturnPath.SNAT and moves))
    common = sorted(old.real_server.keys() & new.real_server.keys())
    dead = draw(st.sampled_from([frozenset(), *({frozenset({name}) for name in common})]))
    # A director that joins while the one that serves cannot be asked starts on terms that may not be that one's (cluster.order).
    silent = [*common, *(old.director if before == after else ())]
    reached = [frozenset[str](), *(frozenset({name}) for name in silent)]
    return Change(
        old,
        new,
        draw(st.sampled_from([IFUPDOWN, NETWORKD])),
        dead=dead,
        unreachable=draw(st.sampled_from(reached)),
        connected=draw(st.booleans()),
    )
