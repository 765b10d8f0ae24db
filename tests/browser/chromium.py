"""Debian's Chromium under Playwright, and what every visit must be free of."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 20_000
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, which ends with the block."""
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run for root, which is whom containers run as.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0)
        try:
            yield browser
        finally:
            browser.close()


def wait_until(page: Page, condition: str) -> None:
    """Until the JavaScript condition holds. Playwright's own `wait_for_function` needs `unsafe-eval` in the page."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"waited too long for {condition}; the page: {page.inner_text('body')}"
        page.wait_for_timeout(20)


class Visitors:
    """Opens pages, each for a visitor of its own, and notes what is wrong on them.

    Attributes:
        complaints: What a person would see in red in the console, and every request to another machine.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.complaints: list[str] = []

    def page(self, *, width: int = 1280, height: int = 900, locale: str = "en-GB", **options: Any) -> Page:
        """An empty page without cookies or storage.

        Args:
            width, height: Of the page, in CSS pixels.
            locale: The visitor's first language.
            options: Others of Playwright's `Browser.new_context`, for example `color_scheme`.
        """
        context = self._browser.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._note_request)
        return page

    def leave(self) -> None:
        """Closes every page."""
        for context in self._browser.contexts:
            context.close()

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location['url']})")

    def _note_request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in {"http", "https"} and address.hostname != "127.0.0.1":
            self.complaints.append(f"outside request: {request.url}")
