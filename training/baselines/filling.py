"""Ranks the products that a baseline cannot score by popularity, between its positive and its negative scores.

Legend: B rows of one call, N products of the catalogue.
"""

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, Int64Array

# Closer to 0 than any score that means something, and far from where float32 loses digits (1e-38).
_FILL = 1e-20


def dense_rank(*keys: npt.NDArray[np.generic]) -> Int64Array:
    """The rank from 0 of each tuple (keys[0][i], keys[1][i], ...), smallest first; equal tuples share a rank."""
    # lexsort sorts by its last key first.
    order = np.lexsort(keys[::-1])
    rises = np.zeros(len(order), dtype=np.int64)
    for key in keys:
        rises[1:] |= key[order][1:] != key[order][:-1]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(rises)
    return ranks


def fill_scores(popularity_N: Int64Array) -> Float32Array:
    """(N,) scores just below 0 in the order of popularity: under every positive score, above every negative one."""
    return (_FILL * (dense_rank(popularity_N) / len(popularity_N) - 1)).astype(np.float32)


def filled(scores_BN: Float32Array, fill_N: Float32Array) -> Float32Array:
    """Replaces, in place, each score of exactly 0 (no evidence about the product) by that of `fill_N`; returns them."""
    np.copyto(scores_BN, fill_N, where=scores_BN == 0)
    return scores_BN
