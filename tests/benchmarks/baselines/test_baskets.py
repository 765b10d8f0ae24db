"""The baskets of a history."""

from benchmarks.baselines.baskets import baskets
from tests.baseline_cases import as_histories


def test_baskets_are_the_moments_of_a_history() -> None:
    histories = as_histories([[1, 2, 3], [], [1], [4, 4]], [[5, 5, 6], [], [6], [6, 7]])

    assert baskets(histories).tolist() == [0, 0, 1, 2, 3, 4]
    assert baskets(as_histories([[]])).tolist() == []
