"""`lbctl init`: a new declaration. Asking, proposing and writing are apart."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import modes
from cli.output import on_terminal
from cli.questions import asked, hosts
from cli.session import of

if TYPE_CHECKING:
    from cluster.proposal import Wish

_Directors = Annotated[
    list[str] | None, typer.Option("--director", metavar="NAME=ADDRESS", help="Repeatable; the preferred one first.")
]
_Servers = Annotated[
    list[str] | None,
    typer.Option("--real-server", metavar="NAME=ADDRESS", help="Repeatable; the first is the preferred writer."),
]


def init(
    ctx: typer.Context,
    *,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="[default: inventory/NAME.toml]", show_default=False)
    ] = None,
    name: Annotated[str, typer.Option(help="The cluster's.", show_default=False)] = "",
    mode: Annotated[
        str,
        typer.Option(metavar="dr|tun|nat", help="How directors forward.", show_default=False, autocompletion=modes),
    ] = "",
    network: Annotated[
        str, typer.Option(metavar="ADDRESS/BITS", help="Of directors and VIPs.", show_default=False)
    ] = "",
    director: _Directors = None,
    real_server: _Servers = None,
    read_vip: Annotated[str, typer.Option(metavar="ADDRESS", help="Reads: any server.", show_default=False)] = "",
    write_vip: Annotated[str, typer.Option(metavar="ADDRESS", help="Writes: one server.", show_default=False)] = "",
    gateway: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Mode nat with two directors: floats between them.", show_default=False),
    ] = "",
    interface: Annotated[
        str,
        typer.Option(metavar="NAME", help="The network's, on every host. [default: eth0]", show_default=False),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    r"""Write a new declaration; on a terminal, ask for what the options do not say. No host is touched.

    Example:  lbctl init --name shop --mode dr --network 10.0.0.0/24 \
                --director lb1=10.0.0.4 --director lb2=10.0.0.6 \
                --real-server db1=10.0.0.1 --real-server db2=10.0.0.2 \
                --read-vip 10.0.0.10 --write-vip 10.0.0.11
    """
    from cluster.proposal import Wish  # noqa: PLC0415 (as below: `lbctl --help` stays quick)

    wish = Wish(name, mode, network, hosts(director), hosts(real_server), read_vip, write_vip, gateway, interface)
    given = file or _said(ctx)
    _refuse_to_replace(given, force=force)
    wish = asked(wish) if on_terminal() else _complete(wish)
    path = Path(given or f"inventory/{wish.name}.toml")
    _refuse_to_replace(path, force=force)
    _write(path, _text(wish, path), force=force)
    typer.echo(f"{path} is written. Next: lbctl validate {path}; lbctl --cluster {path} plan")


def _said(ctx: typer.Context) -> str | None:
    """The global --cluster. Not the environment's: that names the cluster one works with, not one to be written over."""
    root = ctx.find_root()
    said = root.get_parameter_source("cluster")
    return of(ctx).cluster if said is not None and said.name == "COMMANDLINE" else None


def _refuse_to_replace(path: Path | str | None, *, force: bool) -> None:
    from cluster.errors import RequestError  # noqa: PLC0415

    if path and not force and os.path.lexists(path):
        raise RequestError(f"{path} is there already", cure="name another file, or replace it with --force")


def _complete(wish: "Wish") -> "Wish":
    """Nobody can be asked: all must be said. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415

    if wish.missing:
        options = ", ".join(_OPTIONS[name] for name in wish.missing)
        raise RequestError(
            f"not said, and there is no terminal to ask at: {options}", cure="lbctl init --help has an example"
        )
    return wish


_OPTIONS = {
    "name": "--name",
    "mode": "--mode",
    "network": "--network",
    "directors": "--director NAME=ADDRESS",
    "real_servers": "--real-server NAME=ADDRESS",
    "read_vip": "--read-vip or --write-vip",
    "gateway": "--gateway (mode nat with two directors)",
}


def _text(wish: "Wish", path: Path) -> str:
    """The declaration, which is valid. Raises RequestError with what is wrong with the wish."""
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.proposal import proposal  # noqa: PLC0415
    from cluster.reading import DeclarationError, read  # noqa: PLC0415
    from templates import render  # noqa: PLC0415

    text = render("declaration.toml.j2", proposal(wish))
    try:
        read(text, str(path))
    except DeclarationError as error:
        faults = "\n".join(f"{complaint.key}: {complaint.message}" for complaint in error.complaints)
        raise RequestError(faults, cure=f"{path} was not written; correct this and run lbctl init again") from error
    return text


def _write(path: Path, text: str, *, force: bool) -> None:
    """Whole or not at all. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
            whole = Path(beside) / path.name
            whole.write_text(text, encoding="utf-8")
            # A link, other than a move, never replaces what somebody else wrote meanwhile.
            (os.replace if force else os.link)(whole, path)
    except OSError as error:
        _refuse_to_replace(path, force=force)
        raise RequestError(
            f"{path}: {error.strerror}", cure="name a file in a folder that can be written to"
        ) from error
