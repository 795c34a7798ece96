"""One command on one channel, held to its time from the first packet to the exit status."""

from collections.abc import Iterable, Iterator

import gevent
from paramiko import Channel, SSHException, Transport
from pyinfra.connectors.util import CommandOutput, read_output_buffers

NO_STATUS = -1
"""paramiko's word for a command that ended without an exit status."""


class Conversation:
    """Runs in a greenlet of its own, which nothing ever interrupts.

    A greenlet that is stopped while it sends leaves half a packet behind, and with it a connection on which nothing can
    be said any more. So when the time is up, the one who waits goes away; this one finds its channel closed and ends.
    """

    def __init__(self, transport: Transport, command: str, *, stdin: bytes, pty: bool, show_as: str | None) -> None:
        self.transport = transport
        self.command = command
        self.stdin = stdin
        self.pty = pty
        self.show_as = show_as
        """Prefix for output that is printed as it comes; None prints nothing."""
        self.doing = "opening a channel"
        self.channel: Channel | None = None
        self.abandoned = False
        self.error: Exception | None = None
        self.status = NO_STATUS
        self.output = CommandOutput([])

    def run(self, seconds: float | None) -> bool:
        """Whether it came to an end in time. What end is in `error`, or else in `status` and `output`."""
        worker = gevent.spawn(self.hold)
        try:
            worker.join(seconds)
            return bool(worker.ready())
        finally:
            if not worker.ready():
                self.abandon()

    def abandon(self) -> None:
        self.abandoned = True
        if self.channel is not None:
            # Aside: saying goodbye to a host that does not answer takes as long as anything else.
            gevent.spawn(_close, self.channel)

    def hold(self) -> None:
        try:
            self.channel = self.transport.open_session()
            if self.abandoned:  # nobody would see what the command did
                _close(self.channel)
                return
            self.talk(self.channel)
        except Exception as error:  # noqa: BLE001 - kept for the one who waits; here it would only be printed
            self.error = error

    def talk(self, channel: Channel) -> None:
        self.doing = "starting the command"
        if self.pty:
            channel.get_pty()
        self.start(channel)
        self.doing = "waiting for its end"
        self.output = read_output_buffers(
            _lines(channel.makefile("rb")),
            _lines(channel.makefile_stderr("rb")),
            timeout=None,
            print_output=self.show_as is not None,
            print_prefix=self.show_as or "",
        )
        self.status = channel.recv_exit_status()
        _close(channel)

    def start(self, channel: Channel) -> None:
        """Starts the command and sends it what it is to hear, without a round trip in between.

        paramiko waits for the server's answer to the first before it gives us a chance for the second.
        """
        feeding: list[gevent.Greenlet] = []

        def feed() -> None:
            if not feeding:
                # Beside reading: a command may answer before it has heard everything.
                feeding.append(gevent.spawn(_send, channel, self.stdin))

        wait = channel._wait_for_event  # type: ignore[attr-defined]  # noqa: SLF001

        def feed_and_wait() -> None:
            feed()
            wait()

        channel._wait_for_event = feed_and_wait  # type: ignore[attr-defined]  # noqa: SLF001
        channel.exec_command(self.command)
        feed()


def _lines(stream: Iterable[bytes]) -> Iterator[str]:
    """Whatever bytes a host prints: one that is no UTF-8 must not cut off what follows it."""
    for line in stream:
        yield line.decode("utf-8", errors="replace")


def _send(channel: Channel, data: bytes) -> None:
    """A command need not read what it is given; that it did not is for its exit status to say."""
    try:
        channel.sendall(data)
        channel.shutdown_write()
    except (OSError, SSHException, EOFError):
        return


def _close(channel: Channel) -> None:
    try:
        channel.close()
    except (OSError, SSHException, EOFError):
        return
