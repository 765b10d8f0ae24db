"""The fixtures of tests in a browser, known in every folder of tests."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.chromium import CHROMIUM, Visitors, chromium


# Of a module, not of the session: while it is open, Playwright's event loop runs in this thread, and `asyncio.run` of
# any other test would fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; where there is none, the tests that use it are skipped."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium on the PATH: make browser")
    with chromium() as browser:
        yield browser


@pytest.fixture
def visitors(browser: Browser) -> Iterator[Visitors]:
    """Opens pages; a test must leave `complaints` empty, or clear those that it means."""
    visitors = Visitors(browser)
    yield visitors
    visitors.leave()
    assert visitors.complaints == []


@pytest.fixture
def page(visitors: Visitors) -> Page:
    """The page of a new visitor with a desktop's screen."""
    return visitors.page()
