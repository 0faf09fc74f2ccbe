# SPDX-FileCopyrightText: The bulwark.node authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chromium of the distribution, headless, on files of this machine; it says what it asked for and what it complained of."""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["PHONE", "WIDE", "Browser", "missing"]

WIDE = 1280
PHONE = 390
_HEIGHT = 900
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # A name that is asked for is not found, instead of leaving this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


def missing() -> list[str]:
    """What this machine lacks, as bindep.txt calls it."""
    packages = {"chromium": "chromium", "chromedriver": "chromium-driver"}
    return [package for command, package in packages.items() if shutil.which(command) is None]


def _of(events: list[Any], name: str) -> list[Any]:
    return [event for event in events if event["method"] == f"Network.{name}"]


class Browser(AbstractContextManager["Browser"]):
    """A browser with a profile of its own, which goes with it."""

    def __init__(self) -> None:
        # Only who has the packages of the distribution needs it.
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        self._profile = tempfile.TemporaryDirectory(prefix="bulwark-browser-", ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or ""
        for option in (*_OPTIONS, f"--user-data-dir={self._profile.name}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        # A path that is given keeps selenium from looking for one in the network.
        service = Service(executable_path=shutil.which("chromedriver"), env={**os.environ, "HOME": self._profile.name})
        self.driver = webdriver.Chrome(options=options, service=service)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.driver.quit()
        self._profile.cleanup()

    def open(
        self, page: Path, fragment: str = "", *, width: int = WIDE, height: int = _HEIGHT, dark: bool = False
    ) -> None:
        """Load a file anew, in a window of this size, for somebody who likes it dark or light."""
        self.media(dark)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        # Going from one fragment of a page to another loads nothing.
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(page.as_uri() + (f"#{fragment}" if fragment else ""))

    def media(self, dark: bool, media: str = "") -> None:
        """Whom the page is for: somebody who likes it dark or light, on a screen or on paper (``print``)."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": [scheme, still]})
        # It is there with the next frame.
        self.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")

    def js(self, script: str, *arguments: Any) -> Any:
        """What a script returns that runs in the page."""
        return self.driver.execute_script(script, *arguments)

    def logs(self) -> tuple[list[str], list[str]]:
        """What the console said since the last call, and the addresses that the page asked for."""
        console = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = {
            event["params"]["requestId"]: event["params"]["request"]["url"]
            for event in _of(events, "requestWillBeSent")
        }
        # What the page's policy refuses is announced, and does not leave.
        for event in _of(events, "loadingFailed"):
            if event["params"].get("blockedReason") == "csp":
                sent.pop(event["params"]["requestId"], None)
        return console, list(sent.values())

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A picture of the window, or of the whole page."""
        picture = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": whole}
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        done: Mapping[str, str] = self.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        return base64.b64decode(done["data"])
