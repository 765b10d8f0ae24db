"""What is asked, what is known about who asks, and what is answered: the service's own types, without HTTP."""

from collections.abc import Sequence as Rows
from dataclasses import dataclass, field
from typing import Any

from feature_repo.online.features import BuyerFeatures
from feature_repo.transforms.sequences import Sequence, merge_sequences
from online_api.schemas.requests import NO_DIVERSITY, NO_FILTERS, Diversity, Filters, Interaction
from online_api.schemas.responses import Source
from training.artifacts.buyer_encoder import EncodedBuyer
from training.artifacts.recommender import KnownEvents
from training.artifacts.search.filtered_search import Floats
from training.artifacts.search.text_search import Found

Stages = list[tuple[str, float, float]]
Payload = dict[str, Any]

NO_TEXT_ENCODER = ("text_encoder",)  # as Question.degraded has it


@dataclass(frozen=True, slots=True)
class Question:
    """One request for products.

    Attributes:
        k: How many.
        buyer_id: Whose stored history counts where `interactions` says nothing.
        interactions: What the buyer did just now.
        like: A product, to find similar ones.
        query: What was typed into a search field.
        found: What that has to do with the products of `release`.
        texts: Vectors of products that the release does not have, by id.
        release: The release that `found` and `texts` belong to; another one cannot read them.
        popular: Asks for what sells best, whoever the buyer is.
        filters, exclude, new_only, diversity, rules: As RecommendationRequest has them.
        degraded: What was down before the question was asked.
    """

    k: int = 10
    buyer_id: str | None = None
    interactions: Rows[Interaction] = ()
    like: str | None = None
    query: str | None = None
    found: Found | None = None
    texts: dict[str, Floats] = field(default_factory=dict)
    release: str | None = None
    popular: bool = False
    filters: Filters = NO_FILTERS
    exclude: Rows[str] = ()
    new_only: bool = False
    diversity: Diversity = NO_DIVERSITY
    rules: bool = True
    degraded: tuple[str, ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether it asks for the best K of all products, so that a search for K may answer it."""
        return self.filters is NO_FILTERS and not self.exclude and not self.new_only and self.diversity.is_plain


@dataclass(slots=True)
class Reply:
    """The answer to one question: `payload` is a RecommendationResponse as plain values, the rest is for the record."""

    payload: Payload
    stages: Stages

    @property
    def source(self) -> Source:
        """What the answer is made from."""
        source: Source = self.payload["source"]
        return source


@dataclass(slots=True)
class Subject:
    """Who or what a question is about, once its events are known."""

    question: Question
    source: Source
    readable: KnownEvents
    new: dict[int, Floats]  # vectors of the question's texts, by product key
    degraded: list[str]
    stored: BuyerFeatures | None = None
    buyer: EncodedBuyer | None = None
    found: Found | None = None

    @property
    def remembered(self) -> Sequence:
        """What the repeat term counts: the events that speak for the buyer, and all purchases that are stored."""
        if self.source != "personalised" or self.stored is None:
            return self.readable.events
        return merge_sequences(self.readable.events, self.stored.purchases)
