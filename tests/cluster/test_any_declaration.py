"""What holds for every valid declaration, whatever it says."""

from dataclasses import fields
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from cluster.declaration import Declaration
from cluster.footprint import ALL_MODES, Blueprint
from cluster.keepalived import configuration
from cluster.parts import File, Footprint, Part, Thing, Unit
from cluster.vocabulary import Mode
from templates import render
from tests.cluster.declarations import PASSWORDS, declarations


def blueprint_of(declaration: Declaration, password: str) -> Blueprint:
    return Blueprint(declaration, render, password if declaration.vrrp.password else None)


def items(part: Part, name: str) -> set[object]:
    value = getattr(part, name)
    return set(value.items()) if isinstance(value, dict) else set(value)


def missing_in(large: Footprint, small: Footprint) -> list[object]:
    """What of the small one the large one lacks. A chain, a file, a route: each is there whole, or it is not there."""
    parts = {part.thing: part for part in large}
    return [
        item
        for part in small
        for field in fields(Part)
        if field.name not in {"thing", "table"}  # a table is that of the declared mode, whatever is asked for
        for item in items(part, field.name) - items(parts.get(part.thing, Part(part.thing)), field.name)
        if not of_the_configuration(item)
    ]


def of_the_configuration(item: object) -> bool:
    """keepalived.conf, of which there is one for each set of modes: test_fading.py."""
    return (isinstance(item, File) and item.guarded) or (isinstance(item, Unit) and item.reload)


@given(declarations(), PASSWORDS, st.sampled_from(Mode))
def test_it_renders(declaration: Declaration, password: str, mode: Mode) -> None:
    blueprint = blueprint_of(declaration, password)
    for host in declaration.hosts():
        for part in blueprint.footprint(host, {declaration.mode, mode}):
            for file in part.files:
                assert file.path.startswith("/")
                assert file.text.endswith("\n")


@given(declarations(), PASSWORDS)
def test_all_modes_together_contain_each(declaration: Declaration, password: str) -> None:
    blueprint = blueprint_of(declaration, password)
    for host in declaration.hosts():
        everything = blueprint.footprint(host, ALL_MODES)
        for mode in Mode:
            assert missing_in(everything, blueprint.footprint(host, {mode})) == []


@given(declarations(), PASSWORDS)
def test_things_come_once_and_in_the_order_of_building(declaration: Declaration, password: str) -> None:
    blueprint = blueprint_of(declaration, password)
    for host in declaration.hosts():
        things = [part.thing for part in blueprint.footprint(host, ALL_MODES)]
        assert things == [thing for thing in Thing if thing in things]


@given(declarations())
def test_peers_agree(declaration: Declaration) -> None:
    """What directors must have in common they have: they differ in who they are, and in nothing else."""

    def terms(director: str) -> tuple[object, ...]:
        model = configuration(declaration, director, "pass")
        instance = model.instance
        assert instance
        return (
            *(model.vrrp_version, bool(model.sync_interface), model.sync_id, model.static_routes),
            *(model.virtual_servers, instance.virtual_router_id, instance.advertise_every, instance.password),
            *(instance.advertised, instance.excluded, bool(instance.unicast_peers)),
        )

    directors = [name for name in declaration.director if configuration(declaration, name).instance]
    assert len({repr(terms(name)) for name in directors}) <= 1


@given(declarations())
def test_no_weight_is_the_same_in_a_service_that_ranks(declaration: Declaration) -> None:
    for server in configuration(declaration, "lb0").virtual_servers:
        weights = [destination.weight for destination in server.destinations if destination.weight]
        if server.scheduler == "fo":
            assert len(set(weights)) == len(weights)


@given(declarations())
def test_a_vip_is_never_on_a_network_card_of_a_server(declaration: Declaration) -> None:
    blueprint = blueprint_of(declaration, "pass")
    for name in declaration.real_server:
        for part in blueprint.footprint(name, ALL_MODES):
            assert {address.device for address in part.addresses} <= {"dummy0", "tunl0"}
            assert {a.address for a in part.addresses} <= {IPv4Address(vip) for vip in declaration.vips}
