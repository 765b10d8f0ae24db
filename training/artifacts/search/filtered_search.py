"""The products nearest to a vector, among all or among the allowed ones.

Legend: B vectors asked for, K results, N products, D dimensions.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from training.artifacts.search.vector_index import VectorIndex

# Below so many allowed products they are all compared: a millisecond at the most, and it cannot miss one.
EXACT_SEARCH_PRODUCTS = 5_000

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Allowed = npt.NDArray[np.bool_]


class Ranked(NamedTuple):
    """Products of one answer, best first.

    Attributes:
        positions: (K,) int64.
        scores: (K,) float32, inner products.
    """

    positions: Positions
    scores: Floats

    def first(self, k: int) -> "Ranked":
        """The K best."""
        return Ranked(self.positions[:k], self.scores[:k])


class NearestProducts:
    """Vectors of all products and the index over them; read-only and safe to use from several threads."""

    def __init__(self, vectors_ND: Floats, index: VectorIndex) -> None:
        """Takes both; a plain view of a mapped file is indexed faster than the memmap object that it views."""
        self.vectors_ND: Floats = np.asarray(vectors_ND)
        self._index = index

    def __len__(self) -> int:
        """The number of products, N."""
        return len(self.vectors_ND)

    def nearest(self, vectors_BD: Floats, k: int) -> list[Ranked]:
        """For each vector the K products with the highest inner product."""
        scores_BK, positions_BK = self._index.search(vectors_BD, k)
        return [Ranked(*pair) for pair in zip(positions_BK, scores_BK, strict=True)]

    def nearest_allowed(self, vector_D: Floats, k: int, allowed_N: Allowed, n_allowed: int) -> Ranked:
        """The K best of the allowed products; all of them where there are fewer.

        Few allowed products are all compared. Of many, the index gives some more than K, enough for K allowed ones as
        long as being allowed and being near have little to do with each other; where it was not enough, four times as
        many, until it is cheaper to compare all.

        Args:
            vector_D: (D,) unit vector.
            k: K.
            allowed_N: (N,) which products may be found.
            n_allowed: How many these are.
        """
        k = min(k, n_allowed)
        n_fetched = int((k + 8) * len(self) / max(n_allowed, 1))
        while n_allowed > EXACT_SEARCH_PRODUCTS and n_fetched < n_allowed // 8:
            (found,) = self.nearest(vector_D[None, :], n_fetched)
            kept = allowed_N[found.positions]
            if kept.sum() >= k:
                return Ranked(found.positions[kept], found.scores[kept]).first(k)
            n_fetched *= 4
        positions = np.flatnonzero(allowed_N)
        if n_allowed > len(self) // 8:  # reading all in order is faster than picking so many
            return best(positions, (self.vectors_ND @ vector_D)[positions], k)
        return best(positions, self.similarity(vector_D, positions), k)

    def similarity(self, vector_D: Floats, positions: Positions) -> Floats:
        """Inner products of a vector with some products."""
        scores: Floats = self.vectors_ND[positions] @ vector_D
        return scores


def best(positions: Positions, scores: Floats, k: int) -> Ranked:
    """The K highest scores, best first; equal ones in the order given."""
    if k < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # more than K where some equal the K-th
        positions, scores = positions[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return Ranked(positions[order], scores[order])
