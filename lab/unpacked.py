"""Programs of Debian's packages, unpacked beside the images and not installed: a test machine gets no daemon of theirs."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cluster.errors import HostError
from lab import places
from lab.lock import locked

_MAY_TAKE = 600
# The lists may be too old, or missing: fetched anew then, and only then.
_WORK = """\
apt-get -qq download "$@" || { apt-get -qq update; apt-get -qq download "$@"; }
for p in *.deb; do dpkg-deb -x "$p" .; done
rm -- *.deb
"""


def unpacked(packages: Iterable[str], program: str) -> Path:
    """The folder in which `program` lies as in /. The first package gives it its name. Raises HostError."""
    names = tuple(packages)
    tree = places.cache() / names[0]
    if (tree / program).exists():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    with locked(places.cache() / f".{names[0]}.lock", what=f"Debian's {names[0]}", seconds=_MAY_TAKE):
        if not (tree / program).exists():
            _unpack(names, tree)
    return tree


def _unpack(names: tuple[str, ...], tree: Path) -> None:
    """Whole or not at all."""
    work = Path(tempfile.mkdtemp(prefix=f".{names[0]}.", dir=tree.parent))
    try:
        # apt's own user must be able to write there.
        work.chmod(0o755)
        argv = ["sh", "-ec", _WORK, "-", *names]
        done = subprocess.run(argv, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HostError(
                f"Debian's {names[0]} could not be had: {done.stderr.strip()}",
                cure=f"apt-get update, or apt-get install {names[0]}",
            )
        shutil.rmtree(tree, ignore_errors=True)
        work.rename(tree)
    finally:
        shutil.rmtree(work, ignore_errors=True)
