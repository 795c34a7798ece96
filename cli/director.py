"""`lbctl director`: keepalived nodes come to a running cluster, and leave it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.changing import Asked, Diff, Json, Manner, OnlyPlan, Yes, one_of, run
from cli.completion import directors
from cli.session import ClusterOption

if TYPE_CHECKING:
    from cluster.declaration import Declaration

app = typer.Typer(
    help="""Add a keepalived node to a running cluster, or take one out of it, while clients are served.

    Example:  lbctl director add lb2 --address 10.0.0.6
              lbctl director remove lb1
    """,
    no_args_is_help=True,
)

SshHost = Annotated[
    str | None, typer.Option("--ssh-host", metavar="HOST", help="Where to log in, if not at --address.")
]
SshUser = Annotated[
    str | None, typer.Option("--ssh-user", metavar="USER", help="As whom, if not as the cluster's user.")
]
Address = Annotated[str, typer.Option("--address", metavar="ADDRESS", help="Its own address.")]
Interface = Annotated[str | None, typer.Option("--interface", metavar="DEVICE", help="Its network device.")]
Dead = Annotated[
    bool, typer.Option("--dead", help="It is gone for good: it is not asked, and nothing is changed there.")
]


def ssh(host: str | None, user: str | None) -> dict[str, Any]:
    """The host's own `ssh` table; nothing where nothing was said."""
    own = {key: value for key, value in (("host", host), ("user", user)) if value}
    return {"ssh": own} if own else {}


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new director's name.")],
    *,
    address: Address,
    interface: Interface = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=1, max=254, help="VRRP priority. Default: below all others.")
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            "--gateway", metavar="ADDRESS", help="nat: the address for replies that will float between directors."
        ),
    ] = None,
    ssh_host: SshHost = None,
    ssh_user: SshUser = None,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Add a director to a running cluster, as a backup.

    Those that run learn of it first; then it starts, hears them, and waits. In the other order two would hold the virtual
    addresses.

    Example:  lbctl director add lb2 --address 10.0.0.6
              lbctl director add lb2 --address 10.0.0.6 --gateway 10.0.0.12 --plan
    """
    from cluster.edit import with_host, with_value  # noqa: PLC0415 (loaded late)

    def edit(text: str, before: "Declaration") -> str:
        others = [director.priority for other, director in before.director.items() if other != name]
        rank = min(others, default=101) - 1 if priority is None else priority
        values: dict[str, Any] = {"address": address}
        values |= {"interface": interface} if interface else {}
        after = with_host(text, "director", name, values | {"priority": rank} | ssh(ssh_host, ssh_user))
        return with_value(after, ("nat", "gateway"), gateway) if gateway else after

    asked = Asked(f"director add {name}", edit)
    run(ctx, cluster, asked, Manner(yes=yes, only_plan=only_plan, json=json_, diff=diff))


@app.command()
def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The director that leaves.", autocompletion=directors)],
    *,
    dead: Dead = False,
    only_plan: OnlyPlan = False,
    diff: Diff = True,
    yes: Yes = False,
    json_: Json = False,
    cluster: ClusterOption = None,
) -> None:
    """Take a director out of a running cluster, also the active one, also a dead one.

    What it holds goes to another one before it lets go. Then nothing of ours is left on it.

    Example:  lbctl director remove lb1
              lbctl director remove lb2 --dead
    """
    from cluster.edit import without  # noqa: PLC0415 (as below: loaded late)
    from cluster.errors import RefusedError  # noqa: PLC0415

    def edit(text: str, before: "Declaration") -> str:
        one_of(before.director, name, "director")
        if len(before.director) == 1:
            raise RefusedError(
                f"{name} is the only director: nothing would be served",
                cure="lbctl director add … first, or lbctl uninstall",
            )
        return without(text, ("director", name))

    gone = frozenset({name}) if dead else frozenset[str]()
    asked = Asked(f"director remove {name}", edit, dead=gone, check=_others_can_serve)
    run(ctx, cluster, asked, Manner(yes=yes, only_plan=only_plan, json=json_, diff=diff))


def _others_can_serve(before: "Declaration", after: "Declaration") -> None:
    """Clients that come by the address of the director that leaves have nowhere to go."""
    from cluster.errors import RefusedError  # noqa: PLC0415
    from cluster.vocabulary import Mode  # noqa: PLC0415

    if before.mode is Mode.NAT and not before.nat.gateway and len(after.director) < len(before.director):
        raise RefusedError(
            "nat without a floating gateway: its ports are at the director's own address", cure="nat.gateway"
        )
