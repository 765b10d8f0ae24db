"""The simple baselines on ten purchases that fit the eye."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tests.baseline_cases import (
    BY_RECENT_POPULARITY,
    CUTOFF,
    HISTORIES,
    all_rows,
    as_events,
    as_histories,
    ranked,
    ten_purchases,
)
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity, RecentPopularity
from training.data.histories import DAY_MS
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.ranker import TrainingEvents

# ---- popularity ------------------------------------------------------------------------------------------------------


def test_popularity_counts_buyers_not_repeats() -> None:
    scores = Popularity(ten_purchases(), HISTORIES, CUTOFF).scores(all_rows(HISTORIES))

    assert_array_equal(scores, [[1, 3, 1, 2, 1, 0]] * 5)


def test_recent_popularity_ranks_by_the_window_then_by_all_buyers() -> None:
    assert ranked(RecentPopularity(ten_purchases(), HISTORIES, CUTOFF), row=0) == BY_RECENT_POPULARITY


def test_recent_popularity_window_starts_inclusive() -> None:
    # Eleven days before day 41 is day 30, the day of product 2; ten days before it is too late for it.
    assert ranked(RecentPopularity(ten_purchases(), HISTORIES, CUTOFF, days=11), row=0) == [3, 2, 4, 1, 0, 5]
    assert ranked(RecentPopularity(ten_purchases(), HISTORIES, CUTOFF, days=10), row=0) == [3, 4, 1, 0, 2, 5]


def test_recent_popularity_refuses_an_empty_window() -> None:
    with pytest.raises(ValueError, match="days 0 must be positive"):
        RecentPopularity(ten_purchases(), HISTORIES, CUTOFF, days=0)


# ---- personal frequency ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (0, [0, 1, 3, 2, 4, 5]),  # three times 0, once 1, then by recent popularity
        (1, [3, 2, 1, 4, 0, 5]),  # once each: recent popularity decides
        (2, [3, 4, 1, 2, 0, 5]),
        (3, [3, 2, 4, 1, 0, 5]),  # nothing known: recent popularity alone
        (4, [4, 1, 3, 2, 0, 5]),  # what was taken after the cut-off counts as histories, not as popularity
    ],
)
def test_personal_frequency(row: int, expected: list[int]) -> None:
    assert ranked(PersonalFrequency(ten_purchases(), HISTORIES, CUTOFF), row) == expected


def test_personal_frequency_keeps_large_counts_apart() -> None:
    # 70,000 against 70,001 purchases: a float32 count plus a fraction for popularity would blur.
    events = as_events([(buyer, 0) for buyer in range(50)], 50, 3)
    histories = as_histories([[0] * 70_000 + [1] * 70_001])

    assert ranked(PersonalFrequency(events, histories, CUTOFF), row=0) == [1, 0, 2]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=40))
def test_personal_frequency_is_a_sort_by_count_then_recent_popularity(pairs: list[tuple[int, int]]) -> None:
    events = as_events(pairs, 6, 9)
    ranker = PersonalFrequency(events, events.histories(), cutoff_ms=1)
    n_buyers = [len({buyer for buyer, product in pairs if product == wanted}) for wanted in range(9)]
    for buyer in range(6):
        keys = [(-pairs.count((buyer, product)), -n_buyers[product], product) for product in range(9)]
        assert ranked(ranker, buyer) == [product for *_, product in sorted(keys)]


# ---- masked ----------------------------------------------------------------------------------------------------------


def test_masked_never_recommends_the_asked_history() -> None:
    histories = as_histories([[0, 0, 1], [], [-1, 3]])
    ranker = MaskedRanker(Popularity(ten_purchases(), histories, CUTOFF), histories)

    low = -np.inf
    assert ranker.name == "popularity"
    scores = ranker.scores(np.array([2, 0, 1], dtype=np.int32))
    assert_array_equal(scores, [[1, 3, 1, low, 1, 0], [low, low, 1, 2, 1, 0], [1, 3, 1, 2, 1, 0]])


# ---- training events -------------------------------------------------------------------------------------------------


def test_histories_of_training_events_are_in_order_of_time_then_product() -> None:
    histories = as_events([(2, 1), (0, 3), (2, 0), (0, 2), (0, 2)], 4, 6, [5, 7, 5, 9, 1]).histories()

    assert histories.offsets.tolist() == [0, 3, 3, 5, 5]
    assert histories.products.tolist() == [2, 3, 2, 0, 1]
    assert (histories.event_times // DAY_MS).tolist() == [1, 7, 9, 5, 5]


@pytest.mark.parametrize(
    ("buyers", "products", "times", "n_buyers", "n_products", "message"),
    [
        ([0, 1], [0], [1, 2], 2, 1, "one length"),
        ([0], [0], [1, 2], 2, 1, "one length"),
        ([2], [0], [1], 2, 1, "buyers must lie between 0 and 1, not 2 to 2"),
        ([0], [-1], [1], 2, 1, "products must lie between 0 and 0, not -1 to -1"),
        ([], [], [], 0, 1, "at least 1"),
    ],
)
def test_training_events_refuse(
    buyers: list[int], products: list[int], times: list[int], n_buyers: int, n_products: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingEvents(
            np.array(buyers, dtype=np.int32), np.array(products, dtype=np.int32), np.array(times), n_buyers, n_products
        )
