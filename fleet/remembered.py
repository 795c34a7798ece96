"""The last check of a cluster, kept on the operator's machine: what `lbctl verify` and `lbctl doctor` found, and when.

A small file for each cluster and command, in the operator's folder for state; nobody else can read it, and no secret is in it. A
file that is lost or broken is as if the command had never been run.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from pydantic import ValidationError

from cluster.declaration import Declaration
from cluster.findings import Check
from facts import here


def by() -> str:
    """Who is at work, as a check says it."""
    return f"{here.user()}@{here.name()}"


def keep(declaration: Declaration, check: Check) -> str:
    """Instead of the one before. Why it could not be kept, or "": a check is none the worse for it."""
    file = _file(declaration, check.name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # with mode 0600
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(check.model_dump_json(indent=1) + "\n")
        Path(name).replace(file)
    except OSError as error:
        return f"{file}: {error.strerror}"
    return ""


def last(declaration: Declaration, name: str) -> Check | None:
    """The last check by that command, if one is remembered."""
    try:
        return Check.model_validate_json(_file(declaration, name).read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError):
        return None


def _file(declaration: Declaration, name: str) -> Path:
    """Two clusters of one name are told apart by where their declarations are; two labs by their names."""
    words = [declaration.name, str(Path(declaration.source).resolve()) if declaration.source else ""]
    if declaration.transport == "lab":
        words.append(os.environ.get("LBCTL_LAB") or "lab")
    mark = hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
    return here.state_folder() / "checks" / f"{declaration.name}-{mark}.{name}.json"
