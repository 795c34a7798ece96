"""What a picture of the way of a packet shows of a cluster."""

import pytest

from cluster.scene import Look, Scene, Station, scene
from cluster.status import Answers, status
from cluster.vocabulary import Mode, ReturnPath
from tests.cluster.sample import LAB
from tests.cluster.watched import ONLY_A_WRITER, blueprint, changed, elected, healthy, out, without
from tests.variants import Variant

PLAN = blueprint()
WELL = healthy(PLAN)


def drawn(answers: Answers, text: str = LAB) -> Scene:
    plan = blueprint(text)
    return scene(plan.declaration, status(plan, answers))


def in_mode(mode: Mode, nat: str = "") -> Scene:
    text = LAB.replace('mode = "dr"', f'mode = "{mode}"').replace("[nat]\n", f"[nat]\n{nat}")
    return drawn(healthy(blueprint(text)), text)


def told(shown: Scene) -> list[tuple[str, bool]]:
    return [(step.text, step.answer) for step in shown.steps]


def looks(stations: tuple[Station, ...]) -> dict[str, tuple[str, Look]]:
    return {station.name: (station.word, station.look) for station in stations}


def test_all_is_well() -> None:
    shown = drawn(WELL)
    assert [station.name for station in shown.directors] == ["lb1", "lb2"]
    assert looks(shown.directors) == {"lb1": ("active", Look.GOOD), "lb2": ("backup", Look.IDLE)}
    assert shown.directors[0].below == "10.0.0.4 holds 10.0.0.10, …"
    assert set(looks(shown.servers).values()) == {("serving", Look.GOOD)}
    assert shown.picked == "db1"


def test_direct_routing_and_tunnelling_go_past_the_director() -> None:
    assert told(in_mode(Mode.DR)) == [
        ("A client calls 10.0.0.10:3306. lb1 answers ARP for 10.0.0.10, and gets the packet.", False),
        ("lb1 sends the same packet on to db1's MAC address. Nothing in it is changed.", False),
        (
            "db1 has 10.0.0.10 on dummy0 and takes it. It answers the client itself, from 10.0.0.10, past the director.",
            True,
        ),
    ]
    assert told(in_mode(Mode.TUN))[1:] == [
        ("lb1 sends the same packet inside another one to 10.0.0.1 (IPIP).", False),
        (
            "db1 unpacks it in tunl0, where it has 10.0.0.10. It answers the client itself, from 10.0.0.10, past the director.",
            True,
        ),
    ]
    assert not in_mode(Mode.TUN).through_director


def test_address_translation_goes_through_it() -> None:
    shown = in_mode(Mode.NAT)
    assert shown.through_director
    assert told(shown) == [
        ("A client calls 10.0.0.10:3306 or 10.0.0.12:5506. lb1 answers ARP for 10.0.0.10, and gets the packet.", False),
        ("lb1 rewrites the packet's target to 10.0.0.1:3306.", False),
        ("db1 answers from 10.0.0.1; a rule sends that to 10.0.0.12, which lb1 has.", True),
        ("lb1 puts the address back that the client had called, and forwards the answer.", True),
    ]


@pytest.mark.parametrize(
    ("way", "step"),
    [
        (ReturnPath.FWMARK, "db1 answers from 10.0.0.1; a mark and a rule send that to 10.0.0.12, which lb1 has."),
        (ReturnPath.SNAT, "db1 answers lb1, which it takes for the client."),
    ],
)
def test_each_return_path_is_told(way: ReturnPath, step: str) -> None:
    assert told(in_mode(Mode.NAT, f'return_path = "{way}"\n'))[2] == (step, True)


def test_another_director_serves() -> None:
    moved = changed(changed(WELL, "lb1", addresses=frozenset()), "lb2", addresses=WELL.pulses["lb1"].addresses)
    shown = drawn(moved)
    assert [station.name for station in shown.directors] == ["lb2", "lb1"]
    assert shown.steps[0].text.endswith("lb2 answers ARP for 10.0.0.10, and gets the packet.")


def test_a_dead_server_and_one_that_rests() -> None:
    text = f"{LAB}drained = true\n"
    shown = drawn(without(out(WELL, PLAN, "db1"), "db1"), text)
    assert looks(shown.servers) == {
        "db1": ("dead", Look.BAD),
        "db2": ("serving", Look.GOOD),
        "db3": ("drained", Look.IDLE),
    }
    assert shown.picked == "db2"
    assert "db2's MAC address" in shown.steps[1].text


def test_who_is_not_the_writer_serves_where_it_serves() -> None:
    variant = Variant(writer="elected")
    shown = scene(variant.declaration, status(variant.blueprint, elected(variant.blueprint)))
    assert set(looks(shown.servers).values()) == {("serving", Look.GOOD)}


def test_who_only_stands_by_rests() -> None:
    shown = drawn(elected(blueprint(ONLY_A_WRITER)), ONLY_A_WRITER)
    assert looks(shown.servers) == {
        "db1": ("serving", Look.GOOD),
        "db2": ("standby", Look.IDLE),
        "db3": ("standby", Look.IDLE),
    }


def test_nobody_forwards() -> None:
    nobody = changed(WELL, "lb1", addresses=frozenset())
    shown = drawn(nobody)
    assert not shown.forwards
    assert shown.picked is None
    assert told(shown) == [("A client calls 10.0.0.10:3306. No director answers for it.", False)]


def test_no_server_is_in_rotation() -> None:
    empty = WELL
    for name in ("lb1", "lb2"):
        services = tuple(
            type(service)(**{**vars(service), "destinations": ()}) for service in WELL.pulses[name].services
        )
        empty = changed(empty, name, services=services)
    shown = drawn(empty)
    assert shown.forwards
    assert shown.picked is None
    assert [text for text, _ in told(shown)][1:] == ["lb1 has no server in rotation: the packet goes no further."]


def test_two_owners_are_both_wrong() -> None:
    both = changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses)
    shown = drawn(both)
    assert "lb1 and lb2 answer ARP for 10.0.0.10: it is chance" in shown.steps[0].text
    assert looks(shown.directors) == {"lb1": ("active", Look.BAD), "lb2": ("active", Look.BAD)}
