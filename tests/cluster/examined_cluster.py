"""A cluster as `lbctl doctor` sees it: well, and then changed host by host."""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from cluster.doctor import Case, diagnose
from cluster.examined import Advert, Examined
from cluster.faults import Diagnosis, Fault
from cluster.footprint import Blueprint
from cluster.keepalived import floating_addresses
from cluster.status import Answers, status
from tests.cluster.watched import blueprint, healthy

PLAN = blueprint()
VIP = IPv4Address("10.0.0.10")
LB1, LB2 = IPv4Address("10.0.0.4"), IPv4Address("10.0.0.6")
FLOATING = floating_addresses(PLAN.declaration)


def mac(host: str) -> str:
    return f"02:00:00:00:00:{sum(host.encode()) % 256:02x}"


@dataclass
class Seen:
    """A cluster whose hosts are changed one by one, and then judged."""

    plan: Blueprint
    answers: Answers
    examined: dict[str, Examined]

    def look(self, host: str, **fields: Any) -> None:
        self.examined[host] = replace(self.examined[host], **fields)

    def state(self, host: str, **fields: Any) -> None:
        states = dict(self.answers.states)
        states[host] = replace(states[host], **fields)
        self.answers = replace(self.answers, states=states)

    def found(self) -> tuple[Diagnosis, ...]:
        return diagnose(Case(self.plan, self.answers, status(self.plan, self.answers), self.examined))

    @property
    def names(self) -> set[tuple[Fault, str]]:
        return {(each.fault, each.host) for each in self.found()}


def well(plan: Blueprint = PLAN) -> Seen:
    """A cluster in which all is as declared, looked at by `lbctl doctor`."""
    declaration = plan.declaration
    first = next(iter(declaration.director))
    heard = Advert(
        declaration.director[first].address,
        declaration.vrrp.version,
        declaration.director[first].priority,
        floating_addresses(declaration)[:1],
    )
    examined = {
        name: Examined(
            ahead=0.01,
            vague=0.02,
            macs=frozenset({mac(name)}),
            mtu=1500,
            answered={address: frozenset({mac(first)}) for address in floating_addresses(declaration) if name != first},
            adverts=(heard,) if name in declaration.director else (),
        )
        for name in declaration.hosts()
    }
    return Seen(plan, healthy(plan), examined)
