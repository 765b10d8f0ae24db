"""Exact lists by block maxima, against a stable sort of all scores."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from training.evaluation.metrics import NO_PRODUCT
from training.evaluation.top_lists import BLOCK, top_lists

VALUES = np.array([-np.inf, -2, -0.0, 0.0, 0.5, 1, 3, np.inf], dtype=np.float32)


def brute_force(scores_BN: npt.NDArray[np.float32], k: int) -> list[list[int]]:
    lists = []
    for scores_N in scores_BN:
        order = [position for position in np.argsort(-scores_N, kind="stable")[:k] if scores_N[position] > -np.inf]
        lists.append([*map(int, order), *[NO_PRODUCT] * (k - len(order))])
    return lists


def scored(seed: int, n_buyers: int, n_products: int, n_masked: int, *, distinct: bool) -> npt.NDArray[np.float32]:
    """Scores with hardly any ties, or with hardly anything else; some products are masked."""
    rng = np.random.default_rng(seed)
    shape = (n_buyers, n_products)
    scores = rng.normal(size=shape) if distinct else rng.choice(VALUES, size=shape)
    scores[:, rng.integers(n_products, size=n_masked)] = -np.inf
    return scores.astype(np.float32)


@given(
    seed=st.integers(0, 1000),
    n_buyers=st.integers(1, 3),
    n_products=st.integers(1, 12 * BLOCK + 7),
    n_masked=st.integers(0, 4000),
    k=st.integers(1, 12),
    distinct=st.booleans(),
)
@example(seed=0, n_buyers=2, n_products=12 * BLOCK, n_masked=9 * BLOCK, k=10, distinct=True)
@example(seed=0, n_buyers=2, n_products=12 * BLOCK + 1, n_masked=0, k=3, distinct=False)
def test_lists_are_those_of_a_stable_sort_of_all_scores(
    seed: int, n_buyers: int, n_products: int, n_masked: int, k: int, distinct: bool
) -> None:
    scores = scored(seed, n_buyers, n_products, n_masked, distinct=distinct)
    assert top_lists(scores, k, "ranker").tolist() == brute_force(scores, k)


def test_equal_scores_in_blocks_that_do_not_lead_keep_the_order_of_positions() -> None:
    scores = np.zeros((1, 9 * BLOCK), dtype=np.float32)
    scores[0, [7 * BLOCK, 3 * BLOCK]] = 1
    assert top_lists(scores, 4, "ranker").tolist() == [[3 * BLOCK, 7 * BLOCK, 0, 1]]


def test_one_row_of_scores_for_everybody_is_read_in_place() -> None:
    scores = np.broadcast_to(scored(3, 1, 7 * BLOCK + 9, 50, distinct=True), (3, 7 * BLOCK + 9))
    assert top_lists(scores, 5, "ranker").tolist() == brute_force(scores, 5)


@pytest.mark.parametrize("position", [0, BLOCK, 5 * BLOCK, 5 * BLOCK + 3])
def test_scores_that_are_not_numbers_are_refused_wherever_they_are(position: int) -> None:
    scores = np.zeros((2, 5 * BLOCK + 4), dtype=np.float32)
    scores[1, position] = np.nan
    with pytest.raises(ValueError, match="ranker gave scores that are not numbers"):
        top_lists(scores, 2, "ranker")
