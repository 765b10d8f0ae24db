"""Diversity: chooses products that have high scores and differ from each other.

Legend: C candidates, D dimensions, K results.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array


class Candidates(NamedTuple):
    """Products to choose from; of equally good ones, the first is chosen.

    Attributes:
        scores_C: Finite scores; higher is better.
        vectors_CD: Unit vectors; may be None if lambda is 1.
        brand_codes_C: Int32Array of brands; -1 for a product without a brand, which the cap does not count.
        category_codes_C: Int32Array of categories; -1 for a product without a category, which the cap does not count.
    """

    scores_C: Float32Array
    vectors_CD: Float32Array | None
    brand_codes_C: Int32Array
    category_codes_C: Int32Array


def diversify(
    candidates: Candidates,
    k: int,
    lambda_: float = 1.0,
    max_per_brand: int | None = None,
    max_per_category: int | None = None,
) -> Int64Array:
    """Chooses products one by one by maximal marginal relevance (Carbonell and Goldstein 1998), within the caps.

    Each step chooses the product with the highest `lambda_ * score - (1 - lambda_) * cosine`. The cosine is that with
    the most similar product chosen before (0 at the first step). The cost is O(K C D); lambda 1 reads no vector.

    Args:
        candidates: The products to choose from.
        k: Number of products to choose.
        lambda_: 1 ranks by score alone, 0 by difference alone.
        max_per_brand: Maximum number of products of one brand; None: no cap.
        max_per_category: Maximum number of products of one category; None: no cap.

    Returns:
        Indices of `candidates` in the order of choice: `k` of them, or fewer if all others are of a brand or category
        that has reached its cap.
    """
    caps = [
        (codes_C, cap, Counter[int]())
        for codes_C, cap in (
            (candidates.brand_codes_C, max_per_brand),
            (candidates.category_codes_C, max_per_category),
        )
        if cap is not None
    ]
    # The value of each candidate at the next step without the cosine term; -inf for one that cannot be chosen.
    gain_C = np.float32(lambda_) * candidates.scores_C
    penalty_C = np.zeros_like(gain_C)
    chosen: list[int] = []
    while len(chosen) < min(k, len(gain_C)):
        best = int(np.argmax(gain_C - penalty_C))  # of equal values, argmax returns the first
        if gain_C[best] == -np.inf:
            break
        chosen.append(best)
        gain_C[best] = -np.inf
        for codes_C, cap, n_chosen in caps:
            code = int(codes_C[best])
            n_chosen[code] += 1
            if code >= 0 and n_chosen[code] == cap:
                gain_C[codes_C == code] = -np.inf
        if lambda_ < 1:
            assert candidates.vectors_CD is not None
            similarity_C = np.float32(1 - lambda_) * (candidates.vectors_CD @ candidates.vectors_CD[best])
            # Compared with the newest product alone: penalty_C has the maximum over those before. It starts with zeros,
            # which are no cosines: a maximum with them would lose negative ones.
            penalty_C = similarity_C if len(chosen) == 1 else np.maximum(penalty_C, similarity_C)
    return np.array(chosen, dtype=np.int64)
