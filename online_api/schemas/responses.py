"""The responses of the API as pydantic models, from which its OpenAPI documentation is generated.

For frequent requests the service builds plain dictionaries, which takes a tenth of the time; tests validate them
against these models.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal[
    "session", "personalised", "similar", "search", "buy_again", "recently_viewed", "bought_together",
    "bought_within_days", "trending", "new", "on_sale", "popular_in_filter", "popular",
]  # fmt: skip
DroppedReason = Literal[
    "hidden", "out_of_stock", "currency", "category", "brand", "price", "excluded", "purchased", "shown", "not_listed"
]
MergeOutcome = Literal["merged", "known", "pending"]
PageRestart = Literal["invalid", "expired", "other_list", "unavailable"]
SOURCE_DESCRIPTION = (
    "What the list is made from. `session`: the interactions of the request. `personalised`: the stored history. "
    "`similar`, `search`: a product or a query. `buy_again`, `recently_viewed`, `bought_together`, "
    "`bought_within_days`, `trending`, `new`, `on_sale`: the lists of a shop's pages; products of other sources fill "
    "them. `popular_in_filter`, `popular`: nothing usable is known, so the most "
    "popular products, within the filters or of all"
)
DEGRADED_DESCRIPTION = (
    "Parts that were down: `feature_store` (the stored history was not used, or lacks the newest events because the "
    "store refuses writes), `text_encoder` (a text was ignored), `timeout` (the list took too long), `release` (it is "
    "too old for this list). Empty if nothing was down"
)


class ApiResponse(BaseModel):
    """The base of all responses."""

    # The tests validate the service's dictionaries against these models, so a field that is not documented fails them.
    model_config = ConfigDict(extra="forbid")


class ScoreParts(ApiResponse):
    """The terms of a score, which is their sum. Terms that a list does not use are 0."""

    similarity: float = Field(
        description="Inner product of buyer vector and product vector; for a query, 6 times the cosine of the text "
        "vectors; for popular products, 1 / rank; for products of the lists of a shop's pages, from 0 to 1, and 10 "
        "more for each source that follows"
    )
    popularity: float = Field(description="Popularity term: how many buyers chose the product recently")
    repeat: float = Field(description="Repeat term: the buyer's own events with the product; 0 with `new_only`")
    co_occurrence: float = Field(
        description="Co-occurrence term: how often buyers of the history's products also chose this one"
    )
    closeness: float = Field(
        description="Closeness term: how near the product is to the nearest other product of the buyer's history"
    )
    words: float = Field(description="How similar query and product are spelled, from 0 to 2; 0 except in searches")
    rules: float = Field(description="Boosts minus buries of merchandising rules")


class Because(ApiResponse):
    """An event, or a product of the cart, that contributed to the score of a product."""

    product_id: str
    title: str
    event_type: str | None = Field(description="null for a product that the request names")
    timestamp: int | None = Field(description="Milliseconds since 1970, UTC; null likewise")
    contribution: float = Field(
        description="Its part of `score_parts.similarity`; the rest beyond all events is what most buyers like"
    )


class ProductFields(ApiResponse):
    """The fields of a product."""

    product_id: str
    title: str
    title_language: str | None = Field(
        description="Language tag of `title`, such as `ar`; null if the shop does not say. See the parameter `lang`"
    )
    description: str
    brand: str | None
    category: str | None
    group_id: str | None = Field(description="Variants of one product (sizes, colours) share it")
    photo: str | None
    price: float | None = Field(description="From the feature store, at most 10 s old")
    regular_price: float | None = Field(description="The price before a reduction; null if nothing is reduced")
    currency: str | None = Field(description="ISO 4217 code of `price`, such as EGP; null if the shop does not say")
    stock: int | None = Field(description="From the feature store, at most 10 s old")


class RecommendedProduct(ProductFields):
    """One product of a list."""

    source: Source = Field(description="Where the product comes from; differs from the list's where products fill it")
    score: float = Field(description="Higher is better; comparable within one list only")
    score_parts: ScoreParts
    rules: list[str] = Field(description="Names of the merchandising rules that moved the product")
    because: list[Because] = Field(description="The two events that contributed most to `score_parts.similarity`")


class FeatureAge(ApiResponse):
    """The age of the buyer's stored features."""

    built: int | None = Field(
        description="Time at which the materialized history was built, in milliseconds since 1970"
    )
    last_event: int | None = Field(description="Time of the newest event, in milliseconds since 1970")


class PageInfo(ApiResponse):
    """Which page of a list this is."""

    number: int = Field(description="From 1")
    restarted: PageRestart | None = Field(
        description="Why the list begins anew although `page` was sent. `invalid`: it is no token of this shop. "
        "`expired`: it is older than an hour. `other_list`: it is of another list, buyer or query, or the conditions "
        "differ. `unavailable`: it cannot be checked, because the online store is down. null: it does not"
    )


class SearchFacts(ApiResponse):
    """How products match a search query."""

    matching: int = Field(
        description="Number of products that match the query and pass the conditions; a list that is longer goes on "
        "with the next best ones"
    )
    no_match: bool = Field(
        description="The query is like no product of the shop; `items` are popular products, as `source` says"
    )
    did_you_mean: str | None = Field(
        description="The query with mistyped words corrected, if the shop does not have these words and has products "
        "for the result. The list is still of the query as it was sent"
    )


class FacetValue(ApiResponse):
    """A category or a brand, and what choosing it would give."""

    value: str
    count: int
    selected: bool = Field(description="Whether the filters of the request name it")


class PriceRange(ApiResponse):
    """A range of prices. `min_price` and `max_price` as filters give exactly its products."""

    currency: str | None
    min_price: float = Field(description="Lowest price in it")
    max_price: float = Field(description="Highest price in it")
    count: int


class Facets(ApiResponse):
    """Numbers of products. Those of a facet keep all conditions but the facet's own."""

    categories: list[FacetValue] = Field(description="Most frequent first; 50 at most, and those that are selected")
    brands: list[FacetValue] = Field(description="Likewise")
    prices: list[PriceRange] = Field(description="By currency, lowest first, up to five of each")


class RecommendationResponse(ApiResponse):
    """A list of products, best first, and how it was made."""

    buyer_id: str | None
    release: str
    source: Source = Field(description=SOURCE_DESCRIPTION)
    degraded: list[str] = Field(description=DEGRADED_DESCRIPTION)
    features: FeatureAge | None = Field(description="Age of the stored history; null if it was not used")
    relaxed: list[str] = Field(
        description="Conditions that were relaxed, because fewer than K products would have come back otherwise: "
        "`max_per_group`, or nothing"
    )
    matching: int = Field(description="Number of products that filters, exclusions and purchases leave")
    dropped: dict[DroppedReason, int] = Field(
        description="Number of products that were left out, each counted under the first reason that applies, in the "
        "order hidden, out_of_stock, currency, category, brand, price, excluded, purchased, shown (on earlier pages), "
        "not_listed (with `fill=false`)"
    )
    search: SearchFacts | None = Field(description="How products match the query; null except in searches")
    facets: Facets | None = Field(description="Counted if the request asks for it; else null")
    items: list[RecommendedProduct]
    page: PageInfo
    next: str | None = Field(
        description="Continues the list: send it as `page`, with the same conditions, within an hour. null: there is "
        "nothing more to show, or 500 products were shown"
    )


class SuggestedText(ApiResponse):
    """A text that completes what was typed."""

    text: str
    kind: Literal["category", "brand", "phrase", "product"] = Field(
        description="`phrase` is what several titles have in common; `product` is a title"
    )
    product_id: str | None = Field(description="The product, of kind `product`; else null")


class Suggestions(ApiResponse):
    """Suggestions for what was typed, most popular first."""

    release: str
    suggestions: list[SuggestedText]


class EncodeBuyerResponse(ApiResponse):
    """A buyer vector."""

    embedding: list[float] = Field(description="Unit vector; comparable with products of the same release only")
    embedding_dim: int
    release: str
    degraded: list[str] = Field(description=DEGRADED_DESCRIPTION)


class ProductDetails(ProductFields):
    """A product."""

    hidden: bool
    release: str


class RejectedEvent(ApiResponse):
    """An event that was not accepted."""

    index: int = Field(description="Its index in the request, from 0")
    reason: str


class EventsResponse(ApiResponse):
    """The outcome for the events; the accepted ones are stored durably."""

    accepted: int
    duplicates: int
    unknown_product: int = Field(
        description="Accepted and logged, of a product that the live release does not know; they count as soon as a "
        "release knows it"
    )
    pending: int = Field(description="Accepted while the feature store was down; recommendations will use them later")
    rejected: list[RejectedEvent]


class MergeResponse(ApiResponse):
    """The outcome of a merge, which is stored durably."""

    buyer_id: str
    guest_id: str
    outcome: MergeOutcome = Field(
        description="`merged`: the guest's history is the buyer's now. `known`: it was before, or the buyer belongs to "
        "the guest. `pending`: accepted while the feature store was down; it follows later"
    )


class Health(ApiResponse):
    """The state of the service."""

    status: Literal["ok", "degraded"]
    release: str
    products: int
    embedding_dim: int
    feature_store: Literal["ok", "refuses_writes", "unavailable"] = Field(
        description="`refuses_writes`: it answers but takes no events, for example because it is out of memory"
    )
    rules: str = Field(description="`ok`, or why the current rules file is not used")
    synonyms: str = Field(description="`ok`, or why the current file of synonyms is not used")
    pending_events: int


class Liveness(ApiResponse):
    """The process is running."""

    status: Literal["ok"] = "ok"


class ReleaseInfo(ApiResponse):
    """A release on disk."""

    name: str
    created: str
    n_products: int | None
    live: bool = Field(description="Whether `current` points to this release")
    serving: bool = Field(description="Whether this worker answers from this release")


class Releases(ApiResponse):
    """All releases, oldest first."""

    releases: list[ReleaseInfo]


class ReleaseChange(ApiResponse):
    """The result of a reload or a rollback."""

    release: str = Field(
        description="The release that this worker now answers from; other workers follow within seconds"
    )
    changed: bool
