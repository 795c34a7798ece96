"""`lbctl validate`: every fault of every file, with its line; else what the declaration amounts to."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import declarations
from cli.output import as_json, columns
from cli.session import ClusterOption, cluster_file

if TYPE_CHECKING:
    from cluster.declaration import Declaration
    from cluster.reading import Complaint


@dataclass(frozen=True)
class Finding:
    """One file. Without faults there is a declaration."""

    file: str
    faults: "tuple[Complaint, ...]"
    warnings: "tuple[Complaint, ...]" = ()
    declaration: "Declaration | None" = None


def validate(
    ctx: typer.Context,
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE",
            help="Declarations, where others are meant.",
            show_default=False,
            autocompletion=declarations,
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Check declarations: all faults at once, each with its line. No host is touched.

    Without FILE it is the declaration that every other command reads. Exits with 2 if there is a fault; a warning is none.

    Example:  lbctl validate
              lbctl validate inventory/*.toml --json
    """
    findings = [_look(path) for path in files or [cluster_file(ctx, cluster)]]
    if json_:
        as_json([_plain(finding) for finding in findings])
    else:
        _print(findings)
    if any(finding.faults for finding in findings):
        from cluster.errors import Exit  # noqa: PLC0415 (as below: `lbctl --help` must not wait for pydantic)

        raise typer.Exit(int(Exit.INVALID))


def _look(path: Path) -> Finding:
    from cluster.advice import advice  # noqa: PLC0415
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.lines import line_of  # noqa: PLC0415
    from cluster.reading import Complaint, DeclarationError  # noqa: PLC0415
    from fleet import source  # noqa: PLC0415

    file = str(path)
    try:
        found = source.blueprint(path).declaration
    except DeclarationError as error:
        return Finding(file, error.complaints)
    except RequestError as error:
        told = f"{error.message.removeprefix(f'{file}: ')}{f'; {error.cure}' if error.cure else ''}"
        return Finding(file, (Complaint(file, 0, "", told),))
    text = path.read_text(encoding="utf-8")
    said = advice(found)
    if secret := source.open_secret(found):
        said.append((("vrrp", "password"), f"others can read the secret: chmod 600 {secret}"))
    warnings = (Complaint(file, line_of(text, key), ".".join(key), message) for key, message in said)
    return Finding(file, (), tuple(warnings), found)


def _plain(finding: Finding) -> dict[str, object]:
    return {
        "file": finding.file,
        "valid": not finding.faults,
        "faults": [vars(fault) for fault in finding.faults],
        "warnings": [vars(warning) for warning in finding.warnings],
    }


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        for fault in finding.faults:
            typer.secho(str(fault), err=True, fg=typer.colors.RED)
        for warning in finding.warnings:
            typer.secho(f"warning: {warning}", err=True, fg=typer.colors.YELLOW)
        if finding.declaration:
            typer.echo("\n".join(_summary(finding.file, finding.declaration)))
    faults = sum(len(finding.faults) for finding in findings)
    if faults:
        wrong = [finding.file for finding in findings if finding.faults]
        count = "1 fault" if faults == 1 else f"{faults} faults"
        typer.echo(f"{count} in {', '.join(wrong)}; no host was touched", err=True)


def _summary(file: str, declaration: "Declaration") -> list[str]:
    from cluster.advice import other_modes  # noqa: PLC0415

    d = declaration
    services = []
    for name, service in d.service.items():
        how = service.scheduler + (", persistent" if service.persistence else "")
        services.append((name, how, f"check {service.check}"))
    lines = [f"{file}: valid. Cluster {d.name}, mode {d.mode}, network {d.network}", "services"]
    lines += columns(services)
    lines += ["clients connect to"]
    lines += columns([(mode, where) for mode, where in other_modes(d).items()])
    lines += ["directors"]
    lines += columns([(n, str(h.address), h.interface, f"priority {h.priority}") for n, h in d.director.items()])
    lines += ["real servers"]
    lines += columns(
        [
            (n, str(h.address), h.interface, f"weight {h.weight}{', drained' if h.drained else ''}")
            for n, h in d.real_server.items()
        ]
    )
    return lines
