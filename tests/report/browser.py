"""A browser for the tests of pages: any Chromium that the machine has. Without one, tests that need it are skipped.

`TOKENMILL_TEST_BROWSER` names one. On Debian: `apt-get install chromium`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.report import browser_data
from tokenmill.report.html import render

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "microsoft-edge")

WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.__violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


def executable() -> str:
    """Path of the browser; skips the test where there is none."""
    found = os.environ.get("TOKENMILL_TEST_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("no Chromium on this machine: apt-get install chromium, or set TOKENMILL_TEST_BROWSER to its path")
    return found


@contextmanager
def launched() -> Iterator[Any]:
    """A headless browser of playwright, which drives the machine's own one."""
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright (extra `dev`)")
    path = executable()
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in a context of its own, with everything that it tried to do."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.events: list[str] = []
        self.url = url
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self._note("request", request.url, request.url != url))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on(
            "console", lambda message: self._note("console", message.text, message.type in ("error", "warning"))
        )
        self.page.on("popup", lambda popup: self._note("popup", popup.url))
        self.page.add_init_script(WATCH)
        self.page.goto(url)

    def again(self, data: Any) -> None:
        """Show the report of other data in the same tab: much cheaper than another one."""
        Path(self.url.removeprefix("file://")).write_bytes(render(data).encode())
        self.page.goto(self.url)

    def _note(self, kind: str, what: str, wanted: bool = True) -> None:
        if wanted:
            self.events.append(f"{kind}: {what}")

    def _dialog(self, dialog: Any) -> None:
        self._note("dialog", dialog.message)
        dialog.dismiss()

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def misdeeds(self) -> list[str]:
        """Dialogs, requests, errors, violations of the policy, and whether something of the data has run."""
        found = [*self.events, *(f"violation: {one}" for one in self.run("window.__violations"))]
        if self.run("'__pwned' in window || '__pwned' in Object.prototype"):
            found.append(f"ran: {self.run('String(window.__pwned)')}")
        return found


@contextmanager
def opener(browser: Any, folder: Path) -> Iterator[Callable[..., Visit]]:
    """A function that opens the report of some data from disk; options are those of a context."""
    opened: list[Visit] = []

    def visit(data: Any = None, **options: Any) -> Visit:
        path = folder / f"report-{len(opened)}.html"
        path.write_bytes(render(browser_data.page() if data is None else data).encode())
        opened.append(Visit(browser, path.as_uri(), **options))
        return opened[-1]

    try:
        yield visit
    finally:
        for one in opened:
            one.context.close()
