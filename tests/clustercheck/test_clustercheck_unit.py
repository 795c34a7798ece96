"""The systemd unit that runs clustercheck."""

import jinja2
import pytest

from clustercheck import clustercheck
from templates import render

VALUES = {
    "program": "/usr/local/lib/lbctl/clustercheck",
    "arguments": ["--port=9200", "--allow=/list", "--serve-donor"],
    "user": "clustercheck",
    "revision": "0123456789abcdef",
}


def settings(**changes: object) -> dict[str, str]:
    text = render("clustercheck.service.j2", {**VALUES, **changes})
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "["))]
    pairs = [(name, value) for name, _, value in (line.partition("=") for line in lines)]
    assert len(pairs) == len(dict(pairs)), "a setting stands there twice"
    return dict(pairs)


def test_what_it_runs() -> None:
    assert settings()["ExecStart"] == (
        "/usr/bin/python3 -I -B /usr/local/lib/lbctl/clustercheck --port=9200 --allow=/list --serve-donor"
    )
    assert settings(arguments=[])["ExecStart"] == "/usr/bin/python3 -I -B /usr/local/lib/lbctl/clustercheck"
    assert settings()["User"] == "clustercheck"


def test_it_answers_while_the_database_is_down() -> None:
    unit = settings()
    assert not unit.keys() & {"Requires", "BindsTo", "PartOf", "Requisite"}
    assert "maria" not in unit["After"]
    assert (unit["Restart"], unit["StartLimitIntervalSec"]) == ("always", "0")


def test_systemd_waits_longer_than_the_loop_does() -> None:
    pings_every = float(settings()["WatchdogSec"]) / 3
    assert pings_every > clustercheck.Options().every


@pytest.mark.parametrize("missing", sorted(VALUES))
def test_every_value_is_needed(missing: str) -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("clustercheck.service.j2", {name: value for name, value in VALUES.items() if name != missing})
