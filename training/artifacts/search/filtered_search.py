"""Exact or approximate search for the products nearest to a vector, among all products or among allowed ones.

Legend: B query vectors, K results, P some products, C candidates, N all products, D dimensions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.search.exact_search import as_float32, inner_products
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_recall import ROUNDING
from training.artifacts.search.vector_index import VectorIndex

# Up to this many allowed products, an exact comparison with all of them takes a millisecond at most.
EXACT_SEARCH_PRODUCTS = 5_000
# If more than one product in so many is compared, reading all vectors in order is faster than gathering theirs.
SHARE_READ_IN_ORDER = 8
# Candidates are in proportion to the results, and enough for so many at least: few might not hold the best one.
FEWEST_RESULTS = 50


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


class VectorQuery(NamedTuple):
    """A query vector, the number of results, and the products that may be among them.

    Attributes:
        vector_D: (D,) unit vector.
        k: K.
        allowed_N: (N,) which products are allowed; None allows all.
        n_allowed: Number of allowed products.
    """

    vector_D: Float32Array
    k: int
    allowed_N: BoolArray | None
    n_allowed: int


class IndexedVectors:
    """Vectors of all products with an index over them; read-only and safe to use from several threads."""

    def __init__(self, vectors_ND: Float32Array, index: VectorIndex) -> None:
        """Keeps the unit vectors and the index that was built on them."""
        # A plain array over a mapped file: indexing it is faster than indexing the memmap object.
        self._vectors_ND: Float32Array = as_float32(np.asarray(vectors_ND))
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

        Args:
            vector_D: (D,) unit vector.
            k: K.
            allowed_N: (N,) which products are allowed.
            n_allowed: Number of allowed products.
        """
        [positions] = self.candidates([VectorQuery(vector_D, max(k, FEWEST_RESULTS), allowed_N, n_allowed)])
        if positions is not None:
            return top_k(positions, self.similarity(vector_D, positions), k)
        positions = np.flatnonzero(allowed_N)
        return top_k(positions, self.all_similarities(vector_D[None, :], positions)[0], k)

    def k_for_candidates(self, n_candidates: int) -> int:
        """The smallest K of a VectorQuery for which the index gives at least so many candidates."""
        return self._index.k_for_candidates(n_candidates)

    def candidates(self, queries: Sequence[VectorQuery]) -> list[Int64Array | None]:
        """For each query, allowed products that hold its K nearest, as far as the index finds them, (C,).

        None where a comparison with all allowed products is cheaper, or the index makes no less. Of the index, as many
        more results are asked for as products are not allowed. That suffices unless similarity and permission
        correlate; each further attempt asks for four times as many. Queries that ask for as many share a search.
        """
        found: list[Int64Array | None] = [None] * len(queries)
        # Few products are compared exactly.
        pending = {
            row: self._n_results(query) for row, query in enumerate(queries) if query.n_allowed > EXACT_SEARCH_PRODUCTS
        }
        while pending:
            n_results = min(pending.values())
            rows = [row for row, n in pending.items() if n == n_results]
            pending = {row: n for row, n in pending.items() if n != n_results}
            # Beyond this, a comparison with all allowed products is cheaper.
            rows = [row for row in rows if n_results <= queries[row].n_allowed // 8 or queries[row].allowed_N is None]
            if not rows:
                continue
            candidates_BC = self._index.candidates(np.stack([queries[row].vector_D for row in rows]), n_results)
            if candidates_BC is None:
                continue
            for row, candidates_C in zip(rows, candidates_BC, strict=True):
                positions = _allowed(candidates_C, queries[row].allowed_N)
                # As many per result as without conditions: what lies beyond is chosen too coarsely.
                if len(positions) * n_results >= queries[row].k * len(candidates_C):
                    found[row] = positions
                else:
                    pending[row] = 4 * n_results
        return found

    def _n_results(self, query: VectorQuery) -> int:
        """How many results to ask the index for at first: K, grown by a quarter until enough should be allowed."""
        n_results = query.k
        if query.allowed_N is not None:
            # 8 more than K on average, because the share of allowed products among the nearest varies. In steps, so
            # that queries with similar masks ask for the same number and share a search.
            while n_results * query.n_allowed < (query.k + 8) * len(self):
                n_results += n_results // 4 + 1
        return n_results

    def all_similarities(self, vectors_BD: Float32Array, positions: Int64Array | None) -> Float32Array:
        """Inner products of B vectors with P products, (B, P), or with all, (B, N); for many products.

        They may differ from `similarity` in the last digit.
        """
        if positions is None:
            similarities: Float32Array = vectors_BD @ self._vectors_ND.T
        elif len(positions) > len(self) // SHARE_READ_IN_ORDER:
            similarities = (vectors_BD @ self._vectors_ND.T)[:, positions]
        else:
            similarities = vectors_BD @ self._vectors_ND[positions].T
        return similarities

    def similarity(self, vector_D: Float32Array, positions: Int64Array) -> Float32Array:
        """Inner products of a vector with P products, (P,)."""
        [similarity] = self.similarities(vector_D[None, :], positions[None, :])
        return np.asarray(similarity)

    def similarities(self, vectors_BD: Float32Array, positions_BP: Int64Array) -> Float32Array:
        """Inner products of each vector with P products of its own, (B, P); minus infinity for the position -1.

        They are the same whichever vectors come together, to the last digit.
        """
        return inner_products(self._vectors_ND, vectors_BD, positions_BP)


def _allowed(candidates_C: Int64Array, allowed_N: BoolArray | None) -> Int64Array:
    """The candidates that are products, and allowed ones."""
    if allowed_N is None:
        return candidates_C if candidates_C[-1] >= 0 else candidates_C[candidates_C >= 0]
    return candidates_C[allowed_N[candidates_C] & (candidates_C >= 0)]


def top_k(positions: Int64Array, scores: Float32Array, k: int) -> Ranked:
    """The K products with the highest scores, in descending order; equal scores keep the given order."""
    if k < len(scores):
        kept = np.flatnonzero(scores >= np.partition(scores, -k)[-k])  # more than K if several equal the K-th score
        positions, scores = positions[kept], scores[kept]
    order = np.argsort(-scores, kind="stable")[:k]
    return Ranked(positions[order], scores[order])
