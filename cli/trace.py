"""`lbctl doctor trace`: where the packets of one connection go, and where they stay."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.completion import places, services
from cli.session import ClusterOption, cluster_file

if TYPE_CHECKING:
    from cluster.dead_ends import Reason, Verdict
    from cluster.declaration import Declaration
    from cluster.keepalived import Endpoint
    from cluster.trace import Case, Course, Hop


class By(StrEnum):
    """Which of a service's places."""

    VIP = "vip"
    NAT_PORT = "nat-port"


def trace(
    ctx: typer.Context,
    *,
    service: Annotated[
        str,
        typer.Argument(
            metavar="SERVICE",
            help="A declared service.  [default: the first]",
            show_default=False,
            autocompletion=services,
        ),
    ] = "",
    where: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="lab|here|HOST",
            help="Where the client is, as for `lbctl verify`.  [default: here; lab for a lab's cluster]",
            show_default=False,
            autocompletion=places,
        ),
    ] = "",
    by: Annotated[
        By | None,
        typer.Option(
            help="The service's VIP, or nat's own port.  [default: the VIP, if there is one]", show_default=False
        ),
    ] = None,
    connect_timeout: Annotated[int, typer.Option(min=1, max=60, metavar="SECONDS", help="For the connection.")] = 5,
    pcap: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep all packets' headers, for Wireshark (pcapng).", show_default=False),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    cluster: ClusterOption = None,
) -> None:
    """Follow one connection with captures on all hosts at once: every hop, and the one where it dies.

    Opens it as a client does, reads the server's greeting, and closes. Nothing is installed, changed or left anywhere: packets
    are seen by a few lines of perl, which every Debian has; on the client's machine only by root. Exits with 4 if the connection
    failed or went another way than declared. docs/trace.md explains what is drawn.

    Example:  lbctl doctor trace
              lbctl doctor trace write --from app1.example.net
              lbctl doctor trace read --by nat-port --pcap read.pcapng
    """
    from fleet import source  # noqa: PLC0415 (as below: `lbctl --help` stays quick)

    blueprint = source.blueprint(cluster_file(ctx, cluster))
    declaration = blueprint.declaration
    endpoint = _endpoint(declaration, service, by)
    # Only now: it changes the whole process, and a mistake in a file is said without it.
    import fleet.green  # noqa: F401, PLC0415
    from cluster.dead_ends import judge  # noqa: PLC0415
    from cluster.errors import Exit  # noqa: PLC0415
    from cluster.trace import course  # noqa: PLC0415
    from fleet.trace import trace as traced  # noqa: PLC0415
    from fleet.verify import client_at  # noqa: PLC0415

    where = where or ("lab" if declaration.transport == "lab" else "here")
    found = course(
        traced(blueprint, endpoint, client_at(where, declaration), connect_timeout=connect_timeout),
    )
    verdict = judge(found)
    if pcap:
        _keep(pcap, found)
    if json_:
        from cli.output import as_json  # noqa: PLC0415

        as_json(_as_dict(found, verdict))
    else:
        _show(found, verdict)
    if not verdict.good:
        raise typer.Exit(Exit.TROUBLE)


def _endpoint(declaration: "Declaration", service: str, by: By | None) -> "Endpoint":
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.keepalived import endpoints  # noqa: PLC0415

    name = service or next(iter(declaration.service))
    if name not in declaration.service:
        known = ", ".join(declaration.service)
        raise RequestError(f"there is no service {name} in {declaration.source}", cure=f"known: {known}")
    if declaration.service[name].protocol != "tcp":
        raise RequestError(f"{name} is a UDP service, which has no connections to follow")
    places = [e for e in endpoints(declaration, next(iter(declaration.director))) if e.service == name]
    vip = declaration.service[name].vip
    if by is not None:
        places = [e for e in places if (e.address == vip) == (by is By.VIP)]
    if not places:
        which = "nat port" if by is By.NAT_PORT else "VIP"
        raise RequestError(f"{name} has no {which} in mode {declaration.mode}", cure="leave --by out")
    return places[0]


def _keep(file: Path, course: "Course") -> None:
    from cluster.errors import RequestError  # noqa: PLC0415
    from cluster.pcapng import pcapng  # noqa: PLC0415

    frames = [frame for capture in course.case.captures.values() for frame in capture.frames()]
    try:
        file.write_bytes(pcapng(frames, course.shifts))
    except OSError as error:
        raise RequestError(f"{file}: {error.strerror}") from None


# What is printed

_MARKS = {True: ("✓", typer.colors.GREEN), False: ("✗", typer.colors.RED), None: ("?", typer.colors.YELLOW)}


def _show(course: "Course", verdict: "Verdict") -> None:
    from cli.output import columns  # noqa: PLC0415

    case = course.case
    client = course.client or "client"
    typer.echo(f"{client} → {case.endpoint} ({case.endpoint.service}), mode {case.declaration.mode}")
    hops = course.shown_until()
    rows = [row for hop in hops for row in [_row(course, hop)]]
    for hop, line in zip(hops, columns(rows, figures={1}), strict=True):
        typer.secho(line, fg=_MARKS[hop.seen][1] if hop.seen is not True else None)
    typer.secho(_headline(verdict), fg=typer.colors.GREEN if verdict.good else typer.colors.RED, bold=True)
    for line in _more(verdict):
        typer.echo(f"    {line}")


def _headline(verdict: "Verdict") -> str:
    if verdict.good or not verdict.dies:
        return f"{'✓' if verdict.good else '✗'} {verdict.what}"
    return f"✗ It dies at {verdict.host}: {verdict.what}."


def _row(course: "Course", hop: "Hop") -> tuple[str, ...]:
    from cluster.trace import TUNNEL, At  # noqa: PLC0415

    mark = _MARKS[hop.seen][0]
    if not hop.packets:
        word = {True: "so the client says", False: "nothing", None: "not watched"}[hop.seen]
        device = TUNNEL if hop.at is At.TUNNEL_END else ""
        return mark, "", hop.host or "?", device, str(hop.direction), f"{hop.leg}: {word}"
    packet = hop.packets[0]
    at = course.milliseconds(hop.host, packet.frame.seconds)
    times = f" ({hop.times} times)" if hop.times > 1 and hop.leg.opens else ""
    return (
        mark,
        f"{at:.1f} ms",
        hop.host,
        packet.frame.interface,
        str(hop.direction),
        f"{packet}{_to(course, hop)}{times}",
    )


def _to(course: "Course", hop: "Hop") -> str:
    """The host that it was sent to, by its MAC: what a director changes in dr."""
    mac = hop.packets[0].frame.macs[1]
    if hop.direction != "out" or not mac:
        return ""
    return f", to {course.case.owner(mac) or mac}"


def _more(verdict: "Verdict") -> Iterator[str]:
    for line in verdict.seen:
        yield f"seen   {line}"
    for reason in verdict.reasons:
        yield f"{'cause ' if reason.seen else 'likely'} {reason.text}"
        for line in _cure(reason):
            yield line
    for line in verdict.notes:
        yield f"note   {line}"


def _cure(reason: "Reason") -> Iterator[str]:
    from cluster.faults import ABOUT  # noqa: PLC0415

    if reason.fault:
        yield f"cure   {ABOUT[reason.fault].cure} (docs/doctor.md#{reason.fault})"


def _as_dict(course: "Course", verdict: "Verdict") -> dict[str, Any]:
    case: Case = course.case
    return {
        "cluster": case.declaration.name,
        "declared_mode": case.declaration.mode,
        "service": case.endpoint.service,
        "endpoint": str(case.endpoint),
        "client": course.client,
        "attempt": {"word": case.attempt.word, "why": case.attempt.why, "greeting": case.attempt.greeting},
        "good": verdict.good,
        "mode": course.mode,
        "director": course.director,
        "server": course.server,
        "hops": [_hop_as_dict(course, hop) for hop in course.hops],
        "also": [{"host": s.host, "direction": s.direction, "what": s.what} for s in course.said],
        "ends_at": verdict.host,
        "what": verdict.what,
        "seen": list(verdict.seen),
        "reasons": [{"text": r.text, "fault": r.fault, "seen": r.seen} for r in verdict.reasons],
        "notes": list(verdict.notes),
    }


def _hop_as_dict(course: "Course", hop: "Hop") -> dict[str, Any]:
    first = hop.packets[0] if hop.packets else None
    return {
        "leg": hop.leg,
        "host": hop.host,
        "at": hop.at,
        "direction": hop.direction,
        "seen": hop.seen,
        "times": hop.times,
        "interface": first.frame.interface if first else "",
        "milliseconds": round(course.milliseconds(hop.host, first.frame.seconds), 3) if first else None,
        "packet": str(first) if first else "",
        "from_mac": first.frame.macs[0] if first else "",
        "to_mac": first.frame.macs[1] if first else "",
    }
