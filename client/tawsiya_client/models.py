"""What the API takes and returns, as the caller of this client sees it.

Answers may have more fields than these: a newer service does not break an older client. The service's OpenAPI document
explains every field; a test of the project compares the two.
"""

import uuid
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

EventType = Literal["view", "add_to_cart", "purchase", "refund"]


class Answer(BaseModel):
    """The base of what the service returns."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class FieldError(Answer):
    """A wrong field of a call."""

    field: str
    message: str


class Problem(Answer):
    """An error of the service (RFC 9457)."""

    title: str
    status: int
    detail: str = ""
    errors: list[FieldError] = []
    request_id: str | None = None


class Reason(Answer):
    """An event of the buyer that speaks for a product: "because you viewed ..."."""

    product_id: str
    title: str
    event_type: str | None
    timestamp: int | None
    contribution: float


class ScoreParts(Answer):
    """The terms of a score, which is their sum."""

    similarity: float
    popularity: float
    repeat: float
    co_occurrence: float = 0.0
    closeness: float = 0.0
    words: float
    rules: float


class ProductFields(Answer):
    """What a shop shows of a product."""

    product_id: str
    title: str
    title_language: str | None = None
    description: str = ""
    brand: str | None = None
    category: str | None = None
    group_id: str | None = None
    photo: str | None = None
    price: float | None = None
    regular_price: float | None = None
    currency: str | None = None
    stock: int | None = None


class Item(ProductFields):
    """A product of a list; `source` says where it comes from, in a list that is filled from several."""

    source: str
    score: float
    score_parts: ScoreParts
    rules: list[str] = []
    because: list[Reason] = []


class Product(ProductFields):
    """One product."""

    hidden: bool
    release: str


class FeatureAge(Answer):
    """The age of the stored history, milliseconds since 1970."""

    built: int | None = None
    last_event: int | None = None


class Page(Answer):
    """Which page of a list this is, from 1, and why it began anew although a token was sent."""

    number: int = 1
    restarted: str | None = None


class SearchFacts(Answer):
    """How products match a query."""

    matching: int
    no_match: bool
    did_you_mean: str | None = None


class FacetValue(Answer):
    """A category or a brand, and how many products choosing it would give."""

    value: str
    count: int
    selected: bool


class PriceRange(Answer):
    """A range of prices, as filters give it."""

    currency: str | None
    min_price: float
    max_price: float
    count: int


class Facets(Answer):
    """Numbers of products."""

    categories: list[FacetValue]
    brands: list[FacetValue]
    prices: list[PriceRange]


class ProductList(Answer):
    """A list of products, best first, and what it was made from.

    With `source` "fallback" it is the popular list that the client kept, because the service is away; then `degraded`
    has "service".
    """

    buyer_id: str | None = None
    release: str
    source: str
    degraded: list[str] = []
    features: FeatureAge | None = None
    relaxed: list[str] = []
    matching: int = 0
    dropped: dict[str, int] = {}
    search: SearchFacts | None = None
    facets: Facets | None = None
    items: list[Item]
    page: Page = Page()
    next: str | None = None  # send it as `page` to go on

    @property
    def product_ids(self) -> list[str]:
        """The ids of the products, best first."""
        return [item.product_id for item in self.items]


class Suggestion(Answer):
    """A text that completes what was typed: a category, brand, phrase or product."""

    text: str
    kind: str
    product_id: str | None = None


class SuggestionList(Answer):
    """Suggestions, most popular first."""

    release: str
    suggestions: list[Suggestion]


class MergeResult(Answer):
    """The outcome of `merge`: "merged", "known" (it was before) or "pending" (it follows)."""

    buyer_id: str
    guest_id: str
    outcome: str


class RejectedEvent(Answer):
    """An event that the service did not accept."""

    index: int
    reason: str


class EventsResult(Answer):
    """The outcome of `record`; what was accepted is stored durably."""

    accepted: int
    duplicates: int
    unknown_product: int
    pending: int
    rejected: list[RejectedEvent]


class Interaction(BaseModel):
    """Something the buyer did in this session."""

    model_config = ConfigDict(extra="forbid")

    product_id: str
    event_type: EventType = "view"
    timestamp: datetime | int | None = None
    text: str | None = None


def _new_id() -> str:
    return uuid.uuid4().hex


class Event(BaseModel):
    """Something a buyer did, to record."""

    model_config = ConfigDict(extra="forbid")

    buyer_id: str
    product_id: str
    event_type: EventType = "view"
    timestamp: datetime | int | None = None
    quantity: int | None = None
    # The service accepts an id once, so that the client may repeat a call that got no answer.
    event_id: str = Field(default_factory=_new_id)
