"""What all baselines promise, and the simple ones on ten purchases that fit the eye."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.training.baselines.baseline_cases import (
    BY_POPULARITY,
    BY_RECENT_POPULARITY,
    CUTOFF,
    all_rows,
    as_events,
    as_histories,
    ranked,
    ten_purchases,
)
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity, RecentPopularity
from training.baselines.tuning import BASELINES, Problem
from training.data.histories import DAY_MS, Histories
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.ranker import Ranker, TrainingEvents

NO_LIBRARY = pytest.mark.skipif(find_spec("implicit") is None, reason="the package implicit is not installed")
NAMES = [pytest.param(name, marks=[NO_LIBRARY] if name == "ials" else []) for name in BASELINES]
TEXT = np.array([[1, 0], [1, 1], [0, 1], [-1, 0], [0, -2], [2, 1]], dtype=np.float32)
# The four training buyers as they were, and one who came later.
ASKED = as_histories(
    [[0, 0, 0, 1], [1, 2, 3], [1, 3, 4], [], [4, 1]], [[1, 2, 3, 3], [4, 30, 31], [5, 40, 40], [], [41, 42]]
)


def fitted(name: str, events: TrainingEvents, histories: Histories, cutoff_ms: int = CUTOFF) -> Ranker:
    baseline = BASELINES[name]
    return baseline.fit(Problem(events, histories, cutoff_ms, TEXT), baseline.defaults())


# ---- all baselines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_has_the_name_it_is_declared_under(name: str) -> None:
    assert fitted(name, ten_purchases(), ASKED).name == name


@pytest.mark.parametrize("events", [ten_purchases(), as_events([], 4, 6)], ids=["ten purchases", "no event"])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_float32_for_any_number_and_order_of_rows(name: str, events: TrainingEvents) -> None:
    ranker = fitted(name, events, ASKED)
    rows = all_rows(ASKED)
    scores = ranker.scores(rows)
    assert scores.shape == (5, 6)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ranker.scores(rows[:0]).shape == (0, 6)
    # Sums of float32 may depend on the number of rows.
    assert_allclose(ranker.scores(rows[[4, 1, 1]]), scores[[4, 1, 1]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_fitting_twice_gives_the_same_scores(name: str) -> None:
    one, other = (fitted(name, ten_purchases(), ASKED).scores(all_rows(ASKED)) for _ in range(2))
    assert_array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_history_is_scored_alike_whoever_else_is_asked(name: str) -> None:
    among = fitted(name, ten_purchases(), ASKED).scores(all_rows(ASKED))
    alone = fitted(name, ten_purchases(), ASKED.take(np.array([4]))).scores(np.array([0], dtype=np.int32))
    assert_allclose(alone[0], among[4], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_products_that_have_left_count_as_if_never_taken(name: str) -> None:
    histories = as_histories([[0, 1, 2], [-1, 0, 1, -1, -1, 2], [-1], []], [[1, 2, 2], [0, 1, 2, 2, 2, 2], [1], []])
    scores = fitted(name, ten_purchases(), histories).scores(all_rows(histories))
    assert_allclose(scores[1], scores[0], rtol=1e-4, atol=1e-6)
    assert_array_equal(scores[3], scores[2])


# tifu_knn has neighbours for an empty history too.
@pytest.mark.parametrize("name", [name for name in NAMES if name.values != ("tifu_knn",)])
def test_a_history_without_products_is_ranked_by_popularity(name: str) -> None:
    recent = name in {"recent_popularity", "personal_frequency"}
    assert ranked(fitted(name, ten_purchases(), ASKED), row=3) == (BY_RECENT_POPULARITY if recent else BY_POPULARITY)


@pytest.mark.parametrize("row", [-1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_that_was_not_asked_is_refused(name: str, row: int) -> None:
    with pytest.raises(ValueError, match="rows must lie between 0 and 4"):
        fitted(name, ten_purchases(), ASKED).scores(np.array([row], dtype=np.int32))


@pytest.mark.parametrize("name", NAMES)
def test_events_after_the_cutoff_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"event time {40 * DAY_MS} is not before cutoff_ms {40 * DAY_MS}"):
        fitted(name, ten_purchases(), ASKED, cutoff_ms=40 * DAY_MS)


# ---- popularity ------------------------------------------------------------------------------------------------------


def test_popularity_counts_buyers_not_repeats() -> None:
    scores = Popularity(ten_purchases(), ASKED, CUTOFF).scores(all_rows(ASKED))

    assert_array_equal(scores, [[1, 3, 1, 2, 1, 0]] * 5)


def test_recent_popularity_ranks_by_the_window_then_by_all_buyers() -> None:
    assert ranked(RecentPopularity(ten_purchases(), ASKED, CUTOFF), row=0) == BY_RECENT_POPULARITY


def test_recent_popularity_window_starts_inclusive() -> None:
    # Eleven days before day 41 is day 30, the day of product 2; ten days before it is too late for it.
    assert ranked(RecentPopularity(ten_purchases(), ASKED, CUTOFF, days=11), row=0) == [3, 2, 4, 1, 0, 5]
    assert ranked(RecentPopularity(ten_purchases(), ASKED, CUTOFF, days=10), row=0) == [3, 4, 1, 0, 2, 5]


def test_recent_popularity_refuses_an_empty_window() -> None:
    with pytest.raises(ValueError, match="days 0 must be positive"):
        RecentPopularity(ten_purchases(), ASKED, CUTOFF, days=0)


# ---- personal frequency ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (0, [0, 1, 3, 2, 4, 5]),  # three times 0, once 1, then by recent popularity
        (1, [3, 2, 1, 4, 0, 5]),  # once each: recent popularity decides
        (2, [3, 4, 1, 2, 0, 5]),
        (3, [3, 2, 4, 1, 0, 5]),  # nothing known: recent popularity alone
        (4, [4, 1, 3, 2, 0, 5]),  # what was taken after the cut-off belongs to the history, not to popularity
    ],
)
def test_personal_frequency(row: int, expected: list[int]) -> None:
    assert ranked(PersonalFrequency(ten_purchases(), ASKED, CUTOFF), row) == expected


def test_personal_frequency_keeps_large_counts_apart() -> None:
    # 70,000 against 70,001 purchases: a float32 count plus a fraction for popularity would blur.
    events = as_events([(buyer, 0) for buyer in range(50)], 50, 3)
    histories = as_histories([[0] * 70_000 + [1] * 70_001])

    assert ranked(PersonalFrequency(events, histories, CUTOFF), row=0) == [1, 0, 2]


@settings(max_examples=100, deadline=None)
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
