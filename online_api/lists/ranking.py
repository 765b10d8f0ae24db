"""From what is near or popular to the list of an answer: selection, rules, diversity, pins.

Legend: K results, C candidates, N products, D dimensions.
"""

from typing import NamedTuple, Protocol

import numpy as np

from online_api.lists.diversity import Candidates, diversify
from online_api.lists.live_catalogue import Booleans, LiveCatalogue, Selection
from online_api.lists.rules import ActiveRules, place_pins
from online_api.schemas.requests import Diversity
from training.artifacts.recommender import POPULAR_PER_NEAREST, Recommender, Repeats, pool_size
from training.artifacts.search.filtered_search import (
    EXACT_SEARCH_PRODUCTS,
    Floats,
    NearestProducts,
    Positions,
    Ranked,
    best,
)
from training.artifacts.search.text_search import Found

NO_REPEATS = Repeats(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
# Diversity chooses among so many times K candidates, and among so many at least.
POOL, SMALLEST_POOL = 5, 100


class Parts(NamedTuple):
    """What the scores of K products are made of; they add up to the scores.

    Attributes:
        similarity: The inner product; of popular products their popularity.
        popularity: The re-scorer's popularity term.
        repeat: Its repeat term.
        words: How alike a query and a product's text are spelled.
    """

    similarity: Floats
    popularity: Floats
    repeat: Floats
    words: Floats


class Scorer(Protocol):
    """What orders products before rules and diversity do."""

    def top(self, k: int, selection: Selection) -> Ranked:
        """The K best allowed products, best first; fewer only where fewer are allowed."""

    def scores(self, positions: Positions) -> Floats:
        """Scores of some products."""

    def parts(self, positions: Positions) -> Parts:
        """What these scores are made of."""


class BySimilarity:
    """The inner product with one vector."""

    def __init__(self, products: NearestProducts, vector_D: Floats, found: Ranked | None = None) -> None:
        """Takes the vector, and what a search over all products found for it already."""
        self._products, self._vector_D, self._found = products, vector_D, found

    def top(self, k: int, selection: Selection) -> Ranked:
        """See Scorer."""
        if selection.allowed_N is not None:
            return self._products.nearest_allowed(self._vector_D, k, selection.allowed_N, selection.n_allowed)
        if self._found is not None and len(self._found.positions) >= k:
            return self._found.first(k)
        return self._products.nearest(self._vector_D[None, :], k)[0]

    def scores(self, positions: Positions) -> Floats:
        """See Scorer."""
        return self._products.similarity(self._vector_D, positions)

    def parts(self, positions: Positions) -> Parts:
        """See Scorer."""
        return _plain(self.scores(positions))


class ForBuyer:
    """The inner product with a buyer's vector, plus the re-scorer's terms (see training.artifacts.rescorer)."""

    def __init__(
        self,
        recommender: Recommender,
        vector_D: Floats,
        repeats: Repeats,
        *,
        new_only: bool,
        found: Ranked | None = None,
    ) -> None:
        """Takes the buyer's vector and repeat term, and what a search over all products found for it already."""
        self._near = BySimilarity(recommender.towers, vector_D, found)
        self._recommender, self._new_only = recommender, new_only
        self._repeats = NO_REPEATS if new_only else repeats

    def top(self, k: int, selection: Selection) -> Ranked:
        """See Scorer. The best are among the nearest, the buyer's own products and what sells lately."""
        pool = pool_size(k)
        parts = [
            self._near.top(pool, selection).positions,
            selection.among(self._repeats.positions),
            self._recommender.popular_lately(POPULAR_PER_NEAREST * pool, selection.allowed_N, new_only=self._new_only),
        ]
        positions = np.unique(np.concatenate(parts))
        return best(positions, self.scores(positions), k)

    def scores(self, positions: Positions) -> Floats:
        """See Scorer."""
        similarity, popularity, repeat, _ = self.parts(positions)
        return similarity + popularity + repeat

    def parts(self, positions: Positions) -> Parts:
        """See Scorer."""
        repeat = np.zeros(len(positions), dtype=np.float32)
        if len(self._repeats.positions):
            places = np.searchsorted(self._repeats.positions, positions).clip(max=len(self._repeats.positions) - 1)
            found = self._repeats.positions[places] == positions
            repeat[found] = self._repeats.terms[places[found]]
        popularity = self._recommender.popularity_term(positions, new_only=self._new_only)
        return Parts(self._near.scores(positions), popularity, repeat, np.zeros_like(repeat))


class ByQuery:
    """What a query means and how it is spelled."""

    def __init__(self, found: Found) -> None:
        """Takes what the query has to do with the products."""
        self._found = found

    def top(self, k: int, selection: Selection) -> Ranked:
        """See Scorer."""
        return self._found.top(k, selection.allowed_N)

    def scores(self, positions: Positions) -> Floats:
        """See Scorer."""
        meaning, spelling = self._found.parts(positions)
        return meaning + spelling

    def parts(self, positions: Positions) -> Parts:
        """See Scorer."""
        meaning, spelling = self._found.parts(positions)
        return Parts(meaning, np.zeros_like(meaning), np.zeros_like(meaning), spelling)


class ByPopularity:
    """What sells best."""

    def __init__(self, recommender: Recommender) -> None:
        """Takes the release."""
        self._recommender = recommender

    def top(self, k: int, selection: Selection) -> Ranked:
        """See Scorer."""
        return self._recommender.most_popular(k, selection.allowed_N)

    def scores(self, positions: Positions) -> Floats:
        """See Scorer."""
        return self._recommender.popularity(positions)

    def parts(self, positions: Positions) -> Parts:
        """See Scorer."""
        return _plain(self.scores(positions))


class Listed(NamedTuple):
    """The products of an answer, in their order.

    Attributes:
        positions: (K,).
        parts: What the scorer makes of them.
        adjustments: (K,) what the rules add.
        pinned_by: The rule that pinned a product.
    """

    positions: Positions
    parts: Parts
    adjustments: Floats
    pinned_by: dict[int, str]

    @property
    def scores(self) -> Floats:
        """(K,) the scorer's."""
        return self.parts.similarity + self.parts.popularity + self.parts.repeat + self.parts.words


def rank(
    scorer: Scorer,
    selection: Selection,
    k: int,
    diversity: Diversity,
    rules: ActiveRules | None,
    catalogue: LiveCatalogue,
    vectors_ND: Floats,
) -> Listed:
    """The K best allowed products: filters, then the rules' adjustments, then diversity, then pins.

    Fewer than K come back only where fewer are allowed, or where the caps of `diversity` allow no more.
    """
    if rules is None and diversity.is_plain:
        found = scorer.top(k, selection)
        return Listed(found.positions, scorer.parts(found.positions), np.zeros_like(found.scores), {})
    chosen = _diverse(scorer, selection, k, diversity, rules, catalogue, vectors_ND)
    if rules is None:
        return Listed(chosen, scorer.parts(chosen), np.zeros(len(chosen), dtype=np.float32), {})
    placed = place_pins(chosen, np.zeros(len(chosen), np.float32), rules.pins, selection.allowed_N, k)
    positions = placed.positions_K
    return Listed(positions, scorer.parts(positions), _adjustments(rules, positions), placed.pinned_by)


def _diverse(
    scorer: Scorer,
    selection: Selection,
    k: int,
    diversity: Diversity,
    rules: ActiveRules | None,
    catalogue: LiveCatalogue,
    vectors_ND: Floats,
) -> Positions:
    if diversity.is_plain:
        return _adjusted(scorer, selection, k, rules).positions
    pool = max(POOL * k, SMALLEST_POOL)
    found = _adjusted(scorer, selection, pool, rules)
    while True:
        candidates = Candidates(
            found.scores,
            None if diversity.lambda_ == 1 else vectors_ND[found.positions],
            catalogue.brand_codes_N[found.positions],
            catalogue.category_codes_N[found.positions],
        )
        places = diversify(candidates, k, diversity.lambda_, diversity.max_per_brand, diversity.max_per_category)
        chosen = found.positions[places]
        if len(chosen) >= k:
            return chosen
        # Caps left too few. More of what is full already would not help.
        more = _adjusted(scorer, _still_open(selection, found.positions, chosen, diversity, catalogue), pool, rules)
        if not len(more.positions):
            return chosen
        found = Ranked(np.append(found.positions, more.positions), np.append(found.scores, more.scores))


def _still_open(
    selection: Selection, found: Positions, chosen: Positions, diversity: Diversity, catalogue: LiveCatalogue
) -> Selection:
    """The allowed products that are not found yet, and of no brand or category that is full."""
    open_N = np.ones(len(catalogue), dtype=np.bool_) if selection.allowed_N is None else selection.allowed_N.copy()
    open_N[found] = False
    for codes_N, cap in (
        (catalogue.brand_codes_N, diversity.max_per_brand),
        (catalogue.category_codes_N, diversity.max_per_category),
    ):
        if cap is not None:
            codes = codes_N[chosen]
            full = np.flatnonzero(np.bincount(codes[codes >= 0]) >= cap)
            open_N &= np.isin(codes_N, full, invert=True)
    return Selection(open_N, int(open_N.sum()), selection.dropped)


def _adjusted(scorer: Scorer, selection: Selection, k: int, rules: ActiveRules | None) -> Ranked:
    """The K best allowed products by score plus adjustment.

    They are among the best K of those that no rule moves down and the best K of each group that rules move alike.
    """
    if rules is None or rules.adjustment_N is None:
        return scorer.top(k, selection)
    parts = [scorer.top(k, _and(selection, rules.unburied_N)).positions]
    if sum(len(group.positions_M) for group in rules.groups) <= EXACT_SEARCH_PRODUCTS:
        parts += [selection.among(group.positions_M) for group in rules.groups]
    else:
        parts += [
            scorer.top(k, _and(selection, rules.adjustment_N == group.adjustment)).positions for group in rules.groups
        ]
    positions = np.unique(np.concatenate(parts))
    return best(positions, scorer.scores(positions) + rules.adjustment_N[positions], k)


def _plain(scores: Floats) -> Parts:
    return Parts(scores, *[np.zeros_like(scores)] * 3)


def _and(selection: Selection, some_N: Booleans | None) -> Selection:
    """The allowed ones of some products; None is all."""
    if some_N is None:
        return selection
    allowed_N = some_N if selection.allowed_N is None else selection.allowed_N & some_N
    return Selection(allowed_N, int(allowed_N.sum()), selection.dropped)


def _adjustments(rules: ActiveRules, positions: Positions) -> Floats:
    if rules.adjustment_N is None:
        return np.zeros(len(positions), dtype=np.float32)
    return rules.adjustment_N[positions]
