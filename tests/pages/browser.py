"""A real browser (headless Chromium), told what to do by its DevTools protocol over two pipes: no port, and no library.

https://chromedevtools.github.io/devtools-protocol/ ; with --remote-debugging-pipe messages end with a zero byte, on descriptors 3
and 4.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROGRAMS = ("chromium", "chromium-headless-shell", "google-chrome")


def program() -> str | None:
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


@dataclass
class Tab:
    """One page."""

    to: int
    answers: int
    session: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""

    def tell(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Raises RuntimeError if the browser refuses, or is gone."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (heard := self._next()).get("id") != self._number:
            self.events.append(heard)
        if "error" in heard:
            raise RuntimeError(f"{method}: {heard['error']}")
        result: dict[str, Any] = heard["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self.answers, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        heard: dict[str, Any] = json.loads(text)
        return heard

    def open(self, file: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """As a window of that size shows it; a narrow one as a phone does. Returns when the page is there."""
        phone = width < 600
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.scheme(dark=dark)
        self.events.clear()
        self.tell("Page.navigate", url=file.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def scheme(self, *, dark: bool, media: str = "screen") -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.tell("Emulation.setEmulatedMedia", media=media, features=features)

    def value(self, expression: str) -> Any:
        """What a line of JavaScript says of the page."""
        found = self.tell("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    def requests(self) -> list[str]:
        """All that the page has asked for, but what it carries with it."""
        urls = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """What the browser has against the page: what its security policy forbids, above all."""
        return [e["params"]["entry"]["text"] for e in self.events if e.get("method") == "Log.entryAdded"]

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """The whole page, or what is seen of it without scrolling."""
        shot = self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole=whole))
        file.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, *, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.tell("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    def printed(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.tell("Page.printToPDF", printBackground=False)["data"]))


@contextmanager
def tab() -> Iterator[Tab]:
    """An empty page of a browser of one's own, without a network. Raises RuntimeError if there is no browser."""
    browser = program()
    if browser is None:
        raise RuntimeError("there is no Chromium here: make browser")
    hears, to = os.pipe()
    answers, says = os.pipe()
    with TemporaryDirectory(prefix="browser") as profile:
        arguments = [browser, "--headless", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars"]
        arguments += [
            f"--user-data-dir={profile}",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ]
        arguments += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to be root's otherwise
        # The shell moves the pipes to where Chromium looks for them: they may have any numbers here.
        script = f'exec "$@" 3<&{hears} 4>&{says}'
        process = subprocess.Popen(
            ["bash", "-c", script, "browser", *arguments, "about:blank"],
            pass_fds=(hears, says),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": profile},
        )
        os.close(hears)
        os.close(says)
        try:
            yield _attached(Tab(to, answers))
        finally:
            os.close(to)  # without its pipe it ends
            os.close(answers)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _attached(page: Tab) -> Tab:
    targets = page.tell("Target.getTargets")["targetInfos"]
    target = next(each["targetId"] for each in targets if each["type"] == "page")
    page.session = page.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    for domain in ("Page", "Network", "Log"):
        page.tell(f"{domain}.enable")
    return page
