"""Where a cluster's declaration and its secrets are read from: files and the environment of the operator's machine."""

import os
from pathlib import Path
from typing import Any

from cluster.declaration import Declaration, Secret, Ssh
from cluster.errors import RequestError
from cluster.footprint import Blueprint
from cluster.lines import line_of
from cluster.reading import Complaint, DeclarationError, read
from cluster.rules import password_problem
from cluster.vocabulary import Role
from fleet.which import VARIABLE
from templates import render


def text(path: Path) -> str:
    """A declaration as it is written. Raises RequestError."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(
            f"there is no declaration {path}", cure=f"lbctl init writes one; --cluster FILE or {VARIABLE} names another"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}:{line}: not TOML: it is not UTF-8 text",
            cure="save it as UTF-8 (iconv -f latin1 -t utf-8, where that is what it is)",
        ) from None
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}", cure="name the declaration's file") from None


def declaration(path: Path) -> Declaration:
    """Read and checked. Raises RequestError (a DeclarationError has every fault)."""
    return read(text(path), str(path))


def blueprint(path: Path, written: str | None = None) -> Blueprint:
    """The declaration with its secret: all that is needed to say what hosts must carry. `written`: its text, if it was read."""
    said = text(path) if written is None else written
    found = read(said, str(path))
    return Blueprint(found, render, _password(found, said))


def open_secret(found: Declaration) -> str | None:
    """The file with the password, where others than its owner can read it."""
    where = found.vrrp.password
    if where is None or where.file is None:
        return None
    path = _secret_file(where, Path(found.source).parent)
    return str(path) if path.stat().st_mode & 0o077 else None


def _password(found: Declaration, said: str) -> str | None:
    if found.vrrp.password is None:
        return None
    try:
        password = _secret(found.vrrp.password, Path(found.source).parent)
        problem = password_problem(password)
    except LookupError as error:
        problem = str(error.args[0])
    if problem:
        line = line_of(said, ("vrrp", "password"))
        raise DeclarationError([Complaint(found.source, line, "vrrp.password", problem)])
    return password


def _secret_file(where: Secret, folder: Path) -> Path:
    return folder / Path(where.file or "").expanduser()


def _secret(where: Secret, folder: Path) -> str:
    """Raises LookupError, which says where it is not."""
    if where.env is not None:
        if where.env not in os.environ:
            raise LookupError(f"the environment has no {where.env}: export {where.env}=…")
        return os.environ[where.env]
    path = _secret_file(where, folder)
    try:
        return path.read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LookupError(f"{path}: {why}: write the password into that file") from None


def hosts(plan: Blueprint, group: str) -> list[tuple[str, dict[str, Any]]]:
    """pyinfra's view of a group, "directors" or "real_servers": names with their connector, and data."""
    members = plan.group(Role.DIRECTOR if group == "directors" else Role.REAL_SERVER)
    return [(f"@{_connector(plan)}/{name}", _data(plan, name)) for name in members]


def _connector(plan: Blueprint) -> str:
    return "lab" if plan.declaration.transport == "lab" else "lbctl"


def _data(plan: Blueprint, name: str) -> dict[str, Any]:
    host = plan.host(name)
    own, common = host.ssh or Ssh(), plan.declaration.ssh

    def chosen(key: str) -> Any:
        return getattr(own if key in own.model_fields_set else common, key)

    data = {
        "blueprint": plan,
        "ssh_hostname": own.host or str(host.address),
        "ssh_port": chosen("port"),
        "ssh_user": chosen("user"),
        "ssh_key": _home(chosen("key")),
        "ssh_known_hosts_file": _home(chosen("known_hosts")),
        "ssh_strict_host_key_checking": "yes" if chosen("host_keys") == "strict" else "accept-new",
        "_sudo": chosen("sudo") or None,
    }
    return {key: value for key, value in data.items() if value is not None}


def _home(path: str | None) -> str | None:
    return str(Path(path).expanduser()) if path else None
