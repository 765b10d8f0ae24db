"""The service's own types, independent of HTTP: the request for a list, the resolved request, and the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from feature_repo.common.arrays import Float32Array
from feature_repo.online.features import BuyerFeatures
from feature_repo.transforms.sequences import EventSequence, merge_sequences
from online_api.lists.kinds.list_kinds import ShopList
from online_api.lists.languages import MAIN_TITLE, Languages
from online_api.schemas.requests import NO_DIVERSITY, NO_FILTERS, Diversity, Filters, Interaction
from online_api.schemas.responses import Source
from training.artifacts.queries.query_matches import QueryMatches
from training.artifacts.recommender import KnownEvents

Stages = list[tuple[str, float, float]]  # name, start and end of each stage; time.perf_counter seconds
Payload = dict[str, Any]


class CurrencyRequiredError(ValueError):
    """A price filter without a currency, in a catalogue with prices in several currencies."""

    def __init__(self, currencies: Sequence[str]) -> None:
        """Names the currencies of the catalogue."""
        listed = ", ".join(currencies)
        super().__init__(f"min_price, max_price: the catalogue has prices in {listed}; name one of them in currency")


NO_TEXT_ENCODER = ("text_encoder",)  # a value of ListRequest.degraded


@dataclass(frozen=True, slots=True)
class ListRequest:
    """One request for a list of products.

    Attributes:
        k: Number of products.
        buyer_id: The buyer whose stored history counts if no interaction has a known product.
        interactions: The buyer's interactions in this session.
        similar_to: Id of a product, to list similar ones.
        query: A search query.
        matches: The scores of the products of `release` for the query.
        text_vectors: Product vectors of products that `release` does not have, by product id.
        release: The release of `matches` and `text_vectors`; no other release can use them.
        popular: Asks for popular products, whoever the buyer is.
        shop_list: A list of the shop's pages; what the request asks for otherwise fills it.
        filters, exclude, new_only, diversity, rules: As in RecommendationRequest.
        facets: Whether to count the products by category, brand and price.
        languages: The languages in which the caller wants titles.
        degraded: Parts that failed while the request was prepared.
        page: The token of the page, as the caller sent it; see pages.Pages.
        shown: Product keys of what the pages before have shown.
    """

    k: int = 10
    buyer_id: str | None = None
    interactions: Sequence[Interaction] = ()
    similar_to: str | None = None
    query: str | None = None
    matches: QueryMatches | None = None
    text_vectors: Mapping[str, Float32Array] = field(default_factory=dict)
    release: str | None = None
    popular: bool = False
    shop_list: ShopList | None = None
    filters: Filters = NO_FILTERS
    exclude: Sequence[str] = ()
    new_only: bool = False
    diversity: Diversity = NO_DIVERSITY
    rules: bool = True
    facets: bool = False
    languages: Languages = MAIN_TITLE
    degraded: tuple[str, ...] = ()
    page: str | None = None
    shown: tuple[int, ...] = ()

    def for_release(self, name: str) -> "ListRequest":
        """The request as release `name` can answer it: without vectors and scores that belong to another release."""
        if self.release in (None, name):
            return self
        degraded = tuple(dict.fromkeys([*self.degraded, *NO_TEXT_ENCODER]))  # each part once, in order
        return replace(self, matches=None, text_vectors={}, release=None, degraded=degraded)

    def popular_only(self) -> "ListRequest":
        """The same request, answered with popular products: it needs neither the feature store nor the model."""
        return replace(
            self,
            popular=True,
            shop_list=None,
            interactions=(),
            text_vectors={},
            similar_to=None,
            query=None,
            matches=None,
            new_only=False,  # needs the stored purchases
        )


@dataclass(frozen=True, slots=True)
class ResolvedRequest:
    """A list request together with the history that its list is made from.

    Attributes:
        request: The list request.
        source: What the list is made from.
        history: Events of the session or of the stored history; empty for other sources.
        degraded: Parts that failed.
        matches: The scores of products for a query.
        stored: The buyer's stored features, if the request needed them and the feature store answered.
    """

    request: ListRequest
    source: Source
    history: KnownEvents
    degraded: tuple[str, ...]
    matches: QueryMatches | None = None
    stored: BuyerFeatures | None = None

    @property
    def needs_stored_features(self) -> bool:
        """Whether the stored features of the buyer affect the list: as its history, or as purchases to leave out."""
        request = self.request
        return request.buyer_id is not None and (self.source == "popular" or request.new_only) and not request.popular

    @property
    def repeat_events(self) -> EventSequence:
        """The events that the repeat term counts: the history, and all stored purchases if the history is stored."""
        if self.source != "personalised" or self.stored is None:
            return self.history.events
        return merge_sequences(self.history.events, self.stored.purchases)


@dataclass(frozen=True, slots=True)
class ListResult:
    """The result of a list request.

    Attributes:
        payload: The fields of a RecommendationResponse.
        stages: When each stage began and ended.
        resolved: What it was made from.
    """

    payload: Payload
    stages: Stages
    resolved: ResolvedRequest | None = None

    @property
    def source(self) -> Source:
        """What the list is made from."""
        source: Source = self.payload["source"]
        return source
