"""`lbctl doctor`: what is wrong with the cluster, where, how that is known, and what cures it."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import as_json
from cli.session import ClusterOption, of, refuse_unheeded
from cli.status import Patience
from cli.trace import trace

if TYPE_CHECKING:
    from cluster.declaration import Declaration
    from cluster.faults import Diagnosis

    Found = tuple[Diagnosis, ...]
    Cure = Callable[[Callable[[dict[str, Any]], None]], Found]
    """Deploys, tells what came of it, and looks again."""

app = typer.Typer(invoke_without_command=True)
app.command()(trace)


@app.callback()
def doctor(
    ctx: typer.Context,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Afterwards deploy, where that is the cure. Shows its plan and asks.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="With --fix: also where a file was edited by hand; the edit is lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --fix: do not ask.")] = False,
    patience: Patience = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Find what is wrong: which fault, on which host, how that is known, what cures it. Without --fix nothing is changed.

    All hosts are asked at once; a dead one is a finding, and holds nobody up. It listens for VRRP and asks by ARP for some
    seconds. Exits with 4 if anything is found. docs/doctor.md has a page for each fault. `lbctl doctor trace` follows one
    connection.

    Example:  lbctl doctor
              lbctl doctor --json
              lbctl doctor --fix
    """
    if ctx.invoked_subcommand is not None:
        refuse_unheeded(ctx)
        of(ctx).cluster = cluster or of(ctx).cluster
        return
    from cluster.errors import Exit, RequestError  # noqa: PLC0415 (as below: `lbctl --help` stays quick)

    if not fix and (yes or overwrite):
        raise RequestError("--yes and --overwrite are for --fix", cure="lbctl doctor --fix")
    if fix and json_ and not yes:
        raise RequestError(
            "--fix --json does not ask, so it needs --yes", cure="--fix --yes --json; nothing was changed"
        )
    declaration, found = _examined(ctx, cluster, patience)
    _remember(declaration, found)

    def deployed(tell: "Callable[[dict[str, Any]], None]") -> "Found":
        from cli.changing import Asked, Manner, run  # noqa: PLC0415

        run(ctx, cluster, Asked("doctor --fix"), Manner(yes=yes, json=json_, overwrite=overwrite, tell=tell))
        return _examined(ctx, cluster, patience)[1]

    curable = fix and any(each.by_deploy or (overwrite and each.by_overwriting) for each in found)
    told = _for_programs if json_ else _for_people
    if told(declaration, found, deployed if curable else None, fix=fix):
        raise typer.Exit(Exit.TROUBLE)


def _examined(ctx: typer.Context, cluster: str | None, patience: float | None) -> "tuple[Declaration, Found]":
    from cli.status import eyes, judged  # noqa: PLC0415
    from cluster.doctor import Case, diagnose  # noqa: PLC0415

    with eyes(ctx, cluster, here=False, patience=patience) as onlooker:
        onlooker.look()
        examined = onlooker.examine()
        # Last, so that what the table and the addresses say is not older than what was heard.
        answers = onlooker.look(whole=False)
        status = judged(onlooker.blueprint, answers)
        return onlooker.blueprint.declaration, diagnose(Case(onlooker.blueprint, answers, status, examined))


def _for_programs(declaration: "Declaration", found: "Found", cure: "Cure | None", *, fix: bool) -> "Found":
    """One document; what is found at the end. `fix`: also what was found before, and what was changed."""

    def findings(now: "Found") -> dict[str, Any]:
        return {"healthy": not now, "findings": [_as_dict(each) for each in now]}

    told = {"cluster": declaration.name, **findings(found)}
    changes: list[dict[str, Any]] = []
    if fix:
        told |= {"before": told["findings"], "changes": changes}
    try:
        if cure:
            # Where the deploy ends in an error nobody looks again.
            told |= {"healthy": False, "findings": None}
            found = cure(changes.append)
            told |= findings(found)
    finally:
        as_json(told)
    return found


def _for_people(declaration: "Declaration", found: "Found", cure: "Cure | None", *, fix: bool) -> "Found":
    _show(found, list(declaration.hosts()))
    if cure:
        found = cure(as_json)
        typer.echo("")
        _show(found, list(declaration.hosts()))
    elif fix and found:
        typer.echo("Nothing of that is cured by a deploy, so nothing was changed.")
    return found


def _show(found: "Sequence[Diagnosis]", hosts: Sequence[str]) -> None:
    if not found:
        typer.secho(f"Nothing is wrong on {', '.join(hosts)}.", fg=typer.colors.GREEN)
        return
    for each in found:
        where = f"{each.host}: " if each.host else ""
        typer.secho(f"✗ {where}{each.what}", fg=typer.colors.RED, bold=True)
        for line in _more(each):
            typer.echo(f"    {line}")
    by_deploy = sum(each.by_deploy for each in found)
    count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
    cured = f", {by_deploy} of which lbctl doctor --fix cures" if by_deploy else ""
    typer.echo(f"{count}{cured}.")


def _more(each: "Diagnosis") -> Iterator[str]:
    for line in each.evidence:
        yield f"seen   {line}"
    for line in each.hence:
        yield f"hence  {line}"
    yield f"cure   {each.cure}"
    yield f"page   {each.page}"


def _as_dict(each: "Diagnosis") -> dict[str, Any]:
    return {
        "fault": str(each.fault),
        "host": each.host,
        "what": each.what,
        "evidence": list(each.evidence),
        "hence": list(each.hence),
        "cure": each.cure,
        "by_deploy": each.by_deploy,
        "page": each.page,
    }


def _remember(declaration: "Declaration", found: "Sequence[Diagnosis]") -> None:
    """For `lbctl report`."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from cluster.findings import Check, Finding, Outcome  # noqa: PLC0415
    from fleet import remembered  # noqa: PLC0415

    findings = [
        Finding(outcome=Outcome.BAD, text=f"{each.what}: {each.evidence[0]}", host=each.host, cure=each.cure)
        for each in found
    ] or [Finding(outcome=Outcome.OK, text="no fault was found")]
    check = Check(name="doctor", at=datetime.now(UTC), by=remembered.by(), findings=tuple(findings))
    if failed := remembered.keep(declaration, check):
        typer.echo(f"not remembered for `lbctl report`: {failed}", err=True)
