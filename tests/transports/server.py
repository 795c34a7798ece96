"""SSH servers that can misbehave, run as a program: one for every line of its standard input, until that ends.

A line is JSON: {"address", "host_keys": [file], "allow": key file, "mood", "environment"}; the answer is a port.

The mood `silent` takes connections and says nothing, `slams` ends them at once, `hangs up` cuts one when it is to run a
command that contains HANGUP. Users choose how they are treated, too: `mute` gets no answer to opening a channel, `deaf`
none to starting a command. All else is run by this machine's shell.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

LONG = 300
started: list["subprocess.Popen[bytes]"] = []


class AfterReply:
    """Stands in for a channel's transport until the reply is out that the command was started.

    A short command would otherwise end before it has begun.
    """

    def __init__(self, channel: paramiko.Channel, worker: threading.Thread) -> None:
        self.channel = channel
        self.transport: Any = channel.transport
        self.worker = worker

    def _send_user_message(self, message: paramiko.Message) -> None:
        self.channel.transport = self.transport
        self.transport._send_user_message(message)
        self.worker.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


class Server(paramiko.ServerInterface):
    def __init__(self, transport: paramiko.Transport, wanted: dict[str, Any]) -> None:
        self.transport = transport
        self.allowed = paramiko.PKey.from_path(wanted["allow"]).asbytes()
        self.environment = wanted["environment"]
        self.hangs_up = wanted["mood"] == "hangs up"
        self.user = ""

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002
        return "publickey,password"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.user = username
        return AUTH_SUCCESSFUL if key.asbytes() == self.allowed else AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        self.user = username
        return AUTH_SUCCESSFUL if password == "open sesame" else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:  # noqa: ARG002
        if self.user == "mute":
            time.sleep(LONG)
        return OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: Any) -> int:  # noqa: ARG002
        threading.Thread(target=self.forward, args=(chanid, destination), daemon=True).start()
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self.user == "deaf":
            time.sleep(LONG)
        if self.hangs_up and b"HANGUP" in command:
            threading.Timer(0.3, self.transport.sock.shutdown, (socket.SHUT_RDWR,)).start()
        worker = threading.Thread(target=execute, args=(channel, command, self.environment), daemon=True)
        channel.transport = AfterReply(channel, worker)  # type: ignore[assignment]
        return True

    def forward(self, channel_id: int, destination: tuple[str, int]) -> None:
        channel = self.transport.accept(10)
        assert channel is not None, channel_id
        target = socket.create_connection(destination, timeout=10)
        target.settimeout(None)
        threading.Thread(target=pump, args=(channel, target), daemon=True).start()
        pump(target, channel)


def pump(source: Any, sink: Any) -> None:
    while data := source.recv(65536):
        sink.sendall(data)
    sink.close()


def execute(channel: paramiko.Channel, command: bytes, environment: dict[str, str]) -> None:
    process = subprocess.Popen(  # noqa: S602 - that is what an SSH server does
        command,
        shell=True,
        env=environment,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    started.append(process)
    assert process.stdin
    assert process.stdout
    assert process.stderr
    threading.Thread(target=feed, args=(channel, process.stdin), daemon=True).start()
    complaints = threading.Thread(target=relay, args=(process.stderr, channel.sendall_stderr))
    complaints.start()
    relay(process.stdout, channel.sendall)
    complaints.join()
    status = process.wait()
    if status >= 0:  # one that was killed has none to report
        channel.send_exit_status(status)
    channel.close()


def feed(channel: paramiko.Channel, stream: Any) -> None:
    try:
        while data := channel.recv(65536):
            stream.write(data)
            stream.flush()
        stream.close()
    except (OSError, ValueError):
        return


def relay(stream: Any, send: Any) -> None:
    while data := stream.read1(65536):
        try:
            send(data)
        except OSError:
            return


def serve(connection: socket.socket, wanted: dict[str, Any]) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(connection)
    for host_key in wanted["host_keys"]:
        transport.add_server_key(paramiko.PKey.from_path(host_key))
    try:
        transport.start_server(server=Server(transport, wanted))
    except (EOFError, OSError, paramiko.SSHException):
        return


def accept(listener: socket.socket, wanted: dict[str, Any]) -> None:
    kept = []
    while True:
        connection, _ = listener.accept()
        if wanted["mood"] == "slams":
            connection.close()
        elif wanted["mood"] == "silent":
            kept.append(connection)
        else:
            threading.Thread(target=serve, args=(connection, wanted), daemon=True).start()


def main() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        listener = socket.create_server((wanted["address"], 0))
        threading.Thread(target=accept, args=(listener, wanted), daemon=True).start()
        print(listener.getsockname()[1], flush=True)
    for process in started:
        if process.poll() is None:  # what a client gave up on goes on sleeping
            os.killpg(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
