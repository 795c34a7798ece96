"""`lbctl verify`: the client's test, with real SQL."""

import os
from collections.abc import Sequence
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
    user: Annotated[str, typer.Option(metavar="NAME", help="MySQL's user.", show_default=False)] = "",
    password_env: Annotated[
        str, typer.Option(metavar="VARIABLE", help="Environment variable with the password.", show_default=False)
    ] = "",
    defaults_file: Annotated[
        str, typer.Option(metavar="FILE", help="MySQL option file, where the clients are.", show_default=False)
    ] = "",
    connect_timeout: Annotated[int, typer.Option(min=1, max=60, metavar="SECONDS", help="For each connection.")] = 5,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Connect to every endpoint as a client does: reads must rotate over the servers, writes must stick to one.

    Each endpoint is asked with real SQL who answers and which client address it sees; a service that is not MySQL gets a plain
    TCP connection. Not from a real server: there a virtual address is its own. Exits with 4 if there is a fault.

    Example:  lbctl verify --user monitor --password-env MONITOR_PASSWORD
              lbctl verify --from app1.example.net --defaults-file /etc/mysql/monitor.cnf --expect db1,db3
    """
    from cluster.errors import TroubleError  # noqa: PLC0415 (as below: `lbctl --help` stays quick)
    from fleet import source  # noqa: PLC0415
    from fleet.verify import client_at, verify  # noqa: PLC0415

    declaration = source.declaration(cluster_file(ctx, cluster))
    where = where or ("lab" if declaration.transport == "lab" else "here")
    servers = [name.strip() for name in expect.split(",") if name.strip()]
    login = _login(user, password_env, defaults_file, in_lab=where == "lab")
    verdicts = verify(
        declaration, client_at(where, declaration), login, count=count, expect=servers, connect_timeout=connect_timeout
    )
    _print(declaration, where, verdicts, json_=json_)
    _remember(declaration, where, verdicts)
    faulty = sum(not verdict.healthy for verdict in verdicts)
    if faulty:
        raise TroubleError(f"{faulty} of {len(verdicts)} endpoints are not as they should be")


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


def _remember(declaration: "Declaration", where: str, verdicts: "Sequence[Verdict]") -> None:
    """For the next report."""
    from cluster.findings import of_verify  # noqa: PLC0415
    from cluster.verification import split_writers  # noqa: PLC0415
    from fleet import remembered  # noqa: PLC0415

    found = of_verify(
        verdicts, split_writers(verdicts), by=remembered.by(), place=f"as a client {_place(where)} sees it"
    )
    if failed := remembered.keep(declaration, found):
        typer.echo(f"not remembered for `lbctl report`: {failed}", err=True)


def _print(declaration: "Declaration", where: str, verdicts: "Sequence[Verdict]", *, json_: bool) -> None:
    from cluster.verification import split_writers  # noqa: PLC0415

    remarks = split_writers(verdicts)
    if json_:
        as_json(
            {
                "cluster": declaration.name,
                "mode": declaration.mode,
                "from": where,
                "healthy": all(verdict.healthy for verdict in verdicts),
                "endpoints": [_plain(verdict) for verdict in verdicts],
                "remarks": remarks,
            }
        )
        return
    typer.echo(f"{declaration.name}, mode {declaration.mode}, as a client {_place(where)} sees it")
    for verdict in verdicts:
        _print_verdict(verdict)
    for remark in remarks:
        typer.echo(f"note: {remark}")


def _place(where: str) -> str:
    return {"lab": "in the lab", "here": "on this machine"}.get(where, f"on {where}")


def _print_verdict(verdict: "Verdict") -> None:
    endpoint = verdict.probe.endpoint
    word, colour = ("ok   ", typer.colors.GREEN) if verdict.healthy else ("FAULT", typer.colors.RED)
    counts = "  ".join(f"{name} {count}" for name, count in sorted(verdict.answers.items()))
    seen = f"  client {', '.join(verdict.clients)}" if verdict.clients else ""
    pattern = verdict.probe.pattern if verdict.probe.sql else "tcp"
    typer.secho(f"  {word} ", fg=colour, nl=False)
    typer.echo(f"{endpoint.service:<8} {endpoint!s:<21} {pattern:<8} {counts or 'no answer'}{seen}")
    for text in (*verdict.faults, *verdict.remarks):
        typer.echo(f"        {text}")


def _plain(verdict: "Verdict") -> dict[str, Any]:
    probe = verdict.probe
    return {
        "service": probe.endpoint.service,
        "endpoint": str(probe.endpoint),
        "pattern": probe.pattern,
        "expected": list(probe.weights),
        "answers": dict(verdict.answers),
        "clients": dict(verdict.clients),
        "errors": dict(verdict.errors),
        "faults": list(verdict.faults),
        "remarks": list(verdict.remarks),
        "healthy": verdict.healthy,
    }
