# ruff: noqa: INP001 (run as a file)
"""Records a live switch of mode as it happens, as a picture that moves: docs/switch.svg, for README.md.

    python -m docs.make_recording        (root; boots a lab, a few minutes)

What it shows is a real run: `lbctl switch-mode nat` on real machines, under clients at work; each line appears when it appeared
then, the whole shortened to half a minute. The last line is what those clients saw.
"""

import html
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cluster.vocabulary import Mode
from lab.lab import Lab
from lab.topology import DATABASES
from tests.system.live import at_work
from tests.system.machines import PATIENT, Cluster
from tests.variants import ROOT, Variant

PICTURE = ROOT / "docs/switch.svg"
LONGEST = 30.0
"""Seconds that the picture takes, however long the run took."""
WIDTH, LINE, LEFT, TOP = 900, 19, 16, 44
COLUMNS = 108
"""Characters that fit into a line: of a font that is as wide as any of those named."""

Shown = tuple[float, str]
"""Seconds since the beginning, and a line."""


def recorded(cluster: Cluster, words: Sequence[str]) -> Iterator[Shown]:
    """The command's lines as they come. Raises SystemExit if it fails."""
    began = time.monotonic()
    yield 0.0, f"$ {' '.join(words)}"
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / words[0]), *words[1:], "--yes"],
        cwd=ROOT,
        env={**cluster.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout  # noqa: S101 (a pipe was asked for)
    for line in process.stdout:
        yield time.monotonic() - began, line.rstrip("\n").replace(str(cluster.file), "cluster.toml")
    if process.wait():
        raise SystemExit(f"{words} failed")


def brief(lines: Iterator[Shown]) -> list[Shown]:
    """Without the single changes of the plan, which are many; what is too long for a line goes on in the next."""
    return [
        (when, part)
        for when, line in lines
        if not line.startswith("     ")
        for part in textwrap.wrap(line, COLUMNS, subsequent_indent="    ") or [""]
    ]


def picture(lines: Sequence[Shown]) -> str:
    """An SVG whose lines appear one after the other, and stay."""
    whole = max(when for when, _ in lines)
    pace = min(1.0, LONGEST / whole) if whole else 1.0
    height = TOP + LINE * (len(lines) + 1)
    texts = "\n".join(_text(number, when * pace, line) for number, (when, line) in enumerate(lines))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"
  aria-label="A running cluster is switched to nat by lbctl switch-mode; no connection fails">
<style>
  text {{ font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre; }}
  .command {{ fill: #88c0d0; font-weight: bold; }} .good {{ fill: #a3be8c; }} .quiet {{ fill: #8a93a5; }}
  .line {{ opacity: 0; animation: appear .2s forwards; }}
  @keyframes appear {{ to {{ opacity: 1; }} }}
  @media (prefers-reduced-motion: reduce) {{ .line {{ opacity: 1; animation: none; }} }}
</style>
<rect width="100%" height="100%" rx="8" fill="#20242c"/>
<circle cx="20" cy="18" r="5" fill="#bf616a"/><circle cx="38" cy="18" r="5" fill="#ebcb8b"/>
<circle cx="56" cy="18" r="5" fill="#a3be8c"/>
{texts}
</svg>
"""


def _text(number: int, when: float, line: str) -> str:
    kind = "command" if line[:1] == "$" else "good" if "✓" in line else "quiet" if line[:1] in "→ " else ""
    y = TOP + LINE * number
    return (
        f'<text class="line {kind}" x="{LEFT}" y="{y}" style="animation-delay:{when:.2f}s">{html.escape(line)}</text>'
    )


def main() -> None:
    lab = Lab(f"recording-{os.getpid()}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            lab.up([*DATABASES, "lb1", "lb2"])
            lab.galera_start()
            cluster = Cluster(lab, Path(folder))
            cluster.declare(Variant(Mode.DR), **PATIENT)
            if cluster.lbctl("deploy", "--yes").status:
                raise SystemExit("the deploy failed")
            with at_work(cluster) as seen:
                lines = brief(recorded(cluster, ["lbctl", "switch-mode", "nat", "--drain", "10s"]))
        finally:
            lab.down()
    last = lines[-1][0] + 1
    said = seen.summary
    told = f"{said.new} new connections, {said.failures} failed; {said.survivors} of {said.held} held ones stayed"
    lines += [(last, ""), (last, f"✓ clients meanwhile: {told}")]
    PICTURE.write_text(picture(lines), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {said}")


if __name__ == "__main__":
    if sys.argv[1:]:  # whoever asks for help wants no lab
        raise SystemExit(__doc__)
    main()
