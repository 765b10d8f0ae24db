"""Exact or approximate search for the products nearest to a vector, among all products or among allowed ones.

Legend: B query vectors, K results, P some products, N all products, D dimensions.
"""

from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_recall import ROUNDING
from training.artifacts.search.vector_index import VectorIndex

# Up to this many allowed products, an exact comparison with all of them takes a millisecond at most.
EXACT_SEARCH_PRODUCTS = 5_000


class Ranked(NamedTuple):
    """Products in descending order of their scores.

    Attributes:
        positions: (K,) int64.
        scores: (K,) float32.
    """

    positions: Int64Array
    scores: Float32Array

    def first(self, k: int) -> "Ranked":
        """The first K products."""
        return Ranked(self.positions[:k], self.scores[:k])


class IndexedVectors:
    """Vectors of all products with an index over them; read-only and safe to use from several threads."""

    def __init__(self, vectors_ND: Float32Array, index: VectorIndex) -> None:
        """Keeps the unit vectors and the index that was built on them."""
        # A plain array over a mapped file: indexing it is faster than indexing the memmap object.
        self._vectors_ND: Float32Array = np.asarray(vectors_ND)
        self._index = index

    def __len__(self) -> int:
        """The number of products, N."""
        return len(self._vectors_ND)

    @property
    def dim(self) -> int:
        """The length of a vector, D."""
        return int(self._vectors_ND.shape[1])

    def __getitem__(self, positions: Int64Array | int) -> Float32Array:
        """The vectors of some products, (P, D), or of one, (D,)."""
        vectors: Float32Array = self._vectors_ND[positions]
        return vectors

    def nearest(self, vectors_BD: Float32Array, k: int) -> list[Ranked]:
        """For each query vector, the K products with the highest inner product; N products if K is more."""
        scores_BK, positions_BK = self._index.search(vectors_BD, k)
        return [Ranked(*pair) for pair in zip(positions_BK, scores_BK, strict=True)]

    def recall(self, queries_QD: Float32Array, k: int) -> float:
        """The share of the K nearest products that the index finds, over Q queries, against an exact search."""
        exact_QK, _ = FlatIndex(self._vectors_ND).search(queries_QD, k)
        scores_QK, _ = self._index.search(queries_QD, k)
        # By score: a product as near as the K-th counts as found, because the choice among equals is arbitrary.
        return float((scores_QK >= exact_QK[:, -1:] - ROUNDING).mean())

    def nearest_allowed(self, vector_D: Float32Array, k: int, allowed_N: BoolArray, n_allowed: int) -> Ranked:
        """The K allowed products with the highest inner product; all of them if fewer are allowed.

        Few allowed products are compared exactly. For many, the index first returns a few more than K products, scaled
        by the share of allowed ones. That suffices unless similarity and permission correlate. Each further attempt
        fetches four times as many, until an exact comparison is cheaper.

        Args:
            vector_D: (D,) unit vector.
            k: K.
            allowed_N: (N,) which products are allowed.
            n_allowed: Number of allowed products.
        """
        k = min(k, n_allowed)
        n_fetched = first_fetch(k, len(self), n_allowed)
        while n_fetched and n_fetched < n_allowed // 8:
            (nearest,) = self.nearest(vector_D[None, :], n_fetched)
            allowed = allowed_N[nearest.positions]
            if allowed.sum() >= k:
                return Ranked(nearest.positions[allowed], nearest.scores[allowed]).first(k)
            n_fetched *= 4
        positions = np.flatnonzero(allowed_N)
        if n_allowed > len(self) // 8:  # reading all vectors in order is faster than gathering so many
            return top_k(positions, (self._vectors_ND @ vector_D)[positions], k)
        return top_k(positions, self.similarity(vector_D, positions), k)

    def similarity(self, vector_D: Float32Array, positions: Int64Array) -> Float32Array:
        """Inner products of a vector with P products, (P,)."""
        scores: Float32Array = self._vectors_ND[positions] @ vector_D
        return scores


def first_fetch(k: int, n_products: int, n_allowed: int) -> int:
    """How many products the index returns at first to find the K nearest allowed ones; 0: an exact comparison is cheap.

    Whoever searches for many queries at once groups them by it, and then filters.
    """
    if n_allowed <= EXACT_SEARCH_PRODUCTS:
        return 0
    # 8 more than K on average, because the share of allowed products among the nearest varies.
    n_fetched = int((k + 8) * n_products / n_allowed)
    return n_fetched if n_fetched < n_allowed // 8 else 0


def top_k(positions: Int64Array, scores: Float32Array, k: int) -> Ranked:
    """The K products with the highest scores, in descending order; equal scores keep the given order."""
    if k < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # more than K if several equal the K-th score
        positions, scores = positions[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return Ranked(positions[order], scores[order])
