"""`lbctl verify`: the client's test, with real SQL."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import places, several_real_servers
from cli.output import as_json
from cli.session import ClusterOption, cluster_file

if TYPE_CHECKING:
    from cluster.declaration import Declaration
    from cluster.verification import Verdict
    from fleet.verify import Login


def verify(
    ctx: typer.Context,
    *,
    where: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="lab|here|HOST",
            help="Where clients are: the lab's client, this machine, a declared client, or a host that `ssh HOST` reaches."
            "  [default: here; lab for a lab's cluster]",
            show_default=False,
            autocompletion=places,
        ),
    ] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="Connections to each endpoint.")] = 12,
    expect: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME",
            help="Servers that should serve.  [default: all with a weight]",
            show_default=False,
            autocompletion=several_real_servers,
        ),
    ] = "",
    user: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="MySQL's user.  [default: as the client's option files say, where clients are; in a lab the lab's own]",
            show_default=False,
        ),
    ] = "",
    password_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="Environment variable with the password.", show_default=False)
    ] = "",
    defaults_file: Annotated[
        str, typer.Option(metavar="FILE", help="MySQL option file, where the clients are.", show_default=False)
    ] = "",
    connect_timeout: Annotated[int, typer.Option(min=1, max=60, metavar="SECONDS", help="For each connection.")] = 5,
    large: Annotated[
        str, typer.Option(metavar="SIZE", help="The large answer that each endpoint and server must send; 0: none.")
    ] = "4MB",
    direct: Annotated[bool, typer.Option(help="Ask each server at its own address, too.")] = True,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the verdicts there as JUnit XML.", dir_okay=False, show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Connect to every endpoint as a client does: reads must rotate over the servers, writes must stick to one.

    Each endpoint is asked with real SQL who answers and which client address it sees; a service that is not MySQL gets a plain
    TCP connection. Then for a large answer, which hangs where full packets are lost; and each server is asked at its own address,
    which tells whether the load balancer or a database is guilty. Not from a real server: there a virtual address is its own.
    Exits with 4 if there is a fault.

    Example:  lbctl verify --user monitor --password-env MONITOR_PASSWORD
              lbctl verify --from app1.example.net --defaults-file /etc/mysql/monitor.cnf --expect db1,db3
              lbctl verify --large 500kB --junit verify.xml
              lbctl verify --large 0 --no-direct
    """
    from cluster.errors import TroubleError  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from fleet import source  # noqa: PLC0415
    from fleet.verify import client_at, verify  # noqa: PLC0415

    octets = _octets(large)
    declaration = source.declaration(cluster_file(ctx, cluster))
    where = where or ("lab" if declaration.transport == "lab" else "here")
    servers = [name.strip() for name in expect.split(",") if name.strip()]
    login = _login(user, password_env, defaults_file, in_lab=where == "lab")
    if defaults_file and where == "here":
        _readable(defaults_file)
    client = client_at(where, declaration)

    def test() -> "list[Verdict]":
        return verify(
            declaration,
            client,
            login,
            count=count,
            expect=servers,
            connect_timeout=connect_timeout,
            large=octets,
            direct=direct,
        )

    verdicts = _reported(declaration, where, test, junit) if junit else test()
    _print(declaration, where, verdicts, json_=json_)
    _remember(declaration, where, verdicts)
    faulty = sum(not verdict.healthy for verdict in verdicts)
    if faulty:
        raise TroubleError(f"{faulty} of {len(verdicts)} verdicts are not as they should be")


def _octets(text: str) -> int:
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.large import LARGEST, SMALLEST  # noqa: PLC0415
    from cluster.units import amount, size  # noqa: PLC0415

    try:
        found = size(text)
    except ValueError as error:
        raise RequestError(f"--large: {error}") from None
    if found and not SMALLEST <= found <= LARGEST:
        raise RequestError(f"--large: {amount(SMALLEST)} to {amount(LARGEST)}, or 0 for none")
    return found


def _login(user: str, password_env: str, defaults_file: str, *, in_lab: bool) -> "Login":
    from cluster.errors import RequestError  # noqa: PLC0415
    from fleet.verify import Login  # noqa: PLC0415

    if password_env and password_env not in os.environ:
        raise RequestError(f"the environment has no {password_env}", cure=f"export {password_env}=…")
    password = os.environ[password_env] if password_env else None
    if in_lab and not defaults_file:
        # What the databases of every lab are made with (lab.galera); it is a secret to nobody.
        return Login(user or "lab", "lab" if password is None else password, option_files=False)
    return Login(user, password, defaults_file)


def _readable(file: str) -> None:
    """Raises RequestError: else each service would seem to be at fault."""
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        with Path(file).expanduser().open("rb"):
            return
    except OSError as error:
        raise RequestError(
            f"--defaults-file {file}: {error.strerror}", cure="name a file that mariadb can read"
        ) from None


def _reported(
    declaration: "Declaration", where: str, test: "Callable[[], list[Verdict]]", file: Path
) -> "list[Verdict]":
    """What the test says, which is also written to a file; so is that it could not be made."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from cluster.errors import HostError  # noqa: PLC0415
    from cluster.junit import broken, junit  # noqa: PLC0415

    properties = {"mode": str(declaration.mode), "from": where}
    at = datetime.now(UTC)
    try:
        verdicts = test()
    except HostError as error:
        _write(file, broken(declaration.name, properties, error.message, at))
        raise
    _write(file, junit(declaration.name, properties, verdicts, _notes(declaration, verdicts), at))
    return verdicts


def _write(file: Path, text: str) -> None:
    """Raises RequestError."""
    from cluster.errors import RequestError  # noqa: PLC0415

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"{file}: {error.strerror}", cure="--junit FILE names another place") from None


def _notes(declaration: "Declaration", verdicts: "Sequence[Verdict]") -> tuple[str, ...]:
    """What follows from several verdicts together."""
    from cluster.guilt import conclusions  # noqa: PLC0415
    from cluster.verification import split_writers  # noqa: PLC0415

    return (*split_writers(verdicts), *conclusions(declaration, verdicts))


def _remember(declaration: "Declaration", where: str, verdicts: "Sequence[Verdict]") -> None:
    """For the next report."""
    from cluster.findings import of_verify  # noqa: PLC0415
    from fleet import remembered  # noqa: PLC0415

    notes = _notes(declaration, verdicts)
    found = of_verify(verdicts, notes, by=remembered.by(), place=f"as a client {_place(where)} sees it")
    if failed := remembered.keep(declaration, found):
        typer.echo(f"not remembered for `lbctl report`: {failed}", err=True)


def _print(declaration: "Declaration", where: str, verdicts: "Sequence[Verdict]", *, json_: bool) -> None:
    if json_:
        as_json(_document(declaration, where, verdicts))
        return
    typer.echo(f"{declaration.name}, mode {declaration.mode}, as a client {_place(where)} sees it")
    for verdict in verdicts:
        _print_verdict(verdict)
    for note in _notes(declaration, verdicts):
        typer.echo(f"note: {note}")


def _document(declaration: "Declaration", where: str, verdicts: "Sequence[Verdict]") -> dict[str, Any]:
    from cluster.guilt import conclusions  # noqa: PLC0415
    from cluster.verification import Kind, split_writers  # noqa: PLC0415

    return {
        "cluster": declaration.name,
        "mode": declaration.mode,
        "from": where,
        "healthy": all(verdict.healthy for verdict in verdicts),
        "endpoints": [_plain(verdict) for verdict in verdicts if verdict.probe.kind is Kind.SPREAD],
        "large": [_plain(verdict) for verdict in verdicts if verdict.probe.kind is Kind.LARGE],
        "servers": [_plain(verdict) for verdict in verdicts if verdict.probe.kind is Kind.DIRECT],
        "remarks": split_writers(verdicts),
        "conclusions": conclusions(declaration, verdicts),
    }


def _place(where: str) -> str:
    return {"lab": "in the lab", "here": "on this machine"}.get(where, f"on {where}")


def _print_verdict(verdict: "Verdict") -> None:
    endpoint = verdict.probe.endpoint
    word, colour = ("ok   ", typer.colors.GREEN) if verdict.tried else ("not tried", typer.colors.YELLOW)
    word, colour = (word, colour) if verdict.healthy else ("FAULT", typer.colors.RED)
    counts = "  ".join(f"{name} {count}" for name, count in sorted(verdict.answers.items()))
    nobody = "no answer" if verdict.tried else ""
    typer.secho(f"  {word} ", fg=colour, nl=False)
    line = f"{endpoint.service:<8} {endpoint!s:<21} {verdict.probe.word:<8} {counts or nobody}{_more(verdict)}"
    typer.echo(line.rstrip())
    for text in (*verdict.faults, *verdict.remarks):
        typer.echo(f"        {text}")


def _more(verdict: "Verdict") -> str:
    """What else the servers said."""
    from cluster.units import amount  # noqa: PLC0415
    from cluster.verification import Kind  # noqa: PLC0415

    probe = verdict.probe
    seen = f"  client {', '.join(verdict.clients)}" if verdict.clients and probe.kind is not Kind.LARGE else ""
    whole = probe.large and verdict.answers and not verdict.errors
    return f"{seen}  {amount(probe.large)}" if whole else seen


def _plain(verdict: "Verdict") -> dict[str, Any]:
    probe = verdict.probe
    return {
        "service": probe.endpoint.service,
        "endpoint": str(probe.endpoint),
        "kind": probe.kind,
        "pattern": probe.pattern,
        "expected": list(probe.weights),
        "weights": dict(probe.weights),
        "large_bytes": probe.large,
        "idle": probe.idle,
        "answers": dict(verdict.answers),
        "clients": dict(verdict.clients),
        "errors": dict(verdict.errors),
        "faults": list(verdict.faults),
        "remarks": list(verdict.remarks),
        "healthy": verdict.healthy,
        "tried": verdict.tried,
        "seconds": round(verdict.seconds, 3),
    }
