"""Ranks the allowed products of a request: scores, rule adjustments, diversity, pins.

Legend: K results, C candidates, P some products, M products of one group, N all products, D dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from online_api.lists.diversity import Candidates, diversify
from online_api.lists.live_catalogue import LiveCatalogue, Selection
from online_api.lists.rules import ActiveRules, place_pins
from online_api.schemas.requests import Diversity
from training.artifacts.buyer_scores import BuyerScores
from training.artifacts.queries.query_matches import QueryMatches
from training.artifacts.recommender import Recommender, Repeats, rescorer_pool
from training.artifacts.search.filtered_search import EXACT_SEARCH_PRODUCTS, Ranked, top_k

# Diversity chooses among this many candidates per result, and at least the minimum.
DIVERSITY_POOL_PER_RESULT, DIVERSITY_POOL_MIN = 5, 100


# ---- scorers ---------------------------------------------------------------------------------------------------------


class ScoreTerms(NamedTuple):
    """The terms of the scores of P products, each (P,); the score is their sum.

    Attributes:
        similarity: The inner product; for popular products, their popularity.
        popularity: The re-scorer's popularity term.
        repeat: The re-scorer's repeat term.
        words: The spelling score of a query.
    """

    similarity: Float32Array
    popularity: Float32Array
    repeat: Float32Array
    words: Float32Array


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

    def __init__(self, recommender: Recommender, vector_D: Float32Array, nearest: Ranked | None = None) -> None:
        """Scores by `vector_D`; `nearest` are the products that a search over all products returned for it."""
        self._recommender, self._vector_D, self._nearest = recommender, vector_D, nearest

    def top(self, k: int, selection: Selection) -> Ranked:
        if selection.allowed_N is not None:
            return self._recommender.nearest_allowed(self._vector_D, k, selection.allowed_N, selection.n_allowed)
        if self._nearest is not None and len(self._nearest.positions) >= k:
            return self._nearest.first(k)
        return self._recommender.nearest(self._vector_D[None, :], k)[0]

    def scores(self, positions: Int64Array) -> Float32Array:
        return self._recommender.similarity(self._vector_D, positions)

    def terms(self, positions: Int64Array) -> ScoreTerms:
        return _one_term(self.scores(positions))


class BuyerScorer:
    """The similarity to a buyer plus the re-scorer's terms (see training.artifacts.rescorer)."""

    def __init__(
        self,
        recommender: Recommender,
        vector_D: Float32Array,
        repeats: Repeats,
        *,
        new_only: bool,
        nearest: Ranked | None = None,
    ) -> None:
        """Scores for one buyer.

        Args:
            recommender: The release.
            vector_D: The buyer vector.
            repeats: The buyer's repeat term; not used with `new_only`.
            new_only: Whether the list is of products that are new to the buyer.
            nearest: The products that a search over all products returned for the buyer.
        """
        self._by_similarity = SimilarityScorer(recommender, vector_D, nearest)
        self._scores = BuyerScores(recommender, vector_D, repeats, new_only=new_only)

    def top(self, k: int, selection: Selection) -> Ranked:
        nearest = self._by_similarity.top(rescorer_pool(k), selection).positions
        positions = self._scores.candidates(nearest, k, selection.allowed_N)
        return top_k(positions, self.scores(positions), k)

    def scores(self, positions: Int64Array) -> Float32Array:
        return self._scores.scores(positions)

    def terms(self, positions: Int64Array) -> ScoreTerms:
        similarity, popularity, repeat = self._scores.terms(positions)
        return ScoreTerms(similarity, popularity, repeat, np.zeros_like(repeat))


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
        return ScoreTerms(meaning, np.zeros_like(meaning), np.zeros_like(meaning), spelling)


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


class RankedList(NamedTuple):
    """The products of a list, in order.

    Attributes:
        positions: (K,).
        terms: The terms of the scorer.
        adjustments: (K,) what merchandising rules add to the score.
        pinned_by: The name of the rule that pinned a product, by position.
    """

    positions: Int64Array
    terms: ScoreTerms
    adjustments: Float32Array
    pinned_by: dict[int, str]

    @property
    def scores(self) -> Float32Array:
        """The scores without adjustments, (K,)."""
        return self.terms.similarity + self.terms.popularity + self.terms.repeat + self.terms.words


def rank(
    scorer: Scorer,
    selection: Selection,
    k: int,
    diversity: Diversity,
    rules: ActiveRules | None,
    catalogue: LiveCatalogue,
    product_vectors: Callable[[Int64Array], Float32Array],
) -> RankedList:
    """Ranks the allowed products: by score, plus adjustments of rules, then diversity, then pins.

    Args:
        scorer: Scores products.
        selection: The allowed products.
        k: Length of the list; fewer products come back only if fewer are allowed or if `diversity` caps them.
        diversity: As the request has it.
        rules: Merchandising rules that are active now; None if there are none.
        catalogue: Brands and categories of products.
        product_vectors: Returns the vectors of P products, (P, D).
    """
    if rules is None and diversity.is_plain:
        ranked = scorer.top(k, selection)
        return RankedList(ranked.positions, scorer.terms(ranked.positions), np.zeros_like(ranked.scores), {})
    chosen = _diverse(scorer, selection, k, diversity, rules, catalogue, product_vectors)
    if rules is None:
        return RankedList(chosen, scorer.terms(chosen), np.zeros(len(chosen), dtype=np.float32), {})
    # After diversity, whose caps do not count pinned products (docs/merchandising.md).
    positions, pinned_by = place_pins(chosen, rules.pins, selection.allowed_N, k)
    return RankedList(positions, scorer.terms(positions), _adjustments(rules, positions), pinned_by)


def _diverse(
    scorer: Scorer,
    selection: Selection,
    k: int,
    diversity: Diversity,
    rules: ActiveRules | None,
    catalogue: LiveCatalogue,
    product_vectors: Callable[[Int64Array], Float32Array],
) -> Int64Array:
    """The K best by adjusted score and diversity; the pool of candidates grows while caps leave fewer than K."""
    if diversity.is_plain:
        return _top_adjusted(scorer, selection, k, rules).positions
    pool = max(DIVERSITY_POOL_PER_RESULT * k, DIVERSITY_POOL_MIN)
    ranked = _top_adjusted(scorer, selection, pool, rules)
    while True:
        candidates = Candidates(
            ranked.scores,
            None if diversity.lambda_ == 1 else product_vectors(ranked.positions),
            catalogue.products.brand_codes_N[ranked.positions],
            catalogue.products.category_codes_N[ranked.positions],
        )
        places = diversify(candidates, k, diversity.lambda_, diversity.max_per_brand, diversity.max_per_category)
        chosen = ranked.positions[places]
        if len(chosen) >= k:
            return chosen
        # More products of a brand or category that has reached its cap would not help.
        open_selection = _still_open(selection, ranked.positions, chosen, diversity, catalogue)
        more = _top_adjusted(scorer, open_selection, pool, rules)
        if not len(more.positions):
            return chosen
        ranked = Ranked(np.append(ranked.positions, more.positions), np.append(ranked.scores, more.scores))


def _still_open(
    selection: Selection, ranked: Int64Array, chosen: Int64Array, diversity: Diversity, catalogue: LiveCatalogue
) -> Selection:
    """The allowed products that are not ranked yet and whose brand and category are below their caps."""
    open_N = np.ones(len(catalogue), dtype=np.bool_) if selection.allowed_N is None else selection.allowed_N.copy()
    open_N[ranked] = False
    for codes_N, cap in (
        (catalogue.products.brand_codes_N, diversity.max_per_brand),
        (catalogue.products.category_codes_N, diversity.max_per_category),
    ):
        if cap is not None:
            codes = codes_N[chosen]
            # Without -1: bincount refuses it, and products without a brand or category are not capped.
            full = np.flatnonzero(np.bincount(codes[codes >= 0]) >= cap)
            open_N &= np.isin(codes_N, full, invert=True)
    return Selection(open_N, int(open_N.sum()), selection.dropped)


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
    return ScoreTerms(scores, *[np.zeros_like(scores)] * 3)


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
