"""`make demo`: a cluster from bare machines to a second run that changes nothing, and all that a visitor wants to see in between.

Everything happens on machines of a lab: real kernels, a real Galera cluster, a real client. What is claimed at the end was
seen; whatever was not ends the demo with an error. Nothing is left behind, but for KEEP=1.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import tomlkit

from cluster.declaration import Declaration
from cluster.errors import Exit, LbctlError, RequestError, TroubleError
from cluster.keepalived import Endpoint, endpoints, floating_addresses
from cluster.reading import read
from cluster.vocabulary import Mode
from lab import galera, judgement, namespace
from lab.lab import Lab
from lab.lock import termination_raises
from lab.places import Places
from lab.topology import CLIENT

_T = TypeVar("_T")

HOUSE = Path(__file__).resolve().parent.parent
READS = 6
READS_WITHOUT = 12
SETTLES_WITHIN = 60
"""Seconds until a change shows. Health checks take 2; a machine that shares its CPU with four others takes its time."""
JOINS_WITHIN = 180


class Stage:
    """What is told to the visitor, and what was seen."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._section = 0
        self.seen: list[str] = []

    def section(self, title: str) -> None:
        self._section += 1
        self.say(f"\n{self._section}. {title}", indent=0)

    def say(self, text: str, *, indent: int = 3) -> None:
        print("\n".join(f"{'':{indent}}{line}" for line in text.split("\n")), flush=True)

    def command(self, text: str) -> None:
        self.say(f"$ {text}")

    def proven(self, what: str, against: str | None = None) -> None:
        """`what` was seen, unless there is something `against` it: then the demo ends."""
        if against:
            raise TroubleError(f"expected: {what}\n  seen: {against}")
        self.seen.append(what)
        self.say(f"✓ {what}")

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.say(f"{what}: {time.monotonic() - began:.1f} s")


class Demo:
    def __init__(self, lab: Lab, mode: Mode, stage: Stage) -> None:
        self.lab, self.mode, self.stage = lab, mode, stage
        self._text = declared(mode, (HOUSE / "inventory/lab.toml").read_text())
        self._file = lab.run / "demo.toml"  # among the lab's own files: it goes with it
        self.declaration: Declaration = read(self._text, str(self._file))
        self.servers = {str(server.address): name for name, server in self.declaration.real_server.items()}
        self.endpoints = endpoints(self.declaration, next(iter(self.declaration.director)))
        self._addresses = [str(endpoint) for endpoint in self.endpoints]

    def run(self) -> None:
        self.boot()
        self.deploy()
        writer = self.serve()
        self.kill(writer)
        self.start(writer)
        self.deploy_again()

    def boot(self) -> None:
        self.stage.section("Five Debian machines with kernels of their own, and a Galera cluster on three of them")
        with self.stage.timed("booted"):
            self.lab.up(progress=self.stage.say)
        self._file.write_text(self._text)
        with self.stage.timed("Galera formed"):
            self.lab.galera_start()
        size = self.query(
            Endpoint("", next(iter(self.declaration.real_server.values())).address, 3306),
            "show status like 'wsrep_cluster_size'",
        )
        self.stage.proven("a Galera cluster of three", None if size.split()[-1:] == ["3"] else size)

    def deploy(self) -> None:
        self.stage.section(f"Deployed by plain pyinfra, mode {self.mode}")
        rows, status = self.pyinfra()
        self.stage.proven(
            "pyinfra deployed two directors and three real servers", judgement.failed_deploy(rows, status)
        )
        active = self.until(lambda: self.table_lacks(self.servers), "all servers in the kernel's table of the director")
        self.stage.command(f"ipvsadm -Ln          # on {active}, which holds the virtual addresses")
        self.stage.say(self.lab.exec(active, "ipvsadm -Ln").stdout.rstrip())
        self.stage.proven(f"the director's kernel forwards to all three by {self.mode}")

    def serve(self) -> str:
        """Returns the server that writes stick to."""
        self.stage.section("What a database client sees")
        writer = ""
        names = set(self.servers.values())
        for endpoint in self.endpoints:
            if self.declaration.service[endpoint.service].persistence:
                writer = self.sample(endpoint, READS, names, judgement.not_sticking)[0]
                self.stage.proven(f"{endpoint} sticks to one server ({writer})")
            else:
                self.sample(endpoint, READS, names, judgement.not_rotating)
                self.stage.proven(f"{endpoint} rotates over db1, db2, db3")
        caller = self.query(self.endpoints[0], "select substring_index(user(), '@', -1)", shown=True)
        self.stage.proven("the server sees the client's own address", None if caller == str(CLIENT) else caller)
        return writer

    def kill(self, victim: str) -> None:
        self.stage.section(f"{victim}, the one that takes the writes, is killed")
        left = {address: name for address, name in self.servers.items() if name != victim}
        self.stage.command(f"ssh {victim} 'kill -KILL $(pidof mariadbd)'")
        # systemd would start it again 5 s later: `stop` has it wait for us.
        self.lab.exec(victim, "kill -KILL $(pidof mariadbd); systemctl stop mariadb")
        with self.stage.timed("out of rotation"):
            self.until(lambda: self.table_lacks(left), f"{victim} out of the kernel's table")
        for endpoint in self.endpoints:
            sticky = self.declaration.service[endpoint.service].persistence
            judge = judgement.not_sticking if sticky else judgement.not_rotating
            answers = self.sample(endpoint, READS if sticky else READS_WITHOUT, set(left.values()), judge, patience=0)
            self.stage.proven(
                f"without {victim} writes stick to {answers[0]} ({endpoint})"
                if sticky
                else f"without {victim} all {READS_WITHOUT} of {READS_WITHOUT} reads succeed ({endpoint})"
            )

    def start(self, victim: str) -> None:
        self.stage.section(f"{victim} is started again")
        self.stage.command(f"ssh {victim} systemctl start mariadb")
        with self.stage.timed("joined, Synced, in rotation"):
            self.lab.exec(victim, "systemctl start mariadb", timeout=JOINS_WITHIN)
            self.until(lambda: self.table_lacks(self.servers), f"{victim} back in the kernel's table")
        for endpoint in self.endpoints:
            if not self.declaration.service[endpoint.service].persistence:
                self.sample(endpoint, READS, set(self.servers.values()), judgement.not_rotating)
                self.stage.proven(f"{victim} is back in rotation ({endpoint})")

    def deploy_again(self) -> None:
        self.stage.section("Deployed a second time")
        rows, status = self.pyinfra()
        against = judgement.changed_again(rows, status)
        self.stage.proven(f"the second run changes nothing: {len(rows)} operations, 0 changes", against)

    # The parts

    def pyinfra(self) -> tuple[list[judgement.Row], int]:
        """Literally what a user types. Says which operation is under way, and shows the table at the end."""
        argv = ["pyinfra", "inventory.py", "deploy.py", "-y"]
        self.stage.command(" ".join(argv))
        began, lines = time.monotonic(), []
        environment = {**os.environ, "LBCTL_CLUSTER": str(self._file), "LBCTL_LAB": self.lab.name}
        with subprocess.Popen(
            [str(Path(sys.executable).parent / argv[0]), *argv[1:]],
            cwd=HOUSE,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                for line in process.stdout or ():
                    lines.append(line)
                    if operation := judgement.operation_started(line):
                        self.stage.say(f"{time.monotonic() - began:5.1f} s  {operation}")
            except BaseException:
                process.terminate()
                raise
        output = "".join(lines)
        rows = judgement.results(output)
        shown = output.partition("--> Results:")[2] if rows and not process.returncode else output
        self.stage.say(shown.partition("--> Disconnecting")[0].strip("\n"), indent=0)
        self.stage.say(f"exit status {process.returncode}, {time.monotonic() - began:.1f} s")
        return rows, process.returncode

    def sample(
        self,
        endpoint: Endpoint,
        count: int,
        servers: set[str],
        judge: Callable[[Sequence[str], set[str]], str | None],
        *,
        patience: int = 10,
    ) -> list[str]:
        """Answers that satisfy the judge. A check that misses once on a busy machine takes a server out for a second:
        within `patience` seconds another sample is taken.
        """
        self.stage.command(f"{client(endpoint)} -e 'select @@hostname'          # {count} times")
        deadline = time.monotonic() + patience
        while True:
            answers = [self.query(endpoint, "select @@hostname") for _ in range(count)]
            self.stage.say(f"{endpoint}: {' '.join(answers)}")
            against = judge(answers, servers)
            if against is None:
                return answers
            if time.monotonic() > deadline:
                raise TroubleError(
                    f"expected: {endpoint} answered by {', '.join(sorted(servers))}, "
                    f"{'one of them every time' if judge is judgement.not_sticking else 'in turn'}\n  seen: {against}"
                )

    def query(self, endpoint: Endpoint, statement: str, *, shown: bool = False) -> str:
        """One connection by a real client at 10.0.0.5, one statement. An error is an answer, too."""
        if shown:
            self.stage.command(f'{client(endpoint)} -e "{statement}"')
        login = [f"-u{galera.USER}", f"-p{galera.PASSWORD}", "--connect-timeout=5", "-BN"]
        done = self.lab.client([*client(endpoint).split(), *login, "-e", statement], check=False)
        answer = (done.stdout or done.stderr).strip()
        if shown:
            self.stage.say(answer)
        return answer

    def table_lacks(self, servers: dict[str, str]) -> tuple[str, str | None]:
        """The active director, and what its kernel's table has that it should not, or the other way about."""
        first = floating_addresses(self.declaration)[0]
        look = f"ip -o addr show to {first}/32 | grep -c . && ipvsadm -Ln"
        said = "no director holds the virtual addresses"
        for name in self.declaration.director:
            done = self.lab.exec(name, look, check=False)
            if done.returncode == 0:
                found = judgement.table(done.stdout)
                return name, judgement.not_served(found, self._addresses, servers, self.mode)
        return "", said

    def until(self, look: Callable[[], tuple[_T, str | None]], what: str) -> _T:
        deadline = time.monotonic() + SETTLES_WITHIN
        while True:
            found, against = look()
            if against is None:
                return found
            if time.monotonic() > deadline:
                raise TroubleError(f"expected within {SETTLES_WITHIN} s: {what}\n  seen: {against}")
            time.sleep(0.2)


def client(endpoint: Endpoint) -> str:
    """The command of a client, without its login."""
    port = "" if endpoint.port == 3306 else f" -P {endpoint.port}"  # noqa: PLR2004 - the client's default
    return f"mariadb -h {endpoint.address}{port}"


def declared(mode: Mode, text: str) -> str:
    """The lab's declaration with another mode, its comments kept."""
    document = tomlkit.parse(text)
    document["mode"] = mode.value
    return tomlkit.dumps(document)


def remains(lab: Lab) -> list[str]:
    """What is left of a lab: namespaces, files, processes that live in the one or name the other."""
    spaces = [name for name in (lab.namespace, lab.client_namespace) if namespace.exists(name)]
    places = Places.of(lab.name)
    own = (places.run, places.disks)
    processes = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it has ended meanwhile
        if any(f"{folder}/" in words for folder in own) and int(entry.name) != os.getpid():
            processes.append(f"process {entry.name}: {words[:100]}")
    return [*(f"namespace {name}" for name in spaces), *(str(folder) for folder in own if folder.exists()), *processes]


def tear_down(lab: Lab, stage: Stage) -> None:
    stage.section("Torn down")
    with stage.timed("down"):
        lab.down()
    left = remains(lab)
    stage.proven("nothing is left: no process, namespace or file", "; ".join(left) or None)


def show(mode: Mode, lab: Lab, *, keep: bool) -> None:
    """Raises LbctlError unless everything was seen."""
    stage = Stage()
    stage.say(f"lbctl demo, mode {mode}: lab {lab.name!r}, declaration inventory/lab.toml", indent=0)
    if lab.is_up():
        raise RequestError(f"lab {lab.name!r} is up already", cure=f"lbctl lab down --name {lab.name}")
    try:
        Demo(lab, mode, stage).run()
    except BaseException:
        if not keep:
            tear_down(lab, stage)
        raise
    else:
        if not keep:
            tear_down(lab, stage)
    finally:
        if keep and lab.is_up():
            stage.say(kept(lab), indent=0)
    stage.say(f"\nSeen in {stage.elapsed:.0f} s, mode {mode}:", indent=0)
    for line in stage.seen:
        stage.say(f"✓ {line}", indent=2)


def kept(lab: Lab) -> str:
    lbctl, at = ".venv/bin/lbctl", f"--name {lab.name}"
    return f"""
The lab is left up, as KEEP asks.
  a machine (db1 db2 db3 lb1 lb2)   {lbctl} lab ssh {at} lb1
  the client                        {lbctl} lab client {at} mariadb -h 10.0.0.10 -ulab -plab
  the cluster                       LBCTL_CLUSTER={lab.run}/demo.toml LBCTL_LAB={lab.name} {lbctl} plan
  take it down                      {lbctl} lab down {at}"""


def main(arguments: Sequence[str]) -> int:
    try:
        mode = Mode(arguments[0] if arguments else "dr")
    except ValueError:
        print(f"error: {arguments[0]!r} is no mode\n  → make demo MODE=dr, tun or nat", file=sys.stderr)
        return Exit.INVALID
    try:
        with termination_raises():
            show(mode, Lab(os.environ.get("LBCTL_LAB") or "demo"), keep=os.environ.get("KEEP") == "1")
    except LbctlError as error:
        print(f"\n✗ {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
