"""Machines of a lab: hosts named `@lab/NAME`.

Their addresses exist only inside the lab's network namespace. The TCP socket is made in there and used from out here,
so that the operator's process, with its name service and its terminal, stays where it is.
"""

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyinfra.connectors.base import DataMeta

from cluster.errors import LbctlError
from transports import ssh
from transports.errors import Reason, UnreachableError
from transports.known_hosts import SSH_PORT
from transports.route import Route
from transports.sockets import connected, no_connection

if TYPE_CHECKING:
    from lab.lab import Lab

DEFAULT_LAB = "lab"


class ConnectorData(ssh.ConnectorData):
    lab_name: str


class Connector(ssh.Connector):
    """`lab_name`, else LBCTL_LAB, else "lab" says which lab. Key and host keys are its own; no ssh_config has a say."""

    data_cls: type[Any] = ConnectorData
    data_meta = {  # noqa: RUF012 - pyinfra's own is as plain
        **ssh.Connector.data_meta,
        "lab_name": DataMeta("Name of the lab that the machine is in"),
    }

    @property
    def lab_name(self) -> str:
        return self.host.data.get("lab_name") or os.environ.get("LBCTL_LAB") or DEFAULT_LAB

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield f"@lab/{name}", {}, []

    def route(self) -> Route:
        lab = self.lab()
        address = self.data["ssh_hostname"] or self.address_in(lab)
        try:
            ipaddress.IPv4Address(address)
        except ValueError as error:
            raise UnreachableError(
                self.name,
                Reason.SETTINGS,
                f"ssh_hostname {address!r} is no IPv4 address: a lab has no name service",
                cure="Name the machine's address, or leave ssh_hostname out.",
            ) from error
        return Route(
            name=self.name,
            hostname=address,
            port=int(self.data["ssh_port"] or SSH_PORT),
            user=self.data["ssh_user"] or "root",
            key_file=self.data["ssh_key"] or str(lab.key),
            default_keys=False,
            known_hosts=(Path(self.data["ssh_known_hosts_file"] or lab.known_hosts),),
            seconds=self.state.config.CONNECT_TIMEOUT,
        )

    def dial(self, route: Route) -> socket.socket:
        route = self.impatient(route)
        from lab.namespace import socket_in  # noqa: PLC0415 - as below

        try:
            inside = socket_in(self.lab().namespace)
        except (LbctlError, PermissionError) as error:
            raise UnreachableError(
                self.name, Reason.LAB_DOWN, f"no way into the lab: {error}", cure="A lab is entered as root."
            ) from error
        try:
            return connected(inside, (route.hostname, route.port), route)
        except OSError as error:
            raise no_connection(route, error) from error

    def lab(self) -> "Lab":
        # Only when used: pyinfra imports every connector at start, and this one would bring netlink and more along.
        from lab.lab import Lab  # noqa: PLC0415
        from lab.namespace import exists  # noqa: PLC0415

        name = self.lab_name
        try:
            lab = Lab(name)
        except LbctlError as error:
            raise UnreachableError(self.name, Reason.SETTINGS, error.message, cure=error.cure) from error
        if not exists(lab.namespace) or not lab.known_hosts.exists():
            raise UnreachableError(
                self.name, Reason.LAB_DOWN, f"lab {name!r} is not up", cure=f"lbctl lab up --name {name}"
            )
        return lab

    def address_in(self, lab: "Lab") -> str:
        machines = lab.machines()
        if self.name not in machines:
            raise UnreachableError(
                self.name,
                Reason.SETTINGS,
                f"lab {lab.name!r} has no machine {self.name!r}",
                cure=f"It has {', '.join(machines)}; to add one: lbctl lab up {self.name} --name {lab.name}",
            )
        return str(machines[self.name].address)
