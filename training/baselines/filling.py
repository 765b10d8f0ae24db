"""Where a method has nothing to say about a product: order by popularity, in among the scores.

Legend: B rows of one call, N products of the catalogue.
"""

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, Int64Array

# Closer to 0 than any score that means something, and far from where float32 loses digits (1e-38).
_FILL = 1e-20


def dense_rank(*keys: npt.NDArray[np.generic]) -> Int64Array:
    """The rank from 0 of each tuple (keys[0][i], keys[1][i], ...), smallest first; equal tuples share a rank."""
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
    """`scores_BN`, changed in place: a score of exactly 0, which no evidence has touched, becomes that of `fill_N`."""
    np.copyto(scores_BN, fill_N, where=scores_BN == 0)
    return scores_BN
