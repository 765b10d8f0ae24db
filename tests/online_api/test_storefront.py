"""The storefront demo: its files, and what a visitor sees in a real browser."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import httpx
import pytest
from playwright.sync_api import Page

from feature_repo.transforms.events import EVENT_TYPE_NAMES
from online_api.app import create_app
from online_api.events.intake import EventIntake
from online_api.lists.list_request import ListRequest, ListResult
from online_api.runtime import Runtime
from online_api.schemas.requests import Filters
from online_api.schemas.responses import EventsResponse, RecommendationResponse, Source
from online_api.service import RecommendationService
from online_api.storefront import STATIC_FOLDER
from tests.browser.chromium import Visitors, wait_until
from tests.online_api.api_shop import Json, items_of
from tests.serving import serving

pytestmark = pytest.mark.store

FILES = sorted(path for path in STATIC_FOLDER.iterdir() if path.is_file() and path.suffix != ".svg")
CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "javascript", ".svg": "image/svg+xml"}
# From popular products; the ids are those of api_shop.PRODUCTS.
FIRST_TITLES = ["Running shoes", "قهوة عربية", "Smartphone 128GB", "هاتف ذكي ١٢٨ جيجا", "Plain thing"]


# ---- The files


@pytest.mark.parametrize("path", [*FILES, STATIC_FOLDER / "icon.svg"], ids=lambda path: path.name)
def test_assets_have_their_content_type(client: httpx.Client, path: Path) -> None:
    answer = client.get(f"/static/{path.name}")
    assert answer.status_code == 200
    assert CONTENT_TYPES[path.suffix] in answer.headers["content-type"]


def test_page_is_served_under_a_strict_policy(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"  # the page's address names the buyer
    assets = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert {"docs", "static/storefront.css", "static/storefront.js"} <= set(assets)
    for asset in assets:
        assert client.get(f"/{asset}").status_code == 200


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_need_nobody_else_and_inject_nothing(path: Path) -> None:
    content = path.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w+\.|@import", re.sub(r"https pages", "", content))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", content)
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", content)


def test_layout_turns_with_the_direction() -> None:
    css = (STATIC_FOLDER / "storefront.css").read_text(encoding="utf-8")
    rules = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    assert not re.search(r"\b(left|right)\b", rules)


def test_every_text_exists_in_every_language() -> None:
    languages = _texts()
    assert set(languages) == {"en", "ar"}
    english, arabic = languages["en"], languages["ar"]
    assert english.keys() == arabic.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", arabic[key])), key
        assert re.search(r"[؀-ۿ]", arabic[key]), key


def test_every_text_that_is_asked_for_exists() -> None:
    html = (STATIC_FOLDER / "index.html").read_text(encoding="utf-8")
    scripts = "".join(path.read_text(encoding="utf-8") for path in STATIC_FOLDER.glob("*.js"))
    used = set(re.findall(r'data-text="(\w+)"', html))
    used |= set(re.findall(r'(?:text\(|key: |ApiError\()"(\w+)"', scripts))
    used |= {f"{kind}_{source}" for kind in ("source", "hint") for source in get_args(Source)}
    used |= {f"degraded_{part}" for part in ("feature_store", "text_encoder", "timeout", "release")}
    used |= {*EVENT_TYPE_NAMES, *(f"{kind}_{event_type}" for kind in ("did", "act") for event_type in EVENT_TYPE_NAMES)}
    assert used <= _texts()["en"].keys()
    assert set(re.findall(r'data-event="(\w+)"', html)) == set(EVENT_TYPE_NAMES)


def _texts() -> dict[str, dict[str, str]]:
    """The dictionaries of texts.js, which holds one text per line."""
    content = (STATIC_FOLDER / "texts.js").read_text(encoding="utf-8")
    languages = re.findall(r"^  (\w+): \{\n(.*?)^  \},$", content, re.DOTALL | re.MULTILINE)
    return {language: dict(re.findall(r'^    (\w+): "(.+)",$', body, re.MULTILINE)) for language, body in languages}


# ---- In a browser


def visit(page: Page, client: httpx.Client, path: str = "/") -> None:
    page.goto(f"{client.base_url.copy_with(path='')}{path.lstrip('/')}")
    wait_until(page, "document.querySelector('.card') !== null && !document.querySelector('[aria-busy=true]')")


def text(page: Page, selector: str) -> str:
    """The text of the first match."""
    return (page.locator(selector).first.text_content() or "").strip()


def texts(page: Page, selector: str) -> list[str]:
    """The texts of all matches."""
    return [one.strip() for one in page.locator(selector).all_text_contents()]


@pytest.mark.browser
def test_a_click_makes_the_list_personal(page: Page, client: httpx.Client) -> None:
    visit(page, client)
    assert texts(page, ".card .title") == FIRST_TITLES
    assert text(page, "#source") == "Popular"
    buyer = page.evaluate("document.querySelector('#buyer').value")
    assert re.fullmatch(r"guest-[0-9a-f]{6}", buyer)

    page.click(".card:nth-child(2) [data-event=view]")
    wait_until(page, "document.querySelector('#source').dataset.source === 'personalised'")
    assert text(page, "#source") == "Personalised"
    assert re.fullmatch(r"Updated in \d+ ms · 0 new · \d moved", text(page, "#status"))
    assert text(page, "#done li strong") == "Viewed"
    assert text(page, "#done li span") == "قهوة عربية"
    answer = client.get(f"/v1/buyers/{buyer}/recommendations").json()
    assert texts(page, ".card .title") == [item["title"] for item in answer["items"]]
    assert text(page, "#release-name") == answer["release"]

    visit(page, client)  # the next visit is the same guest's
    assert text(page, "#source") == "Personalised"


@pytest.mark.browser
def test_arabic_turns_the_page(page: Page, client: httpx.Client) -> None:
    visit(page, client)
    page.click("#language")
    assert page.evaluate("[document.documentElement.dir, document.documentElement.lang]") == ["rtl", "ar"]
    assert text(page, "h1") == "موصى به لك"
    assert text(page, ".card [data-event=purchase]") == "شراء"
    # The first card now lies at the right, the list of clicks at the left of the list of products.
    assert page.evaluate("document.querySelector('.card').getBoundingClientRect().x > innerWidth / 2")
    assert page.evaluate("document.querySelector('aside').getBoundingClientRect().right < innerWidth / 2")
    visit(page, client)
    assert page.evaluate("document.documentElement.dir") == "rtl"
    page.click("#language")
    assert page.evaluate("document.documentElement.dir") == "ltr"


@pytest.mark.browser
def test_a_phone_shows_all_without_scrolling_sideways(visitors: Visitors, client: httpx.Client) -> None:
    page = visitors.page(width=360, height=740)
    visit(page, client)
    for _ in range(2):  # in both directions
        assert page.evaluate("document.documentElement.scrollWidth === document.documentElement.clientWidth")
        assert page.evaluate(
            "[...document.querySelectorAll('button')].every((one) => one.scrollWidth <= one.clientWidth)"
        )
        page.click("#language")


@pytest.mark.browser
def test_any_buyer_can_be_shown(page: Page, client: httpx.Client) -> None:
    visit(page, client, "/?buyer=u1")
    assert text(page, "#source") == "Personalised"
    page.evaluate("document.querySelector('#buyer').value = 'nobody/at all'")
    page.click("#buyer-form [type=submit]")
    wait_until(page, "document.querySelector('#source').dataset.source === 'popular'")
    assert page.evaluate("new URLSearchParams(location.search).get('buyer')") == "nobody/at all"
    page.click("#new-guest")
    wait_until(page, "document.querySelector('#buyer').value.startsWith('guest-')")


@pytest.mark.browser
def test_the_keyboard_is_enough_and_keeps_its_place(page: Page, client: httpx.Client) -> None:
    visit(page, client)
    page.evaluate("document.querySelector('.card:nth-child(3) [data-event=add_to_cart]').focus()")
    label = "Add to cart: Smartphone 128GB"
    assert page.evaluate("document.activeElement.ariaLabel") == label
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#done li') !== null")
    assert text(page, "#done li strong") == "Added to cart"
    assert page.evaluate("document.activeElement.ariaLabel") == label
    assert page.evaluate("[...document.querySelectorAll('button, a')].every((one) => one.textContent.trim())")


@pytest.mark.browser
def test_errors_can_be_read(page: Page, visitors: Visitors, client: httpx.Client) -> None:
    visit(page, client)
    page.evaluate("document.querySelector('#buyer').value = 'x'.repeat(300)")
    page.click("#buyer-form [type=submit]")
    wait_until(page, "!document.querySelector('#error').hidden")
    assert "buyer_id: must have at most 256 characters" in text(page, "#error")
    assert text(page, "h1") == "Recommended for you"

    visit(page, client)
    assert page.evaluate("document.querySelector('#error').hidden")
    page.context.set_offline(True)
    page.locator(".card [data-event=view]").first.click()
    wait_until(page, "!document.querySelector('#error').hidden")
    assert text(page, "#error") == "The server does not answer. Is it running?"
    assert texts(page, ".card .title") == FIRST_TITLES  # still there
    page.context.set_offline(False)
    page.locator(".card [data-event=view]").first.click()
    wait_until(page, "document.querySelector('#error').hidden && document.querySelector('#done li') !== null")
    visitors.complaints.clear()  # the browser's own, about both requests


def tell(client: httpx.Client, buyer_id: str, *deeds: tuple[str, str]) -> None:
    events = [{"buyer_id": buyer_id, "product_id": product_id, "event_type": deed} for product_id, deed in deeds]
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == len(deeds)


@pytest.mark.browser
def test_products_say_why_they_are_there(page: Page, client: httpx.Client) -> None:
    tell(client, "curious", ("p3", "purchase"), ("p4", "view"))
    visit(page, client, "/?buyer=curious")
    coffee, shoes = "bought \u2068قهوة عربية\u2069", "viewed \u2068Running shoes\u2069"
    reasons = texts(page, ".card .because")
    assert f"Because you {coffee} and {shoes}" in reasons or f"Because you {shoes} and {coffee}" in reasons
    items = items_of(client.get("/v1/buyers/curious/recommendations"))
    assert [bool(reason) for reason in reasons] == [bool(item["because"]) for item in items]
    page.click("#language")
    turned = texts(page, ".card .because")
    assert any("اشتريت \u2068قهوة عربية\u2069" in reason for reason in turned)
    assert all(reason.startswith("لأنك ") for reason in turned if reason)

    tell(client, "phoner", ("p1", "view"), ("p1", "add_to_cart"))  # one product
    visit(page, client, "/?buyer=phoner")
    page.click("#language")
    named = {reason for reason in texts(page, ".card .because") if reason}
    phone = "\u2068هاتف ذكي ١٢٨ جيجا\u2069"
    assert named <= {f"Because you viewed {phone}", f"Because you added {phone} to the cart"}
    assert named

    visit(page, client, "/?buyer=nobody")
    assert set(texts(page, ".card .because")) == {""}


@pytest.mark.browser
def test_what_is_sold_out_says_so(page: Page, client: httpx.Client) -> None:
    visit(page, client)
    sold_out = dict(zip(texts(page, ".card .title"), texts(page, ".card .stock"), strict=True))
    assert sold_out == dict.fromkeys(FIRST_TITLES, "") | {"Smartphone 128GB": "Out of stock"}


class ChangingShop:
    """Stands in for the service and for the intake: hostile texts, and a list that changes with the first event."""

    pending_count = unknown_product_count = 0

    def __init__(self) -> None:
        self._told = False

    def answer(self, requests: Sequence[ListRequest]) -> list[ListResult]:
        """What the service answers."""
        return [ListResult(self._payload(request), []) for request in requests]

    def check_currency(self, filters: Filters) -> None:
        """Nothing to check."""

    def record(self, events: list[Any], _api_key: str, *, id_prefix: str) -> EventsResponse:
        """What the intake answers."""
        assert not id_prefix  # no buyer token
        self._told = True
        return EventsResponse(accepted=len(events), duplicates=0, unknown_product=0, pending=0, rejected=[])

    def replay(self) -> None:
        """Nothing waits."""

    def _payload(self, request: ListRequest) -> Json:
        ids = ["b", "new", "a"] if self._told else ["a", "b", "c"]
        answer: Json = {
            "buyer_id": request.buyer_id,
            "release": "r1",
            "source": "popular",
            "degraded": ["feature_store"] if self._told else [],
            "features": None,
            "relaxed": [],
            "matching": 4,
            "dropped": {},
            "search": None,
            "facets": None,
            "items": [self._product(product_id) for product_id in ids],
            "page": {"number": 1, "restarted": None},
            "next": None,
        }
        return RecommendationResponse.model_validate(answer).model_dump()

    @staticmethod
    def _product(product_id: str) -> Json:
        hostile = f"<img src=x onerror=\"document.title='owned'\">{product_id}"
        reason = {"product_id": "a", "title": hostile, "event_type": "view", "timestamp": 0, "contribution": 1}
        return {
            "product_id": product_id,
            "title": hostile,
            "title_language": None,
            "description": "",
            "brand": hostile,
            "category": hostile,
            "group_id": None,
            "photo": None,
            "price": 9.5,
            "regular_price": None,
            "currency": "EGP" if product_id == "c" else None,
            "stock": 0,
            "source": "popular",
            "score": 1,
            "score_parts": {
                "similarity": 1,
                "popularity": 0,
                "repeat": 2 if product_id == "c" else 0,
                "words": 0,
                "rules": 0,
            },
            "rules": [],
            "because": [reason],
        }


@pytest.fixture
def changing(runtime: Runtime) -> Iterator[httpx.Client]:
    shop = ChangingShop()
    changing = replace(runtime, service=cast("RecommendationService", shop), intake=cast("EventIntake", shop))
    with serving(create_app(runtime.config, changing)) as client:
        yield client


@pytest.mark.browser
def test_changes_are_marked_and_markup_stays_text(page: Page, changing: httpx.Client) -> None:
    visit(page, changing)
    assert texts(page, ".mark:not([hidden])") == []
    assert texts(page, ".card .because")[2] == "You chose this before"
    assert texts(page, ".card .price") == ["Price 9.50", "Price 9.50", "Price EGP\u00a09.50"]
    page.evaluate("document.querySelector('.card:nth-child(3) [data-event=view]').focus()")
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('#done li') !== null")
    assert texts(page, ".mark:not([hidden])") == ["↑1", "New", "↓2"]
    assert page.evaluate("document.querySelector('.mark').ariaLabel") == "up by 1"
    assert re.fullmatch(r"Updated in \d+ ms · 1 new · 2 moved", text(page, "#status"))
    assert page.evaluate("document.activeElement.id") == "heading"  # the card that had the focus is gone
    assert texts(page, ".card .title")[0] == "<img src=x onerror=\"document.title='owned'\">b"
    assert texts(page, ".card .because")[0].endswith(
        "viewed \u2068<img src=x onerror=\"document.title='owned'\">b\u2069"
    )
    assert text(page, ".card .price") == "Price 9.50"
    assert page.evaluate("document.querySelectorAll('.card img').length") == 0
    assert page.evaluate("document.title") == "Tawsiya"


@pytest.mark.browser
def test_a_list_made_without_a_part_says_so(page: Page, changing: httpx.Client) -> None:
    visit(page, changing)
    assert page.evaluate("document.querySelector('#degraded').hidden && !document.querySelector('#hint').hidden")
    page.locator(".card [data-event=view]").first.click()
    wait_until(page, "!document.querySelector('#degraded').hidden")
    assert text(page, "#degraded").startswith("This buyer's history cannot be read at the moment")
    assert page.evaluate("document.querySelector('#hint').hidden")  # it would say that nothing is known of the buyer
    page.click("#language")
    assert text(page, "#degraded").startswith("تتعذّر الآن قراءة سجل هذا المشتري")
