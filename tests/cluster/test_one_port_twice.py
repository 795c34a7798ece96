"""TCP and UDP at one address and port are two endpoints, as a name server has them."""

from dataclasses import replace
from datetime import timedelta

from cluster.course import course
from cluster.history import History
from cluster.report import Conditions, report
from cluster.status import Answers, status
from cluster.watching import events
from pages.report import page
from tests.cluster.sample import LAB
from tests.cluster.watched import AT, blueprint, changed, healthy

TEXT = (
    LAB.replace("nat_port = 5506\n", 'port = 53\ncheck = "tcp"\n')
    .replace('vip = "10.0.0.11"\nnat_port = 5507\n', 'vip = "10.0.0.10"\nport = 53\nprotocol = "udp"\ncheck = "none"\n')
    .replace('persistence = { timeout = "1d", granularity = "0.0.0.0" }\n', "")
    .replace("[service.read]", "[service.names]")
    .replace("[service.write]", "[service.quick]")
    .replace('gateway = "10.0.0.12"\n', "")
)
PLAN = blueprint(TEXT)
WELL = healthy(PLAN)


def without_udp(answers: Answers, server: str) -> Answers:
    """One server is out of the UDP service alone."""
    gone = PLAN.declaration.real_server[server].address
    services = tuple(
        replace(s, destinations=tuple(d for d in s.destinations if d.address != gone))
        if s.endpoint.protocol == "udp"
        else s
        for s in answers.pulses["lb1"].services
    )
    return changed(replace(answers, at=AT + timedelta(seconds=5)), "lb1", services=services)


def test_each_has_its_own_servers_news_and_figures() -> None:
    before, after = status(PLAN, WELL), status(PLAN, without_udp(WELL, "db3"))
    assert [event.text.split(": ")[:2] for event in events(before, after)] == [
        ["quick 10.0.0.10:53 udp", "db3 serving → out"]
    ]
    assert len(course([before, after]).rates) == 6
    assert any(text.startswith("db3 is out of quick 10.0.0.10:53 udp: ") for text in after.troubles)


def test_each_has_its_own_rows_in_a_report() -> None:
    found = status(PLAN, without_udp(WELL, "db3"))
    shown = page(report(PLAN.declaration, [found], History(), {}, Conditions("anna", "0", "lab.toml", TEXT)))
    tables = shown.split('<table class="servers">')[1:]
    assert ["✗ out" in table.partition("</table>")[0] for table in tables] == [False, True]
