"""A deploy under the cluster's lock, and written down in its history."""

from collections.abc import Mapping

from cluster.errors import RefusedError
from cluster.history import DONE, FAILED
from cluster.plan import Plan, Step
from fleet import deployment, history, lock
from fleet.deployment import Progress, Report
from fleet.lock import Say
from fleet.session import Result, Session


def deploy(session: Session, wanted: Plan, text: str, progress: Progress, say: Say) -> Report:
    """Does what the plan says. `text` is the declaration's. Raises RefusedError if another operator is or was at work."""
    with lock.held(session, "deploy", say) as holding:
        _still(session, wanted)
        past = history.read(session)
        with history.begin(session, "deploy", history.last_text(session, past), text, say, past=past) as record:

            def told(step: Step, results: Mapping[str, Result] | None) -> None:
                if results is None:
                    holding.check()
                record.changed |= {name for name, result in (results or {}).items() if result.changed}
                progress(step, results)

            report = deployment.carry_out(session, wanted, told)
            record.end(_result(wanted, report), record.changed)
            return report


def _result(wanted: Plan, report: Report) -> str:
    if report.failed:
        return f"{FAILED}: {', '.join(sorted(report.failed))}"
    return f"{DONE}, but not on {', '.join(wanted.unreachable)}" if wanted.unreachable else DONE


def _still(session: Session, wanted: Plan) -> None:
    """What was shown and agreed to is what is done: until the lock was taken somebody else may have been at work."""
    if _outline(deployment.look_and_plan(session)) != _outline(wanted):
        raise RefusedError(
            "the hosts have changed since the plan was made; nothing was changed now", cure="look at the plan again"
        )


def _outline(plan: Plan) -> list[object]:
    """What would be done where, without figures that change by themselves."""
    return [
        (step.work, host, sorted((c.thing, c.action, c.kind) for c in changes))
        for step in plan.steps
        for host, changes in step.changes.items()
    ]
