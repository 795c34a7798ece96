"""pyinfra's API, driven as a program: what lbctl does, in a process that gevent has patched. pytest's must not be.

For every line of its standard input, {"hosts": {name: data}, "steps": [...], "into": directory, "home": directory}, a
process does the steps and leaves `report` (JSON) and `printed` in the directory; the answer is its exit status.
Steps are lists: ["connect"], ["command", text, arguments], ["operation", text, arguments], ["disconnect"], ["options"].
"""

# ruff: noqa: E402, I001 - patching comes before everything that could import a socket
from gevent import monkey

monkey.patch_all()

import contextlib
import json
import logging
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any, ClassVar

import gevent

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.api.state import BaseStateCallback, State, StateStage
from pyinfra.operations import server

from transports import lab, sockets  # noqa: F401 - all that pyinfra would import for every copy


OPTIONS = {
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "interval": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "count": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
}


def described(error: Any) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "reason": getattr(error, "reason", None),
        "message": str(error.args[0] if error.args else error),
        "cure": getattr(error, "cure", ""),
    }


class Heard(BaseStateCallback):
    """How fleet hears of a host that cannot be reached."""

    errors: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def host_connect_error(state: State, host: Host, error: Any) -> None:  # noqa: ARG004
        Heard.errors[host.name] = described(error)


def open_sockets() -> int:
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one by which this very folder is read
            found += str(link.readlink()).startswith("socket:")
    return found


def command(host: Host, text: str, arguments: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    answer: dict[str, Any]
    try:
        succeeded, output = host.run_shell_command(StringCommand(text), **arguments)
        answer = {"succeeded": succeeded, "stdout": output.stdout, "stderr": output.stderr}
    except Exception as error:  # noqa: BLE001 - it is what the test asks for
        answer = {"error": described(error), "kinds": [kind.__name__ for kind in type(error).__mro__]}
    failure = host.connector.failure  # type: ignore[attr-defined]
    return answer | {"failure": described(failure) if failure else None, "seconds": time.monotonic() - started}


def options(host: Host) -> dict[str, int]:
    connection = host.connector.client.connection  # type: ignore[attr-defined]
    found = {name: connection.getsockopt(*option) for name, option in OPTIONS.items()}
    return found | {"channel_timeout": host.connector.transport().channel_timeout}  # type: ignore[attr-defined]


def main() -> None:
    # One process that has imported everything, and for each line a copy of it: importing takes longer than a test.
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                drive(json.loads(line))
            except BaseException:  # noqa: BLE001 - the copy must end here
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def drive(wanted: dict[str, Any]) -> None:
    into = Path(wanted["into"])
    os.environ["HOME"] = wanted["home"]
    os.environ.pop("SSH_AUTH_SOCK", None)
    printed = os.open(into / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    if wanted.get("debug"):
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        logger.setLevel(logging.DEBUG)
    if wanted.get("impatient"):  # the same, but a test does not take the 20 s that a host is given
        sockets.SECONDS_IDLE_BEFORE_PROBE = sockets.SECONDS_BETWEEN_PROBES = 1
        sockets.MILLISECONDS_UNANSWERED = 3000
    before = open_sockets()
    inventory = Inventory(([tuple(host) for host in wanted["hosts"].items()], {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(CONNECT_TIMEOUT=wanted.get("connect_seconds", 20), FAIL_PERCENT=100))  # type: ignore[no-untyped-call]
    state.add_callback_handler(Heard())  # type: ignore[no-untyped-call]
    state.print_output = state.print_input = bool(wanted.get("debug"))
    results: list[Any] = [step(state, *parts) for parts in wanted["steps"]]
    report = {
        "results": results,
        "connect_errors": Heard.errors,
        "failed": sorted(host.name for host in state.failed_hosts),
        "sockets_left": open_sockets() - before,
    }
    (into / "report").write_text(json.dumps(report))


def step(state: State, kind: str, text: str = "", arguments: dict[str, Any] | None = None) -> Any:
    hosts = list(state.inventory)
    if kind == "connect":
        started = time.monotonic()
        with contextlib.suppress(PyinfraError):  # "no hosts remaining"
            connect_all(state)
        return time.monotonic() - started
    if kind == "disconnect":
        disconnect_all(state)
        return None
    if kind == "options":
        return {host.name: options(host) for host in hosts if host.connected}
    if kind == "operation":
        return operation(state, text, arguments or {})
    # Side by side, as pyinfra does it.
    greenlets = {host.name: gevent.spawn(command, host, text, arguments or {}) for host in hosts if host.connected}
    return {name: greenlet.get() for name, greenlet in greenlets.items()}


def operation(state: State, text: str, arguments: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    state.set_stage(StateStage.Prepare)
    add_op(state, server.shell, name="the operation", commands=[text], **arguments)
    state.set_stage(StateStage.Execute)
    with contextlib.suppress(PyinfraError):
        run_ops(state)
    (op_hash,) = state.get_op_order()  # type: ignore[no-untyped-call]
    answer: dict[str, Any] = {"seconds": time.monotonic() - started}
    for host in state.inventory:
        if host in state.ops and op_hash in state.ops[host]:
            meta = state.ops[host][op_hash].operation_meta
            failure = host.connector.failure  # type: ignore[attr-defined]
            answer[host.name] = {
                "succeeded": meta.did_succeed(_raise_if_not_complete=False),
                "stdout": meta.stdout if meta.is_complete() else "",
                "failure": described(failure) if failure else None,
            }
    return answer


if __name__ == "__main__":
    main()
