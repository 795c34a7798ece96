"""Any valid declaration: what Hypothesis draws from."""

from typing import Any

from hypothesis import strategies as st

from cluster.declaration import Declaration
from cluster.rules import problems
from cluster.vocabulary import SCHEDULERS

NAMES = ("alpha", "b2", "db-3.example.net", "shop", "reports", "x" * 63)
PASSWORDS = st.text("abcXYZ019-_.,:;%&/()=?*+~<>|@", min_size=1, max_size=8)


def address(last: int) -> str:
    return f"10.0.0.{last}"


@st.composite
def services(draw: st.DrawFn, mode: str) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    found: dict[str, Any] = {}
    for place, name in enumerate(names):
        port = draw(st.sampled_from([3306, 80, 65535]))
        service: dict[str, Any] = {"vip": address(100 + place), "port": port}
        service["scheduler"] = draw(st.sampled_from(SCHEDULERS))
        service["check"] = draw(st.sampled_from(["synced", "writable", "primary", "tcp", "http", "none"]))
        if service["check"] == "http":
            service["check_path"] = draw(st.sampled_from(["/", "/health?deep=1", "/a/b~c.html"]))
            service["protocol"] = draw(st.sampled_from(["tcp", "udp"]))
        if draw(st.booleans()):
            service["nat_port"] = 5000 + place
        if mode == "nat":
            service["server_port"] = draw(st.sampled_from([port, 3307]))
            if "nat_port" in service and draw(st.booleans()):
                del service["vip"]
        if service["scheduler"] != "fo" and draw(st.booleans()):
            masks = st.sampled_from(["0.0.0.0", "255.255.0.0", "255.255.255.255"])
            service["persistence"] = {"timeout": draw(st.integers(1, 10**6)), "granularity": draw(masks)}
        found[name] = service
    return found


@st.composite
def vrrp(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {
        "virtual_router_id": draw(st.integers(1, 255)),
        "version": draw(st.sampled_from([2, 3])),
        "preempt": draw(st.booleans()),
        "preempt_delay": draw(st.integers(0, 1000)),
        "unicast": draw(st.booleans()),
        "synchronise_connections": draw(st.booleans()),
    }
    if found["version"] == 2:
        found["advertise_every"] = draw(st.integers(1, 40))
        if draw(st.booleans()):
            found["password"] = {"env": "VRRP"}
    else:
        found["advertise_every"] = draw(st.sampled_from(["10ms", "200ms", "1s", 40]))
    return found


INTERFACES = ("eth0", "enp1s0", "eth0.100", "bond-lan")


@st.composite
def declarations(draw: st.DrawFn, interfaces: tuple[str, ...] = INTERFACES) -> Declaration:
    mode = draw(st.sampled_from(["dr", "tun", "nat"]))
    directors = draw(st.lists(st.integers(1, 254), min_size=1, max_size=3, unique=True))
    weights = draw(st.lists(st.integers(0, 65535), min_size=1, max_size=5).filter(any))
    interface = draw(st.sampled_from(interfaces))
    tree: dict[str, Any] = {
        "name": "galera",
        "mode": mode,
        "network": "10.0.0.0/24",
        "service": draw(services(mode)),
        "vrrp": draw(vrrp()),
        "health": {
            "every": draw(st.sampled_from(["100ms", "6s", "1h"])),
            "timeout": draw(st.sampled_from(["100ms", "1.5s"])),
            "retry": draw(st.integers(0, 10)),
        },
        "router": address(201),
        "connections": {
            "idle": draw(st.sampled_from(["6m", 2_000_000])),
            "keepalive": draw(st.sampled_from([0, 5])),
            "reset_dead": draw(st.booleans()),
            "refuse": draw(st.booleans()),
        },
        "tun": {"fragment": draw(st.booleans()), "mtu": draw(st.sampled_from([576, 65535]))},
        "nat": {
            "gateway": address(200),
            "return_path": draw(st.sampled_from(["rule", "fwmark", "snat"])),
            "direct": draw(st.lists(st.sampled_from(["10.0.0.9", "10.0.0.64/27", "10.9.0.0/16"]), unique=True)),
        },
        "clustercheck": {"serve_donor": draw(st.booleans())},
        "director": {
            f"lb{n}": {"address": address(10 + n), "priority": priority, "interface": interface}
            for n, priority in enumerate(directors)
        },
        "real_server": {
            f"db{n}": {"address": address(20 + n), "weight": weight, "interface": interface}
            for n, weight in enumerate(weights)
        },
    }
    if len(directors) == 1 and draw(st.booleans()):
        del tree["nat"]["gateway"]
    declaration = Declaration.model_validate(tree)
    assert problems(declaration) == []  # else these are not the valid ones
    return declaration
