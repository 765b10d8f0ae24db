"""The responses of the inspection routes."""

from typing import Annotated, Literal

from pydantic import Field

from online_api.schemas.responses import (
    ApiResponse,
    DroppedReason,
    FeatureAge,
    ProductDetails,
    ProductFields,
    ScoreParts,
    Source,
)

PLACE_DESCRIPTION = (
    "x and y on the map, from -1 to 1. A product that is not in the map's sample lies where the nearest one does. "
    "null: the release does not have the product, or has no map"
)
Place = Annotated[list[float], Field(min_length=2, max_length=2)]


class InspectedEvent(ApiResponse):
    """One event of a buyer as the online store has it, and its part in the buyer vector."""

    number: int = Field(description="1 is the newest event")
    product_id: str | None = Field(description="null: the release does not have the product")
    title: str | None
    category: str | None
    product_key: str = Field(description="What the store keeps instead of the id: a hash of it, 63 bits")
    event_type: str
    timestamp: int = Field(description="Milliseconds since 1970, UTC")
    stored_in: list[Literal["materialized", "pushed"]] = Field(
        description="`materialized`: by the last `tawsiya refresh`. `pushed`: by the API since"
    )
    weight: float = Field(description="The configured weight of its event type, which the model starts from")
    left_out: Literal["too_old", "unknown_product", "no_weight"] | None = Field(
        description="Why it has no part in the list. `too_old`: the history has `max_events` newer ones. "
        "`unknown_product`: the release does not have its product. `no_weight`: the weight of its type is 0"
    )
    attention: float | None = Field(
        description="Its share of the buyer vector; the shares of all events sum to 1. null: it was not encoded"
    )
    place: Place | None = Field(description=PLACE_DESCRIPTION)


class EventContribution(ApiResponse):
    """What one event adds to the similarity of a product."""

    number: int = Field(description="The event's number")
    contribution: float


class SimilarityParts(ApiResponse):
    """What a similarity comes from; all values add up to it."""

    events: list[EventContribution] = Field(description="The five that add or take away most")
    other_events: float = Field(description="The sum of the other events")
    every_buyer: float = Field(
        description="The rest: what the tower adds for every buyer and, with the `transformer` aggregation, what the "
        "order of the events adds. For lists that are not personalised, all of it"
    )


class InspectedItem(ProductFields):
    """A product of the list, with the parts of its score."""

    rank: int
    source: Source
    score: float
    score_parts: ScoreParts
    similarity_parts: SimilarityParts
    rules: list[str]
    place: Place | None = Field(description=PLACE_DESCRIPTION)


class InspectedBuyer(ApiResponse):
    """A buyer's stored events, and the list that the live release makes from them."""

    buyer_id: str
    release: str
    aggregation: str = Field(description="How the buyer tower joins the events: `model.buyer_tower.aggregation_method`")
    max_events: int = Field(description="How many events a history has room for")
    n_purchases: int = Field(description="Stored purchases, which the repeat term counts whatever their age")
    source: Source
    degraded: list[str]
    features: FeatureAge | None
    events: list[InspectedEvent] = Field(description="Newest first")
    items: list[InspectedItem]
    relaxed: list[str]
    matching: int = Field(description="Number of products that the conditions leave")
    dropped: dict[DroppedReason, int] = Field(description="Number of products that each condition removed")


class ChangingValues(ApiResponse):
    """What changes between releases."""

    price: float | None
    regular_price: float | None
    currency: str | None
    stock: int | None
    hidden: bool


class ProductPopularity(ApiResponse):
    """How popular a product is in the release."""

    rank: int = Field(description="1: most events in the last days of the release's data")
    term: float = Field(description="The popularity term of the score")
    term_new_only: float = Field(description="The same in lists with `new_only`")


class VectorParts(ApiResponse):
    """What a product vector rests on, as shares that add up to 1; a part that points away from it is below 0."""

    text: float = Field(description="The text vector itself")
    learned: float = Field(description="What the model learned of text, brand, category and price")
    identity: float = Field(description="The id embedding: what the product's own events taught the model")
    borrowed: float = Field(description="Taken from products with an id embedding, by one without")


class NearProduct(ApiResponse):
    """One of the nearest products."""

    product_id: str
    title: str
    category: str | None
    hidden: bool
    cosine: float = Field(description="Of the product vectors; 1 is the same direction")
    place: Place | None = Field(description=PLACE_DESCRIPTION)


class InspectedProduct(ProductDetails):
    """A product as the live release and the feature store have it."""

    titles: dict[str, str] = Field(description="By language tag; empty if the shop gives none by language")
    released: ChangingValues = Field(description="As of the release")
    stored: ChangingValues | None = Field(description="In the feature store; null: it does not have it, or is down")
    popularity: ProductPopularity
    has_identity: bool = Field(description="Whether training has seen events of it, so that it has an id embedding")
    vector_parts: VectorParts
    nearest: list[NearProduct] = Field(description="As the index finds them, hidden ones included; nearest first")
    place: Place | None = Field(description=PLACE_DESCRIPTION)


class ComparedRelease(ApiResponse):
    """One of the two releases."""

    release: str
    source: Source
    degraded: list[str]
    matching: int


class ComparedProduct(ApiResponse):
    """A product in one list or in both; ranks from 1."""

    product_id: str
    title: str
    category: str | None
    live_rank: int | None = Field(description="null: it is in the other list only")
    other_rank: int | None = Field(description="null: it is in the live release's list only")
    live_score: float | None
    other_score: float | None


class ReleaseComparison(ApiResponse):
    """The lists of two releases for the same buyer or product, from the same stored events and rules."""

    live: ComparedRelease
    other: ComparedRelease
    n_common: int = Field(description="Products in both lists")
    overlap: float = Field(description="Their share of the longer list")
    rank_biased_overlap: float = Field(description="The same with more weight on the first ranks; 1: equal lists")
    rows: list[ComparedProduct] = Field(description="The live release's list, then what only the other one has")


class InspectedText(ApiResponse):
    """The query, or a synonym of it, as it is compared with product texts."""

    text: str
    is_synonym: bool
    spelled: str = Field(description="Normalised, each word in the form that most products have")
    consonants: str = Field(description="What of it is compared across scripts")
    known_words: list[str] = Field(description="Words that a product has, of three letters or more")
    alikeness_limit: float = Field(description="From which alikeness on a product matches this text by spelling")


class SearchWeights(ApiResponse):
    """The weights of the score."""

    meaning: float = Field(description="Of the cosine")
    synonym: float = Field(description="Of the spelling score of a synonym; that of the query itself counts in full")


class SearchLimits(ApiResponse):
    """When a product matches, and when nothing does."""

    min_alikeness: float = Field(description="The least alikeness of a match by spelling, without a known word")
    min_above_mean: float = Field(description="A match by meaning is at least this far above `mean_cosine`")
    mean_cosine: float = Field(description="The mean cosine of the query and the products")
    cosine: float | None = Field(description="From which cosine on a product matches by meaning; null: no text encoder")


class FoundProduct(ApiResponse):
    """One of the best products; `score` is `meaning` plus `spelling`."""

    rank: int
    product_id: str
    title: str
    category: str | None
    score: float
    meaning: float = Field(description="`cosine` times its weight")
    spelling: float = Field(description="`letters` plus `consonants`, times the weight of a synonym if it is by one")
    cosine: float | None = Field(description="Of the text vectors; null: no text encoder")
    letters: float = Field(description="Cosine of the groups of four letters, from 0 to 1")
    consonants: float = Field(description="Cosine of the groups of three consonants, from 0 to 1")
    by_text: int = Field(description="Which of `texts` it is spelled like; 0 is the query itself")
    alikeness: float = Field(description="How alike it is spelled, from 0 to 1: what the limit is compared with")
    matches_by: list[Literal["spelling", "meaning"]] = Field(description="Empty: it is no match")


class InspectedSearch(ApiResponse):
    """Why a query finds what it finds: the best visible products before rules and diversity."""

    release: str
    degraded: list[str]
    query: str
    texts: list[InspectedText] = Field(description="The query, then its synonyms")
    correction: str | None = Field(description="The query with mistyped words corrected")
    no_match: bool = Field(description="No product is like the query; callers of /v1/search get popular products")
    weak: bool = Field(description="A match, but no product has a word of the query")
    matching: int = Field(description="Number of visible products that match")
    weights: SearchWeights
    limits: SearchLimits
    items: list[FoundProduct]


class MapPoint(ApiResponse):
    """A product on the map."""

    product_id: str
    title: str
    category: int | None = Field(description="Its place in `categories`")
    place: Place = Field(description="x and y, from -1 to 1")


class InspectedMap(ApiResponse):
    """A sample of the products in two dimensions; similar products lie near each other."""

    release: str
    n_products: int = Field(description="Products of the release")
    categories: list[str]
    points: list[MapPoint]
