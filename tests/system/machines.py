"""A cluster on the machines of a lab: declared, deployed as an operator does it, and asked from outside."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from cluster.declaration import Declaration
from cluster.keepalived import Endpoint, configuration, endpoints, floating_addresses
from cluster.observed import ipvs_table
from cluster.reading import read
from cluster.vocabulary import Check, Mode
from lab import galera, judgement
from lab.lab import Lab
from lab.topology import DATABASES, mac_of
from tests.variants import PASSWORD, ROOT, SECRET_FILE, Variant

_T = TypeVar("_T")

PATIENCE = 90
"""Seconds that anything may take: these machines share two CPUs, and nothing here is a measurement."""

LOOK_AGAIN = 0.5
"""Seconds between two looks: each is a few programs started on a machine, which there is what costs most."""

PATIENT = {"[nat]\n": '[health]\nevery = "2s"\ntimeout = "5s"\nretry = 5\n\n[nat]\n'}
"""To declare where checks are not what is looked at: a busy machine that misses one by the usual half a second is taken out, and
its clients are reset. Which is right."""

TREES = "/etc /usr/local /var/lib/lbctl /run/lbctl /lib/systemd"
"""Where a deploy writes."""


def wait_until(look: Callable[[], _T], what: str, seconds: float = PATIENCE) -> _T:
    """Looks until it is true, and returns it; an AssertionError says what was waited for and what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen: {found!r}"
        time.sleep(LOOK_AGAIN)


def settles(look: Callable[[], str | None], what: str, seconds: float = PATIENCE) -> None:
    """Looks until there is nothing against it."""
    deadline = time.monotonic() + seconds
    while against := look():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; last seen: {against}"
        time.sleep(LOOK_AGAIN)


@contextmanager
def booted(name: str, *, keep: bool = False) -> Iterator[Lab]:
    """Five machines with a Galera cluster on which nothing was deployed; taken down at the end, also after Ctrl-C."""
    lab = Lab(name)
    try:
        lab.up([*DATABASES, "lb1", "lb2"])
        lab.galera_start()
        yield lab
    finally:
        if not keep:
            lab.down()


@dataclass(frozen=True)
class Run:
    """How a program of the operator's ended."""

    status: int
    output: str
    """Standard output and standard error, as on a terminal."""

    @property
    def rows(self) -> list[judgement.Row]:
        """pyinfra's table of results."""
        return judgement.results(self.output)

    @property
    def changed(self) -> list[str]:
        """pyinfra: operations that changed a host."""
        return [row.operation for row in self.rows if row.success]


Line = tuple[str, int | None, IPv4Address | None, Mapping[str, tuple[Mode, int]]]
"""A service of a table: scheduler, persistence and its mask, and how each destination is reached, with its weight."""


class Cluster:
    """`declare`, then `pyinfra()` or `lbctl("deploy", "--yes")`, then questions."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.declaration: Declaration
        self.variant: Variant
        self.file = folder / "cluster.toml"

    # As an operator

    def declare(self, variant: Variant, **replaced: str) -> None:
        """Writes the declaration. `replaced`: texts to put in place of others."""
        text = variant.text
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)
        (self.folder / SECRET_FILE).write_text(f"{PASSWORD}\n")
        self.variant, self.declaration = variant, variant.declaration
        if variant.directors > 1 and variant.mode is not Mode.NAT:
            self._answers_by_no_director()
        if variant.directors == 1:
            # A director that is no longer declared is nobody's to stop, and a deploy that remembers it is refused.
            self.on("lb1", "rm -rf /var/lib/lbctl/history")
            if self.on("lb2", "systemctl is-active keepalived", check=False) == "active":
                self.on("lb2", "systemctl disable --now keepalived 2>&1")

    def _answers_by_no_director(self) -> None:
        """Takes nat's way back from servers that answer by one director, whose part of it would go: a deploy refuses that, and
        which test came before on these machines is the workers' affair.
        """
        own = self.declaration.director["lb1"].address
        if f" via {own} " in self.on("db1", "ip route show table 100", check=False):
            stop = "systemctl disable --now lbctl-gateway-watch lbctl-return-path 2>&1; ip route flush table 100"
            self.on_each(stop, *DATABASES)

    def reread(self) -> None:
        """A command has changed the declaration."""
        self.declaration = read(self.file.read_text(), str(self.file))

    def pyinfra(self, *options: str) -> Run:
        """Literally what an operator types, without the question."""
        return self.run("pyinfra", "inventory.py", "deploy.py", "-y", *options)

    def lbctl(self, *words: str) -> Run:
        return self.run("lbctl", *words)

    def run(self, *argv: str, prefix: Sequence[str] = ()) -> Run:
        """A program of the environment's; `prefix` goes before its path."""
        done = subprocess.run(
            [*prefix, str(Path(sys.executable).parent / argv[0]), *argv[1:]],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout)

    @property
    def environment(self) -> dict[str, str]:
        """Of the operator's programs."""
        return {
            **os.environ,
            "LBCTL_CLUSTER": str(self.file),
            "LBCTL_LAB": self.lab.name,
            "NO_COLOR": "1",
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

    # On the machines

    def on(self, host: str, command: str, *, check: bool = True, stdin: str = "") -> str:
        return self.lab.exec(host, command, check=check, stdin=stdin, timeout=180).stdout.strip()

    def on_each(self, command: str, *hosts: str) -> dict[str, str]:
        """The same on several machines (on all, where none is named), side by side: each waits more than it works."""
        names = hosts or tuple(self.hosts)
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(lambda host: self.on(host, command), names), strict=True))

    @property
    def hosts(self) -> list[str]:
        return list(self.declaration.hosts())

    def mark(self, *hosts: str) -> None:
        """The moment that `newer` compares with."""
        self.on_each("sync; touch /run/mark; sleep 0.02", *hosts)

    def newer(self, *hosts: str) -> dict[str, list[str]]:
        """Files and folders that were written, created or removed since `mark`, by host."""
        found = self.on_each(f"find {TREES} ! -path /run/lbctl -newer /run/mark 2>/dev/null; true", *hosts)
        return {host: text.splitlines() for host, text in found.items() if text}

    # Directors

    def holders(self) -> list[str]:
        """The directors that hold what floats."""
        first = floating_addresses(self.declaration)[0]
        look = f"ip -o addr show dev eth0 to {first}/32"
        return [name for name in self.declaration.director if self.on(name, look)]

    def active(self) -> str:
        """The one director that holds what floats."""

        def one() -> list[str]:
            found = self.holders()
            return found if len(found) == 1 else []

        (name,) = wait_until(one, "one director holds what floats")
        return name

    def table(self, director: str) -> dict[str, Line]:
        """What the kernel does. Nothing on a machine that nothing was deployed to."""
        # The kernel's own page counts persistence in ticks, of whose length it says nothing: ipvsadm knows seconds.
        page, _, commands = self.on(director, "cat /proc/net/ip_vs; echo --; ipvsadm -Sn || :").partition("--\n")
        seconds = {
            words[2]: int(words[words.index("-p") + 1])
            for words in map(str.split, commands.splitlines())
            if words[0] == "-A" and "-p" in words
        }
        return {
            str(service.endpoint): (
                service.scheduler,
                seconds.get(str(service.endpoint)),
                service.granularity,
                {f"{d.address}:{d.port}": (d.mode, d.weight) for d in service.destinations},
            )
            for service in ipvs_table(page.splitlines())
        }

    def declared_table(self, director: str, alive: Sequence[str] = DATABASES) -> dict[str, Line]:
        """What it should do while these servers live."""
        servers = configuration(self.declaration, director).virtual_servers
        return {
            str(server.endpoint): (
                server.scheduler,
                server.persistence_timeout,
                server.persistence_granularity,
                {
                    f"{d.address}:{d.port}": (server.mode, d.weight)
                    for d in server.destinations
                    if d.name in self._served_by(server.endpoint.service, alive)
                },
            )
            for server in servers
        }

    def _served_by(self, service: str, alive: Sequence[str]) -> Sequence[str]:
        return [self.first_member()] if self.declaration.service[service].check is Check.PRIMARY else alive

    def table_settles(self, director: str, alive: Sequence[str] = DATABASES) -> None:
        def against() -> str | None:
            wanted, there = self.declared_table(director, alive), self.table(director)
            return None if there == wanted else f"{there}, not {wanted}"

        settles(against, f"the table of {director} is as declared")

    # Clients

    def endpoints(self, service: str) -> list[Endpoint]:
        """Where clients find a service: all of them."""
        all_ = endpoints(self.declaration, next(iter(self.declaration.director)))
        return [endpoint for endpoint in all_ if endpoint.service == service]

    def query(self, endpoint: Endpoint, statement: str) -> str:
        """One connection by a real client at 10.0.0.5. An error is an answer, too."""
        login = [f"-u{galera.USER}", f"-p{galera.PASSWORD}", "--connect-timeout=5", "-BN", "-e", statement]
        done = self.lab.client(["mariadb", f"-h{endpoint.address}", f"-P{endpoint.port}", *login], check=False)
        return (done.stdout or done.stderr).strip()

    def answers(self, endpoint: Endpoint, count: int = 6) -> list[str]:
        """Who answers so many connections."""
        return [self.query(endpoint, "select @@hostname") for _ in range(count)]

    def rotates(self, endpoint: Endpoint, servers: Sequence[str] = DATABASES, seconds: float = PATIENCE) -> None:
        """Within some samples: a check that misses once on a busy machine takes a server out for a second."""
        settles(
            lambda: judgement.not_rotating(self.answers(endpoint), set(servers)),
            f"{endpoint} rotates over {servers}",
            seconds,
        )

    def sticks(self, endpoint: Endpoint, servers: Sequence[str] = DATABASES) -> str:
        """The one server that answers."""
        seen: list[str] = []

        def against() -> str | None:
            seen[:] = self.answers(endpoint, 4)
            return judgement.not_sticking(seen, set(servers))

        settles(against, f"{endpoint} sticks to one of {servers}")
        return seen[0]

    def address_seen(self, endpoint: Endpoint) -> str:
        """Where the server thinks that the client is."""
        return self.query(endpoint, "select substring_index(user(), '@', -1)")

    def first_member(self) -> str:
        """The node with wsrep_local_index 0."""
        for name in DATABASES:
            shown = self.on(name, "mariadb -BNe \"show status like 'wsrep_local_index'\"", check=False).split()
            if shown[1:] == ["0"]:
                return name
        return ""

    def asks_by_arp(self, addresses: Sequence[IPv4Address]) -> Callable[[], dict[IPv4Address, set[str]]]:
        """Begins to ask for each, twice by broadcast, which takes two seconds; the result waits for all MAC addresses that the
        client gets.
        """
        asking = {
            address: self.lab.client_process(
                ["arping", "-b", "-c", "2", "-w", "2", "-I", "eth0", str(address)], stdout=subprocess.PIPE, text=True
            )
            for address in addresses
        }

        def answers() -> dict[IPv4Address, set[str]]:
            said = {address: process.communicate(timeout=60)[0] for address, process in asking.items()}
            return {
                a: {word.strip("[]").lower() for word in text.split() if word[:1] == "["} for a, text in said.items()
            }

        return answers

    def mac(self, host: str) -> str:
        return mac_of(self.declaration.addresses()[host])

    def client_mac(self) -> str:
        """By netlink, which is the namespace's own: /sys shows the interfaces of the namespace that mounted it."""
        (link,) = json.loads(self.lab.client(["ip", "-j", "link", "show", "dev", "eth0"]).stdout)
        return str(link["address"])
