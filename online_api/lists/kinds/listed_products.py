"""Ranks the products of a list first, and fills it with those of another scorer: for all kinds of lists the one way.

Legend: K results, P some products, N products of the release.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from online_api.lists.list_request import Payload
from online_api.lists.live_catalogue import Selection
from online_api.lists.ranking import Scorer, ScoreTerms
from online_api.schemas.responses import Source
from training.artifacts.lists.ranked_products import RankedProducts
from training.artifacts.search.filtered_search import Ranked

# Between the parts of a list. Scores within a part are at most 1; a buyer's scores, which may fill it, hardly exceed 5.
PART_STEP = 10


class ListPart(NamedTuple):
    """Products of a list that are there for one reason.

    Attributes:
        source: Where they come from.
        products: The products, with scores from 0 to 1.
        reasons: For the position of one of them, what `because` shows; a contribution is a share of its score. None
            shows nothing.
    """

    source: Source
    products: RankedProducts
    reasons: Callable[[int], list[Payload]] | None = None


class ListedScorer:
    """The products of the parts, those of the first part first; then the products of another scorer.

    A product's score is its score in its part plus PART_STEP for each part that follows, the fill included.
    """

    def __init__(self, parts: Sequence[ListPart], fill: Scorer, n_products: int) -> None:
        """Ranks the parts, whose products are disjoint, before the products of `fill`."""
        self._parts, self._fill, self._n_products = [part.products for part in parts], fill, n_products

    def top(self, k: int, selection: Selection) -> Ranked:
        positions, rest = np.empty(0, dtype=np.int64), selection
        for products in self._parts:
            best = products.best(k - len(positions), selection.allowed_N)
            positions = np.concatenate([positions, best.positions])
            rest = rest.without(products.positions, "excluded", self._n_products)
        if len(positions) < k and rest.n_allowed:
            positions = np.concatenate([positions, self._fill.top(k - len(positions), rest).positions])
        return Ranked(positions, self.scores(positions))

    def scores(self, positions: Int64Array) -> Float32Array:
        own = self._own_scores(positions)
        return np.where(own > 0, own, self._fill.scores(positions))

    def terms(self, positions: Int64Array) -> ScoreTerms:
        own = self._own_scores(positions)
        similarity, *others = self._fill.terms(positions)
        return ScoreTerms(np.where(own > 0, own, similarity), *(np.where(own > 0, 0, term) for term in others))

    def _own_scores(self, positions: Int64Array) -> Float32Array:
        """(P,) the scores of the parts' products; 0 for others."""
        own = np.zeros(len(positions), dtype=np.float32)
        for number, products in enumerate(self._parts):
            listed = products.has(positions)
            own[listed] = products.scores(positions[listed]) + PART_STEP * (len(self._parts) - number)
        return own
