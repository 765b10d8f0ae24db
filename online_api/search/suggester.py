"""Suggestions for what a buyer types, without those that only hidden products have.

Legend: S suggestions, N products.
"""

from typing import NamedTuple

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Float32Array
from online_api.lists.live_release import ReleaseKeeper
from training.artifacts.queries.suggestion_index import SuggestionIndex
from training.artifacts.recommender import Recommender


class _Scored(NamedTuple):
    """What the suggestions of a release are worth while these products are hidden."""

    recommender: Recommender
    hidden_N: BoolArray
    scores_S: Float32Array


class Suggester:
    """Completes what is typed from the live release; safe to use from several threads."""

    def __init__(self, keeper: ReleaseKeeper) -> None:
        """Suggests from what `keeper` holds."""
        self._keeper = keeper
        self._scored: _Scored | None = None

    def suggest(self, typed: str, k: int) -> dict[str, object]:
        """The K best suggestions (responses.Suggestions); none from a release that was made without."""
        live = self._keeper.live
        index, hidden_N = live.recommender.suggestions, live.catalogue.hidden_N
        if index is None:
            return {"release": live.recommender.name, "suggestions": []}
        scores_S = self._scores(index, live.recommender, hidden_N)
        ids = live.recommender.products.product_ids
        suggestions = []
        for place in index.complete(typed, k, scores_S):
            text, kind, positions = index[place]
            shown = positions[~hidden_N[positions]]
            product_id = ids[int(shown[0])].as_py() if kind == "product" else None
            suggestions.append({"text": text, "kind": kind, c.PRODUCT_ID: product_id})
        return {"release": live.recommender.name, "suggestions": suggestions}

    def _scores(self, index: SuggestionIndex, recommender: Recommender, hidden_N: BoolArray) -> Float32Array:
        """The popularity of the visible products of each suggestion, (S,); counted anew when these change."""
        scored = self._scored  # read once: another thread may replace it
        if scored is None or scored.recommender is not recommender or not np.array_equal(scored.hidden_N, hidden_N):
            popularity_N = recommender.popularity(np.arange(len(recommender)))
            visible_N = np.where(hidden_N, np.float32(0), popularity_N)
            scored = self._scored = _Scored(recommender, hidden_N, index.of_products(visible_N))
        return scored.scores_S
