"""`lbctl lab`: real machines on this one. Parsing and printing; what a lab is, is in `lab/`."""

import json
import os
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import machines

if TYPE_CHECKING:
    from lab.lab import Lab

app = typer.Typer(
    help="""A cluster of real machines on this one, to try things on.

    Each is a Linux kernel that runs as a process: db1-db3 with MariaDB and Galera (10.0.0.1-3), lb1 and lb2 (10.0.0.4 and
    10.0.0.6), on a network of their own. Needs root.

    Example:  lbctl lab up
              lbctl lab ssh db1
              lbctl lab down
    """,
    no_args_is_help=True,
)

_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}

Name = Annotated[str, typer.Option("--name", envvar="LBCTL_LAB", help="Which lab; they run side by side.")]
Host = Annotated[
    str,
    typer.Argument(
        metavar="HOST",
        help="A machine of the lab: db1, db2, db3, lb1, lb2, or another that was added.",
        autocompletion=machines,
    ),
]
Command = Annotated[list[str] | None, typer.Argument(metavar="COMMAND", show_default=False)]


class Power(StrEnum):
    ON = "on"
    OFF = "off"


class Cable(StrEnum):
    UP = "up"
    DOWN = "down"


def _lab(name: str) -> "Lab":
    from lab import host  # noqa: PLC0415 (only for this command)
    from lab.lab import Lab  # noqa: PLC0415 (heavy: pyroute2)

    host.must_be_root()
    return Lab(name)


def _become(argv: Sequence[str]) -> None:
    """The terminal, signals and the exit code are the program's own from here on."""
    os.execvp(argv[0], list(argv))  # noqa: S606 (a list of arguments, no shell)


@app.command()
def up(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="HOST[=ADDRESS]", help="Default: all five.", show_default=False, autocompletion=machines
        ),
    ] = None,
    *,
    name: Name = "lab",
    galera: Annotated[bool, typer.Option(help="Start the database cluster too.")] = True,
    snapshot: Annotated[str | None, typer.Option("--from", help="Start from this snapshot's disks.")] = None,
) -> None:
    """Boot the machines named, or all five, and the database cluster. Adds to a lab that is up.

    The first time an image is built, which takes a minute. If it is interrupted, nothing is left of it.

    Example:  lbctl lab up
              lbctl lab up db1 lb1 lb3=10.0.0.7 --no-galera
    """
    lab = _lab(name)
    if snapshot:
        lab.up_from(snapshot, names=names or ())
    else:
        lab.up(names or lab.usual)
    if galera and (databases := lab.databases()):
        typer.echo("Starting the Galera cluster ...", err=True)
        lab.galera_start(databases)
    typer.echo(f"Lab {name} is up: {', '.join(lab.machines())}. Next: lbctl lab ssh HOST, lbctl lab status")


@app.command()
def status(
    *, name: Name = "lab", as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Machines, addresses, power and cables, and where the files are that ssh needs.

    Example:  lbctl lab status --json
    """
    found = _lab(name).state()
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(f"Lab {name}: {'up' if found['up'] else 'not up'}")
    for host, machine in found["machines"].items():
        power = f"on (pid {machine['pid']})" if machine["pid"] else "off"
        typer.echo(
            f"  {host:<8} {machine['address']:<12} {power:<16} {'' if machine['plugged'] else 'unplugged'}".rstrip()
        )
    if found["up"]:
        typer.echo(f"  ssh      nsenter --net=/run/netns/{found['namespace']} ssh -F {found['ssh_config']} HOST")


@app.command(context_settings=_PASSED_ON)
def ssh(host: Host, command: Command = None, *, name: Name = "lab") -> None:
    """Log in to a machine as root, or run a command there. Options go before HOST.

    Example:  lbctl lab ssh lb1
              lbctl lab ssh lb1 ipvsadm -Ln
    """
    # As for ssh itself: what follows "--" is the command.
    words = command[1:] if command and command[0] == "--" else command
    _become(_lab(name).ssh_argv(host, words or ()))


@app.command(context_settings=_PASSED_ON)
def client(command: Command = None, *, name: Name = "lab") -> None:
    """Run a program of this machine where the database client sits, at 10.0.0.5. Options go before COMMAND.

    Example:  lbctl lab client mariadb -h10.0.0.1 -ulab -plab -e 'select @@hostname'
    """
    _become(_lab(name).client_argv(command or ["bash"]))


@app.command(context_settings=_PASSED_ON)
def operator(command: Command = None, *, name: Name = "lab") -> None:
    """Run a program of this machine where the operator sits, at 10.0.0.254. Options go before COMMAND.

    Example:  lbctl lab operator ping -c1 10.0.0.1
    """
    _become(_lab(name).operator_argv(command or ["bash"]))


@app.command()
def power(host: Host, state: Annotated[Power, typer.Argument(help="on or off.")], *, name: Name = "lab") -> None:
    """Cut a machine's power, or boot it again from the same disk.

    Example:  lbctl lab power lb1 off
    """
    lab = _lab(name)
    (lab.power_on if state is Power.ON else lab.power_off)(host)


@app.command()
def reboot(host: Host, *, name: Name = "lab") -> None:
    """Reboot a machine in an orderly way, and wait for it.

    Example:  lbctl lab reboot db2
    """
    _lab(name).reboot(host)


@app.command()
def link(host: Host, state: Annotated[Cable, typer.Argument(help="up or down.")], *, name: Name = "lab") -> None:
    """Unplug a machine's cable at the switch, or plug it in.

    Example:  lbctl lab link db3 down
    """
    _lab(name).link(host, up=state is Cable.UP)


@app.command()
def galera(*, name: Name = "lab") -> None:
    """Start the database cluster, also after a power cut of all of its machines.

    Example:  lbctl lab galera
    """
    lab = _lab(name)
    lab.galera_start(lab.databases())


@app.command()
def snapshot(
    label: Annotated[
        str, typer.Argument(metavar="NAME", help="What the snapshot will be called; one of that name is replaced.")
    ],
    *,
    name: Name = "lab",
) -> None:
    """Keep the machines' disks as they are now, to start another lab from.

    Example:  lbctl lab snapshot deployed
              lbctl lab up --name second --from deployed
    """
    _lab(name).snapshot(label)


@app.command()
def down(*, name: Name = "lab") -> None:
    """End the lab and forget its disks. Images and snapshots stay.

    Example:  lbctl lab down
    """
    _lab(name).down()
