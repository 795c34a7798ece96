"""Builds one image into an empty directory: base.img, id_ed25519, ssh_host.pub. What goes in is said in `recipe.py`."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from cluster.errors import HostError
from lab.progress import Steps
from lab.recipe import GENERATORS_KEPT, MASKED, REPOSITORY, SUITE, Recipe

_SIZE = 3 * 1024**3  # sparse: what is never written takes no room

# A build that is stopped, by whatever signal, takes all that it started and mounted along.
_CONTAINED = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--mount-proc",
    "--fork",
    "--kill-child=KILL",
)

# Not the caller's whole environment: a TMPDIR from here exists nowhere in there.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROXIES = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


class Build:
    def __init__(self, recipe: Recipe, kernel: str, work: Path, say: Steps) -> None:
        self._recipe = recipe
        self._kernel = kernel
        self._work = work
        self._root = work / "root"
        self._log = work / "log"
        self._say = say

    def run(self) -> None:
        self._say(
            f"Debian {SUITE} with {len(self._recipe.packages)} packages and what they need (most of the time goes here)"
        )
        self._debian()
        self._say(f"offline repository with {', '.join(REPOSITORY)}")
        self._repository()
        self._say("files, kernel modules, keys, units")
        self._files()
        self._modules()
        self._keys()
        self._units()
        self._say("a Galera node, started once and stopped cleanly")
        self._galera()
        self._say("disk image")
        self._disk()

    def _debian(self) -> None:
        without = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("man", "doc", "locale")]
        mirror = [self._recipe.mirror] if self._recipe.mirror else []
        include = "--include=" + ",".join(self._recipe.packages)
        skip = "--skip=cleanup/apt/lists"
        self._command(
            "mmdebstrap", "--quiet", "--variant=minbase", include, *without, skip, SUITE, str(self._root), *mirror
        )

    def _repository(self) -> None:
        repository = self._root / "srv/apt"
        repository.mkdir(parents=True)
        shutil.copyfile("/etc/resolv.conf", self._root / "etc/resolv.conf")
        self._inside(
            *("apt-get", "-qq", "-o", "Dir::Cache::archives=/srv/apt", "--download-only", "-y"),
            *("--no-install-recommends", "install", *REPOSITORY),
        )
        # Those that are installed already: so that whatever is purged can be installed again.
        self._inside("sh", "-c", 'cd /srv/apt && apt-get -qq download "$@"', "-", *self._recipe.libraries)
        (repository / "lock").unlink(missing_ok=True)
        shutil.rmtree(repository / "partial", ignore_errors=True)
        index = self._output("dpkg-scanpackages", "--multiversion", ".", directory=repository)
        (repository / "Packages").write_bytes(index)

        (self._root / "etc/resolv.conf").unlink()
        sources = self._root / "etc/apt"
        for listed in (sources / "sources.list.d").iterdir():
            listed.unlink()
        (sources / "sources.list").write_text("deb [trusted=yes] file:/srv/apt ./\n")
        for index_file in (self._root / "var/lib/apt/lists").rglob("*"):
            if index_file.is_file():
                index_file.unlink()
        self._inside("apt-get", "-qq", "update")

    def _files(self) -> None:
        with as_file(files("lab") / "guest") as guest:
            for layer in self._recipe.layers:
                self._command("cp", "-rT", "--no-preserve=ownership", str(guest / layer), str(self._root))
        # It starts perl before every installation, to ask nothing: a second each time.
        (self._root / "etc/apt/apt.conf.d/70debconf").unlink()
        for program in ("usr/lib/lab/init", "usr/lib/systemd/system-shutdown/lab-eth0"):
            if (self._root / program).exists():
                (self._root / program).chmod(0o755)

    def _modules(self) -> None:
        target = self._root / "lib/modules"
        target.mkdir(parents=True, exist_ok=True)
        shutil.copytree(f"/usr/lib/uml/modules/{self._kernel}", target / self._kernel, symlinks=True)
        self._command("depmod", "-b", str(self._root), self._kernel)

    def _keys(self) -> None:
        """Known in advance and the same on all machines: a lab's addresses exist nowhere else."""
        login, host = self._work / "id_ed25519", self._root / "etc/ssh/ssh_host_ed25519_key"
        for old in host.parent.glob("ssh_host_*"):
            old.unlink()
        for key in (login, host):
            self._command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lbctl-lab", "-f", str(key))
        home = self._root / "root/.ssh"
        home.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(login.with_suffix(".pub"), home / "authorized_keys")
        (home / "authorized_keys").chmod(0o600)
        kind, key_text, _ = host.with_suffix(".pub").read_text().split()
        (self._work / "ssh_host.pub").write_text(f"{kind} {key_text}\n")

    def _units(self) -> None:
        (self._root / "etc/machine-id").write_text("")
        for own in ("var/lib/dbus/machine-id", "etc/hostname"):
            (self._root / own).unlink(missing_ok=True)
        units = self._root / "etc/systemd/system"
        for unit in MASKED:
            self._link(units / unit, "/dev/null")
        # It starts when somebody asks, as reboot(8) does.
        (self._root / "lib/systemd/system/multi-user.target.wants/systemd-logind.service").unlink()
        generators = self._root / "etc/systemd/system-generators"
        generators.mkdir(exist_ok=True)
        for generator in (self._root / "lib/systemd/system-generators").iterdir():
            if generator.name not in GENERATORS_KEPT:
                self._link(generators / generator.name, "/dev/null")
        self._link(units / "default.target", "/lib/systemd/system/multi-user.target")
        self._inside("systemctl", "--quiet", "disable", "mariadb.service")
        for unit in self._recipe.enabled:
            self._inside("systemctl", "--quiet", "enable", unit)
        # The user-mode kernel is built without the ip, ip6 and inet families of nf_tables: nft and iptables' nft variant
        # answer "Operation not supported". The legacy one works, with mangle, nat, filter and raw.
        for tool in ("iptables", "ip6tables"):
            self._inside("update-alternatives", "--quiet", "--set", tool, f"/usr/sbin/{tool}-legacy")

    def _galera(self) -> None:
        """All machines get the same data directory, at the same position in the same cluster: nothing to transfer."""
        seed = (files("lab") / "seed.sh").read_text()
        prepare = 'mount -t proc proc "$1/proc" && ip link set lo up && exec chroot "$1" /bin/sh -euc "$2"'
        self._command("unshare", "--net", "sh", "-c", prepare, "-", str(self._root), seed)

    def _disk(self) -> None:
        disk = self._work / "base.img"
        with disk.open("wb") as file:
            file.truncate(_SIZE)
        options = ("-t", "ext4", "-m", "0", "-J", "size=16", "-E", "lazy_itable_init=0")
        self._command("mke2fs", "-q", *options, "-d", str(self._root), str(disk))
        shutil.rmtree(self._root)

    def _inside(self, *argv: str) -> None:
        self._command("chroot", str(self._root), *argv)

    def _command(self, *argv: str) -> None:
        self._output(*argv, logged=True)

    def _output(self, *argv: str, directory: Path | None = None, logged: bool = False) -> bytes:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*_CONTAINED, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log if logged else subprocess.PIPE,
                stderr=log,
                cwd=directory,
                env={"PATH": _PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", **_PROXIES},
                start_new_session=True,  # Ctrl-C is for us: we stop it, and only then remove what it worked on
            )
            try:
                output, _ = process.communicate()
            except BaseException:
                process.kill()
                process.wait()
                raise
        if process.returncode:
            raise HostError(self._failure(argv))
        return output or b""

    def _failure(self, argv: Sequence[str]) -> str:
        last = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        return f"building the lab's image: `{' '.join(argv[:3])} …` failed. It said last:\n{last}"

    @staticmethod
    def _link(path: Path, target: str) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(target)
