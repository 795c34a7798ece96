"""What differs from the declaration, by the name of the fault that it is. Pure."""

from collections.abc import Iterator, Mapping

from cluster.declaration import Declaration
from cluster.difference import Action, Difference
from cluster.faults import BY_HAND, DEPLOY, Diagnosis, Fault
from cluster.observed import HostState
from cluster.parts import KEEPALIVED_CONF, Thing
from cluster.plan import Plan, Work

_BY_THING = {
    Thing.ARP: Fault.ARP,
    Thing.TUNNEL: Fault.TUNNEL,
    Thing.SEGMENT_SIZE: Fault.PACKET_SIZE,
    Thing.VIRTUAL_ADDRESS: Fault.VIP_MISSING,
    Thing.RETURN_PATH: Fault.RETURN_PATH,
    Thing.FORWARDING: Fault.FORWARDING,
    Thing.MASQUERADE: Fault.MASQUERADE,
    Thing.CLUSTERCHECK: Fault.CLUSTERCHECK,
    Thing.DATABASE: Fault.BOUND,
}
_BOOT = {"file", "half-written file", "records", "user", "package"}
"""Kinds that say nothing of what is at work now."""


def of_plan(declaration: Declaration, seen: Mapping[str, HostState | None], wanted: Plan) -> Iterator[Diagnosis]:
    """What `wanted`, the plan for what was `seen`, would change: one for each host and fault, in no order."""
    found: dict[tuple[str, Fault], list[str]] = {}
    for step in wanted.steps:
        for host, changes in step.changes.items():
            for change in changes:
                fault = Fault.TRIAL if step.work is Work.CLEAR else _fault(declaration, change, seen.get(host))
                found.setdefault((host, fault), []).append(change.what)
    for host, text in wanted.told.items():
        found.setdefault((host, Fault.BOUND), []).append(text)
    for (host, fault), evidence in found.items():
        special = DEPLOY if fault is Fault.GATEWAY else ""
        if fault in {Fault.OTHERWISE, Fault.OLDER_FILE} and host in wanted.hand_edited:
            evidence.append(wanted.hand_edited[host].what)
            special = BY_HAND
        yield Diagnosis(fault, host, tuple(evidence), special)
    for host in dict.fromkeys(clash.host for clash in wanted.clashes):
        mine = [clash for clash in wanted.clashes if clash.host == host]
        evidence = [line for clash in mine for line in clash.seen]
        yield Diagnosis(Fault.NEXT_BOOT, host, tuple(evidence), "; ".join(clash.cure for clash in mine))


def _fault(declaration: Declaration, change: Difference, seen: HostState | None) -> Fault:
    if change.kind == "module":
        return Fault.MODULE
    if change.kind == "sysctl":
        return _of_setting(change)
    if change.thing is Thing.RETURN_PATH and change.action is Action.REMOVE:
        return _of_leftover(declaration, change)
    if change.thing is Thing.KEEPALIVED and (fault := _of_keepalived(change, seen)):
        return fault
    if change.kind in _BOOT or change.action is Action.REMOVE:
        return Fault.OTHERWISE
    return _BY_THING.get(change.thing, Fault.OTHERWISE)


def _of_setting(change: Difference) -> Fault:
    key = change.item[0]
    for word, fault in (("rp_filter", Fault.RP_FILTER), ("redirects", Fault.REDIRECTS), ("arp_", Fault.ARP)):
        if word in key:
            return fault
    return Fault.FORWARDING if key.endswith("ip_forward") else Fault.OTHERWISE


def _of_keepalived(change: Difference, seen: HostState | None) -> Fault | None:
    if change.kind == "table":
        return Fault.TABLE
    of_file = change.kind == "file" and change.item.path == KEEPALIVED_CONF
    if of_file or (change.kind == "unit" and "older" in change.what):
        return Fault.OLDER_FILE if seen and _not_loaded(seen) else Fault.OTHERWISE
    return Fault.STOPPED if change.kind == "unit" else None


def _not_loaded(seen: HostState) -> bool:
    """Whether keepalived says that it read another file than the one that is there."""
    unit, file = seen.units.get("keepalived.service"), seen.files.get(KEEPALIVED_CONF)
    return bool(unit and unit.revision and file and unit.revision != file.sha256)


def _of_leftover(declaration: Declaration, change: Difference) -> Fault:
    if change.kind == "rule":
        return Fault.RETURN_PATH_DOUBLED
    directors = {director.address for director in declaration.director.values()}
    if change.kind == "route" and change.item.destination == "default" and change.item.via in directors:
        return Fault.GATEWAY
    return Fault.OTHERWISE
