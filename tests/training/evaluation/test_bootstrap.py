"""Intervals against what they promise: to hold the true value as often as stated."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.evaluation.bootstrap import mean_interval, mean_intervals, paired_interval, standard_error

VALUES = np.array([0.0, 0.0, 1.0, 0.5, 0.25])
per_buyer_values = hnp.arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0, 0.2, 1 / 3, 0.5, 1]))


def test_the_interval_of_two_buyers_by_hand() -> None:
    # Two draws of 0 and 1 have mean 0, 1/2, 1/2 or 1, each a quarter of the time: 90% reaches to both ends.
    assert mean_interval(np.array([0.0, 1.0]), level=0.9) == (0, 1)
    # The middle 40% lie inside the half of the resamples whose mean is 1/2.
    assert mean_interval(np.array([0.0, 1.0]), level=0.4) == (0.5, 0.5)


def test_one_buyer_and_equal_buyers_leave_nothing_to_vary() -> None:
    assert mean_interval(np.array([0.5])) == (0.5, 0.5)
    assert mean_interval(np.full(40, 0.25)) == (0.25, 0.25)


def test_the_interval_is_that_of_the_normal_approximation_for_many_buyers() -> None:
    values = np.random.default_rng(5).random(4000)

    low, high = mean_interval(values)

    half_width = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half_width, abs=0.1 * half_width)
    assert high == pytest.approx(values.mean() + half_width, abs=0.1 * half_width)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_the_true_mean_is_covered_as_often_as_stated(level: float) -> None:
    # 400 test sets of 100 buyers, skewed as metrics are; the share of 400 has a standard error of at most .025.
    values = np.random.default_rng(1).beta(0.3, 0.7, (400, 100))
    intervals = [mean_interval(row, resamples=400, level=level, seed=seed) for seed, row in enumerate(values)]

    covered = np.mean([low <= 0.3 <= high for low, high in intervals])

    assert covered == pytest.approx(level, abs=0.06)


def test_the_true_difference_is_covered_as_often_as_stated() -> None:
    rng = np.random.default_rng(2)
    intervals = []
    for seed in range(400):
        easy = rng.normal(size=100)  # what makes a buyer easy for both models
        a, b = easy + rng.normal(0.2, 0.3, 100), easy + rng.normal(0, 0.3, 100)
        intervals.append(paired_interval(a, b, resamples=400, level=0.9, seed=seed))

    assert np.mean([low <= 0.2 <= high for low, high in intervals]) == pytest.approx(0.9, abs=0.06)
    # Unpaired, the spread of `easy` would hide the difference: its standard error alone is 0.14.
    assert np.mean([low > 0 for low, _ in intervals]) > 0.95


def test_pairs_tell_models_apart_whose_own_intervals_overlap() -> None:
    b = np.linspace(0, 0.9, 50)
    a = b + 0.01

    assert mean_interval(a)[0] < mean_interval(b)[1]
    assert paired_interval(a, b) == pytest.approx((0.01, 0.01))
    assert paired_interval(b, a) == pytest.approx((-0.01, -0.01))


@settings(max_examples=50)
@given(values=per_buyer_values, seed=st.integers(0, 9))
def test_equal_models_differ_by_exactly_nothing(values: np.ndarray, seed: int) -> None:
    assert paired_interval(values, values.copy(), resamples=50, seed=seed) == (0, 0)


@settings(max_examples=50)
@given(values=per_buyer_values, order=st.randoms(use_true_random=False))
def test_the_order_of_buyers_does_not_matter(values: np.ndarray, order: random.Random) -> None:
    shuffled = values.tolist()
    order.shuffle(shuffled)

    assert mean_interval(np.array(shuffled), resamples=50) == mean_interval(values, resamples=50)


@settings(max_examples=50)
@given(values=per_buyer_values, level=st.floats(0.01, 0.98))
def test_a_higher_level_is_a_wider_interval_within_the_values(values: np.ndarray, level: float) -> None:
    low, high = mean_interval(values, resamples=50, level=level)
    wide_low, wide_high = mean_interval(values, resamples=50, level=level + 0.01)

    rounding = 1e-12
    assert values.min() - rounding <= wide_low <= low + rounding
    assert low <= high
    assert high - rounding <= wide_high <= values.max() + rounding


def test_seeds_decide_the_draws() -> None:
    assert mean_interval(VALUES, resamples=20, seed=3) == mean_interval(VALUES, resamples=20, seed=3)
    assert mean_interval(VALUES, resamples=20, seed=3) != mean_interval(VALUES, resamples=20, seed=4)


def test_several_metrics_at_once_are_as_one_by_one() -> None:
    metrics = {"recall@1": VALUES, "ndcg@1": VALUES**2}

    together = mean_intervals(metrics, seed=7)

    assert list(together) == ["recall@1", "ndcg@1"]
    for metric, values in metrics.items():
        assert together[metric] == pytest.approx(mean_interval(values, seed=7), abs=1e-12)


def test_many_buyers_are_drawn_in_chunks() -> None:
    values = np.repeat([0.0, 1.0], 600_000)

    low, high = mean_interval(values, resamples=5)

    assert 0.497 < low < high < 0.503


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "at least one buyer"),
        ([1.0, np.nan], {}, "finite"),
        ([1.0], {"resamples": 0}, "resamples 0"),
        ([1.0], {"level": 1.0}, "level 1.0"),
        ([1.0], {"level": 95}, "level 95"),
    ],
)
def test_what_has_no_interval_is_refused(values: list[float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_interval(np.array(values), **options)


def test_different_buyers_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="a has 5 values and b 4"):
        paired_interval(VALUES, VALUES[1:])


# ---- buyers with several values --------------------------------------------------------------------------------------


def test_what_a_buyer_repeats_says_nothing_more() -> None:
    values = np.random.default_rng(6).random(60)
    repeated, buyers = np.repeat(values, 5), np.repeat(np.arange(60), 5)
    assert mean_interval(repeated, buyers) == pytest.approx(mean_interval(values))
    assert paired_interval(repeated, repeated / 2, buyers) == pytest.approx(paired_interval(values, values / 2))
    assert standard_error(repeated, buyers) == pytest.approx(standard_error(values))
    low, high = mean_interval(values)
    apart_low, apart_high = mean_interval(repeated)
    assert apart_high - apart_low < 0.6 * (high - low)


def test_the_standard_error_by_hand() -> None:
    # The mean is 1/2. The buyers' sums deviate by 1 and by -1 from what they would be at the mean.
    assert standard_error(np.array([1.0, 1, 0, 0]), np.array([7, 7, 3, 3])) == pytest.approx(np.sqrt(2) / 4)
    assert standard_error(np.array([1.0, 1, 0, 0])) == pytest.approx(0.5 / 2)


def test_the_true_mean_is_covered_although_buyers_differ_in_their_number_of_values() -> None:
    rng = np.random.default_rng(3)
    covered_apart: list[bool] = []
    covered_together: list[bool] = []
    for seed in range(300):
        sizes = rng.integers(1, 12, 80)
        buyers = np.repeat(np.arange(80), sizes)
        values = np.repeat(rng.normal(0.3, 1, 80), sizes) + rng.normal(0, 0.3, len(buyers))
        for covered, of_buyers in ((covered_apart, None), (covered_together, buyers)):
            low, high = mean_interval(values, of_buyers, resamples=400, level=0.9, seed=seed)
            covered.append(low <= 0.3 <= high)
    assert np.mean(covered_together) == pytest.approx(0.9, abs=0.06)
    assert np.mean(covered_apart) < 0.7


@settings(max_examples=50)
@given(values=per_buyer_values, order=st.randoms(use_true_random=False), data=st.data())
def test_neither_order_nor_codes_of_the_buyers_matter(
    values: np.ndarray, order: random.Random, data: st.DataObject
) -> None:
    buyers = np.array(data.draw(st.lists(st.integers(0, 5), min_size=len(values), max_size=len(values))))
    places = list(range(len(values)))
    order.shuffle(places)
    assert mean_interval(values[places], 9 - buyers[places], resamples=50) == pytest.approx(
        mean_interval(values, buyers, resamples=50)
    )
