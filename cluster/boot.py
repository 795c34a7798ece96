"""The next boot: files for whoever configures a host's network, and which of them belong on a host as it was seen.

A footprint is a matter of the declaration alone. It states the files for ifupdown and those for systemd-networkd, each marked
with whose they are; `on_host` picks those of one host. So `Blueprint.known` names both, and what was written for the other one
is a leftover like any other.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from cluster.kit import Kit
from cluster.observed import HostState
from cluster.parts import Address, File, Footprint, Link, Part, Thing, Unit
from cluster.vocabulary import BootFiles

_NETWORKD = "/etc/systemd/network/05-lbctl-"
"""05: the first file whose [Match] fits takes the device (systemd.network(5)), and somebody may have one that fits all."""

_KINDS = {"dummy": "dummy"}
"""Devices that networkd has to create, with its word for their kind; tunl0 comes with its module."""


def device_files(kit: Kit, link: Link, addresses: Iterable[Address]) -> tuple[File, ...]:
    """What brings a device of ours back with its addresses: for ifupdown one file, for networkd one or two."""
    own = [address.address for address in addresses if address.device == link.name]
    values = {"link": link, "addresses": own}
    ifupdown, network, netdev = device_paths(link)
    files = (
        File(ifupdown, kit.render("interface.j2", values), boot=BootFiles.IFUPDOWN),
        File(network, kit.render("device.network.j2", values), boot=BootFiles.NETWORKD),
    )
    if link.kind not in _KINDS:
        return files
    kind = {"link": link, "kind": _KINDS[link.kind]}
    return (*files, File(netdev, kit.render("device.netdev.j2", kind), boot=BootFiles.NETWORKD))


def device_paths(link: Link) -> tuple[str, str, str]:
    """ifupdown's, networkd's .network and .netdev. While one of them stands, the device is ours."""
    return (
        f"/etc/network/interfaces.d/lbctl-{link.name}",
        f"{_NETWORKD}{link.name}.network",
        f"{_NETWORKD}{link.name}.netdev",
    )


def networkd(kit: Kit) -> Part:
    """What keeps systemd-networkd from taking away what others made: keepalived's addresses and routes, our rules.

    By default it deletes them when it is restarted (which an upgrade of the package does), and those on an interface whenever
    the interface's file is read anew. Measured with systemd 252, deletions of keepalived's 3 addresses, rule and routes: all by
    default, none with these settings, at a restart as at a reload. The price of KeepConfiguration=static is that an address that
    somebody takes out of the interface's own file stays until the next boot.

    The drop-in for its unit notes which settings it was started with: written and never read is not enough.
    """
    keep = File("/etc/systemd/network/*.d/lbctl.conf", kit.render("networkd.keep.j2", {}))
    settings = File("/etc/systemd/networkd.conf.d/lbctl.conf", kit.render("networkd.conf.j2", {}))
    revision = hashlib.sha256(f"{keep.text}{settings.text}".encode()).hexdigest()[:16]
    noted = File(
        "/etc/systemd/system/systemd-networkd.service.d/lbctl.conf",
        kit.render("networkd.drop-in.j2", {"revision": revision}),
    )
    return Part(
        Thing.NETWORKD,
        files=tuple(replace(file, boot=BootFiles.NETWORKD) for file in (keep, settings, noted)),
        units=(Unit("systemd-networkd.service", revision, ours=False, boot=BootFiles.NETWORKD),),
    )


def chosen(footprint: Footprint, boot: BootFiles) -> Footprint:
    """The footprint where the declaration says who reads the files: without those for the other, and unmarked."""
    if boot is BootFiles.AUTO:
        return footprint
    return tuple(
        replace(
            part,
            files=tuple(replace(file, boot=None) for file in part.files if file.boot in {None, boot}),
            units=tuple(replace(unit, boot=None) for unit in part.units if unit.boot in {None, boot}),
        )
        for part in footprint
    )


def on_host(footprint: Footprint, seen: HostState) -> Footprint:
    """What of a footprint belongs on the host that was seen, with its paths filled in.

    Where nobody is seen to configure the network, the files are ifupdown's: Debian's own. Where networkd does not look after
    the interface there is no file of it to add to; and where that file keeps more than ours would, ours would keep less.
    """
    boot = {None, seen.boot_files or BootFiles.IFUPDOWN}

    def files(part: Part) -> Iterable[File]:
        for file in part.files:
            if file.boot in boot and ("*" not in file.path or (seen.network_file and not seen.keeps_all)):
                yield replace(file, path=file.path.replace("*", seen.network_file))

    return tuple(
        replace(part, files=tuple(files(part)), units=tuple(unit for unit in part.units if unit.boot in boot))
        for part in footprint
    )


def places(file: File, seen: HostState) -> tuple[File, ...]:
    """The file wherever it was seen: one with a `*` may stand in several places."""
    if "*" not in file.path:
        return (file,) if file.path in seen.files else ()
    return tuple(replace(file, path=path) for path in seen.files if fnmatchcase(path, file.path))
