"""Item-kNN by hand and against dense matrices."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tests.baseline_cases import CUTOFF, all_rows, as_events, as_histories, ranked, ten_purchases
from training.baselines.item_knn import ItemKNN
from training.evaluation.ranker import TrainingEvents

FIRST = np.array([0], dtype=np.int32)
# Buyers per product: 0 {0}, 1 {0 1 2}, 2 {1}, 3 {1 2}, 4 {2}.
ROOT3, ROOT6 = 1 / (np.sqrt(3) + 1), 2 / (np.sqrt(6) + 1)


def test_by_hand() -> None:
    scores = ItemKNN(ten_purchases(), as_histories([[0, 1]]), CUTOFF, neighbours=5, shrinkage=1).scores(FIRST)

    # From 0 comes product 1; from 1 come 0, 2, 4 with one buyer in common and 3 with two. Product 5 has no buyer.
    assert_allclose(scores[0, :5], [ROOT3, ROOT3, ROOT3, ROOT6, ROOT3], rtol=1e-6)
    assert -1 <= scores[0, 5] < 0


def test_older_products_of_the_history_vote_with_less_weight() -> None:
    histories = as_histories([[1, 0, 0, 0]])
    scores = ItemKNN(ten_purchases(), histories, CUTOFF, neighbours=5, shrinkage=1, decay=0.5).scores(FIRST)

    # Three events follow that of product 1: it votes with 1/8, product 0 with 1.
    assert_allclose(scores[0, :5], [ROOT3 / 8, ROOT3, ROOT3 / 8, ROOT6 / 8, ROOT3 / 8], rtol=1e-6)


def test_products_without_a_score_follow_by_popularity() -> None:
    # Product 0 leads to 1 alone; of the others 3 has two buyers, 0, 2 and 4 have one each, and 5 none.
    assert ranked(ItemKNN(ten_purchases(), as_histories([[0]]), CUTOFF), row=0) == [1, 3, 0, 2, 4, 5]


def test_neighbour_ties_go_to_the_lower_position() -> None:
    # Product 3 shares its only buyer with 0, 1 and 2, all alike; with two neighbours 0 and 1 stay.
    events = as_events([(0, 0), (0, 1), (0, 2), (0, 3), (1, 4)], 2, 5)
    scores = ItemKNN(events, events.histories(), CUTOFF, neighbours=2, shrinkage=0).scores(FIRST)

    # 0 and 1 hear from all three others, 2 only from 0 and 1, and 3 from nobody.
    assert_allclose(scores[0, :3], [3, 3, 2], rtol=1e-6)
    assert scores[0, 3] < 0


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(0, 1.0), (5, -0.1)])
def test_parameters_out_of_range_are_refused(neighbours: int, shrinkage: float) -> None:
    with pytest.raises(ValueError, match="neighbours"):
        ItemKNN(ten_purchases(), as_histories([[]]), CUTOFF, neighbours=neighbours, shrinkage=shrinkage)


def dense_item_knn(events: TrainingEvents, neighbours: int, shrinkage: float) -> npt.NDArray[np.float64]:
    bought = np.zeros((events.n_buyers, events.n_products))
    bought[events.buyers, events.products] = 1
    n_buyers = bought.sum(axis=0)
    # In float32 like the product, so that ties and near ties fall alike.
    norms = np.sqrt(n_buyers).astype(np.float32)
    divisor = np.outer(norms, norms) + np.float32(shrinkage)
    similar = (bought.T @ bought).astype(np.float32) / np.where(divisor == 0, np.float32(1), divisor)
    np.fill_diagonal(similar, 0)
    for row in similar:
        row[np.argsort(-row, kind="stable")[neighbours:]] = 0
    return bought @ similar.astype(np.float64)


purchases = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=40)


@settings(max_examples=150)
@given(purchases, st.integers(1, 10), st.sampled_from([0.0, 1.0, 10.0]), st.sampled_from([1, 7, 1000]))
def test_it_is_its_dense_definition(
    pairs: list[tuple[int, int]], neighbours: int, shrinkage: float, chunk_cells: int
) -> None:
    events = as_events(pairs, 6, 9)
    histories = events.histories()
    ranker = ItemKNN(events, histories, CUTOFF, neighbours=neighbours, shrinkage=shrinkage, chunk_cells=chunk_cells)
    scores = ranker.scores(all_rows(histories))

    expected = dense_item_knn(events, neighbours, shrinkage)
    assert_array_equal(scores > 0, expected > 0)
    assert_allclose(np.maximum(scores, 0), expected, rtol=1e-5)
    fill = np.where(expected > 0, np.nan, scores)
    assert ((fill >= -1) & (fill < 0) | np.isnan(fill)).all()
