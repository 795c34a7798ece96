"""The cluster of the lab in all its forms: what tests deploy, and what golden files are rendered from."""

import itertools
from dataclasses import dataclass
from pathlib import Path

from cluster.declaration import Declaration
from cluster.footprint import Blueprint
from cluster.reading import read
from cluster.vocabulary import Mode, ReturnPath
from lab.topology import ADDRESSES, DATABASES
from templates import render

ROOT = Path(__file__).parent.parent
PASSWORD = "Twagipmi"
"""VRRP's, where there is one: eight characters, as many as VRRP 2 carries."""
SECRET_FILE = "vrrp-password"

WRITERS = {
    "persistent": 'persistence = { timeout = "1d", granularity = "0.0.0.0" }',
    "elected": 'check = "primary"',
    "ranked": 'check = "writable"\nscheduler = "fo"',
}
"""The three ways to have one writer: the seed's first, the seed's second, and the one that `lbctl init` proposes."""

_VRRP = {
    "plain": "",
    "password": f'version = 2\nadvertise_every = "1s"\npassword = {{ file = "{SECRET_FILE}" }}\n',
    "unicast": "unicast = true\n",
}

_DIRECTORS = """
[director.lb1]
address = "10.0.0.4"
priority = 101
"""
_SECOND = """
[director.lb2]
address = "10.0.0.6"
priority = 100
"""


@dataclass(frozen=True)
class Variant:
    """One declaration. With one director nat's ports are on its own address, with two on the gateway that floats."""

    mode: Mode = Mode.DR
    writer: str = "persistent"
    directors: int = 2
    vrrp: str = "plain"
    return_path: ReturnPath = ReturnPath.RULE
    servers: tuple[str, ...] = DATABASES
    """The databases that it declares: of those of a lab that are not among them one can be added."""

    @property
    def name(self) -> str:
        special = [word for word in (self.vrrp, self.return_path) if word not in {"plain", "rule"}]
        special += ["".join(self.servers)] if self.servers != DATABASES else []
        return "-".join([self.mode, self.writer, str(self.directors), *special])

    @property
    def text(self) -> str:
        gateway = 'gateway = "10.0.0.12"\n' if self.directors > 1 else ""
        servers = "".join(f'\n[real_server.{name}]\naddress = "{ADDRESSES[name]}"\n' for name in self.servers)
        return f"""\
name = "lab"
mode = "{self.mode}"
network = "10.0.0.0/24"
transport = "lab"

[service.read]
vip = "10.0.0.10"
nat_port = 5506

[service.write]
vip = "10.0.0.11"
nat_port = 5507
{WRITERS[self.writer]}

[vrrp]
virtual_router_id = 19
{_VRRP[self.vrrp]}
[nat]
{gateway}return_path = "{self.return_path}"
{_DIRECTORS}{_SECOND if self.directors > 1 else ""}{servers}"""

    @property
    def password(self) -> str | None:
        return PASSWORD if self.vrrp == "password" else None

    @property
    def declaration(self) -> Declaration:
        return read(self.text, f"{self.name}.toml")

    @property
    def blueprint(self) -> Blueprint:
        return Blueprint(self.declaration, render, self.password)


MATRIX = tuple(Variant(mode, writer, directors) for mode, writer, directors in itertools.product(Mode, WRITERS, (2, 1)))
SPECIAL = (
    *(Variant(Mode.NAT, "ranked", directors, return_path=ReturnPath.FWMARK) for directors in (2, 1)),
    *(Variant(Mode.NAT, "ranked", directors, return_path=ReturnPath.SNAT) for directors in (2, 1)),
    *(Variant(mode, vrrp="password") for mode in Mode),
    *(Variant(mode, vrrp="unicast") for mode in Mode),
    Variant(directors=1, vrrp="unicast"),
)
