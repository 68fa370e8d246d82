"""A headless Chromium that tests drive by its debugging pipe: pages, keys, screenshots. Needs nothing but a Chromium of the machine."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, ""), "ArrowLeft": (37, ""),
        "ArrowRight": (39, "")}  # fmt: skip


class Page:
    """One page. All waiting ends with an AssertionError."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes, self._rest, self._number = os.fdopen(reads, "rb", 0), os.fdopen(writes, "wb", 0), b"", 0
        self.complaints = list[str]()
        """What the page's console says of errors."""
        target = self._ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session = self._ask("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **more: Any) -> Any:
        """A command of the protocol; its result."""
        return self._ask(method, more, self._session)

    def go(self, url: str) -> None:
        """Open an address."""
        self.ask("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression."""
        told = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        end = monotonic() + seconds
        while not self.run(f"(() => {{ try {{ return !!({script}) }} catch (e) {{ return false }} }})()"):
            assert monotonic() < end, f"never: {script}\n{self.run('document.body.innerText')}"
            sleep(0.05)

    def press(self, *keys: str) -> None:
        """Press keys, by their names or as letters."""
        for key in keys:
            code, text = KEYS.get(key, (ord(key.upper()) if len(key) == 1 else 0, key))
            about = {"key": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
            self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **about)
            self.ask("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def size(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Set the window, and whether the person likes it dark."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path: Path) -> None:
        """What is to be seen, as a PNG file."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def _ask(self, method: str, more: dict[str, Any], session: str = "") -> Any:
        self._number += 1
        asked = {"id": self._number, "method": method, "params": more, **({"sessionId": session} if session else {})}
        self._writes.write(json.dumps(asked).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            if told.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(told["params"]["exceptionDetails"])[:500])
            if told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.complaints.append(told["params"]["entry"]["text"])

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            data = self._reads.read(1 << 16)
            assert data, "the browser is gone"
            self._rest += data
        told, _, self._rest = self._rest.partition(b"\0")
        return json.loads(told)


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page of a browser whose profile is in a folder. Skips where there is no Chromium."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("needs a Chromium")
    to_browser, from_browser = os.pipe(), os.pipe()

    def arrange() -> None:
        os.dup2(to_browser[0], 103)
        os.dup2(from_browser[1], 104)
        os.dup2(103, 3)
        os.dup2(104, 4)

    command = [found, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--no-proxy-server",
               "--disable-background-networking", f"--user-data-dir={folder}", "--remote-debugging-pipe"]  # fmt: skip
    process = subprocess.Popen(command, preexec_fn=arrange, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(to_browser[0])
    os.close(from_browser[1])
    try:
        yield Page(from_browser[0], to_browser[1])
    finally:
        process.kill()
        process.wait()
