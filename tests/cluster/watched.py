"""Clusters as their hosts answer, for pure tests of what is shown of them."""

from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

from cluster.footprint import Blueprint
from cluster.keepalived import VirtualServer, configuration, floating_addresses
from cluster.observed import HostState
from cluster.parts import Address
from cluster.pulse import Ask, Pulse, Traffic, asks, own_asks, place
from cluster.reading import read
from cluster.status import Answers
from cluster.why import LOOPBACK
from templates import render
from tests.cluster.sample import LAB
from tests.cluster.states import as_declared, director, services

AT = datetime(2026, 11, 25, 3, 14, 15, tzinfo=UTC)
LB1 = IPv4Address("10.0.0.4")
ONLY_A_WRITER = "".join(LAB.partition("[service.read]")[::2]).replace(
    'vip = "10.0.0.10"\nnat_port = 5506\n\n[service.write]\n', '[service.write]\ncheck = "primary"\n'
)
"""One service, whose writer is elected."""


def blueprint(text: str = LAB) -> Blueprint:
    return Blueprint(read(text, "lab.toml"), render)


def director_pulse(plan: Blueprint, name: str, *, active: bool, dead: tuple[str, ...] = ()) -> Pulse:
    """A director of a cluster under load; the active one holds what floats."""
    declaration = plan.declaration
    table = services(configuration(declaration, name).virtual_servers, dead)
    busy = tuple(
        replace(s, destinations=tuple(replace(d, active=4, inactive=2) for d in s.destinations)) for s in table
    )
    keys = [(place(s.endpoint), d.address, d.port) for s in busy for d in s.destinations]
    return Pulse(
        addresses=frozenset(Address("eth0", address) for address in floating_addresses(declaration) if active),
        keepalived="active",
        priority=declaration.director[name].priority,
        services=busy,
        totals=dict.fromkeys(keys, Traffic(700, 7000, 0, 1_234_567, 0)),
        rates=dict.fromkeys(keys, Traffic(3, 40, 0, 12_345, 0)),
    )


def server_pulse(plan: Blueprint, name: str) -> Pulse:
    answers = {Ask(LOOPBACK, ask.port, ask.path): "200 Synced" for ask in own_asks(plan.declaration, name)}
    return Pulse(listening=frozenset({3306}), answers=answers)


def healthy(plan: Blueprint) -> Answers:
    """All as declared; the first director is active."""
    d = plan.declaration
    first = next(iter(d.director))
    pulses = {name: director_pulse(plan, name, active=name == first) for name in d.director}
    pulses |= {name: server_pulse(plan, name) for name in d.real_server}
    states: dict[str, HostState] = {name: director(plan, name, d.mode, active=name == first) for name in d.director}
    states |= {name: as_declared(plan, name, {d.mode}) for name in d.real_server}
    return Answers(AT, pulses, states)


def without(answers: Answers, host: str, why: str = "no answer from 10.0.0.99 port 22 within 2 s") -> Answers:
    """The host is dead."""
    pulses = {name: pulse for name, pulse in answers.pulses.items() if name != host}
    states = {name: state for name, state in answers.states.items() if name != host}
    return replace(answers, pulses=pulses, states=states, dead={**answers.dead, host: why})


def changed(pulsing: Answers, host: str, **fields: object) -> Answers:
    """The host's pulse is otherwise."""
    pulse = replace(pulsing.pulses[host], **fields)  # type: ignore[arg-type]
    return replace(pulsing, pulses={**pulsing.pulses, host: pulse})


def out(answers: Answers, plan: Blueprint, server: str, told: str = "") -> Answers:
    """The server is in no director's table; `told`: what directors are answered there."""
    for name in plan.declaration.director:
        active = bool(answers.pulses[name].addresses)
        pulse = director_pulse(plan, name, active=active, dead=(server,))
        asked = Ask(plan.declaration.real_server[server].address, 9200, "/")
        pulse = replace(pulse, answers={asked: told} if told else {})
        state = director(plan, name, plan.declaration.mode, active=active, dead=(server,))
        answers = replace(answers, pulses={**answers.pulses, name: pulse}, states={**answers.states, name: state})
    return answers


def standing_by(answers: Answers, plan: Blueprint, told: dict[str, str], service: str = "write") -> Answers:
    """Servers are in no director's table for that service, because of what its check is told there, by server."""
    addresses = {plan.declaration.real_server[name].address: words for name, words in told.items()}
    for name in plan.declaration.director:
        table = tuple(
            replace(s, destinations=tuple(d for d in s.destinations if d.address not in addresses))
            if any(
                place(s.endpoint) == place(v.endpoint) and v.endpoint.service == service for v in _virtual(plan, name)
            )
            else s
            for s in answers.pulses[name].services
        )
        asked = {
            ask: addresses[address]
            for endpoint, _, address, _, ask in asks(plan.declaration, name)
            if endpoint.service == service and address in addresses
        }
        answers = changed(answers, name, services=table, answers=asked)
        state = replace(answers.states[name], services=table)
        answers = replace(answers, states={**answers.states, name: state})
    return answers


def unreached(plan: Blueprint, told: str, *servers: str) -> Answers:
    """The backup has no way to the health services of these, or they object to it; the active one serves them."""
    well = healthy(plan)
    asked = {ask: told for _, name, _, _, ask in asks(plan.declaration, "lb2") if name in servers}
    pulse = replace(director_pulse(plan, "lb2", active=False, dead=servers), answers=asked)
    return replace(well, pulses={**well.pulses, "lb2": pulse})


def elected(plan: Blueprint) -> Answers:
    """A healthy cluster whose writer is the node with index 0, as clustercheck tells it: db1."""
    told = {
        name: f"503 wsrep_local_index is {index}, the master is index 0"
        for index, name in enumerate(plan.declaration.real_server)
        if index
    }
    return standing_by(healthy(plan), plan, told)


def _virtual(plan: Blueprint, name: str) -> tuple[VirtualServer, ...]:
    return configuration(plan.declaration, name).virtual_servers
