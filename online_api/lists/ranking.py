"""Ranks the allowed products of a request: scores, rule adjustments, diversity, pins.

Legend: K results, C candidates, P some products, M products of one group, N all products, D dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from online_api.lists.choice import NOTHING_LISTED, Chooser, Listed
from online_api.lists.live_catalogue import LiveCatalogue, Selection
from online_api.lists.rules import ActiveRules, Pin, place_pins
from online_api.schemas.requests import MAX_PER_GROUP, Diversity
from training.artifacts.buyer_encoder import EncodedBuyer
from training.artifacts.queries.query_matches import QueryMatches
from training.artifacts.recommender import Recommender
from training.artifacts.scoring.best_products import BestProducts, BestQuery, OwnProducts, PopularityTerm
from training.artifacts.scoring.sparse_term import NO_TERM, SparseTerm
from training.artifacts.search.filtered_search import EXACT_SEARCH_PRODUCTS, Ranked, top_k

# ---- scorers ---------------------------------------------------------------------------------------------------------


class ScoreTerms(NamedTuple):
    """The terms of the scores of P products, each (P,); the score is their sum.

    Attributes:
        similarity: The inner product; for popular products, their popularity.
        popularity: The re-scorer's popularity term.
        repeat: The re-scorer's repeat term.
        co_occurrence: The re-scorer's co-occurrence term.
        closeness: The re-scorer's closeness term.
        words: The spelling score of a query.
    """

    similarity: Float32Array
    popularity: Float32Array
    repeat: Float32Array
    co_occurrence: Float32Array
    closeness: Float32Array
    words: Float32Array

    @property
    def scores(self) -> Float32Array:
        """The sums, (P,)."""
        return self.similarity + self.popularity + self.repeat + self.co_occurrence + self.closeness + self.words


class Scorer(Protocol):
    """Scores products before rules and diversity apply."""

    def top(self, k: int, selection: Selection) -> Ranked:
        """The K best allowed products, best first; fewer only if fewer are allowed."""

    def scores(self, positions: Int64Array) -> Float32Array:
        """The scores of P products, (P,)."""

    def terms(self, positions: Int64Array) -> ScoreTerms:
        """The terms of these scores."""


class SimilarityScorer:
    """The inner product with one vector."""

    def __init__(self, recommender: Recommender, vector_D: Float32Array) -> None:
        """Scores by `vector_D`."""
        self._recommender, self._vector_D = recommender, vector_D
        self._popularity: PopularityTerm | None = None
        self._repeats, self._co_occurrence = NO_TERM, NO_TERM
        self._own: OwnProducts | None = None
        self._found: tuple[Selection, BestProducts] | None = None

    def query(self, k: int, selection: Selection) -> BestQuery:
        """The search for the K best allowed products, to be made together with those of other requests."""
        allowed_N, n_allowed = selection.allowed_N, selection.n_allowed
        terms = (self._popularity, self._repeats, self._co_occurrence, self._own)
        return BestQuery(self._vector_D, k, *terms, allowed_N, n_allowed)

    def take(self, selection: Selection, best: BestProducts) -> None:
        """Keeps what `query` found, so that `top` need not search for it again."""
        self._found = selection, best

    def top(self, k: int, selection: Selection) -> Ranked:
        best = self._known(k, selection)
        if best is None:
            [best] = self._recommender.best([self.query(k, selection)])
        best = best.first(k)
        self.take(selection, best)
        return Ranked(best.positions, best.scores)

    def scores(self, positions: Int64Array) -> Float32Array:
        return self.terms(positions).scores

    def terms(self, positions: Int64Array) -> ScoreTerms:
        no_words = np.zeros(len(positions), dtype=np.float32)
        if self._found is not None and positions is self._found[1].positions:
            return ScoreTerms(*self._found[1][1:], no_words)
        popularity = np.zeros_like(no_words) if self._popularity is None else self._popularity.term_N[positions]
        similarity = self._recommender.similarity(self._vector_D, positions)
        closeness = np.zeros_like(no_words)
        if self._own is not None:
            closeness = self._own.closeness(positions, self._recommender.product_vectors(positions))
        sparse = self._repeats.of(positions), self._co_occurrence.of(positions)
        return ScoreTerms(similarity, popularity, *sparse, closeness, no_words)

    def _known(self, k: int, selection: Selection) -> BestProducts | None:
        """What was found before, if it has the K best of the selection."""
        if self._found is None or self._found[0] is not selection:
            return None
        best = self._found[1]
        return best if len(best.positions) >= min(k, selection.n_allowed) else None


class BuyerScorer(SimilarityScorer):
    """The similarity to a buyer plus the re-scorer's terms (see training.artifacts.scoring.rescorer)."""

    def __init__(self, recommender: Recommender, buyer: EncodedBuyer, repeats: SparseTerm, *, new_only: bool) -> None:
        """Scores for one buyer.

        Args:
            recommender: The release.
            buyer: The encoded buyer.
            repeats: The buyer's repeat term; not used with `new_only`.
            new_only: Whether the list is of products that are new to the buyer.
        """
        super().__init__(recommender, buyer.vector_D)
        self._co_occurrence = recommender.co_occurrence_term(buyer, new_only=new_only)
        self._own = recommender.own_products(buyer, new_only=new_only)
        self._popularity = recommender.popularity_term(new_only=new_only)
        self._repeats = NO_TERM if new_only else repeats


class QueryScorer:
    """The score of a search query: by meaning and by spelling."""

    def __init__(self, matches: QueryMatches) -> None:
        """Scores by a query that has been compared with the products."""
        self._matches = matches

    def top(self, k: int, selection: Selection) -> Ranked:
        return self._matches.top(k, selection.allowed_N)

    def scores(self, positions: Int64Array) -> Float32Array:
        meaning, spelling = self._matches.score_terms(positions)
        return meaning + spelling

    def terms(self, positions: Int64Array) -> ScoreTerms:
        meaning, spelling = self._matches.score_terms(positions)
        nothing = np.zeros_like(meaning)
        return ScoreTerms(meaning, nothing, nothing, nothing, nothing, spelling)


class PopularityScorer:
    """The popularity of products, whoever the buyer is."""

    def __init__(self, recommender: Recommender) -> None:
        """Scores by the popularity in a release."""
        self._recommender = recommender

    def top(self, k: int, selection: Selection) -> Ranked:
        return self._recommender.most_popular(k, selection.allowed_N)

    def scores(self, positions: Int64Array) -> Float32Array:
        return self._recommender.popularity(positions)

    def terms(self, positions: Int64Array) -> ScoreTerms:
        return _one_term(self.scores(positions))


# ---- from scores to a list: rules, diversity, pins -------------------------------------------------------------------


NO_PINS: dict[int, str] = {}  # read only


class RankedList(NamedTuple):
    """The products of a list, in order.

    Attributes:
        positions: (K,).
        terms: The terms of the scorer.
        adjustments: (K,) what merchandising rules add to the score.
        pinned_by: The name of the rule that pinned a product, by position.
        relaxed: Names of the request's conditions that were relaxed, because the list would have been short.
    """

    positions: Int64Array
    terms: ScoreTerms
    adjustments: Float32Array
    pinned_by: dict[int, str]
    relaxed: tuple[str, ...] = ()

    @property
    def scores(self) -> Float32Array:
        """The scores without adjustments, (K,)."""
        return self.terms.scores


def rank(
    scorer: Scorer,
    selection: Selection,
    k: int,
    diversity: Diversity,
    rules: ActiveRules | None,
    catalogue: LiveCatalogue,
    product_vectors: Callable[[Int64Array], Float32Array],
    listed: Listed = NOTHING_LISTED,
) -> RankedList:
    """Ranks the allowed products: by score, plus adjustments of rules, then diversity and limits, then pins.

    Args:
        scorer: Scores products.
        selection: The allowed products, without those of earlier pages.
        k: Length of the list; fewer products come back only if fewer are allowed, or if the limits per brand or
            category of `diversity` close all others.
        diversity: As the request has it.
        rules: Merchandising rules that are active now; None if there are none.
        catalogue: Brands, categories and groups of products.
        product_vectors: Returns the vectors of P products, (P, D).
        listed: What the list continues or stands beside.
    """
    pins = [] if rules is None else _pins_of_page(rules, len(listed.shown))
    if pins and diversity.max_per_group < k:
        pinned = np.array([pin.position for pin in pins if pin.place < k], dtype=np.int64)
        listed = Listed(listed.shown, np.append(listed.beside, selection.among(pinned)))

    def top(k: int, selection: Selection) -> Ranked:
        return _top_adjusted(scorer, selection, k, rules)

    chooser = Chooser(top, diversity, catalogue.products, product_vectors, listed)
    positions, pinned_by = chooser.choose(selection, k), NO_PINS
    if rules is None:
        adjustments = np.zeros(len(positions), dtype=np.float32)
    else:
        # After diversity, whose limits per brand and category do not count pinned products (docs/merchandising.md).
        positions, pinned_by = place_pins(positions, pins, selection.allowed_N, k)
        adjustments = _adjustments(rules, positions)
    relaxed = (MAX_PER_GROUP,) if chooser.has_more_variants(positions) else ()
    return RankedList(positions, scorer.terms(positions), adjustments, pinned_by, relaxed)


def _pins_of_page(rules: ActiveRules, n_shown: int) -> list[Pin]:
    """The pins with their places on a page that comes after so many products; earlier pages had the others."""
    return [pin._replace(place=pin.place - n_shown) for pin in rules.pins if pin.place >= n_shown]


def _top_adjusted(scorer: Scorer, selection: Selection, k: int, rules: ActiveRules | None) -> Ranked:
    """The K best allowed products by score plus adjustment.

    They are among the K best of the products that no rule buries and the K best of each group with equal adjustment.
    """
    if rules is None or rules.adjustment_N is None:
        return scorer.top(k, selection)
    candidates = [scorer.top(k, _restricted(selection, rules.unburied_N)).positions]
    # So few products are all scored at once. Otherwise each group is searched, because it may be most of the catalogue.
    if sum(len(group.positions_M) for group in rules.groups) <= EXACT_SEARCH_PRODUCTS:
        candidates += [selection.among(group.positions_M) for group in rules.groups]
    else:
        candidates += [
            # Equal exactly: the adjustment of a group is a value of this float32 array.
            scorer.top(k, _restricted(selection, rules.adjustment_N == group.adjustment)).positions
            for group in rules.groups
        ]
    positions = np.unique(np.concatenate(candidates))
    return top_k(positions, scorer.scores(positions) + rules.adjustment_N[positions], k)


def _one_term(scores: Float32Array) -> ScoreTerms:
    return ScoreTerms(scores, *[np.zeros_like(scores)] * 5)


def _restricted(selection: Selection, mask_N: BoolArray | None) -> Selection:
    """The allowed products within a mask; None restricts nothing."""
    if mask_N is None:
        return selection
    allowed_N = mask_N if selection.allowed_N is None else selection.allowed_N & mask_N
    return Selection(allowed_N, int(allowed_N.sum()), selection.dropped)


def _adjustments(rules: ActiveRules, positions: Int64Array) -> Float32Array:
    if rules.adjustment_N is None:
        return np.zeros(len(positions), dtype=np.float32)
    return rules.adjustment_N[positions]
