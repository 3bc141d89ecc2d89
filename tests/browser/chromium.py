"""A tab of headless Chromium: what it shows, and what it complains of."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

PATIENCE = 30.0
"""Seconds within which anything must happen that is awaited, on a machine with much else to do."""

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_T = TypeVar("_T")


def start_chromium(profile: pathlib.Path) -> Chrome:
    """Start Chromium with a new profile; the driver is the one beside it, none is fetched."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options=options,
        service=webdriver.ChromeService(executable_path=shutil.which("chromedriver")),
    )
    driver.set_script_timeout(PATIENCE)
    driver.set_page_load_timeout(PATIENCE)
    return driver


class Viewer:
    """Somebody who looks at the page. Elements are named by CSS selectors."""

    def __init__(self, chrome: Chrome) -> None:
        self.chrome = chrome
        self._forgiven: tuple[str, ...] = ()

    # -- the device --------------------------------------------------------------------

    def use(self, *, width: int = 1280, height: int = 900, **media: str) -> None:
        """Take a window of so many pixels and a device with such preferences (``color_scheme="dark"``)."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [
            {"name": f"prefers-{name.replace('_', '-')}", "value": value}
            for name, value in {"color_scheme": "light", **media}.items()
        ]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url: str) -> None:
        """Open the page, and wait until it shows a feed with its history."""
        self.chrome.get(url)
        self.wait(lambda: self.text("#connection").startswith("Live"))

    def leave(self) -> None:
        """Go where nothing is asked for, and forget the cookies."""
        self.chrome.get("about:blank")
        self.chrome.execute_cdp_cmd("Network.clearBrowserCookies", {})

    # -- what is seen ------------------------------------------------------------------

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a function's body in the page; give what it returns."""
        return self.chrome.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        """Give the text of the first such element as it is shown; nothing if it is hidden or missing."""
        script = """
            const node = document.querySelector(arguments[0]);
            return node?.checkVisibility() ? node.innerText : "";"""
        return str(self.run(script, selector)).strip()

    def texts(self, selector: str) -> list[str]:
        """Give the texts of such elements, without those that are hidden."""
        script = """
            return [...document.querySelectorAll(arguments[0])]
              .filter((node) => node.checkVisibility()).map((node) => node.innerText)"""
        return list(self.run(script, selector))

    def row(self, name: str) -> str:
        """Give what is told of a deployment, in one line."""
        script = """
            const row = [...document.querySelectorAll(".deployments tbody tr")]
              .find((row) => row.querySelector("bdi").textContent === arguments[0]);
            return row?.innerText.replaceAll(/\\s+/g, " ") ?? "";"""
        return str(self.run(script, name))

    def focused(self) -> str:
        """Give the text, or else the name, of what has the focus."""
        script = "const node = document.activeElement; return node.textContent || node.tagName"
        return str(self.run(script))

    def wait(self, condition: Callable[[], _T]) -> _T:
        """Wait until *condition* gives something true; give that."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.chrome, PATIENCE, 0.1).until(lambda _: condition())

    # -- what is done ------------------------------------------------------------------

    def click(self, selector: str) -> None:
        """Click on the first such element; again, if it moved away just then."""
        from selenium.common.exceptions import ElementClickInterceptedException

        def clicked() -> bool:
            try:
                self.chrome.find_element("css selector", selector).click()
            except ElementClickInterceptedException:
                return False
            return True

        self.wait(clicked)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.chrome).send_keys(*keys).perform()

    # -- what it complains of ----------------------------------------------------------

    def forgive(self, *words: str) -> None:
        """Expect complaints that hold any of these words."""
        self._forgiven += words

    def complaints(self) -> list[str]:
        """Give what was written to the console since the last look: errors, warnings, violations."""
        messages = [str(entry["message"]) for entry in self.chrome.get_log("browser")]
        return [text for text in messages if not any(word in text for word in self._forgiven)]

    def asked(self) -> set[str]:
        """Give the addresses of all that was asked for since the last look."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.chrome.get_log("performance")
        ]
        return {
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        }
