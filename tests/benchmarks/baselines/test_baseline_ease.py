"""EASE by hand, and against the regressions that define it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from benchmarks.baselines.ease import EASE
from tests.baseline_cases import BY_POPULARITY, CUTOFF, all_rows, as_events, as_histories, ranked, ten_purchases
from training.evaluation.ranker import TrainingEvents


def test_by_hand() -> None:
    # Common buyers [[2, 1], [1, 1]], plus 1 on the diagonal: inverse [[2, -1], [-1, 3]] / 5.
    events = as_events([(0, 0), (0, 0), (0, 1), (1, 0)], 2, 3)
    histories = as_histories([[0], [1], [0, 1]])
    scores = EASE(events, histories, CUTOFF, l2=1, decay=0.5).scores(all_rows(histories))

    # The weight of 0 for 1 is (1/5) / (3/5), that of 1 for 0 is (1/5) / (2/5); none for itself.
    assert_allclose(scores[0, 1], 1 / 3, rtol=1e-6)
    assert_allclose(scores[1, 0], 1 / 2, rtol=1e-6)
    assert_allclose(scores[2, :2], [1 / 2, 1 / 3 / 2], rtol=1e-6)
    assert scores[0, 2] < scores[0, 0] < 0  # no evidence: by popularity, below every positive score


def test_products_beyond_the_most_bought_take_no_part() -> None:
    # Products 1 and 3 have most buyers, so that 0, 2, 4 and 5 are left to popularity.
    ranker = EASE(ten_purchases(), as_histories([[3, 0], [0]]), CUTOFF, l2=1, max_products=2)

    assert ranked(ranker, row=0) == [1, 3, 0, 2, 4, 5]
    assert ranked(ranker, row=1) == BY_POPULARITY
    assert ranker.scores(np.array([0], dtype=np.int32))[0, 1] > 1e-3


def ridge_weights(events: TrainingEvents, l2: float) -> npt.NDArray[np.float64]:
    """Column j: the ridge regression of product j on all the others."""
    bought = np.zeros((events.n_buyers, events.n_products))
    bought[events.buyers, events.products] = 1
    weights = np.zeros((events.n_products, events.n_products))
    for product in range(events.n_products):
        others = np.arange(events.n_products) != product
        gram = bought[:, others].T @ bought[:, others] + l2 * np.eye(events.n_products - 1)
        weights[others, product] = np.linalg.solve(gram, bought[:, others].T @ bought[:, product])
    return weights


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=40),
    st.sampled_from([0.5, 1.0, 100.0]),
    st.sampled_from([6, 40]),
)
def test_each_product_is_a_ridge_regression_on_the_others(
    pairs: list[tuple[int, int]], l2: float, n_buyers: int
) -> None:
    # Far fewer buyers than products are solved through the buyers; see below.
    events = as_events(pairs, n_buyers, 9)
    histories = as_histories([[product] for product in range(9)])
    scores = EASE(events, histories, CUTOFF, l2=l2).scores(all_rows(histories))

    assert_allclose(scores, ridge_weights(events, l2), atol=1e-5)


@pytest.mark.parametrize("n_buyers", [250, 1200])
def test_more_products_than_one_block(n_buyers: int) -> None:
    rng = np.random.default_rng(0)
    pairs = list(zip(rng.integers(0, 250, 5000).tolist(), rng.integers(0, 1100, 5000).tolist(), strict=True))
    events = as_events(pairs, n_buyers, 1100)
    histories = as_histories([[product] for product in range(1100)])
    scores = EASE(events, histories, CUTOFF, l2=5).scores(all_rows(histories))

    bought = np.zeros((n_buyers, 1100))
    bought[events.buyers, events.products] = 1
    inverse = np.linalg.inv(bought.T @ bought + 5 * np.eye(1100))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("parameters", [{"l2": 0}, {"max_products": 0}, {"decay": 0}])
def test_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(parameters))} 0"):
        EASE(ten_purchases(), as_histories([[]]), CUTOFF, **parameters)
