"""Hosts that somebody took out of the declaration by hand: what they carry would be nobody's. Pure.

Hosts are known by declarations only. So one whose table was deleted is neither stopped nor cleaned, nor looked at: a director
goes on holding the addresses, or takes them when it hears the others no more. That it was there the directors' history tells.
"""

from dataclasses import dataclass

from cluster.declaration import Declaration
from cluster.history import Entry
from cluster.vocabulary import Role


@dataclass(frozen=True)
class LastChange:
    """The last change in the history, with what it led to; and what it led from, where it did not come to its end."""

    entry: Entry
    after: Declaration | None
    before: Declaration | None = None


def undeclared(last: LastChange | None, *declared: Declaration) -> dict[str, str]:
    """What to do about each host that the last change knew and none of these declarations does.

    One with another address is the same, moved: where that was is not told, but it may well be the same machine.
    """
    found: dict[str, str] = {}
    for then in (last.after, last.before) if last else ():
        if last and then:
            gone = set.intersection(*(then.gone_from(each) for each in declared))
            for name in then.hosts():
                if name in gone:
                    found.setdefault(name, _cure(last, then, name))
    return found


def _cure(last: LastChange, then: Declaration, name: str) -> str:
    role = Role.DIRECTOR if name in then.director else Role.REAL_SERVER
    comes_or_goes = last.before and last.after and not (name in last.before.hosts() and name in last.after.hosts())
    if comes_or_goes and not last.entry.came_to_its_end:
        return (
            f"change {last.entry.number} ({last.entry.what}), which names it, did not come to its end: "
            "lbctl switch-mode --resume or --abort"
        )
    command = removal(role, name)
    return f"put [{role}.{name}] back, then {command} (or, where it is gone for good, {command} --dead)"


def removal(role: Role, host: str) -> str:
    """The command that takes a host out of the cluster."""
    return f"lbctl {role.replace('_', '-')} remove {host}"
