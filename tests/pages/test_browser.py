"""A report as a real browser shows it: nothing is asked for, refused or cut off, in light and dark, on a phone.

Pictures of it lie in pytest's folder for temporary files afterwards, for eyes (`--basetemp` names another).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.footprint import Blueprint
from cluster.status import Answers
from tests.cluster.sample import LAB
from tests.cluster.watched import blueprint, healthy
from tests.pages.browser import Tab, tab
from tests.pages.test_report import CASES, html

pytestmark = [pytest.mark.process, pytest.mark.soak]

LONG = "db-of-the-shop-in-the-second-hall.example.net"
WIDE = LAB.replace("real_server.db1", f'real_server."{LONG}"').replace(
    "director.lb1", 'director."lb-1.hall-2.example.net"'
)
PAGES: dict[str, tuple[Blueprint, Answers]] = {**CASES, "long-names": (plan := blueprint(WIDE), healthy(plan))}
WINDOWS = {"desktop": 1280, "tablet": 768, "phone": 390, "small-phone": 360}


@pytest.fixture(scope="module")
def page() -> Iterator[Tab]:
    with tab() as found:
        yield found


@pytest.fixture(params=PAGES)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    plan, answers = PAGES[request.param]
    written = tmp_path / f"{request.param}.html"
    written.write_text(html(answers, plan))
    return written


WIDER = """\
[...document.querySelectorAll('body *')].filter(each =>
  each.getBoundingClientRect().right > document.documentElement.clientWidth + 1
  || each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0 && getComputedStyle(each).display != 'inline'
  && !each.closest('thead') && !each.closest('svg')).map(each => each.outerHTML.slice(0, 120))"""
"""What juts out of the window, or out of its own box. (A table's head is hidden on a phone.)"""


@pytest.mark.parametrize("window", WINDOWS)
def test_nothing_is_cut_off_and_nothing_is_asked_for(page: Tab, file: Path, window: str) -> None:
    for dark in (False, True):
        page.open(file, width=WINDOWS[window], dark=dark)
        page.picture(file.with_name(f"{file.stem}-{window}-{'dark' if dark else 'light'}.png"))
        assert page.requests() == [file.resolve().as_uri()]
        assert page.complaints() == []
        inside, wide = page.value("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
        assert wide <= inside == WINDOWS[window]
        assert page.value(WIDER) == []


COLOURS = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"


def test_it_follows_the_readers_colours_and_prints_dark_on_light(page: Tab, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(html(CASES["healthy"][1]))
    page.open(file, width=1280)
    light = page.value(COLOURS)
    page.scheme(dark=True)
    dark = page.value(COLOURS)
    assert light == ["rgb(255, 255, 255)", "rgb(31, 35, 40)"]
    assert dark == ["rgb(13, 17, 23)", "rgb(230, 237, 243)"]
    page.scheme(dark=True, media="print")
    assert page.value(COLOURS) == light
    # A sheet of A4 less its margins, in CSS's pixels.
    page.tell("Emulation.setDeviceMetricsOverride", width=718, height=1000, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth") <= 718
    assert page.value(WIDER) == []
    page.picture(tmp_path / "printed.png")
    page.printed(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


def test_the_type_can_be_read_on_a_phone(page: Tab, tmp_path: Path) -> None:
    """In pictures, too: they shrink with the window."""
    file = tmp_path / "report.html"
    file.write_text(html(CASES["dead-server"][1]))
    page.open(file, width=360)
    smallest = page.value(
        "Math.min(...[...document.querySelectorAll('svg text')].map(each => parseFloat(getComputedStyle(each).fontSize)"
        " * each.getScreenCTM().a))"
    )
    assert smallest >= 9.5


def test_the_browser_would_say_what_is_wrong(page: Tab, tmp_path: Path) -> None:
    """What the tests above look for is found where it is."""
    file = tmp_path / "wrong.html"
    good = html(CASES["healthy"][1])
    file.write_text(
        good.replace("<main>", f'<main><img src="other.png"><p>{"x" * 200}</p><p style="width: 500px">x</p>')
    )
    page.open(file, width=360)
    assert any("Content Security Policy" in text for text in page.complaints())
    assert page.value("document.documentElement.scrollWidth") > 360
    assert any("500px" in each for each in page.value(WIDER))
