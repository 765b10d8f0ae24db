"""What the API gives, as pydantic models; they are also its OpenAPI documentation.

The service builds the answers to the frequent requests as plain dictionaries, ten times as fast as models; the tests
hold them to these models.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Source = Literal["session", "personalised", "similar", "search", "popular_in_filter", "popular"]
DroppedReason = Literal["hidden", "out_of_stock", "category", "brand", "price", "excluded", "purchased"]
SOURCES = (
    "`session`: from the interactions of the request. `personalised`: from the stored history. `similar`, `search`: "
    "from a product or a query. `popular_in_filter`, `popular`: nothing usable is known, so what sells best, within "
    "the filters or of all"
)
DEGRADED = (
    "What was down while the answer was made: `feature_store` (the stored history is missing), `text_encoder` (a text "
    "was left out), `timeout`. Empty when all is well"
)


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(extra="forbid")


class ScoreParts(Answer):
    """What a score is made of; the parts add up to it. Those that a list has no use for are 0."""

    similarity: float = Field(
        description="Inner product of buyer and product; of a query and a product 6 times the cosine of their texts; "
        "for popular products 1 / rank"
    )
    popularity: float = Field(description="What the product gains for its buyers of the last days")
    repeat: float = Field(description="What it gains for the buyer's own events with it; 0 with `new_only`")
    words: float = Field(description="How alike query and product are spelled, from 0 to 2; 0 but in searches")
    rules: float = Field(description="Boosts less buries of the shop's rules")


class Because(Answer):
    """An event that speaks for a product."""

    product_id: str
    title: str
    event_type: str
    timestamp: int = Field(description="Milliseconds since 1970, UTC")
    contribution: float = Field(
        description="Its share of `score_parts.similarity`; what all events leave of it is what most buyers like"
    )


class ShownProduct(Answer):
    """What answers show of a product."""

    product_id: str
    title: str
    description: str
    brand: str | None
    category: str | None
    photo: str | None
    price: float | None = Field(description="As the feature store has it, at most 10 s old")
    stock: int | None = Field(description="As the feature store has it, at most 10 s old")


class RecommendedProduct(ShownProduct):
    """One product of an answer."""

    score: float = Field(description="Higher is better; comparable within one answer only")
    score_parts: ScoreParts
    rules: list[str] = Field(description="Names of the shop's rules that moved the product")
    because: list[Because] = Field(description="The two events that contributed most to `score_parts.similarity`")


class FeatureAge(Answer):
    """How old the buyer's features are."""

    built: int | None = Field(description="When the materialised history was built, milliseconds since 1970")
    last_event: int | None = Field(description="Time of the newest event, milliseconds since 1970")


class RecommendationResponse(Answer):
    """Products, best first, and what the answer is made of."""

    buyer_id: str | None
    release: str
    source: Source = Field(description=SOURCES)
    degraded: list[str] = Field(description=DEGRADED)
    features: FeatureAge | None = Field(description="Of the stored history; null where none was used")
    matching: int = Field(description="Products that filters, exclusions and purchases leave")
    dropped: dict[DroppedReason, int] = Field(
        description="Products of the catalogue that were left out, each under the first reason that holds, in the "
        "order hidden, out_of_stock, category, brand, price, excluded, purchased"
    )
    items: list[RecommendedProduct]


class EncodeBuyerResponse(Answer):
    """The buyer's vector."""

    embedding: list[float] = Field(description="Unit length; comparable with products of the same release only")
    embedding_dim: int
    release: str
    degraded: list[str] = Field(description=DEGRADED)


class ProductDetails(ShownProduct):
    """One product."""

    hidden: bool
    release: str


class RejectedEvent(Answer):
    """An event that was not taken."""

    index: int = Field(description="Its place in the request, from 0")
    reason: str


class EventsResponse(Answer):
    """What became of the events; the accepted ones are stored durably."""

    accepted: int
    duplicates: int
    pending: int = Field(description="Accepted while the feature store was away; recommendations will see them later")
    rejected: list[RejectedEvent]


class Health(Answer):
    """The state of the service."""

    status: Literal["ok", "degraded"]
    release: str
    products: int
    embedding_dim: int
    feature_store: Literal["ok", "unavailable"]
    rules: str = Field(description="`ok`, or why the rules file as it is now is not in force")
    pending_events: int


class Liveness(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ReleaseInfo(Answer):
    """One release on disk."""

    name: str
    created: str
    n_products: int | None
    live: bool = Field(description="The one that `current` points to")
    serving: bool = Field(description="The one that this worker answers from")


class Releases(Answer):
    """All releases, oldest first."""

    releases: list[ReleaseInfo]


class ReleaseChange(Answer):
    """What a reload or a roll-back led to."""

    release: str = Field(description="The release that this worker answers from now; others follow within seconds")
    changed: bool
