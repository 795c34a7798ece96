"""`lbctl import`: a declaration from hand-made configurations of keepalived."""

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import as_json
from cli.questions import hosts

if TYPE_CHECKING:
    from cluster.importing import Imported
    from cluster.keepalived_body import Conf, Remark

_Hosts = Annotated[
    list[str] | None,
    typer.Option(
        "--director", metavar="NAME=ADDRESS", help="Repeatable, in the order of the files: a director's own address."
    ),
]
_Servers = Annotated[
    list[str] | None, typer.Option("--real-server", metavar="NAME=ADDRESS", help="Repeatable: a name for a server.")
]


def import_(
    *,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="keepalived.conf of one director, or of two.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the declaration there, and its secret.")
    ] = None,
    name: Annotated[str, typer.Option(help="The cluster's.  [default: vrrp_instance's]", show_default=False)] = "",
    network: Annotated[
        str, typer.Option(metavar="ADDRESS/BITS", help="Of directors and VIPs.", show_default=False)
    ] = "",
    director: _Hosts = None,
    real_server: _Servers = None,
    gateway: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Mode nat: floats, and answers go through it.", show_default=False)
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ADDRESS:PORT", help="Repeatable: this service.")
    ] = None,
    clustercheck: Annotated[
        bool, typer.Option("--clustercheck", help="Checks of port 9200 become those of lbctl's own health service.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Make a declaration of a hand-made keepalived.conf, and say what it does not say. No host is touched.

    Includes are read as keepalived does. One file with lines for several directors (@name) is read as each of them. What
    clients would notice is said first. Without --output the declaration goes to standard output, all else to standard error.

    Example:  lbctl import keepalived.conf --director lb1=10.0.0.4 --output inventory/shop.toml
              lbctl import lb1/keepalived.conf lb2/keepalived.conf --network 10.0.0.0/24
    """
    from cluster.importing import Wish, imported  # noqa: PLC0415 (`lbctl --help` stays quick)

    wish = Wish(
        name=name,
        network=network,
        directors=hosts(director),
        real_servers=hosts(real_server),
        gateway=gateway,
        only=tuple(only or ()),
        clustercheck=clustercheck,
    )
    found = imported(_read(files, wish.directors), wish)
    if output:
        _write(found, output, force=force)
    if json_:
        as_json({"declaration": found.text, "remarks": [_plain(remark) for remark in found.remarks]})
        return
    if not output:
        typer.echo(found.text, nl=False)
    _tell(found, output)


def _read(files: Sequence[Path], directors: Mapping[str, str]) -> "list[Conf]":
    """One for each director. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.keepalived_body import Effect  # noqa: PLC0415
    from cluster.keepalived_conf import Place, instances, parse  # noqa: PLC0415
    from cluster.keepalived_reading import read  # noqa: PLC0415
    from cluster.not_keepalived import refuse  # noqa: PLC0415

    texts = {str(path): _text(path) for path in files}
    for file, text in texts.items():
        refuse(text, file)
    if len(texts) < len(files):
        raise RequestError("a file is named twice", cure="name each director's own keepalived.conf")
    readers = {file: instances(text, file, _included) for file, text in texts.items()}
    if not any(readers.values()):
        return [read(parse(text, file, _included), file) for file, text in texts.items()]
    # Lines for one of them are known by its name; @^name is read by all others.
    who: Iterable[tuple[str, str]]
    if len(texts) > 1:
        who = zip(texts, _readers_in_order(readers, directors), strict=True)
    else:
        who = ((file, name) for file in texts for name in dict.fromkeys([*directors, *readers[file]]))
    found = []
    for file, name in who:
        found.append(read(parse(texts[file], file, _included, name), file))
        found[-1].router_id = name
    if len(found) == 1:
        what = f"read as {found[0].router_id} does: lines for others are left out (--director, once for each, reads it as each)"
        found[0].tell(Place(found[0].file, 0), Effect.CLIENTS, what)
    return found


def _readers_in_order(readers: Mapping[str, Sequence[str]], directors: Mapping[str, str]) -> list[str]:
    """Of several files with lines for single directors, whom each belongs to. Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.keepalived_conf import printable  # noqa: PLC0415

    known = list(dict.fromkeys(printable(name) for names in readers.values() for name in names))
    lines = " and ".join(f"@{name}" for name in known)
    cure = "--director NAME=ADDRESS for each file, in their order, by those names; or one file alone: it is read as each of them"
    if len(directors) != len(readers):
        raise RequestError(f"these files have lines for {lines}, and whose file each one is is not said", cure=cure)
    # @^name is read by all others; but when nobody has such a name, all that it has would be lost.
    if strangers := [f"@{name}" for name in known if name not in directors]:
        raise RequestError(
            f"these files have lines for {' and '.join(strangers)}, and no --director of that name", cure=cure
        )
    return list(directors)


def _text(path: Path) -> str:
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from None


def _included(pattern: str, file: str) -> list[tuple[str, str]]:
    """As keepalived: relative to the folder of the file that includes, with wildcards, in the order of names."""
    found = sorted(glob.glob(os.path.join(os.path.dirname(file), pattern)))  # noqa: PTH118, PTH120, PTH207 (as keepalived)
    return [(name, _text(Path(name))) for name in found if Path(name).is_file()]


def _write(found: "Imported", path: Path, *, force: bool) -> None:
    """Raises RequestError. The secret is never readable by others."""
    from cluster.errors import RequestError  # noqa: PLC0415

    if path.exists() and not force:
        raise RequestError(f"{path} is there already", cure="name another file, or replace it with --force")
    secret = path.parent / found.password_file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # First: a declaration that is there means one whose secret is there.
        if found.password:
            _write_secret(secret, found.password, force=force)
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(found.text)
    except FileExistsError:
        raise RequestError(
            f"{secret} is there already: another cluster here may be called {found.name}, too",
            cure="give this one a name of its own (--name); --force replaces the file",
        ) from None
    except OSError as error:
        raise RequestError(f"{error.filename}: {error.strerror}") from None


def _write_secret(path: Path, secret: str, *, force: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    anew = os.O_TRUNC if force else os.O_EXCL
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | anew, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(f"{secret}\n")


def _plain(remark: "Remark") -> dict[str, object]:
    return {"effect": remark.effect.name.lower(), "file": remark.file, "line": remark.line, "what": remark.what}


def _tell(found: "Imported", output: Path | None) -> None:
    from cluster.keepalived_body import Effect  # noqa: PLC0415

    titles = {
        Effect.CLIENTS: ("Clients would notice", typer.colors.RED),
        Effect.LOST: ("Not carried over", typer.colors.YELLOW),
        Effect.NOTE: ("Said otherwise, or worth a look", None),
    }
    for effect, (title, colour) in titles.items():
        told = [remark for remark in found.remarks if remark.effect == effect]
        if told:
            typer.secho(title, err=True, fg=colour, bold=True)
        for remark in told:
            typer.secho(f"  {remark}", err=True, fg=colour)
    if found.password_file and not output:
        what = f"The VRRP password is not shown: put it into {found.password_file}, beside the declaration's file."
        typer.echo(what, err=True)
    if output:
        typer.echo(f"{output} is written. Next: lbctl validate {output}; lbctl --cluster {output} plan", err=True)
