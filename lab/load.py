"""A load on virtual services: connections that are held open and ask all the time, and new ones at a steady pace.

`Load` starts it at the lab's client and takes its record home. The record is only what happened, request by request, in the
machine's monotonic time, which all processes share: so it can be set beside the moment of a fault. What it means is said by
`lab.load_record`.

This module is also the program that runs there, one process for all connections.
"""

import asyncio
import errno
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from lab import galera
from lab.load_record import Record, Request
from lab.mysql import ServerError, Session


@dataclass(frozen=True)
class Orders:
    """What the load consists of. Times in seconds."""

    endpoints: tuple[tuple[str, int], ...]
    """Addresses and ports; connections take them in turns."""
    held: int = 20
    ask_every: float = 0.1
    new_per_second: float = 50
    connect_timeout: float = 10
    """Of a new connection until its answer: MySQL clients' usual limit."""
    answer_timeout: float = 30
    """Of a held one: one that hangs as long counts as cut."""
    statement: str = "select @@hostname"
    """Its answer names the server."""
    user: str = galera.USER
    password: str = galera.PASSWORD


class LocalPorts:
    """A client's ports for one of several endpoints, none of which another one gets.

    In nat IPVS keeps the client's port: with one port at two services the server sees one connection where there are two, and
    cuts the older (docs/modes.md). That is so without any change of the cluster, and not what a load is to show.
    """

    FIRST, LAST = 32768, 60999
    """The kernel's own range: ip_local_port_range."""

    def __init__(self, index: int, endpoints: int) -> None:
        size = (self.LAST - self.FIRST + 1) // endpoints
        # A load that follows another one begins elsewhere: what that one closed is in TIME_WAIT for a while.
        self._first, self._size, self._next = self.FIRST + index * size, size, int(time.monotonic() * 100) % size

    def take(self) -> int:
        self._next = (self._next + 1) % self._size
        return self._first + self._next


class Reach(Protocol):
    """What of a lab is needed here."""

    def client_process(self, argv: Sequence[str], **popen: Any) -> "subprocess.Popen[Any]": ...


class Load:
    """Runs at the lab's client from `start` to `stop`; as a context manager it ends with the block."""

    def __init__(self, lab: Reach, orders: Orders) -> None:
        self._lab, self._orders = lab, orders
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Returns when all held connections stand. Raises RuntimeError when they cannot be made."""
        argv = [sys.executable, "-m", "lab.load", json.dumps(asdict(self._orders))]
        process = self._lab.client_process(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._process = process
        assert process.stdout  # noqa: S101 (a pipe was asked for)
        line = process.stdout.readline()
        if line != "ready\n":
            process.kill()
            process.wait()
            self._process = None
            raise RuntimeError(f"the load did not start: {line.strip() or 'see its traceback above'}")
        return self

    def stop(self) -> Record:
        """Ends it and returns all that it saw."""
        assert self._process, "start it first"  # noqa: S101 (a slip of the caller's)
        said, _ = self._process.communicate("")
        self._process = None
        return Record(tuple(Request(**request) for request in json.loads(said)))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


class _Client:
    """The connections of one process."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.requests: list[dict[str, Any]] = []
        self.over = asyncio.Event()
        count = len(orders.endpoints)
        self._ports = {place: LocalPorts(each, count) for each, place in enumerate(orders.endpoints)}

    async def run(self) -> None:
        """Until standard input ends."""
        held = [await self._open(number) for number in range(self.orders.held)]
        print("ready", flush=True)
        tasks = [asyncio.create_task(self._hold(number, session)) for number, session in enumerate(held)]
        tasks.append(asyncio.create_task(self._open_new()))
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self.over.set)
        await self.over.wait()
        # What is under way gets its time: a request that never ends is the very thing to be seen.
        await asyncio.gather(*tasks)

    def _endpoint(self, number: int) -> tuple[str, int]:
        return self.orders.endpoints[number % len(self.orders.endpoints)]

    async def _open(self, number: int) -> Session:
        address, port = self._endpoint(number)
        user, password = self.orders.user, self.orders.password
        async with asyncio.timeout(self.orders.connect_timeout):
            while True:
                try:
                    return await Session.open(address, port, user, password, self._ports[address, port].take())
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise

    async def _hold(self, number: int, session: Session) -> None:
        loop = asyncio.get_running_loop()
        # Spread over the interval, so that they do not all ask at once.
        due = loop.time() + self.orders.ask_every * number / max(1, self.orders.held)
        while not self.over.is_set():
            await asyncio.sleep(max(0, due - loop.time()))
            due = max(due + self.orders.ask_every, loop.time())

            async def ask() -> str:
                return await session.ask(self.orders.statement)

            if not await self._noted("held", number, ask, self.orders.answer_timeout):
                session.abort()
                return
        session.quit()

    async def _open_new(self) -> None:
        """By the clock: what fails or is slow makes the others no slower."""
        if not self.orders.new_per_second:
            return
        loop = asyncio.get_running_loop()
        begun, number, tasks = loop.time(), 0, set[asyncio.Task[bool]]()
        while not self.over.is_set():
            await asyncio.sleep(max(0, begun + number / self.orders.new_per_second - loop.time()))
            task = asyncio.create_task(self._once(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.gather(*tasks)

    async def _once(self, number: int) -> bool:
        async def connect_and_ask() -> str:
            session = await self._open(number)
            try:
                answer = await session.ask(self.orders.statement)
            except BaseException:
                session.abort()
                raise
            session.quit()
            return answer

        return await self._noted("new", number, connect_and_ask, self.orders.connect_timeout)

    async def _noted(self, kind: str, number: int, work: Any, limit: float) -> bool:
        begun, answer, error = time.monotonic(), "", ""
        try:
            async with asyncio.timeout(limit):
                answer = await work()
        except TimeoutError:
            error = "no answer"
        except (OSError, EOFError, ServerError) as failure:
            error = f"{type(failure).__name__}: {failure}"
        address, port = self._endpoint(number)
        self.requests.append(
            {
                "kind": kind,
                "connection": number,
                "endpoint": f"{address}:{port}",
                "begun": begun,
                "ended": time.monotonic(),
                "server": answer,
                "error": error,
            }
        )
        return not error


def _orders(text: str) -> Orders:
    values = json.loads(text)
    endpoints: Iterable[Sequence[Any]] = values.pop("endpoints")
    return Orders(tuple((str(address), int(port)) for address, port in endpoints), **values)


def main() -> None:
    """The program at the lab's client: orders as its one argument; it says "ready", and its record when its input ends."""
    client = _Client(_orders(sys.argv[1]))
    asyncio.run(client.run())
    print(json.dumps(client.requests))


if __name__ == "__main__":
    main()
