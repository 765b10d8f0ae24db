"""Diversity: chooses products that have high scores and differ from each other.

Legend: C candidates, D dimensions, S products that are listed already.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array


class CodeLimit(NamedTuple):
    """At most `cap` candidates of one code, such as of one brand.

    Attributes:
        codes_C: Int32Array of the candidates' codes; -1 for one without a code, which is not limited.
        cap: Maximum number per code.
        listed: How many products of each code are listed already.
    """

    codes_C: Int32Array
    cap: int
    listed: Counter[int] = Counter()  # noqa: RUF012 - read-only


def diversify(
    scores_C: Float32Array,
    k: int,
    lambda_: float = 1.0,
    vectors_CD: Float32Array | None = None,
    limits: Sequence[CodeLimit] = (),
    listed_SD: Float32Array | None = None,
) -> Int64Array:
    """Chooses products one by one by maximal marginal relevance (Carbonell and Goldstein 1998), within the limits.

    Each step chooses the product with the highest `lambda_ * score - (1 - lambda_) * cosine`. The cosine is that with
    the most similar product chosen before (0 at the first step). The cost is O(K C D); lambda 1 reads no vector.

    Args:
        scores_C: Finite scores of the candidates; higher is better. Of equally good ones, the first is chosen.
        k: Number of products to choose.
        lambda_: 1 ranks by score alone, 0 by difference alone.
        vectors_CD: Unit vectors of the candidates; may be None if lambda is 1.
        limits: Each is kept, with what is listed already counted in.
        listed_SD: Vectors of products that are listed already, from which candidates should differ, too.

    Returns:
        Places of candidates in the order of choice: `k` of them, or fewer if limits close all others.
    """
    # The value of each candidate at the next step without the cosine term; -inf for one that cannot be chosen.
    gain_C = np.float32(lambda_) * scores_C
    for codes_C, cap, listed in limits:
        full = [code for code, count in listed.items() if code >= 0 and count >= cap]
        gain_C[np.isin(codes_C, full)] = -np.inf
    counts = [Counter(listed) for _, _, listed in limits]
    penalty_C: Float32Array | None = None  # None until there is a product to differ from
    if lambda_ < 1 and listed_SD is not None and len(listed_SD):
        assert vectors_CD is not None
        penalty_C = np.float32(1 - lambda_) * (vectors_CD @ listed_SD.T).max(axis=1)
    chosen: list[int] = []
    while len(chosen) < min(k, len(gain_C)):
        best = int(np.argmax(gain_C if penalty_C is None else gain_C - penalty_C))  # of equals, argmax takes the first
        if gain_C[best] == -np.inf:
            break
        chosen.append(best)
        gain_C[best] = -np.inf
        for (codes_C, cap, _), count in zip(limits, counts, strict=True):
            code = int(codes_C[best])
            count[code] += 1
            if code >= 0 and count[code] == cap:
                gain_C[codes_C == code] = -np.inf
        if lambda_ < 1:
            assert vectors_CD is not None
            similarity_C = np.float32(1 - lambda_) * (vectors_CD @ vectors_CD[best])
            # Compared with the newest product alone: penalty_C has the maximum over those before.
            penalty_C = similarity_C if penalty_C is None else np.maximum(penalty_C, similarity_C)
    return np.array(chosen, dtype=np.int64)
