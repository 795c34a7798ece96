"""Whether MySQL accepts what directors send to this server, and what is to be done if it does not.

A server that listens at all addresses takes a new VIP at once. One that listens at a list takes none that came after its start:
it is restarted if its list names them, and else a person is told which line to change. Nothing of its configuration is ours.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from cluster.listening import ANYWHERE, MYSQL, SeenBind
from cluster.observed import HostState
from cluster.parts import Listener, Part


@dataclass(frozen=True)
class Refusal:
    """A server refuses connections that directors may send to it."""

    what: str
    """For people: one line, with the cure."""
    unit: str | None = None
    """The service whose restart cures it; None where a person must do something."""


def refusals(part: Part, seen: HostState) -> Iterable[Refusal]:
    """At most one."""
    if seen.listeners is None or not part.listeners:
        return
    ports = {listener.port for listener in seen.listeners}
    open_ = {(listener.address, listener.port) for listener in seen.listeners}
    missing = [
        wanted
        for wanted in part.listeners
        if wanted.port in ports and not {(wanted.address, wanted.port), (ANYWHERE, wanted.port)} & open_
    ]
    if missing:
        yield _judged(part, missing, seen)
        return
    closed = [wanted.port for wanted in part.listeners if wanted.port not in ports and wanted.mysql]
    # The health service asks by the unix socket, and would find this server well.
    if closed and seen.database == "up":
        yield Refusal(f"MySQL listens nowhere on port {closed[0]}: is skip-networking set, or another port?")


def silent_ports(part: Part, seen: HostState) -> Iterable[int]:
    """Ports that directors send to and at which nothing listens. The health checks see it, too, and a restart is not the cure."""
    if seen.listeners is None or any(refusals(part, seen)):
        return ()
    return dict.fromkeys(w.port for w in part.listeners if w.port not in {seen_.port for seen_ in seen.listeners})


def _judged(part: Part, missing: Sequence[Listener], seen: HostState) -> Refusal:
    port = missing[0].port
    here = [listener for listener in seen.listeners or () if listener.port == port]
    bound = _list(listener.address for listener in here)
    refused = f"listens on {bound} only and refuses connections to {_list(m.address for m in missing)}, port {port}"
    programs = {listener.program for listener in here}
    if not programs & MYSQL or seen.bind is None:
        return Refusal(f"{next(iter(programs), '') or 'the server'} {refused}: have it listen there, too")
    bind, addresses = seen.bind, seen.bind.addresses
    if ANYWHERE not in addresses and not {m.address for m in missing} <= addresses:
        # In the order in which they were told: without wsrep_node_address Galera takes the first for the node's own.
        wanted = (*bind.listed, *sorted(listener.address for listener in here), *(m.address for m in missing))
        own = "; set wsrep_node_address, too, if it is not: Galera takes the first address for the node's own"
        galera = own if _in_galera(seen) else ""
        return Refusal(f"MySQL {refused}: {_line_to_change(bind, wanted)}{galera}")
    restart = f"restart {bind.unit or 'MySQL'}: it {refused}, which its bind-address ({bind.place or 'default'}) names"
    if reason := _hands_off(part, bind, seen):
        return Refusal(f"{restart}. Not done here: {reason}")
    return Refusal(restart, bind.unit)


def _hands_off(part: Part, bind: SeenBind, seen: HostState) -> str | None:
    """Why it is not ours to restart."""
    if reason := _new_cluster(bind, seen) or _not_meant(part, seen):
        return reason
    if bind.unit is None:
        return "it runs in no service of systemd"
    if seen.database != "up":
        return "root cannot ask it by its unix socket whether it is Synced"
    if _listens_ahead(seen):
        return None
    lost = bind.addresses - seen.local - {listener.address for listener in part.listeners} - {ANYWHERE}
    if away := [address for address in lost if not address.is_loopback]:
        return f"its list also names {_list(away)}, which this host does not have, and so it would not start again"
    return None


def _new_cluster(bind: SeenBind, seen: HostState) -> str | None:
    """Why a start would not bring it back to the others. Percona's and MariaDB's packages have a unit for the first start of a
    cluster; to Galera an address without nodes says the same.
    """
    usual, at, instance = (bind.unit or "").partition("@")
    if at and instance == "bootstrap.service":
        return (
            f"{bind.unit} begins a new cluster at each start. While the others are Synced, stop it and start the usual service, "
            f"which joins them: systemctl stop {usual}@bootstrap; systemctl start {usual}"
        )
    if seen.galera.get("wsrep_cluster_address", "").partition("?")[0] == "gcomm://":
        return (
            "its wsrep_cluster_address is gcomm://, without a node, and with that a start begins a new cluster. See that its "
            "configuration names the other nodes, and restart it by hand while they are Synced"
        )
    return None


def _not_meant(part: Part, seen: HostState) -> str | None:
    if not all(listener.restart for listener in part.listeners):
        return 'mysql.restart is "never". One server after another, each Synced before the next'
    if _in_galera(seen) and any(listener.alone for listener in part.listeners):
        return (
            "the only other server would be the donor when it comes back, and out of rotation as long. Restart it in a quiet "
            "hour, or set clustercheck.serve_donor = true if donors can serve (mariabackup)"
        )
    return None


def _line_to_change(bind: SeenBind, wanted: Iterable[IPv4Address]) -> str:
    if bind.told is None:
        return "it did not say what it is configured with, so look for bind-address in its files"
    return f"{_instead(bind, wanted)}; then deploy again: MySQL is restarted where needed"


def _instead(bind: SeenBind, wanted: Iterable[IPv4Address]) -> str:
    file, _, line = bind.place.rpartition(":")
    where = f"in {file}, line {line}," if file else f"in {bind.place or 'its configuration'}"
    listed = ",".join(map(str, dict.fromkeys(wanted)))
    or_list = f" (or, from MariaDB 10.11 and MySQL 8.0.13 on, the list {listed})" if listed else ""
    return f'{where} instead of "{bind.told}" write bind-address = 0.0.0.0{or_list}'


def named_no_more(going: Collection[IPv4Address], seen: HostState) -> str | None:
    """What a person is to do where MySQL's list goes on naming addresses that leave this host; None where it does not."""
    named = [address for address in seen.bind.listed if address in going] if seen.bind else []
    if seen.bind is None or not named or _listens_ahead(seen):
        return None
    rest = [address for address in seen.bind.listed if address not in going]
    return (
        f"MySQL's bind-address names {_list(named)}, which this host will not have any more, and MySQL may not start at the next "
        f"boot: {_instead(seen.bind, rest)}"
    )


def _listens_ahead(seen: HostState) -> bool:
    """MariaDB listens also at addresses that are not there yet (seen: 10.11); MySQL is taken not to start then (not tried)."""
    return any(listener.program == "mariadbd" for listener in seen.listeners or ())


def why_not_restarted_now(
    states: Mapping[str, HostState | None],
    directors: Mapping[str, HostState | None],
    own: IPv4Address,
    others: Mapping[str, IPv4Address],
) -> str | None:
    """Why MySQL on a server must not be stopped at this moment; None when every server is well and others serve.

    `own`: its address. `others`: the other servers that should be in rotation, with their addresses. One that was restarted
    before, is Synced and never came back into rotation ends the row: the next one would leave one less. A director that cannot
    be asked may be the one that sends clients here.
    """
    for other, state in states.items():
        if state is None:
            return f"{other} cannot be asked whether it is Synced; two servers would be down at once"
        if unwell := not_synced(state):
            return f"{other}: {unwell}; two servers would be down at once"
    if len(states) == 1:
        return "it is the only server: restart it when it suits"
    missing = (_missing_from(name, director, own, others) for name, director in directors.items())
    return next(filter(None, missing), None)


def _missing_from(
    name: str, director: HostState | None, own: IPv4Address, others: Mapping[str, IPv4Address]
) -> str | None:
    """Why a server must not be taken from this director now."""
    if director is None:
        return f"director {name} cannot be asked whom it sends connections to, nor told to send none here meanwhile"
    if own not in director.receiving:
        return None
    if len(director.receiving) == 1:
        return "one server alone is in rotation"
    out = [other for other, address in others.items() if address not in director.receiving]
    return f"{', '.join(out)} should be in rotation and is not" if out else None


def not_synced(state: HostState) -> str | None:
    """Why not, by clustercheck's criteria (Galera: "Checking the Node Status"). Without Galera it only has to be up."""
    if state.database != "up":
        return "MySQL does not answer"
    if not _in_galera(state):
        return None
    wanted = {"wsrep_cluster_status": "Primary", "wsrep_local_state": "4", "wsrep_ready": "ON"}
    found = ((key, state.galera.get(key, "not known"), value) for key, value in wanted.items())
    return next((f"{key} is {value}, not {good}" for key, value, good in found if value != good), None)


def _in_galera(state: HostState) -> bool:
    """MariaDB without Galera says that wsrep_on is OFF, and wsrep_cluster_status Disconnected. Percona XtraDB Cluster may not say
    wsrep_on at all.
    """
    seen = state.galera
    return seen.get("wsrep_on", "ON" if "wsrep_cluster_status" in seen else "") == "ON" or "wsrep_local_state" in seen


def _list(addresses: Iterable[IPv4Address]) -> str:
    return ", ".join(map(str, dict.fromkeys(addresses)))
