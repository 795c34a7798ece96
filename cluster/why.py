"""Why a server is not in rotation, from what its health check was told, what the server says itself, and whether it answers."""

import re
from ipaddress import IPv4Address

from cluster.keepalived import Destination
from cluster.observed import HostState
from cluster.pulse import Ask, Pulse
from cluster.vocabulary import CLUSTERCHECK_PORT

_BY_DESIGN = re.compile(r"503 (wsrep_local_index is [1-9]\d*,|(super_)?read_only is (ON|1)\b)")
"""What clustercheck objects to when nothing else is wrong: it asks whether the node serves first (clustercheck.py, RULES)."""
PASSES = "its check passes, and keepalived has not put it back yet"
_SILENT = ("no answer", "No route to host", "Network is unreachable")
LOOPBACK = IPv4Address("127.0.0.1")


def why_out(
    wanted: Destination,
    ask: Ask | None,
    *,
    director: Pulse,
    own: Pulse | None,
    state: HostState | None,
    dead: bool,
) -> str:
    """In one line. `dead`: the host cannot be asked."""
    told = director.answers.get(ask, "") if ask else ""
    if dead and (not told or told.startswith(_SILENT)):
        return "the host does not answer"
    said = told or _own_answer(ask, own)
    reasons = []
    if own and own.listening is not None and wanted.port not in own.listening:
        reasons.append(f"nothing listens at port {wanted.port}")
    elif state and state.database == "down" and not said.startswith("503"):
        # What clustercheck objects to is closer: a node without its primary component does not answer us, either.
        reasons.append("MySQL does not answer")
    if ask and said:
        reasons.append(_in_words(ask, said))
    return "; ".join(reasons) or "keepalived took it out, and nothing says why"


def stands_by(
    wanted: Destination, ask: Ask | None, *, director: Pulse, own: Pulse | None, state: HostState | None
) -> bool:
    """Whether its check keeps it out by design: the node serves, and is not the writer, or takes no writes."""
    if ask is None or ask.port != CLUSTERCHECK_PORT or (state and state.database == "down"):
        return False
    if own and own.listening is not None and wanted.port not in own.listening:
        return False
    said = director.answers.get(ask) or _own_answer(ask, own)
    return _BY_DESIGN.match(said) is not None


def contradicted(ask: Ask | None, own: Pulse | None) -> str:
    """What the health service of a server that is in rotation objects to, or "": keepalived will take it out, or should have."""
    said = _own_answer(ask, own)
    return _in_words(ask, said) if ask and said.startswith("503") else ""


def _own_answer(ask: Ask | None, own: Pulse | None) -> str:
    """What the server was told when it asked itself."""
    return own.answers.get(Ask(LOOPBACK, ask.port, ask.path), "") if ask and own else ""


def _in_words(ask: Ask, said: str) -> str:
    status, _, body = said.partition(" ")
    of_ours = ask.port == CLUSTERCHECK_PORT and ask.path
    where = f"{ask.address}:{ask.port}{ask.path}"
    if said == "open" or (status == "200" and ask.path):
        return PASSES
    if of_ours and status == "503":
        return f"clustercheck: {body or 'no reason given'}"
    if ask.path and status.isdigit():
        return f"{where} answers {said}".rstrip()
    name = "clustercheck at " if of_ours else ""
    return f"{name}{where}: {said[:1].lower()}{said[1:]}"
