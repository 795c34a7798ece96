"""What the documentation says is so: its commands run, and what it names exists."""

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import figures, writers
from cli.commands import COMMANDS
from cluster.declaration import Declaration
from cluster.errors import Exit
from cluster.footprint import ALL_MODES, Blueprint
from cluster.parts import Part
from cluster.reading import read
from cluster.vocabulary import ReturnPath
from templates import render

HOUSE = Path(__file__).resolve().parents[2]
PAGES = [HOUSE / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    (HOUSE / "docs").glob("*.md")
)

RUNNABLE = re.compile(r"<!-- runnable(?:: (?P<only>.*?))? -->\n```console\n(?P<text>.*?)```", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
ROOMS = (
    "benchmarks|cli|cluster|clustercheck|docs|facts|fleet|inventory|lab|monitoring|operations|pages|templates"
    "|tests|transports"
)
FOREIGN = {
    "/etc/network/interfaces",  # Debian's own
    "/etc/network/interfaces.d/by-hand",  # of the fault that doctor's test makes
    "/etc/sysctl.conf",
    "/etc/sysctl.d/zzz.conf",  # somebody's, which is read after ours
    "/etc/default/ipvsadm",
    "/etc/default/keepalived",  # Debian's own
    "/etc/default/prometheus-node-exporter",
    "/etc/ssh/ssh_known_hosts",  # the operator's machine's
}


def blocks() -> list[tuple[str, str, str]]:
    return [
        (page.name, found["only"] or "", found["text"])
        for page in PAGES
        for found in RUNNABLE.finditer(page.read_text())
    ]  # fmt: skip


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command with its continuation lines, and the lines of output that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and not found[-1][1] and found[-1][0].endswith("\\"):
            found[-1] = (f"{found[-1][0]}\n{line}", [])
        elif found:
            found[-1][1].append(line)
    return found


@pytest.mark.process
@pytest.mark.parametrize(("page", "only", "text"), blocks())
def test_commands_run(page: str, only: str, text: str, tmp_path: Path) -> None:
    shutil.copytree(HOUSE / "inventory", tmp_path / "inventory")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LBCTL_")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["HOME"] = str(tmp_path)
    prefixes = tuple(prefix.strip() for prefix in only.split(",")) if only else ("",)
    wanted = [
        (line, shown)
        for line, shown in commands(text)
        # It writes into the shell's files of whoever runs this.
        if line.startswith(prefixes) and "--install-completion" not in line
    ]
    assert wanted, f"{page}: nothing to run"
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(line for line, _ in wanted),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    for line in itertools.chain.from_iterable(shown for _, shown in wanted):
        assert line in printed or line == "…", f"{page} shows {line!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert lost == []


def headings(page: Path) -> set[str]:
    """As the web shows a page: the names that a link may end in."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    lost = [f"{file}#{name}" for file, name in links if name not in headings(page.parent / file if file else page)]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_of_the_project_exist(page: Path) -> None:
    in_code = " ".join(CODE.findall(page.read_text()))
    named = set(re.findall(rf"(?<![\w@/.-])(?:{ROOMS})/[\w./-]+", in_code))
    invented = {"inventory/shop.toml", "inventory/NAME.toml"}
    assert [name for name in named - invented if not (HOUSE / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(r"(?:^|`|\$ |    )lbctl ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named - set(COMMANDS) == set()


def test_readme_lists_every_command() -> None:
    table = re.findall(r"^\| `lbctl ([a-z-]+)` \|", (HOUSE / "README.md").read_text(), re.MULTILINE)
    assert table == list(COMMANDS)


def test_exit_codes() -> None:
    table = re.findall(r"^\| (\d+) \| \S", (HOUSE / "docs/safety.md").read_text(), re.MULTILINE)
    assert [int(code) for code in table] == [int(code) for code in Exit]


# What is installed where


def every_part() -> list[Part]:
    """All that any host can carry: each return path, with all that can be switched on."""
    parts: list[Part] = []
    text = (HOUSE / "inventory/lab.toml").read_text() + "\n[metrics]\nenabled = true\n"
    for way in ReturnPath:
        declaration: Declaration = read(text.replace("[nat]", f'[nat]\nreturn_path = "{way}"'), "lab.toml")
        plan = Blueprint(declaration, render)
        parts += [part for host in declaration.hosts() for part in plan.footprint(host, ALL_MODES)]
    return parts


def test_files_on_targets_are_ours() -> None:
    ours = {file.path for part in every_part() for file in part.files} | FOREIGN
    for page in PAGES:
        for code in CODE.findall(page.read_text()):
            for path in re.findall(r"(?:^|\s)(/(?:etc|usr/local)/[^\s:,;*]+)", code):
                assert path in ours or any(file.startswith(f"{path.rstrip('/')}/") for file in ours), (
                    f"{page.name}: {path}"
                )


def test_everything_installed_is_documented() -> None:
    page = (HOUSE / "docs/installed.md").read_text()
    for part in every_part():
        for file in part.files:
            assert f"`{file.path}`" in page
        for name in (*part.packages, *part.users, *part.database_users, *(link.name for link in part.links)):
            assert name in page
        for key in part.sysctls:
            assert key in page or key.rsplit(".", 1)[1] in page
        for chain in part.chains:
            assert f"`{chain.name}`" in page
        for unit in part.units:
            assert unit.name.removesuffix(".service") in page


# What scripts write


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HOUSE / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_declaration_page_is_current() -> None:
    module = script("make_declaration")
    assert module.page() == module.TARGET.read_text(), "run: python docs/make_declaration.py"


def test_picture_is_current() -> None:
    module = script("make_packet_paths")
    assert module.drawing() == module.TARGET.read_text(), "run: python docs/make_packet_paths.py"


def test_benchmarks_page_is_current() -> None:
    module = script("make_benchmarks")
    for file, text in {module.TARGET: module.page(), **module.pictures()}.items():
        assert file.read_text() == text, "run: python -m docs.make_benchmarks"


def test_doctors_page_has_every_fault() -> None:
    module = script("make_doctor")
    assert set(module.RUNBOOK) == set(module.ABOUT) == set(module.Fault)
    assert module.page() == module.TARGET.read_text(), "run: python -m docs.make_doctor"


def test_every_kept_result_is_on_the_page() -> None:
    module = script("make_benchmarks")
    assert {file.stem for file in module.RESULTS.glob("*.json")} <= set(module.SECTIONS)


def test_every_benchmark_has_its_section() -> None:
    module = script("make_benchmarks")
    own = {
        file.stem
        for file in (HOUSE / "benchmarks").glob("*.py")
        if "report(" in file.read_text() and file.stem != "figures"
    }
    assert own == set(module.SECTIONS)
    makefile = (HOUSE / "Makefile").read_text()
    assert [name for name in module.SECTIONS if f"bench-{name}" not in makefile and name != "startup"] == []


def test_writers_are_compared_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One column for each way, whichever were measured; nothing where none was."""
    module = script("make_benchmarks")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(figures, "RESULTS", tmp_path)
    assert "bench-writers" not in module.page()
    stopped, back = "the writer is stopped", "it comes back"
    figures.save(
        "writers",
        [
            *writers.figures("persistent", stopped, writers.Seen(0.9, 0.0, 1, 3), needed=1),
            *writers.figures("ranked", stopped, writers.Seen(1.25, 0.1, 1, 0), needed=1),
            *writers.figures("ranked", back, writers.Seen(0.05, 2.0, 1, 0), needed=0),
        ],
        {},
    )
    assert """
| what happens | measured | persistent | ranked |
|---|---|---|---|
| the writer is stopped | nobody could write | 0.900 s | 1.250 s |
|  | two writers at once | 0.000 s | 0.100 s |
|  | needless moves | 0 | 0 |
| it comes back | nobody could write |  | 0.050 s |
|  | two writers at once |  | 2.000 s |
|  | needless moves |  | 1 |
""" in module.page()


def test_a_recording_shows_each_line_whole_and_when_it_came() -> None:
    module = script("make_recording")
    came = [
        (0.0, "$ lbctl switch-mode nat"),
        (1.0, "     a change of the plan"),
        (60.0, f"  ✓ <done>: {'db1, ' * 40}"),
        (60.0, ""),
    ]
    lines = module.brief(iter(came))
    texts = ET.fromstring(module.picture(lines)).findall("{http://www.w3.org/2000/svg}text")  # noqa: S314 (just made)
    shown = [text.text or "" for text in texts]
    assert shown[0] == "$ lbctl switch-mode nat"
    assert "a change of the plan" not in " ".join(shown)
    assert " ".join(" ".join(shown[1:]).split()) == f"✓ <done>: {'db1, ' * 40}".strip()
    assert max(map(len, shown)) <= module.COLUMNS
    assert [text.get("style") for text in (texts[0], texts[-1])] == ["animation-delay:0.00s", "animation-delay:30.00s"]
