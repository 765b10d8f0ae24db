"""Inner products with vectors that are read in place: exact search, exact ranking of candidates, and their checks.

Legend: B queries, C candidates, K results, N products, D dimensions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import faiss
import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array

ScoresAndPositions: TypeAlias = tuple[Float32Array, Int64Array]

BLOCK_ROWS = 65_536  # vectors copied at once; 100 MB at 384 dimensions


def exact_search(vectors_ND: Float32Array, queries_BD: Float32Array, k: int) -> ScoresAndPositions:
    """Inner products and positions of the K best products for each query, best first, each (B, K); N if k is more."""
    queries_BD = np.ascontiguousarray(queries_BD, np.float32)
    scores_BK, positions_BK = faiss.knn(queries_BD, vectors_ND, min(k, len(vectors_ND)), faiss.METRIC_INNER_PRODUCT)
    return scores_BK, positions_BK


def rank_candidates(
    vectors_ND: Float32Array, queries_BD: Float32Array, candidates_BC: Int64Array, k: int
) -> ScoresAndPositions:
    """The K best candidates by exact inner product, best first, each (B, K).

    A candidate of -1 is a missing one. A query with fewer than K candidates is compared with all products.
    """
    scores_BC = inner_products(vectors_ND, queries_BD, candidates_BC)
    best_BK = np.argsort(-scores_BC, axis=1)[:, :k]
    scores_BK = np.take_along_axis(scores_BC, best_BK, axis=1)
    positions_BK = np.take_along_axis(candidates_BC, best_BK, axis=1)
    short_B = (positions_BK < 0).any(axis=1)
    if short_B.any():
        scores_BK[short_B], positions_BK[short_B] = exact_search(vectors_ND, queries_BD[short_B], k)
    return scores_BK, positions_BK


def inner_products(vectors_ND: Float32Array, queries_BD: Float32Array, candidates_BC: Int64Array) -> Float32Array:
    """Inner products of each query with its candidates, (B, C); minus infinity for a candidate of -1.

    Reads the vectors in place: gathering them by NumPy indexing first takes nearly twice as long.
    """
    # FAISS gets addresses, so an array of another type or layout would be read as garbage.
    vectors_ND, queries_BD = as_float32(vectors_ND), as_float32(queries_BD)
    candidates_BC = np.ascontiguousarray(candidates_BC, np.int64)
    scores_BC = np.empty(candidates_BC.shape, np.float32)
    pointers = [faiss.swig_ptr(array) for array in (scores_BC, queries_BD, vectors_ND, candidates_BC)]
    # The stubs of FAISS 1.15 lack this function.
    faiss.fvec_inner_products_by_idx(*pointers, vectors_ND.shape[1], *scores_BC.shape)  # type: ignore[attr-defined]
    return scores_BC


def blocks(vectors_ND: Float32Array) -> Iterator[Float32Array]:
    """The vectors in blocks, each a view; what is computed of one is gone before the next."""
    for start in range(0, len(vectors_ND), BLOCK_ROWS):
        yield vectors_ND[start : start + BLOCK_ROWS]


def require_unit_vectors(vectors_ND: Float32Array) -> None:
    """Raises ValueError unless the vectors are (N, D), finite and of unit length."""
    if vectors_ND.ndim != 2:
        raise ValueError(f"product vectors must be a finite (N, D) matrix, not {vectors_ND.shape}")
    shortest, longest = np.inf, -np.inf
    for block in blocks(vectors_ND):
        norms = np.linalg.norm(block, axis=1)
        if not np.isfinite(norms).all():
            raise ValueError(f"product vectors must be a finite (N, D) matrix, not {vectors_ND.shape}")
        shortest, longest = min(shortest, norms.min()), max(longest, norms.max())
    if len(vectors_ND) and max(longest - 1, 1 - shortest) > 1e-3:
        raise ValueError(f"product vectors must have unit length; norms range from {shortest:.4f} to {longest:.4f}")


def as_float32(vectors_ND: Float32Array) -> Float32Array:
    """The vectors as FAISS takes them, contiguous float32; of a mapped file a view, not a copy."""
    return np.ascontiguousarray(vectors_ND, np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS works on one thread in this block, in the whole process, so not for one that answers requests.

    For work of many small steps: on a busy machine, threads that wait for each other at each step take many times as
    long as one.
    """
    n_threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(n_threads)
