"""The scores of products for one buyer as the service ranks them: similarity plus the terms of the re-scorer.

Legend: K results, P some products, N products, D dimensions.
"""

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.recommender import NO_REPEATS, POPULAR_PER_NEAREST, Recommender, Repeats, rescorer_pool


class BuyerScores:
    """The terms of a buyer's scores, and the products that can be among the best."""

    def __init__(self, recommender: Recommender, vector_D: Float32Array, repeats: Repeats, *, new_only: bool) -> None:
        """Scores for the buyer of `vector_D`; a list of new products has no repeat term."""
        self._recommender, self._vector_D, self._new_only = recommender, vector_D, new_only
        self._repeats = NO_REPEATS if new_only else repeats

    def candidates(self, nearest: Int64Array, k: int, allowed_N: BoolArray | None = None) -> Int64Array:
        """Positions of the allowed products that can be among the K best, each once.

        A product can rank high by any of its terms, so these are the nearest products, those with a repeat term, and
        the recently popular ones. ADR 0005 measures how many of the exact best they contain.

        Args:
            nearest: The rescorer_pool(k) nearest allowed products.
            k: K.
            allowed_N: (N,) which products are allowed; None allows all.
        """
        repeated = self._repeats.positions
        if allowed_N is not None:
            repeated = repeated[allowed_N[repeated]]
        n_popular = POPULAR_PER_NEAREST * rescorer_pool(k)
        popular = self._recommender.recently_popular(n_popular, allowed_N, new_only=self._new_only)
        return np.unique(np.concatenate([nearest, repeated, popular]))  # a product may be in several of them

    def scores(self, positions: Int64Array) -> Float32Array:
        """The scores of P products, (P,)."""
        similarity, popularity, repeat = self.terms(positions)
        return similarity + popularity + repeat

    def terms(self, positions: Int64Array) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Similarity, popularity term and repeat term of P products, (P,) each; their sum is the score."""
        repeat = np.zeros(len(positions), dtype=np.float32)
        repeated = self._repeats.positions
        if len(repeated):
            # Repeats.positions is ascending. Beyond its end, clip gives its last product, which differs.
            places = np.searchsorted(repeated, positions).clip(max=len(repeated) - 1)
            has_repeats = repeated[places] == positions
            repeat[has_repeats] = self._repeats.terms[places[has_repeats]]
        popularity = self._recommender.popularity_term(positions, new_only=self._new_only)
        return self._recommender.similarity(self._vector_D, positions), popularity, repeat
