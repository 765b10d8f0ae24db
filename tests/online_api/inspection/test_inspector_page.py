"""The inspector's page: its files, and what an ML engineer sees in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, expect

from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.inspector_page import INSPECTOR_FOLDER
from online_api.runtime import Runtime
from tests.browser.accessibility import grave_violations
from tests.browser.chromium import Visitors, wait_until
from tests.online_api.shop_variants import copied, in_folder, make_key, running
from tests.online_api.test_hot_swap import MARK, write_second_release
from tests.serving import serving
from training.artifacts.recommender import Recommender
from training.artifacts.release import promote

pytestmark = pytest.mark.store

FILES = sorted(INSPECTOR_FOLDER.iterdir())
CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "javascript"}
VIEWS = ["buyer=u1", "product=p1", "search=phone", "map", "map&buyer=u1"]


# ---- The files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_are_served_and_need_nobody_else(client: httpx.Client, path: Path) -> None:
    answer = client.get(f"/inspect/assets/{path.name}")
    assert CONTENT_TYPES[path.suffix] in answer.headers["content-type"]
    assert answer.text == path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.|@import", answer.text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", answer.text)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:|localStorage", answer.text)


def test_the_page_is_served_under_a_strict_policy(client: httpx.Client) -> None:
    answer = client.get("/inspect")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self';")
    assert "unsafe" not in policy
    for asset in re.findall(r'(?:src|href)="(inspect/[^"]+)"', answer.text):
        assert client.get(f"/{asset}").status_code == 200, asset


# ---- In a browser


def visit(page: Page, client: httpx.Client, address: str) -> None:
    page.goto(f"{client.base_url.copy_with(path='/inspect')}#{address}")


@pytest.mark.browser
def test_a_buyer_has_events_and_a_list(page: Page, client: httpx.Client) -> None:
    visit(page, client, "buyer=u1")
    expect(page.get_by_role("heading", name="List")).to_be_visible()
    events, products = (page.get_by_role("region", name=name, exact=True) for name in ("Events, newest first", "List"))
    assert events.locator("tbody td:nth-child(3)").all_text_contents() == ["into cart", "viewed"]
    shares = [float(text.removesuffix(" %")) for text in events.locator(".value").all_text_contents()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert products.locator("tbody tr").count() == 5
    products.get_by_role("button", name="event 1").first.click()
    expect(events.locator("tbody tr").first).to_be_focused()
    products.get_by_role("link", name="هاتف ذكي").click()
    expect(page.get_by_role("heading", name="Nearest products")).to_be_visible()
    assert page.url.endswith("#product=p1")


@pytest.mark.browser
def test_conditions_are_in_the_address(page: Page, client: httpx.Client) -> None:
    visit(page, client, "buyer=u1")
    page.get_by_label("in stock only").check()
    expect(page.get_by_text("Removed before ranking: 1 sold out.")).to_be_visible()
    assert page.url.endswith("#buyer=u1&in_stock=1")
    page.get_by_label("Buyer id").fill("nobody")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("holds no event of this buyer")).to_be_visible()


@pytest.mark.browser
def test_a_search_shows_how_its_query_is_read(page: Page, client: httpx.Client) -> None:
    visit(page, client, f"search={quote('SMARTPHONES')}")
    reading = page.get_by_role("region", name="How the query is read")
    expect(reading.locator("tbody tr")).to_have_count(1)
    assert reading.locator("tbody td").all_text_contents()[:3] == ["SMARTPHONES", "smartphone", "smrtfn"]
    best = page.get_by_role("region", name="Best products").locator("tbody tr").first
    expect(best).to_contain_text("Smartphone 128GB")
    expect(best).to_contain_text("spelling")


@pytest.mark.browser
def test_the_map_is_used_with_the_keyboard(page: Page, client: httpx.Client) -> None:
    visit(page, client, "map")
    canvas, chosen = page.locator("canvas"), page.locator(".chosen")
    canvas.focus()
    expect(chosen.get_by_role("link")).to_have_count(1)
    named = {chosen.get_by_role("link").text_content()}
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown", "ArrowRight", "ArrowRight"):
        canvas.press(key)
        named.add(chosen.get_by_role("link").text_content())
    assert len(named) > 1
    canvas.press("+")
    canvas.press("Enter")
    expect(page.get_by_role("heading", name="Nearest products")).to_be_visible()
    assert page.locator(".heading .title").text_content() in named


@pytest.mark.browser
def test_a_product_on_the_map_is_named_and_opened_with_the_mouse(page: Page, client: httpx.Client) -> None:
    visit(page, client, "map&buyer=u1")
    canvas = page.locator("canvas")
    expect(canvas).to_be_visible()
    [point] = [one for one in client.get("/v1/inspect/map").json()["points"] if one["product_id"] == "p4"]
    box = canvas.bounding_box()
    assert box is not None
    unit = min(box["width"], box["height"]) / 2 * 0.92
    x, y = box["width"] / 2 + point["place"][0] * unit, box["height"] / 2 - point["place"][1] * unit
    canvas.hover(position={"x": x, "y": y})
    expect(page.locator(".chosen")).to_contain_text("Running shoes")
    canvas.click(position={"x": x, "y": y})
    expect(page.locator(".heading .title")).to_have_text("Running shoes")


@pytest.mark.browser
@pytest.mark.parametrize("address", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_views_are_accessible_and_fit_a_phone(
    visitors: Visitors, client: httpx.Client, address: str, scheme: str
) -> None:
    page = visitors.page(color_scheme=scheme)
    visit(page, client, address)
    page.wait_for_selector("#view > *")
    assert grave_violations(page) == []
    page.set_viewport_size({"width": 360, "height": 700})
    wait_until(page, "innerWidth === 360")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture
def two_releases(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path
) -> Iterator[tuple[Runtime, str]]:
    """A copy of the shop with a second release, which has no map."""
    assert recommender
    copy = copied(config, tmp_path / "var")
    candidate = write_second_release(copy, store.schema_hash)
    with running(copy, store) as runtime:
        yield runtime, candidate


@pytest.mark.browser
def test_two_releases_are_compared(page: Page, two_releases: tuple[Runtime, str]) -> None:
    runtime, candidate = two_releases
    with serving(create_app(runtime.config, runtime)) as client:
        visit(page, client, "buyer=nobody")
        page.get_by_label("Compare with release").select_option(candidate)
        rows = page.get_by_role("region", name="Two releases side by side").locator("tbody tr")
        expect(rows).to_have_count(5)
        # Popular products: 3, 2, 1, 0, 4 in the live release and 4, 0, 1, 2, 3 in the other one.
        assert rows.locator("td:nth-child(4)").all_text_contents() == [
            "▼ 4 down",
            "▼ 2 down",
            "same",
            "▲ 2 up",
            "▲ 4 up",
        ]
        assert f"release={candidate}" in page.url


@pytest.mark.browser
def test_a_release_without_a_map_says_so(page: Page, visitors: Visitors, two_releases: tuple[Runtime, str]) -> None:
    runtime, candidate = two_releases
    promote(shop_paths(runtime.config).releases, candidate)
    with serving(create_app(runtime.config, runtime)) as client:
        client.post("/v1/admin/releases/reload").raise_for_status()
        visit(page, client, "map")
        expect(page.get_by_text("The live release has no map")).to_be_visible()
        visit(page, client, "buyer=u1")
        expect(page.get_by_role("region", name="List", exact=True)).to_contain_text(MARK.strip())
    assert all("404" in complaint for complaint in visitors.complaints)
    visitors.complaints.clear()


@pytest.mark.browser
def test_a_shop_with_keys_wants_one_of_scope_admin(
    page: Page, visitors: Visitors, config: Config, runtime: Runtime, tmp_path: Path
) -> None:
    guarded = in_folder(config, tmp_path)
    keys = {scope: make_key(guarded, scope.value, [scope])["X-API-Key"] for scope in (Scope.READ, Scope.ADMIN)}
    with serving(create_app(guarded, runtime)) as client:
        visit(page, client, "product=p1")
        field = page.get_by_label("API key")
        field.fill(keys[Scope.READ])
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text("does not have the scope `admin`")
        field.fill(keys[Scope.ADMIN])
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("heading", name="Nearest products")).to_be_visible()
        assert keys[Scope.ADMIN] not in page.url + page.content()
        assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]
        page.reload()
        expect(page.get_by_role("heading", name="Nearest products")).to_be_visible()
        page.get_by_role("button", name="Forget the key").click()
        expect(field).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0
    assert all(re.search("401|403", complaint) for complaint in visitors.complaints)
    visitors.complaints.clear()
