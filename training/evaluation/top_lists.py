"""The best products of many buyers: exact lists without sorting all scores.

Legend: B buyers, N products of the catalogue, K products in each list, G whole blocks of products.
"""

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array
from training.evaluation.metrics import NO_PRODUCT
from training.evaluation.ranker import top_positions

# Products of a block. Of 100,000 products, the best block maxima leave 20 * 256 to compare.
BLOCK = 256


def top_lists(scores_BN: Float32Array, k: int, name: str) -> Int32Array:
    """(B, K) positions of the highest scores, best first, equal scores by lower position; NO_PRODUCT for -inf.

    The K-th highest of the block maxima is at most the K-th highest score, since K blocks have a score that high. So
    only blocks that reach it can have one of the K best, and all of those that do are compared: ties are kept.

    Args:
        scores_BN: (B, N) scores, -inf for products that are never recommended; it may be read-only.
        k: K.
        name: Of whom the scores are, for the error.

    Raises:
        ValueError: A score is NaN.
    """
    n_products = scores_BN.shape[1]
    n_blocks = n_products // BLOCK
    blocks_BGP = scores_BN[:, : n_blocks * BLOCK].reshape(len(scores_BN), n_blocks, BLOCK)
    rest_BP = scores_BN[:, n_blocks * BLOCK :]
    maxima_BG = blocks_BGP.max(axis=2)
    # max passes NaN on.
    if np.isnan(maxima_BG).any() or np.isnan(rest_BP).any():
        raise ValueError(f"{name} gave scores that are not numbers: they have no rank")
    if k < n_blocks:
        reached_BG = maxima_BG >= np.partition(maxima_BG, n_blocks - k, axis=1)[:, n_blocks - k, None]
    else:
        reached_BG = np.ones_like(maxima_BG, dtype=np.bool_)
    positions_GP = np.arange(n_blocks * BLOCK).reshape(n_blocks, BLOCK)
    rest = np.arange(n_blocks * BLOCK, n_products)
    lists_BK = np.full((len(scores_BN), k), NO_PRODUCT, dtype=np.int32)
    for row, reached_G in enumerate(reached_BG):
        scores = np.concatenate([blocks_BGP[row, reached_G].ravel(), rest_BP[row]])
        top = top_positions(scores, k)
        # If too few products may be recommended, top_positions fills up with excluded ones.
        top = top[scores[top] > -np.inf]
        lists_BK[row, : len(top)] = np.concatenate([positions_GP[reached_G].ravel(), rest])[top]
    return lists_BK
