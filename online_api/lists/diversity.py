"""Diversity: a list whose products are good and not all alike.

Legend: C candidates, D dimensions, K results.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]


class Candidates(NamedTuple):
    """Products to choose from; equal values go by their order here.

    Attributes:
        scores_C: Higher is better; finite.
        vectors_CD: Unit vectors; None will do where lambda is 1.
        brand_codes_C: -1 for a product without a brand, which no cap counts.
        category_codes_C: -1 for a product without a category, which no cap counts.
    """

    scores_C: npt.NDArray[np.float32]
    vectors_CD: npt.NDArray[np.float32] | None
    brand_codes_C: Codes
    category_codes_C: Codes


def diversify(
    candidates: Candidates,
    k: int,
    lambda_: float = 1.0,
    max_per_brand: int | None = None,
    max_per_category: int | None = None,
) -> npt.NDArray[np.int64]:
    """Chooses products one by one by maximal marginal relevance (Carbonell and Goldstein 1998), within the caps.

    Each choice is the one with the highest `lambda_ * score - (1 - lambda_) * cosine`, the cosine being that with the
    most similar product chosen before (0 for the first choice). It costs O(K C D), and no vector is read at lambda 1.

    Args:
        candidates: What to choose from.
        k: How many to choose.
        lambda_: 1 ranks by score alone, 0 by difference alone.
        max_per_brand: Most products of one brand; None: any number.
        max_per_category: Most products of one category; None: any number.

    Returns:
        Places in `candidates`, in the order of choice: `k` of them, or fewer where every other candidate is of a brand
        or category that is full.
    """
    caps = [
        (codes_C, cap, Counter[int]())
        for codes_C, cap in (
            (candidates.brand_codes_C, max_per_brand),
            (candidates.category_codes_C, max_per_category),
        )
        if cap is not None
    ]
    # The value of each candidate for the next choice, but for the cosine; -inf for one that cannot be chosen.
    gain_C = np.float32(lambda_) * candidates.scores_C
    penalty_C = np.zeros_like(gain_C)
    chosen: list[int] = []
    while len(chosen) < min(k, len(gain_C)):
        best = int(np.argmax(gain_C - penalty_C))
        if gain_C[best] == -np.inf:
            break
        chosen.append(best)
        gain_C[best] = -np.inf
        for codes_C, cap, taken in caps:
            code = int(codes_C[best])
            taken[code] += 1
            if code >= 0 and taken[code] == cap:
                gain_C[codes_C == code] = -np.inf
        if lambda_ < 1:
            assert candidates.vectors_CD is not None
            likeness_C = np.float32(1 - lambda_) * (candidates.vectors_CD @ candidates.vectors_CD[best])
            penalty_C = likeness_C if len(chosen) == 1 else np.maximum(penalty_C, likeness_C)
    return np.array(chosen, dtype=np.int64)
