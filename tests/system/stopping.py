"""Runs `lbctl` or `pyinfra`, literally, and has something happen at its Nth change on a host.

    python tests/system/stopping.py HOW N FILE lbctl deploy --yes

A change is a remote command that mends something: looks at hosts are not counted, they change nothing. HOW is

    before  the operator's process is killed (SIGKILL) as the command is about to be sent
    during  it is killed when the command was sent and the host is at it
    after   it is killed when the command has ended there
    cut     the connection to that host is cut while the host is at it; the operator goes on
    power   the host loses power while it is at it (a machine of the lab, LBCTL_LAB)
    nothing only counts

FILE gets one line for each change: its number, host and moment.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # As fleet.green, and before everything else: the programs below would do it, but only after we imported their parts.
    from gevent import monkey

    monkey.patch_all()

A_MOMENT = 0.15
"""Seconds after which a host that got a script is in the midst of it: most take half a second, installing takes longer."""

CHANGES = ("timeout -k 10 ", "timeout -k 5 60 systemctl ", "timeout -k 5 90 ")
"""How commands begin that change something (`operations.thing.run`, `operations.keepalived.stopped`, `fleet.failover`)."""
EDITS = b"ipvsadm -"
"""How a script begins that edits the kernel's table beside the steps (`fleet.sticking`): its command is that of looks, too."""


class Stopper:
    """Counts changes, and acts at one of them."""

    def __init__(self, how: str, place: int, log: Path) -> None:
        self.how, self.place, self.log = how, place, log
        self.count = 0

    def is_change(self, conversation: Any) -> bool:
        return any(words in conversation.command for words in CHANGES) or conversation.stdin.startswith(EDITS)

    def note(self, host: str, word: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{self.count} {host} {word}\n")

    def around(self, conversation: Any, host: str, hold: Callable[[], None]) -> None:
        if not self.is_change(conversation):
            hold()
            return
        self.count += 1
        here = self.count == self.place
        self.note(host, self.how if here else "passes")
        if not here:
            hold()
            return
        if self.how == "before":
            die()
        if self.how in {"during", "cut", "power"}:
            self.later(conversation, host)
        hold()
        if self.how == "after":
            die()

    def later(self, conversation: Any, host: str) -> None:
        import gevent  # noqa: PLC0415 (after the patching)

        def act() -> None:
            # The script is sent beside the waiting: when the channel is closed for writing, all of it is there.
            while conversation.channel is None or not conversation.channel.eof_sent:
                time.sleep(0.005)
            time.sleep(A_MOMENT)
            if self.how == "during":
                die()
            elif self.how == "cut":
                conversation.transport.sock.shutdown(socket.SHUT_RDWR)
            else:
                from lab.lab import Lab  # noqa: PLC0415 (only here)

                gevent.get_hub().threadpool.apply(Lab(os.environ["LBCTL_LAB"]).power_off, (host,))

        gevent.spawn(act)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def install(stopper: Stopper) -> None:
    """Every command of every connector goes through `Conversation.hold`."""
    from transports.conversation import Conversation  # noqa: PLC0415 (after the patching)
    from transports.ssh import Connector  # noqa: PLC0415

    hold, transport = Conversation.hold, Connector.transport
    hosts: dict[int, str] = {}

    def remembered(self: Connector) -> Any:
        found = transport(self)
        hosts[id(found)] = self.name
        return found

    def held(self: Conversation) -> None:
        stopper.around(self, hosts[id(self.transport)], lambda: hold(self))

    Connector.transport = remembered  # type: ignore[method-assign]
    Conversation.hold = held  # type: ignore[method-assign]


def main() -> None:
    how, place, log, program, *words = sys.argv[1:]
    install(Stopper(how, int(place), Path(log)))
    sys.argv = [program, *words]
    if program == "lbctl":
        from cli.main import main as lbctl  # noqa: PLC0415

        lbctl()
    else:
        from pyinfra_cli.main import main as pyinfra  # noqa: PLC0415

        pyinfra()


if __name__ == "__main__":
    main()
