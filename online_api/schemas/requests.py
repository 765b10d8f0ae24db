"""The requests of the API as pydantic models, from which its OpenAPI documentation is generated."""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SkipValidation,
    TypeAdapter,
    model_validator,
)

from feature_repo import columns as c
from feature_repo.access.page_tokens import MAX_TOKEN_LENGTH
from feature_repo.transforms.events import EVENT_TYPE_NAMES, REFUND
from feature_repo.transforms.values.times import TimeReader
from online_api.schemas.fields import (
    TIME_FORMATS,
    BuyerOfEvent,
    CurrencyCode,
    EventId,
    Identifier,
    InteractionType,
    JsonNumber,
    LanguageTag,
    ListLength,
    Price,
    ProductId,
    Quantity,
    RecordedEventType,
    Timestamp,
)

EXAMPLE_VIEW: dict[str, JsonValue] = {c.PRODUCT_ID: "p1", c.EVENT_TYPE: "view"}
MAX_EXCLUDED, MAX_NAMES = 1000, 100
MAX_GUEST_TOKEN = 4096  # characters; a token has some two hundred
CURRENCY_DESCRIPTION = (
    "The price is in this currency, an ISO 4217 code in upper or lower case. Required with min_price or max_price if "
    "the catalogue has prices in several currencies"
)
MAX_PER_GROUP = "max_per_group"
PER_GROUP_DESCRIPTION = (
    "At most this many variants of one product (products with the same `group_id`). Further ones come after all other "
    "products, if K would not be filled otherwise; `relaxed` says so then"
)

PAGE_PARAMETER = "page"
PageToken = Annotated[
    str,
    Field(max_length=MAX_TOKEN_LENGTH, description="`next` of the page before: the list goes on after it"),
]
FILL_DESCRIPTION = "Let products of other sources follow where the list has too few; `items[].source` tells them apart"

Name = Annotated[str, Field(min_length=1, max_length=256)]
Cap = Annotated[int, Field(ge=1, le=100)]


class Interaction(BaseModel):
    """One action of the buyer."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_VIEW | {"timestamp": "2026-11-23T17:30:00Z"}]})

    product_id: Identifier
    event_type: InteractionType
    timestamp: Timestamp | None = Field(
        None,
        description=f"{TIME_FORMATS}. It only orders the interactions, so any time is accepted. Missing: newer than "
        "all interactions with a timestamp, in the given order",
    )
    text: Annotated[str, Field(max_length=2000)] | None = Field(
        None,
        description="Title and description of a product that the live release does not have; it is encoded at once",
    )


_INTERACTIONS = TypeAdapter(list[Interaction])


def read_interactions(interactions: Sequence[object], times: TimeReader) -> list[Interaction]:
    """Validates the interactions of a body.

    Raises:
        ValidationError: One of them is not valid.
    """
    return _INTERACTIONS.validate_python(interactions, context=times)


class EncodeBuyerRequest(BaseModel):
    """A buyer: interactions, or the id of a buyer with a stored history."""

    buyer_id: Identifier | None = Field(
        None, description="The stored history of this buyer counts if no interaction is usable"
    )
    # Not validated here: read_interactions does that with the shop's reader of times.
    interactions: list[SkipValidation[Interaction]] = Field(
        default=[], description="At most `api.max_interactions_per_request` (100). Unknown products are skipped"
    )


class RetrieveRequest(EncodeBuyerRequest):
    """A buyer and the number of products to find."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"interactions": [EXAMPLE_VIEW], "k": 10}, {c.BUYER_ID: "u1", "interactions": [], "k": 10}]
        }
    )

    k: Annotated[ListLength, JsonNumber] = 10
    lang: LanguageTag | None = None
    page: PageToken | None = None


class Filters(BaseModel):
    """Conditions on products: all must hold; for names, any of them. Hidden products are never returned."""

    # Frozen and with tuples, so that filters are hashable: they are the keys of a cache (live_catalogue.py).
    model_config = ConfigDict(extra="forbid", frozen=True)

    categories: tuple[Name, ...] = Field((), max_length=MAX_NAMES, description="One of these categories")
    brands: tuple[Name, ...] = Field((), max_length=MAX_NAMES, description="One of these brands")
    min_price: Annotated[Price, JsonNumber] | None = Field(None, description="The price is known and not below this")
    max_price: Annotated[Price, JsonNumber] | None = Field(None, description="The price is known and not above this")
    currency: CurrencyCode | None = Field(None, description=CURRENCY_DESCRIPTION)
    in_stock: bool = Field(False, strict=True, description="The product is not known to be out of stock")

    @property
    def by_price(self) -> bool:
        """Whether prices are compared."""
        return self.min_price is not None or self.max_price is not None

    @model_validator(mode="after")
    def _in_order(self) -> "Filters":
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price is above max_price")
        return self


class Diversity(BaseModel):
    """How much the products of one list should differ."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    lambda_: Annotated[float, JsonNumber] = Field(
        1.0, alias="lambda", ge=0, le=1, description="1: by score alone; 0: by difference alone"
    )
    max_per_brand: Annotated[Cap, JsonNumber] | None = Field(
        None, description="At most this many products of one brand"
    )
    max_per_category: Annotated[Cap, JsonNumber] | None = Field(
        None, description="At most this many products of one category"
    )
    max_per_group: Annotated[Cap, JsonNumber] = Field(1, description=PER_GROUP_DESCRIPTION)

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing, apart from variants of one product."""
        return self.lambda_ == 1 and self.max_per_brand is None and self.max_per_category is None


NO_FILTERS, NO_DIVERSITY = Filters(), Diversity()


def _recognised(filters: Filters) -> Filters:
    """NO_FILTERS itself if there is no condition, because the service checks by identity."""
    return NO_FILTERS if filters == NO_FILTERS else filters


class RecommendationRequest(RetrieveRequest):
    """A buyer and conditions on the list."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {c.BUYER_ID: "u1", "k": 10},
                {
                    "interactions": [EXAMPLE_VIEW],
                    "filters": {"categories": ["phones"], "max_price": 900, "in_stock": True},
                    "exclude": ["p1"],
                    "diversity": {"lambda": 0.7, "max_per_brand": 3},
                },
            ]
        },
    )

    filters: Annotated[Filters, AfterValidator(_recognised)] = NO_FILTERS
    exclude: list[Identifier] = Field(default=[], max_length=MAX_EXCLUDED, description="Products that must not appear")
    new_only: bool = Field(
        False,
        strict=True,
        description="Leave out all products that this buyer ever bought (no effect without `buyer_id`)",
    )
    diversity: Diversity = NO_DIVERSITY
    rules: bool = Field(True, strict=True, description="Apply the shop's merchandising rules")


class CartRequest(RecommendationRequest):
    """A cart, a buyer, and conditions on the list."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"product_ids": ["p1", "p3"], c.BUYER_ID: "u1", "k": 6}]}
    )

    product_ids: list[Identifier] = Field(min_length=1, max_length=MAX_NAMES, description="What is in the cart")
    fill: bool = Field(True, strict=True, description=FILL_DESCRIPTION)


class ListParameters(BaseModel):
    """The conditions on a list as query parameters."""

    model_config = ConfigDict(extra="forbid")

    k: ListLength = 10
    category: list[Name] = Field(default=[], max_length=MAX_NAMES, description="One of these categories")
    brand: list[Name] = Field(default=[], max_length=MAX_NAMES, description="One of these brands")
    min_price: Price | None = Field(None, description="The price is known and not below this")
    max_price: Price | None = Field(None, description="The price is known and not above this")
    currency: CurrencyCode | None = Field(None, description=CURRENCY_DESCRIPTION)
    in_stock: bool = Field(False, description="The product is not known to be out of stock")
    # Fewer than in a body, because servers and proxies refuse long URLs (uvicorn those above 64 KiB).
    exclude: list[Identifier] = Field(default=[], max_length=MAX_NAMES, description="Products that must not appear")
    lambda_: float = Field(
        1.0, alias="lambda", ge=0, le=1, description="Diversity: 1 by score alone, 0 by difference alone"
    )
    max_per_brand: Cap | None = Field(None, description="At most this many products of one brand")
    max_per_category: Cap | None = Field(None, description="At most this many products of one category")
    max_per_group: Cap = Field(1, description=PER_GROUP_DESCRIPTION)
    rules: bool = Field(True, description="Apply the shop's merchandising rules")
    lang: LanguageTag | None = None
    page: PageToken | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price is above max_price")
        return self

    def filters(self) -> Filters:
        """The conditions on products."""
        return _recognised(
            Filters(
                categories=tuple(self.category),
                brands=tuple(self.brand),
                min_price=self.min_price,
                max_price=self.max_price,
                currency=self.currency,
                in_stock=self.in_stock,
            )
        )

    def diversity(self) -> Diversity:
        """The diversity of the list."""
        return Diversity(
            lambda_=self.lambda_,
            max_per_brand=self.max_per_brand,
            max_per_category=self.max_per_category,
            max_per_group=self.max_per_group,
        )


class FacetedParameters(ListParameters):
    """The conditions on a list that facets can be counted of."""

    facets: bool = Field(False, description="Count the products by category, brand and price")


class ShopListParameters(FacetedParameters):
    """The conditions on a list of the shop's pages."""

    fill: bool = Field(True, description=FILL_DESCRIPTION)


class RecentParameters(ShopListParameters):
    """The conditions on the products of a buyer's newest events."""

    event_type: InteractionType = Field(EVENT_TYPE_NAMES[0], description="The events that count: views by default")


class RecommendationParameters(ListParameters):
    """The conditions on a list for one buyer."""

    new_only: bool = Field(False, description="Leave out all products that this buyer ever bought")


class SuggestionParameters(BaseModel):
    """What was typed so far."""

    model_config = ConfigDict(extra="forbid")

    q: str = Field(min_length=1, max_length=100, description="What was typed so far, in any language")
    k: Annotated[int, Field(ge=1, le=20, description="Number of suggestions")] = 8


SearchText = Annotated[str, Field(min_length=1, max_length=500, description="The search query, in any language")]


class SearchParameters(FacetedParameters):
    """A search query and the conditions on its list."""

    q: SearchText


class InspectionParameters(BaseModel):
    """The conditions on a list to inspect."""

    model_config = ConfigDict(extra="forbid")

    k: ListLength = 20
    new_only: bool = Field(False, description="As in the recommendations for a buyer; no effect on similar products")
    in_stock: bool = False
    rules: bool = Field(True, description="Apply the shop's merchandising rules")

    def filters(self) -> Filters:
        """The conditions on products."""
        return _recognised(Filters(in_stock=self.in_stock))


class ComparisonParameters(InspectionParameters):
    """The conditions on two lists to compare."""

    release: str = Field(max_length=100, description="Name of the other release, as `GET /v1/admin/releases` lists it")


class Event(BaseModel):
    """One event to record."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{c.EVENT_ID: "3f6c0a1e", c.BUYER_ID: "u1", **EXAMPLE_VIEW}]}
    )

    event_id: EventId | None = Field(
        None,
        description="Makes retries safe: an id is accepted once in 24 hours. Missing: an event with the same content "
        "counts once within `api.duplicate_window_seconds`",
    )
    buyer_id: BuyerOfEvent = Field(
        description="What databases write for nobody is refused: `0`, `NULL`, `(not set)`, ..."
    )
    product_id: ProductId
    event_type: RecordedEventType
    timestamp: Timestamp | None = Field(
        None, description=f"{TIME_FORMATS}. Before 2000 or in the future: refused. Missing: now"
    )
    quantity: Annotated[Quantity, JsonNumber] | None = Field(
        None, description="Number of pieces; a purchase of a negative number is a refund"
    )

    @model_validator(mode="after")
    def _signed(self) -> Self:
        """A refund has a positive quantity, whatever sign its sender prefers."""
        if self.quantity is not None and self.quantity < 0:
            if self.event_type not in ("purchase", REFUND):
                raise ValueError(f"the quantity of an event {self.event_type!r} must be positive, got {self.quantity}")
            self.event_type, self.quantity = REFUND, -self.quantity
        return self


class MergeRequest(BaseModel):
    """A guest who has become a buyer."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{c.GUEST_ID: "guest-7f3a"}]})

    guest_id: BuyerOfEvent = Field(description="The buyer id of the visits before the login")
    guest_token: str | None = Field(
        None,
        max_length=MAX_GUEST_TOKEN,
        description="A buyer token of the guest. Required if the request itself comes with a buyer token",
    )


class EventsRequest(BaseModel):
    """Events to record."""

    # Not validated here: the intake validates each event, so that an invalid one does not fail the whole request.
    events: list[SkipValidation[Event]] = Field(description="At most `api.max_events_per_request` (1000)")
