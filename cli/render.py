"""`lbctl render`: the files that each host would carry."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import hosts, modes
from cli.output import as_json
from cli.session import ClusterOption, cluster_file

if TYPE_CHECKING:
    from cluster.footprint import Blueprint
    from cluster.parts import File


@dataclass(frozen=True)
class Rendered:
    """One file of one host."""

    host: str
    file: "File"


def render(
    ctx: typer.Context,
    *,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="NAME", help="Only this one; repeatable.", autocompletion=hosts),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", metavar="dr|tun|nat", help="As if this were declared.", autocompletion=modes),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write DIR/HOST/PATH.")] = None,
    show_secrets: Annotated[
        bool, typer.Option("--show-secrets", help="With --output: files with their secrets, for their owner only.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Show every file that a deploy would put on each host. Nothing is asked of any host; secrets show as ***.

    So where `boot_files` is auto, files for the next boot are there twice, for ifupdown and for systemd-networkd: a host gets
    those of whichever looks after its interface. `*.d` in a path stands for the folder beside the file that configures the
    interface there, which only a host can say.

    Example:  lbctl render --host lb1
              lbctl render --mode nat --output /tmp/rendered
    """
    if show_secrets and not output:
        from cluster.errors import RequestError  # noqa: PLC0415 (`lbctl --help` stays quick)

        raise RequestError("secrets are not shown on a screen", cure="--output DIR --show-secrets writes them to files")
    files = _files(_blueprint(cluster_file(ctx, cluster), mode, show_secrets=show_secrets), host or [])
    if output:
        _write(files, output)
    if json_:
        as_json([_plain(rendered, output) for rendered in files])
    elif not output:
        typer.echo("\n".join(f"# {r.host}: {r.file.path}\n{r.file.text}" for r in files), nl=False)


def _plain(rendered: Rendered, output: Path | None) -> dict[str, str]:
    """With the text, or with where it was written: there it may have its secrets."""
    file = rendered.file
    said = {"host": rendered.host, "path": file.path, "mode": f"{file.mode:04o}"}
    return said | ({"file": str(_place(rendered, output))} if output else {"text": file.text})


def _place(rendered: Rendered, folder: Path) -> Path:
    return folder / rendered.host / rendered.file.path.removeprefix("/")


def _blueprint(path: Path, mode: str | None, *, show_secrets: bool) -> "Blueprint":
    """Without secrets the password is *** from the start: what is never read cannot be shown."""
    from cluster.footprint import Blueprint  # noqa: PLC0415 (as below)
    from cluster.reading import switched  # noqa: PLC0415
    from fleet import source  # noqa: PLC0415
    from templates import render as text_of  # noqa: PLC0415

    declaration = source.declaration(path)
    password = "***" if declaration.vrrp.password else None
    if show_secrets:
        password = source.blueprint(path).password
    return Blueprint(switched(declaration, mode) if mode else declaration, text_of, password)


def _files(plan: "Blueprint", hosts: Sequence[str]) -> list[Rendered]:
    from cluster.errors import RequestError  # noqa: PLC0415

    known = list(plan.declaration.hosts())
    for name in hosts:
        if name not in known:
            raise RequestError(
                f"there is no host {name} in {plan.declaration.source}", cure=f"known: {', '.join(known)}"
            )
    footprints = {name: plan.footprint(name, {plan.declaration.mode}) for name in known if name in hosts or not hosts}
    return [Rendered(name, file) for name, parts in footprints.items() for part in parts for file in part.files]


def _write(files: Sequence[Rendered], folder: Path) -> None:
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        for rendered in files:
            path = _place(rendered, folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Never readable by others, not even for the moment before the mode is set.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, rendered.file.mode)
                file.write(rendered.file.text)
    except OSError as error:
        raise RequestError(
            f"{error.filename}: {error.strerror}", cure="name a folder that can be written to"
        ) from error
    hosts = len({r.host for r in files})
    typer.echo(f"{len(files)} files of {hosts} {'host' if hosts == 1 else 'hosts'} are in {folder}", err=True)
