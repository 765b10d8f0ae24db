"""Products in an order of their own: look-ups against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.artifacts.lists.ranked_products import NOTHING_RANKED, RankedProducts

pytestmark = pytest.mark.fast

N = 12
SCORES = st.dictionaries(st.integers(0, N - 1), st.sampled_from([0.25, 0.5, 0.5, 1.0]))


def ranked(scores: dict[int, float]) -> RankedProducts:
    return RankedProducts(np.array(list(scores), dtype=np.int64), np.array(list(scores.values()), dtype=np.float32))


@given(SCORES, SCORES, st.lists(st.booleans(), min_size=N, max_size=N), st.integers(0, N + 1))
def test_it_is_what_plain_python_says(
    scores: dict[int, float], others: dict[int, float], allowed: list[bool], k: int
) -> None:
    products, best_first = ranked(scores), sorted(scores, key=lambda position: -scores[position])  # stable
    assert (len(products), products.positions.tolist()) == (len(scores), best_first)
    everything = np.arange(N)
    assert products.has(everything).tolist() == [position in scores for position in range(N)]
    assert products.scores(everything).tolist() == [scores.get(position, 0) for position in range(N)]
    left = [position for position in best_first if allowed[position]]
    assert products.best(k, np.array(allowed)).positions.tolist() == left[:k]
    assert products.best(k).scores.tolist() == [scores[position] for position in best_first[:k]]
    rest = products.without(ranked(others))
    assert rest.positions.tolist() == [position for position in best_first if position not in others]
    assert rest.scores(everything).tolist() == [
        0 if position in others else scores.get(position, 0) for position in range(N)
    ]


def test_only_scores_above_zero_are_ranked() -> None:
    products = RankedProducts.above_zero(np.array([0, 0.5, np.nan, -1, 1], dtype=np.float32))
    assert products.positions.tolist() == [4, 1]
    assert NOTHING_RANKED.best(3).positions.tolist() == []
