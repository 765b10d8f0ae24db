"""What a visitor of the demo shop sees and does, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from feature_repo.access.buyer_tokens import SECRETS_VARIABLE
from feature_repo.access.scope import Scope
from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.storefront import GUEST_PREFIX
from tests.browser.accessibility import grave_violations
from tests.browser.chromium import Visitors
from tests.online_api.shop_variants import in_folder, make_key, with_settings
from tests.online_api.storefront.shop import buyer_of, reasons, row, settle, titles, visit
from tests.serving import serving

pytestmark = [pytest.mark.store, pytest.mark.browser]

UPDATED = re.compile(r"Updated in [\d,]+ ms · \d+ new · \d+ moved")
UPDATED_AR = re.compile(r"تم التحديث خلال [٠-٩٬]+ مللي ثانية، الجديد: [٠-٩]+، تغيّر ترتيبه: [٠-٩]+")
PLACES = ("", f"#/search?q={quote('حليب')}", "#/list/trending?category=" + quote("ألبان"), "#/product/juice", "#/cart")


def test_a_visitor_searches_in_arabic_views_adds_and_buys(visitors: Visitors, market: httpx.Client) -> None:
    page = visitors.page(locale="ar-EG")
    visit(page, market)
    assert page.evaluate("[document.documentElement.dir, document.documentElement.lang]") == ["rtl", "ar"]
    expect(row(page, "recommended").locator(".source")).to_have_text("الأكثر رواجًا")
    assert [row(page, name).is_visible() for name in ("again", "recent")] == [False, False]
    popular = titles(row(page, "recommended"))

    # As typed: without the article, with another form of the letter.
    page.locator("#q").press_sequentially("زبادى")
    page.get_by_role("option", name="زبادي طبيعي منتج").wait_for()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("نتائج البحث عن «\u2068زبادى\u2069»")
    settle(page)
    assert titles(page)[0] == "زبادي طبيعي"

    page.locator("#main .found .card-link").first.click()
    expect(page.locator("h1")).to_have_text("زبادي طبيعي")
    expect(page.locator(".product .price")).to_contain_text("١٢٫٥٠")
    assert "false" not in page.locator("#main").inner_text()
    expect(row(page, "recommended").locator(".changes")).to_have_text(UPDATED_AR)
    expect(row(page, "recommended").locator(".source")).to_have_text("مخصص لك")
    assert titles(row(page, "recommended")) != popular
    because = "لأنك {} \u2068زبادي طبيعي\u2069"
    assert because.format("شاهدت") in reasons(row(page, "recommended"))

    page.get_by_role("button", name="زيادة الكمية: زبادي طبيعي").click()
    page.locator("#add").click()
    expect(page.locator("#status")).to_contain_text("أضفت \u2068زبادي طبيعي\u2069 إلى السلة")
    expect(page.locator("#cart-count")).to_have_text("٢")

    page.locator("#cart-link").click()
    expect(page.locator("h1")).to_have_text("السلة")
    settle(page)
    expect(page.locator(".total")).to_contain_text("٢٥٫٠٠")
    expect(row(page, "cross").locator("h2")).to_have_text("منتجات تناسب ما في سلتك")
    page.locator("#checkout").click()
    page.locator("#order").click()
    expect(page.locator("h1")).to_have_text("شكرًا لطلبك")
    settle(page)
    expect(page.locator("#cart-count")).to_have_text("٠")
    after = reasons(row(page, "recommended"))
    assert any(reason.startswith(because.format("اشتريت")) for reason in after), after

    # What the page shows is what the API answers, and the purchase is a real one.
    buyer = buyer_of(page)
    assert buyer.startswith(GUEST_PREFIX)
    answer = market.get(f"/v1/buyers/{buyer}/recommendations", params={"k": 12, "lang": "ar"}).json()
    assert titles(row(page, "recommended")) == [item["title"] for item in answer["items"]]
    recent = market.get(f"/v1/buyers/{buyer}/recent", params={"event_type": "purchase", "fill": "false"}).json()
    assert [item["product_id"] for item in recent["items"]] == ["yogurt"]

    visit(page, market)  # the next visit is the same guest's
    assert buyer_of(page) == buyer
    assert titles(row(page, "recent")) == ["زبادي طبيعي"]


def test_the_rows_are_the_lists_of_the_api(page: Page, market: httpx.Client) -> None:
    visit(page, market, "?buyer=u1")
    assert titles(row(page, "again")) == ["Fresh milk 1 l", "Rusk"]
    assert titles(row(page, "on-sale")) == ["Orange juice"]
    assert titles(row(page, "new")) == ["Mint tea"]
    expect(row(page, "on-sale").locator(".numbers")).to_contain_text("E£\u206925.00")
    expect(row(page, "on-sale").locator(".sale")).to_contain_text("38%")
    assert "Fresh milk 1 l" in titles(row(page, "trending"))
    assert reasons(row(page, "again"))[0] == "Because you bought \u2068Fresh milk 1 l\u2069"
    # The first category of the shop, and what is in it.
    page.locator(".categories a", has_text="ألبان").click()
    expect(page.locator("h1")).to_have_text("ألبان")
    settle(page)
    assert set(titles(page.locator(".found"))) == {"Fresh milk 1 l", "Plain yogurt", "White cheese"}


def test_a_product_page_shows_what_goes_with_it(page: Page, market: httpx.Client) -> None:
    visit(page, market, "#/product/milk")
    assert page.title() == "Fresh milk 1 l · Tawsiya Market"
    assert titles(row(page, "together"))[0] == "Rusk"
    expect(row(page, "together").locator(".because").first).to_have_text("Goes with \u2068Fresh milk 1 l\u2069")
    expect(row(page, "similar").locator(".source")).to_have_text("Similar")
    expect(row(page, "recommended").locator(".changes")).to_have_text(UPDATED)
    assert page.locator(".product .picture").get_attribute("data-picture") == "milk"
    visit(page, market, "#/product/bread")
    expect(page.locator("#add")).to_be_disabled()
    expect(page.locator(".stock")).to_have_text("Out of stock")


def test_the_cart_follows_what_is_added_below_it_and_what_is_taken_out(page: Page, market: httpx.Client) -> None:
    visit(page, market, "#/product/milk")
    page.locator("#add").click()
    expect(page.locator("#cart-count")).to_have_text("1")
    visit(page, market, "#/cart")
    row(page, "cross").get_by_role("button", name="Add to cart: Rusk").click()
    lines = page.locator(".line-name a")
    expect(lines).to_have_text(["Fresh milk 1 l", "Rusk"])
    expect(page.locator(".total")).to_contain_text("50.00")
    expect(row(page, "cross").locator(".title", has_text="Rusk")).to_have_count(0)
    page.get_by_role("button", name="Increase quantity: Rusk").click()
    expect(page.locator(".total")).to_contain_text("68.00")
    page.get_by_role("button", name="Remove: Fresh milk 1 l").click()
    expect(lines).to_have_text(["Rusk"])
    expect(page.locator("h1")).to_be_focused()
    page.get_by_role("button", name="Remove: Rusk").click()
    expect(page.locator(".nothing")).to_contain_text("Your cart is empty.")
    settle(page)


def test_filters_have_addresses_and_can_be_taken_back(page: Page, market: httpx.Client) -> None:
    visit(page, market, "#/list/trending")
    page.locator(".choice", has_text="مشروبات").click()
    settle(page)
    assert set(titles(page.locator(".found"))) == {"Orange juice", "Mineral water"}
    page.locator(".choice", has_text="نور").click()
    expect(page.locator(".found .card")).to_have_count(1)
    assert titles(page.locator(".found")) == ["Mineral water"]
    page.go_back()
    expect(page.locator(".found .card")).to_have_count(2)
    page.get_by_role("link", name="Clear all filters").click()
    expect(page.locator("[aria-current]")).to_have_count(0)


def test_a_search_without_a_match_says_so(page: Page, market: httpx.Client) -> None:
    visit(page, market, "#/search?q=qqwwxz")
    expect(page.locator(".found .notice").first).to_contain_text("No product matches these words")
    visit(page, market, "#/search?q=coffe+arabik")
    assert titles(page.locator(".found"))[0] == "Arabic coffee"


def test_the_keyboard_is_enough(page: Page, market: httpx.Client) -> None:
    visit(page, market)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("oran")
    page.locator("#suggestions [role=option]").first.wait_for()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#q")).to_have_attribute("aria-activedescendant", "suggestion-0")
    page.keyboard.press("Escape")
    expect(page.locator("#suggestions")).to_be_hidden()
    page.keyboard.type("ge juice")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_be_focused()
    settle(page)
    page.locator(".found .card-link").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Orange juice")
    expect(page.locator("h1")).to_be_focused()
    settle(page)
    page.locator("#add").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#cart-count")).to_have_text("1")
    expect(page.locator("#add")).to_be_focused()

    # A row that is drawn anew keeps the focus where it was.
    button = row(page, "recommended").locator(".card .add:enabled").nth(1)
    name = button.get_attribute("aria-label")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#cart-count")).to_have_text("2")
    expect(page.locator("#status")).to_have_text(re.compile("Added"))
    assert page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.textContent") in {
        name,
        "Recommended for you",
    }


@pytest.mark.parametrize("locale", ["ar-EG", "en-GB"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (320, "light"), (1280, "dark")])
def test_pages_are_accessible_and_fit(
    visitors: Visitors, market: httpx.Client, locale: str, width: int, scheme: str
) -> None:
    page = visitors.page(width=width, height=800, locale=locale, color_scheme=scheme)
    visit(page, market, "?buyer=u1#/product/milk")
    page.locator("#add").click()
    expect(page.locator("#cart-count")).not_to_have_text(re.compile("[0٠]"))
    for place in (*PLACES, "#/checkout"):
        visit(page, market, f"?buyer=u1{place}")
        page.locator("h1").wait_for()
        assert grave_violations(page) == [], place
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), place
        small = page.evaluate("""[...document.querySelectorAll("button, .button, .choice, summary, input")]
            .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 43.9)
            .map((one) => one.outerHTML)""")
        assert small == [], place


def test_the_language_can_change_on_every_page(page: Page, market: httpx.Client) -> None:
    visit(page, market, "#/product/milk")
    page.locator("#add").click()
    expect(page.locator("#cart-count")).to_have_text("1")
    visit(page, market, "#/cart")
    expect(page.locator(".line-name a")).to_have_text("Fresh milk 1 l")
    page.locator("#language").click()
    expect(page.locator(".line-name a")).to_have_text("حليب طازج ١ لتر")
    assert page.evaluate("document.documentElement.dir") == "rtl"
    settle(page)
    visit(page, market)
    assert page.evaluate("document.documentElement.lang") == "ar"


def test_errors_can_be_read_and_tried_again(page: Page, visitors: Visitors, market: httpx.Client) -> None:
    visit(page, market)
    expect(page.locator("#error")).to_be_hidden()
    shown = titles(row(page, "recommended"))
    page.context.set_offline(True)
    row(page, "recommended").locator(".add:enabled").first.click()
    expect(page.locator("#error p")).to_have_text("The shop does not answer. Is the server running?")
    assert titles(row(page, "recommended")) == shown  # still there
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#error")).to_be_hidden()
    settle(page)
    visitors.complaints.clear()  # the browser's own, about the request that failed

    visit(page, market, "#/product/no%2Fsuch")
    expect(page.locator("h1")).to_have_text("There is nothing here")
    expect(page).to_have_title("There is nothing here · Tawsiya Market")
    visit(page, market, "#/nowhere")
    expect(page.locator("h1")).to_have_text("There is nothing here")
    assert all("404" in complaint for complaint in visitors.complaints)
    visitors.complaints.clear()


def test_an_order_whose_answer_got_lost_counts_once(page: Page, visitors: Visitors, market: httpx.Client) -> None:
    visit(page, market, "#/product/dates")
    page.locator("#add").click()
    expect(page.locator("#cart-count")).to_have_text("1")
    visit(page, market, "#/checkout")

    def lose(route: Route) -> None:
        assert route.fetch().status == 202
        route.abort()

    page.route("**/v1/events", lose, times=1)
    page.locator("#order").click()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#error")).to_be_hidden()
    settle(page)
    with page.expect_response("**/v1/events") as answer:
        page.locator("#order").click()
    assert [answer.value.json()[outcome] for outcome in ("accepted", "duplicates")] == [0, 1]
    expect(page.locator("h1")).to_have_text("Thank you for your order")
    settle(page)
    visitors.complaints.clear()  # the browser's own, about the lost answer


def test_any_buyer_can_be_shown(page: Page, market: httpx.Client) -> None:
    visit(page, market)
    page.locator("#buyer").fill("nobody/at all")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(row(page, "recommended").locator(".source")).to_have_text("Popular")
    assert page.evaluate("new URLSearchParams(location.search).get('buyer')") == "nobody/at all"
    settle(page)
    page.locator("#new-guest").click()
    expect(page.locator("#buyer")).to_have_value(re.compile(f"^{GUEST_PREFIX}"))
    settle(page)


@pytest.fixture
def guarded(market_runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A server that requires keys or tokens, with the shop for guests."""
    monkeypatch.setenv(SECRETS_VARIABLE, "w" * 32)
    config = with_settings(in_folder(market_runtime.config, tmp_path), api={"shop_for_guests": True})
    make_key(config, "server", list(Scope))
    with serving(create_app(config, market_runtime)) as client:
        yield client


def test_where_tokens_are_required_guests_shop_with_theirs(page: Page, guarded: httpx.Client) -> None:
    assert guarded.get("/v1/trending").status_code == 401
    visit(page, guarded, "?buyer=u1#/product/coffee")
    expect(row(page, "recommended").locator(".changes")).to_have_text(UPDATED)
    expect(page.locator("#buyer-form")).to_be_hidden()
    assert buyer_of(page).startswith(GUEST_PREFIX)  # not u1
