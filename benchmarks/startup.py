"""`lbctl --help` beside `python -c 'import typer'`: what lbctl adds to the library it is made with."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figure, interleaved, report

ROUNDS = 15
AT_MOST = 3
_LBCTL = str(Path(sys.executable).with_name("lbctl"))


def seconds(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def main() -> int:
    typer, helped = interleaved(
        ROUNDS, lambda: seconds([sys.executable, "-c", "import typer"]), lambda: seconds([_LBCTL, "--help"])
    )
    print(f"medians of {ROUNDS} runs each, in turns: import typer {typer:.3f} s, lbctl --help {helped:.3f} s\n")
    figures = [
        Figure("python -c 'import typer'", typer),
        Figure(f"lbctl --help ({AT_MOST} × that)", helped, AT_MOST * typer),
    ]
    return report(figures, "startup")


if __name__ == "__main__":
    sys.exit(main())
