"""What all kinds of hosts' parts are made with: files that several things need, and services of our own."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.declaration import Declaration
from cluster.parts import File, Part, Unit

Render = Callable[[str, Mapping[str, Any]], str]
"""(template's name, values) → text. Handed in, so that this room needs neither templates nor disk."""

LIBRARY = "/usr/local/lib/lbctl"
"""Our programs on targets."""

LAST = "zz-lbctl-"
"""How names of our sysctl files begin. systemd-sysctl reads those of all sysctl.d folders in the order of their names, and
what it reads last counts (sysctl.d(5)): a host's own 99-sysctl.conf (which is /etc/sysctl.conf) or local.conf must not be that.
"""
_SYSCTLS = f"/etc/sysctl.d/{LAST}"
_FORMER_SYSCTLS = "/etc/sysctl.d/90-lbctl-"
"""As they were called at first."""


@dataclass(frozen=True)
class Kit:
    """Makes parts of one declaration."""

    declaration: Declaration
    render: Render

    def sysctl_file(self, name: str, sysctls: Mapping[str, int | str]) -> File:
        return File(f"{_SYSCTLS}{name}.conf", self.render("sysctl.conf.j2", {"sysctls": sysctls}))

    def modules_file(self, name: str, modules: tuple[str, ...]) -> File:
        return File(f"/etc/modules-load.d/lbctl-{name}.conf", self.render("modules.conf.j2", {"modules": modules}))

    def service(self, name: str, template: str, values: Mapping[str, Any], *programs: File) -> tuple[File, Unit]:
        """A unit of our own: its file, and the unit with the revision that the file makes it announce when it starts."""
        text, revision = self.revised(template, values, *programs)
        return File(f"/etc/systemd/system/{name}.service", text), Unit(f"{name}.service", revision)

    def revised(self, template: str, values: Mapping[str, Any], *programs: File) -> tuple[str, str]:
        """The text of a systemd file that makes its unit announce a revision; and the revision, of it and of `programs`."""
        texts = [self.render(template, {**values, "revision": ""}), *(program.text for program in programs)]
        revision = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
        return self.render(template, {**values, "revision": revision}), revision


def with_former_names(part: Part) -> Part:
    """With the paths that files of this part had before: what stands there is a leftover."""
    former = (
        File(file.path.replace(_SYSCTLS, _FORMER_SYSCTLS), "", successor=file.path)
        for file in part.files
        if file.path.startswith(_SYSCTLS)
    )
    return replace(part, files=(*part.files, *former))


def of_interface(interface: str, setting: str) -> str:
    """A key of one interface; in slashes where its name has a dot (sysctl.d(5))."""
    separator = "/" if "." in interface else "."
    return separator.join(("net", "ipv4", "conf", interface, setting))
