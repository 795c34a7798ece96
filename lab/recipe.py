"""What goes into an image. This file, `build.py`, `seed.sh` and `guest/` make the image's content key."""

import os
from dataclasses import dataclass, field

from cluster.errors import RequestError

SUITE = "bookworm"

_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "procps", "ca-certificates"),
    *("iproute2", "iputils-ping", "iputils-arping", "openssh-server", "nftables", "iptables", "tcpdump", "curl"),
    *("mariadb-server", "galera-4", "rsync", "socat"),
)

# What keepalived and python3 pull in (Depends and Recommends). Already in the image, because every package costs a good
# part of a second inside a machine. keepalived and the command `python3` are not: to install them is for the tool under
# test. (python3.11 is the versioned interpreter, which compiles its whole library when it is installed: five seconds.)
_LIBRARIES = (
    *(
        "libglib2.0-0",
        "libglib2.0-data",
        "libnl-3-200",
        "libnl-genl-3-200",
        "libpci3",
        "pci.ids",
        "libsensors5",
        "libsensors-config",
    ),
    *("libsnmp40", "libsnmp-base", "libicu72", "libxml2", "shared-mime-info", "xdg-user-dirs"),
    *("libpython3.11-stdlib", "libpython3.11-minimal", "media-types", "python3.11", "python3.11-minimal"),
)

# The offline repository holds these with all that they need.
REPOSITORY = ("keepalived", "ipvsadm", "python3", "sudo", "prometheus-node-exporter")

# Nothing in a lab needs them, and each is a process or a wait before the first login.
MASKED = (
    *(
        "getty.target",
        "systemd-update-utmp.service",
        "systemd-update-utmp-runlevel.service",
        "systemd-random-seed.service",
    ),
    *(
        "systemd-journal-flush.service",
        "systemd-machine-id-commit.service",
        "systemd-sysusers.service",
        "systemd-firstboot.service",
    ),
    *("systemd-pstore.service", "systemd-binfmt.service", "systemd-repart.service", "systemd-pcrphase.service"),
    *("systemd-pcrphase-sysinit.service", "systemd-user-sessions.service", "systemd-ask-password-console.path"),
    *("systemd-ask-password-wall.path", "proc-sys-fs-binfmt_misc.automount", "sys-fs-fuse-connections.mount"),
    *(
        "sys-kernel-config.mount",
        "sys-kernel-debug.mount",
        "sys-kernel-tracing.mount",
        "dev-hugepages.mount",
        "dev-mqueue.mount",
    ),
    *(
        "kmod-static-nodes.service",
        "cryptsetup.target",
        "integritysetup.target",
        "veritysetup.target",
        "remote-fs.target",
    ),
    *("e2scrub_reap.service", "e2scrub_all.timer", "fstrim.timer", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("dpkg-db-backup.timer", "systemd-tmpfiles-clean.timer", "modprobe@.service", "ifupdown-pre.service"),
)
GENERATORS_KEPT = (
    "systemd-fstab-generator",
    "systemd-sysv-generator",
)  # each of the others is one process more before the first unit


@dataclass(frozen=True)
class Recipe:
    variant: str
    why: str
    extra: tuple[str, ...]
    layers: tuple[str, ...] = ("common",)
    """Directories of `guest/`, laid over the image one after the other."""
    enabled: tuple[str, ...] = ()
    mirror: str = field(default_factory=lambda: os.environ.get("LBCTL_LAB_MIRROR", ""))
    """Empty: Debian's own, with updates and security."""

    @property
    def packages(self) -> tuple[str, ...]:
        return (*_PACKAGES, *self.extra, *self.libraries)

    @property
    def libraries(self) -> tuple[str, ...]:
        return _LIBRARIES


def recipe(variant: str) -> Recipe:
    # A member of an enumeration has a `repr` of its own, and an image would be built again for it.
    variant = str(variant)
    match variant:
        case "ifupdown":
            return Recipe(variant, "Debian as installed from its own installer", extra=("ifupdown",))
        case "python":
            return Recipe(
                variant,
                "ready for tools that need Python there, such as Ansible",
                extra=("ifupdown", "python3", "python3-apt"),
            )
        case "networkd":
            return Recipe(
                variant,
                "Debian as in the clouds",
                extra=(),
                layers=("common", "networkd"),
                enabled=("systemd-networkd.service",),
            )
    raise RequestError(
        f"there is no image variant {variant!r}", cure="LBCTL_LAB_VARIANT is ifupdown, networkd or python"
    )
