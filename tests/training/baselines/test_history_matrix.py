"""Histories as matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.baseline_cases import as_histories
from training.baselines.history_matrix import history_counts, history_weights

HISTORIES = as_histories([[2, 0, 2], [], [1, -1, 3, -1]])


def test_counts() -> None:
    assert_array_equal(history_counts(HISTORIES, 4).toarray(), [[1, 0, 2, 0], [0, 0, 0, 0], [0, 1, 0, 1]])


def test_weights_are_those_of_the_latest_event() -> None:
    weights = history_weights(HISTORIES, 4, decay=0.5)

    # Unknown products take up no place.
    assert_array_equal(weights.toarray(), [[0.5, 0, 1, 0], [0, 0, 0, 0], [0, 0.5, 0, 1]])
    assert weights.dtype == np.float32


def test_without_decay_every_product_weighs_1() -> None:
    assert_array_equal(history_weights(HISTORIES, 4, decay=1).toarray(), [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1]])


@given(st.lists(st.lists(st.integers(-1, 5), max_size=12), min_size=1, max_size=5), st.sampled_from([0.3, 0.9, 1.0]))
def test_weights_by_walking_back(histories: list[list[int]], decay: float) -> None:
    expected = np.zeros((len(histories), 6))
    for row, history in enumerate(histories):
        for age, product in enumerate(reversed([product for product in history if product >= 0])):
            expected[row, product] = max(expected[row, product], decay**age)
    assert_allclose(history_weights(as_histories(histories), 6, decay).toarray(), expected, rtol=1e-6)


@pytest.mark.parametrize("decay", [0, -0.5, 1.01, float("nan")])
def test_a_decay_that_does_not_fade_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        history_weights(HISTORIES, 4, decay)


def test_products_outside_the_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match="products of histories must lie between 0 and 2"):
        history_counts(HISTORIES, 3)
