"""What every baseline promises, the product's and the benchmarks' alike."""

from importlib.util import find_spec

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.baselines.tuning import BASELINES, Problem
from tests.baseline_cases import (
    BY_POPULARITY,
    BY_RECENT_POPULARITY,
    CUTOFF,
    HISTORIES,
    all_rows,
    as_events,
    as_histories,
    ranked,
    ten_purchases,
)
from training.data.histories import DAY_MS, Histories
from training.evaluation.ranker import Ranker, TrainingEvents

NO_LIBRARY = pytest.mark.skipif(find_spec("implicit") is None, reason="the package implicit is not installed")
NAMES = [pytest.param(name, marks=[NO_LIBRARY] if name == "ials" else []) for name in BASELINES]
TEXT = np.array([[1, 0], [1, 1], [0, 1], [-1, 0], [0, -2], [2, 1]], dtype=np.float32)


def fitted(name: str, events: TrainingEvents, histories: Histories, cutoff_ms: int = CUTOFF) -> Ranker:
    baseline = BASELINES[name]
    return baseline.fit(Problem(events, histories, cutoff_ms, TEXT), baseline.defaults())


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_has_the_name_it_is_declared_under(name: str) -> None:
    assert fitted(name, ten_purchases(), HISTORIES).name == name


@pytest.mark.parametrize("events", [ten_purchases(), as_events([], 4, 6)], ids=["ten purchases", "no event"])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_float32_for_any_number_and_order_of_rows(name: str, events: TrainingEvents) -> None:
    ranker = fitted(name, events, HISTORIES)
    rows = all_rows(HISTORIES)
    scores = ranker.scores(rows)
    assert scores.shape == (5, 6)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert ranker.scores(rows[:0]).shape == (0, 6)
    # Sums of float32 may depend on the number of rows.
    assert_allclose(ranker.scores(rows[[4, 1, 1]]), scores[[4, 1, 1]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_fitting_twice_gives_the_same_scores(name: str) -> None:
    one, other = (fitted(name, ten_purchases(), HISTORIES).scores(all_rows(HISTORIES)) for _ in range(2))
    assert_array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_history_is_scored_alike_whichever_others_there_are(name: str) -> None:
    among = fitted(name, ten_purchases(), HISTORIES).scores(all_rows(HISTORIES))
    alone = fitted(name, ten_purchases(), HISTORIES.take(np.array([4]))).scores(np.array([0], dtype=np.int32))
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
    assert ranked(fitted(name, ten_purchases(), HISTORIES), row=3) == (
        BY_RECENT_POPULARITY if recent else BY_POPULARITY
    )


@pytest.mark.parametrize("row", [-1, 5])
@pytest.mark.parametrize("name", NAMES)
def test_a_row_out_of_range_is_refused(name: str, row: int) -> None:
    with pytest.raises(ValueError, match="rows must lie between 0 and 4"):
        fitted(name, ten_purchases(), HISTORIES).scores(np.array([row], dtype=np.int32))


@pytest.mark.parametrize("name", NAMES)
def test_events_after_the_cutoff_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"event time {40 * DAY_MS} is not before cutoff_ms {40 * DAY_MS}"):
        fitted(name, ten_purchases(), HISTORIES, cutoff_ms=40 * DAY_MS)
