"""A report as a page: whole, self-contained, and safe against what others have named."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cluster.findings import Check, Finding, Outcome
from cluster.footprint import Blueprint
from cluster.history import Entry, History
from cluster.report import Conditions, report
from cluster.status import Answers, status
from cluster.vocabulary import Mode
from pages.report import page
from tests.cluster.sample import LAB
from tests.cluster.test_status import BEGUN, kept, locked
from tests.cluster.watched import AT, blueprint, changed, healthy, out, without
from tests.variants import PASSWORD, Variant

PLAN = blueprint()
WELL = healthy(PLAN)
SILENT = "no answer from 10.0.0.3 port 22 within 2 s\n  → Is the host up?"
EVIL = "<script>alert(1)</script>\" onload='x' &amp; <b>"
PAST = History(
    (
        Entry(1, "deploy", "anna", "desk", AT - timedelta(days=2), AT - timedelta(days=2, seconds=-70), "done"),
        Entry(2, "failover lb2 to lb1", "bert", "roof", AT - timedelta(hours=1), AT, "failed: lb2", changed=("lb1",)),
    )
)
VERIFY = Check(
    name="verify",
    at=AT - timedelta(hours=3),
    by="anna@desk",
    findings=(
        Finding(outcome=Outcome.OK, text="read 10.0.0.10:3306 (rotates): db1 2, db2 2, db3 2"),
        Finding(outcome=Outcome.BAD, text="write 10.0.0.11:3306 (sticks): no answer"),
        Finding(outcome=Outcome.UNKNOWN, host="db3", text="it could not be asked", cure="ssh db3 true"),
    ),
)
BOTH = changed(WELL, "lb2", addresses=WELL.pulses["lb1"].addresses)
DEAD = without(out(WELL, PLAN, "db3", "no answer within 1 s"), "db3", SILENT)
CASES: dict[str, tuple[Blueprint, Answers]] = {
    "healthy": (PLAN, WELL),
    "dead-server": (PLAN, DEAD),
    "dead-director": (PLAN, without(WELL, "lb2", SILENT)),
    "two-owners": (PLAN, BOTH),
    "drift": (PLAN, replace(WELL, states={**WELL.states, "db2": replace(WELL.states["db2"], links={})})),
    "locked": (PLAN, locked(WELL, 3)),
    "unfinished": (PLAN, changed(WELL, "lb1", history=kept(BEGUN))),
    "nothing-known": (PLAN, Answers(WELL.at, {}, dead=dict.fromkeys(PLAN.declaration.hosts(), SILENT))),
    **{
        mode: (plan := blueprint(LAB.replace('mode = "dr"', f'mode = "{mode}"')), healthy(plan))
        for mode in (Mode.TUN, Mode.NAT)
    },
}


def html(
    answers: Answers,
    plan: Blueprint = PLAN,
    *,
    looks: int = 4,
    past: History = PAST,
    check: Check | None = VERIFY,
    by: str = "anna@desk",
) -> str:
    seen = [status(plan, replace(answers, at=answers.at + timedelta(seconds=number))) for number in range(looks)]
    conditions = Conditions(by, "0.1.0", "inventory/lab.toml", LAB)
    return page(report(plan.declaration, seen, past, {"verify": check}, conditions))


@pytest.fixture(params=CASES)
def text(request: pytest.FixtureRequest) -> str:
    plan, answers = CASES[request.param]
    return html(answers, plan)


# Elements that have no end (HTML Living Standard, 13.1.2), and those of SVG that are written as such.
VOID = {"meta", "link", "br", "path", "rect", "circle", "polygon", "polyline"}
LINKS = {"href", "src", "srcset", "action", "data", "poster", "xlink:href", "background"}


class Reader(HTMLParser):
    """Every element must be closed, in the opposite order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"twice the same attribute in {tag}: {attrs}"
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in LINKS]
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, tag
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def said(text: str) -> str:
    """What a reader sees, in one line."""
    body = text[text.index("<body>") :]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def test_it_is_well_formed(text: str) -> None:
    assert text.lstrip().startswith("<!DOCTYPE html>")
    found = read(text)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert found.tags.count("h1") == 1
    assert "undefined" not in said(text).lower()
    assert "None" not in re.findall(r"\w+", said(text).replace("None: every", "").replace("None on the", ""))


def test_nothing_comes_from_outside(text: str) -> None:
    found = read(text)
    assert [link for link in found.links if not link.startswith(("#", "data:image/svg+xml,"))] == []
    assert "script" not in found.tags
    assert [each for each in found.attributes if each[1].startswith("on")] == []
    assert "url(" not in text
    assert "@import" not in text
    policy = next(value for tag, name, value in found.attributes if (tag, name) == ("meta", "content"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_what_is_well_is_said() -> None:
    seen = said(html(WELL, check=None))
    assert "Nothing is wrong." in seen
    assert "active director lb1 servers in rotation 3 of 3 connections 24" in seen
    assert "None: every host is as declared." in seen
    assert "Not run on this cluster from here. lbctl verify looks" in seen
    assert "<title>lab: nothing is wrong</title>" in html(WELL)


def test_a_dead_server_is_said_first() -> None:
    text = html(DEAD)
    seen = said(text)
    assert "things are wrong: db3 cannot be asked: no answer from 10.0.0.3 port 22 within 2 s" in seen
    assert "servers in rotation 2 of 3" in seen
    assert "✗ out the host does not answer" in seen
    assert 'class="box bad"' in text


def test_two_owners() -> None:
    seen = said(html(BOTH))
    assert "split brain: lb1 and lb2 hold 10.0.0.12, 10.0.0.10, 10.0.0.11" in seen
    assert "active director lb1 and lb2" in seen


def test_changes_and_checks() -> None:
    seen = said(html(WELL))
    assert "2 failover lb2 to lb1 ✗ failed: lb2 2026-11-25 02:14:15 UTC · bert@roof · took 60 min · changed lb1" in seen
    assert "The last verify , 3 h before this report, found 1 bad." in seen
    assert "Since then: change 2, failover lb2 to lb1." in seen
    assert "? db3 it could not be asked → ssh db3 true" in seen
    assert "Not run on this cluster from here. lbctl doctor looks" in seen


def test_one_look_has_no_lines() -> None:
    text = html(WELL, looks=1)
    assert 'class="plot"' not in text
    assert "1; rates are the kernel's own estimates" in said(text)
    assert 'class="plot"' in html(WELL)


def test_bytes_back_are_shown_where_the_director_sees_them() -> None:
    plan, answers = CASES[Mode.NAT]
    assert "bytes out / s" in html(answers, plan)
    assert "Answers go past the director" in html(WELL)
    assert "Answers go past the director" not in html(answers, plan)


def test_names_are_no_markup() -> None:
    answers = out(without(WELL, "db2", EVIL), PLAN, "db3", EVIL)
    past = History((replace(PAST.entries[0], what=EVIL, by=EVIL, result=EVIL, changed=(EVIL,)),), broken={EVIL: EVIL})
    check = VERIFY.model_copy(
        update={"findings": (Finding(outcome=Outcome.BAD, text=EVIL, host=EVIL, cure=EVIL),), "by": EVIL}
    )
    text = html(answers, past=past, check=check, by=EVIL)
    assert "<script" not in text
    assert "<b>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    read(text)


def test_the_secret_is_not_in_it() -> None:
    form = Variant(vrrp="password")
    plan = form.blueprint
    assert plan.password == PASSWORD
    seen = [status(plan, healthy(plan))]
    made = page(report(plan.declaration, seen, PAST, {}, Conditions("anna@desk", "0.1.0", "lab.toml", form.text)))
    assert PASSWORD not in made
    assert "password" not in made


def test_many_servers_have_one_line_together() -> None:
    more = "".join(f'\n[real_server.db{n}]\naddress = "10.0.0.{n + 100}"\n' for n in range(4, 14))
    plan = blueprint(LAB + more)
    text = html(healthy(plan), plan)
    assert "all servers" in said(text)
    assert text.count('class="box good"') == 14  # 13 servers and the active director
    read(text)


# Colours

CSS = (Path(__file__).parents[2] / "templates/report.css.j2").read_text()
TINTS = {"good": "good-tint", "bad": "bad-tint", "news": "news-tint"}


def themes() -> Iterator[dict[str, str]]:
    """The colours by name, light ones and dark ones."""
    for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL):
        yield dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast() -> None:
    """WCAG 2.2, AA: 4.5 for text (1.4.3), 3 for lines and borders that tell something (1.4.11)."""
    light, dark = themes()
    assert light.keys() == dark.keys()
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for theme in (light, dark):
        for ground in ("sheet", "paper", "panel"):
            for ink in ("ink", "muted", "good", "bad", "news"):
                assert contrast(theme[ink], theme[ground]) >= 4.5, (ink, ground)
            for line in ("edge", "request", "answer", *(name for name in theme if name.startswith("line-"))):
                assert contrast(theme[line], theme[ground]) >= 3, (line, ground)
        for ink, tint in TINTS.items():
            assert contrast(theme[ink], theme[tint]) >= 4.5, (ink, tint)
            assert contrast(theme["ink"], theme[tint]) >= 4.5, tint
        for disc in ("request", "answer"):  # the number of a step
            assert contrast(theme["paper"], theme[disc]) >= 4.5, disc
