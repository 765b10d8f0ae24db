"""The reports in a browser: accessible in the light and in the dark, on a telephone, and by keyboard alone."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from batch_jobs.reports.build import REPORTS, build_reports
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.reports.html_pages import KINDS, write_report
from tests.batch_jobs.reports.literal_records import RECORDS
from tests.browser.accessibility import grave_violations
from tests.browser.chromium import Visitors

pytestmark = [pytest.mark.store, pytest.mark.browser]

NARROW = 390  # CSS pixels of a telephone
OPEN_ALL = "document.querySelectorAll('details').forEach(details => details.open = true)"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_report_is_accessible(visitors: Visitors, tmp_path: Path, name: str, colours: str) -> None:
    page = visitors.page(color_scheme=colours)
    page.goto(write_report(tmp_path, name, RECORDS[name]).as_uri())
    page.evaluate(OPEN_ALL)
    assert grave_violations(page) == []


@pytest.mark.parametrize("name", KINDS)
def test_nothing_of_a_report_is_wider_than_a_telephone(visitors: Visitors, tmp_path: Path, name: str) -> None:
    page = visitors.page(width=NARROW)
    page.goto(write_report(tmp_path, name, RECORDS[name]).as_uri())
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW
    # Wide tables scroll within their own frame.
    assert page.locator(".scroll").count() == page.locator("table").count()


def test_a_chart_follows_the_page_into_the_dark(visitors: Visitors, tmp_path: Path) -> None:
    address = write_report(tmp_path, "drift", RECORDS["drift"]).as_uri()
    fills = []
    for colours in ("light", "dark"):
        page = visitors.page(color_scheme=colours)
        page.goto(address)
        fills.append(page.evaluate("getComputedStyle(document.querySelector('figure text')).fill"))
    assert fills[0] != fills[1]


def test_the_start_page_leads_to_every_report_by_keyboard(visitors: Visitors, tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path, "data": {"source": "shop"}})
    build_reports(config)
    page = visitors.page()
    page.goto(shop_paths(config).report_index.as_uri())
    assert grave_violations(page) == []
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the report")).to_be_focused()
    for kind in REPORTS:
        page.get_by_role("navigation").get_by_role("link", name=kind.title).focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(kind.title)
        expect(page.get_by_role("link", name=kind.title)).to_have_attribute("aria-current", "page")
