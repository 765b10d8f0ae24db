"""What a click changes on the demo shop, with hostile texts and with parts that are down."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import httpx
import pytest
from playwright.sync_api import Page, expect

from online_api.app import create_app
from online_api.events.intake import EventIntake
from online_api.lists.list_request import ListRequest, ListResult
from online_api.runtime import Runtime
from online_api.schemas.requests import Filters
from online_api.schemas.responses import EventsResponse, RecommendationResponse
from online_api.service import RecommendationService
from tests.online_api.api_shop import Json
from tests.online_api.storefront.shop import reasons, row, titles, visit
from tests.serving import serving

pytestmark = [pytest.mark.store, pytest.mark.browser]

NO_FACETS: Json = {"categories": [], "brands": [], "prices": []}
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


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
        assert id_prefix.startswith("buyer:")  # the page has a buyer token
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
            "facets": NO_FACETS if request.facets else None,
            "items": [self._product(product_id) for product_id in ids],
            "page": {"number": 1, "restarted": None},
            "next": None,
        }
        return RecommendationResponse.model_validate(answer).model_dump()

    @staticmethod
    def _product(product_id: str) -> Json:
        hostile = f"{HOSTILE}{product_id}"
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
            "stock": 0 if product_id == "c" else 1,
            "source": "popular",
            "score": 1,
            "score_parts": {
                "similarity": 1,
                "popularity": 0,
                "repeat": 2 if product_id == "c" else 0,
                "co_occurrence": 0,
                "closeness": 0,
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


def test_changes_are_marked_and_markup_stays_text(page: Page, changing: httpx.Client) -> None:
    visit(page, changing)
    recommended = row(page, "recommended")
    assert recommended.locator(".mark").count() == 0
    assert reasons(recommended)[2] == "You chose this before"
    assert recommended.locator(".price").all_text_contents() == ["Price 9.50", "Price 9.50", "Price \u2066E£\u20699.50"]
    expect(recommended.locator(".add").nth(2)).to_have_text("Out of stock")
    expect(recommended.locator(".add:disabled")).to_have_count(1)

    recommended.locator(".add").nth(0).focus()
    page.keyboard.press("Enter")
    expect(recommended.locator(".mark")).to_have_text(["↑1", "New here", "↓2"])
    assert recommended.locator(".mark").first.get_attribute("aria-label") == "up by 1"
    expect(recommended.locator(".changes")).to_contain_text("1 new · 2 moved")
    assert page.evaluate("document.activeElement.closest('.card').dataset.product") == "a"  # it moved with its card
    assert titles(recommended)[0] == f"{HOSTILE}b"
    assert reasons(recommended)[0] == f"Because you viewed \u2068{HOSTILE}b\u2069"
    assert page.locator("main img").count() == 0
    assert page.title() == "Tawsiya Market"


def test_a_list_made_without_a_part_says_so(page: Page, changing: httpx.Client) -> None:
    visit(page, changing)
    recommended = row(page, "recommended")
    expect(recommended.locator(".hint")).to_contain_text("What most shoppers choose")
    recommended.locator(".add").first.click()
    expect(recommended.locator(".hint")).to_have_text(
        "Your history cannot be read at the moment, so this list is made without it."
    )
    page.locator("#language").click()
    expect(recommended.locator(".hint")).to_contain_text("تتعذّر الآن قراءة سجلك")
