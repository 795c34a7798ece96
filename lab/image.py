"""The images that machines boot from: found by what they are made of, built when missing, removed when out of use."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from cluster.errors import HostError
from lab import host, places
from lab.build import Build
from lab.lock import locked
from lab.progress import Progress, Steps
from lab.recipe import Recipe, recipe

_INPUTS = ("recipe.py", "build.py", "seed.sh", "guest")
_KEPT = 2
_BUILD_MAY_TAKE = 1800


@dataclass(frozen=True)
class Image:
    path: Path

    @property
    def name(self) -> str:
        """VARIANT-KEY."""
        return self.path.name

    @property
    def base(self) -> Path:
        return self.path / "base.img"

    @property
    def login_key(self) -> Path:
        return self.path / "id_ed25519"

    @property
    def host_key(self) -> str:
        return (self.path / "ssh_host.pub").read_text().strip()

    @property
    def variant(self) -> str:
        return self.name.rpartition("-")[0]

    def exists(self) -> bool:
        return self.base.exists()


def current(variant: str) -> Image:
    """The image for today's inputs, whether it is built or not."""
    wanted = recipe(variant)
    return Image(directory() / f"{wanted.variant}-{content_key(wanted, kernel_release())}")


def obtain(variant: str, progress: Progress) -> Image:
    """The image, built first if need be: whole or not at all. A second builder waits for the first one's result."""
    image = current(variant)
    if not image.exists():
        waiting = Steps(progress, "image")
        with locked(
            directory() / ".lock",
            what="the lab's image",
            seconds=_BUILD_MAY_TAKE,
            waiting=lambda: waiting("another process is building one, waiting for it"),
        ):
            if not image.exists():
                _build(recipe(variant), image, progress)
                prune(keep=image)
    os.utime(
        image.path
    )  # which ones are in use can be seen from that; base.img's own time must stay: disks refer to it
    return image


def content_key(wanted: Recipe, kernel: str, sources: Traversable | None = None) -> str:
    """Of all that decides what is in an image, but for the versions that Debian's mirror holds today."""
    total = hashlib.sha256(f"{wanted!r} {kernel}".encode())
    for name, content in sorted(_contents(sources or files("lab"))):
        total.update(f"{name} {len(content)}\n".encode() + content)
    return total.hexdigest()[:12]


def kernel_release() -> str:
    try:
        return subprocess.run(["linux.uml", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        host.check(0, image_too=False)  # says which package is missing
        raise


def compatibility_library() -> Path | None:
    """What must be preloaded into a user-mode kernel on this CPU, built when missing; none on most."""
    if not host.has_tile_registers():
        return None
    source = (files("lab") / "xstate.c").read_bytes()
    library = places.cache() / f"xstate-{hashlib.sha256(source).hexdigest()[:12]}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as work:
            built = Path(work) / "xstate.so"
            compiler = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-x", "c", "-o", str(built), "-"]
            compiled = subprocess.run(compiler, input=source, capture_output=True, check=False)
            if compiled.returncode:
                raise HostError(f"xstate.c does not compile here: {compiled.stderr.decode(errors='replace')}")
            built.rename(library)
    return library


def prune(*, keep: Image) -> None:
    """Removes images of other content, with the snapshots on them: nothing finds those any more.

    The newest two of a variant stay, and whatever a lab runs on. Call it with the lock held.
    """
    used = {path.read_text().strip() for path in (places.cache() / "labs").glob("*/image")} | {keep.name}
    same = [Image(path) for path in directory().glob(f"{keep.variant}-*") if Image(path).variant == keep.variant]
    by_age = sorted(same, key=lambda image: image.path.stat().st_mtime, reverse=True)
    for image in by_age[_KEPT:]:
        if image.name not in used:
            shutil.rmtree(places.cache() / "snapshots" / image.name, ignore_errors=True)
            shutil.rmtree(image.path)


def _build(wanted: Recipe, image: Image, progress: Progress) -> None:
    host.check(0, image_too=True)
    for left in directory().glob(".build.*"):  # by a builder that was killed: the lock says that none is at work
        shutil.rmtree(left)
    steps = Steps(progress, "image")
    work = Path(tempfile.mkdtemp(prefix=".build.", dir=directory()))
    try:
        Build(wanted, kernel_release(), work, steps).run()
        work.chmod(0o755)
        work.rename(image.path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    steps(f"{image.name} is ready, {image.base.stat().st_blocks * 512 // 2**20} MB")


def directory() -> Path:
    return places.cache() / "images"


def _contents(sources: Traversable) -> Iterable[tuple[str, bytes]]:
    for name in _INPUTS:
        yield from _walk(sources / name, name)


def _walk(entry: Traversable, name: str) -> Iterable[tuple[str, bytes]]:
    if entry.is_file():
        yield name, entry.read_bytes()
        return
    for child in entry.iterdir():
        yield from _walk(child, f"{name}/{child.name}")
