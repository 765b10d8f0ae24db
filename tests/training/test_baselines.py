"""Baselines on ten purchases that fit the eye, and item-kNN against dense matrices."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from training.baselines import (
    DAY_MS,
    ItemKNN,
    PersonalFrequency,
    Popularity,
    Ranker,
    RecentPopularity,
    TrainingEvents,
    top_positions,
)

# buyer, product, day. Buyer 3 and product 5 are in no event.
PURCHASES = [
    (0, 0, 1),
    (0, 0, 2),
    (0, 0, 3),
    (0, 1, 3),
    (1, 1, 4),
    (1, 2, 30),
    (1, 3, 31),
    (2, 1, 5),
    (2, 3, 40),
    (2, 4, 40),
]
CUTOFF = 41 * DAY_MS
EVERYONE = np.arange(4, dtype=np.int32)


def ten_purchases() -> TrainingEvents:
    return as_events([(buyer, product) for buyer, product, _ in PURCHASES], 4, 6, [day for *_, day in PURCHASES])


def as_events(
    pairs: list[tuple[int, int]], n_buyers: int, n_products: int, days: list[int] | None = None
) -> TrainingEvents:
    buyers = np.array([buyer for buyer, _ in pairs], dtype=np.int32)
    products = np.array([product for _, product in pairs], dtype=np.int32)
    times = np.array(days or [0] * len(pairs), dtype=np.int64) * DAY_MS
    return TrainingEvents(buyers, products, times, n_buyers, n_products)


def ranked(ranker: Ranker, buyer: int) -> list[int]:
    scores = ranker.scores(np.array([buyer], dtype=np.int32))
    positions: list[int] = top_positions(scores[0], scores.shape[1]).tolist()
    return positions


def all_rankers(events: TrainingEvents) -> list[Ranker]:
    return [
        Popularity(events),
        RecentPopularity(events, CUTOFF),
        PersonalFrequency(events, CUTOFF),
        ItemKNN(events, neighbours=2, shrinkage=1),
    ]


def test_names() -> None:
    names = [ranker.name for ranker in all_rankers(ten_purchases())]

    assert names == ["popularity", "recent_popularity", "personal_frequency", "item_knn"]


def test_popularity_counts_buyers_not_repeats() -> None:
    scores = Popularity(ten_purchases()).scores(EVERYONE)

    assert_array_equal(scores, [[1, 3, 1, 2, 1, 0]] * 4)


def test_recent_popularity_ranks_by_the_window_then_by_all_buyers() -> None:
    # Days 27 to 40: product 3 twice, 2 and 4 once. Of the rest product 1 had more buyers than 0, and 5 none.
    assert ranked(RecentPopularity(ten_purchases(), CUTOFF), buyer=0) == [3, 2, 4, 1, 0, 5]


def test_recent_popularity_window_starts_inclusive() -> None:
    # Eleven days before day 41 is day 30, the day of product 2; ten days before it is too late for it.
    assert ranked(RecentPopularity(ten_purchases(), CUTOFF, days=11), buyer=0) == [3, 2, 4, 1, 0, 5]
    assert ranked(RecentPopularity(ten_purchases(), CUTOFF, days=10), buyer=0) == [3, 4, 1, 0, 2, 5]


def test_recent_popularity_refuses_the_future_and_an_empty_window() -> None:
    with pytest.raises(ValueError, match="not before cutoff_ms"):
        RecentPopularity(ten_purchases(), cutoff_ms=40 * DAY_MS)
    with pytest.raises(ValueError, match="days 0 must be positive"):
        RecentPopularity(ten_purchases(), CUTOFF, days=0)


@pytest.mark.parametrize(
    ("buyer", "expected"),
    [
        (0, [0, 1, 3, 2, 4, 5]),  # three times 0, once 1, then by recent popularity
        (1, [3, 2, 1, 4, 0, 5]),  # once each: recent popularity decides
        (2, [3, 4, 1, 2, 0, 5]),
        (3, [3, 2, 4, 1, 0, 5]),  # nothing known: recent popularity alone
    ],
)
def test_personal_frequency(buyer: int, expected: list[int]) -> None:
    assert ranked(PersonalFrequency(ten_purchases(), CUTOFF), buyer) == expected


def test_personal_frequency_keeps_large_counts_apart() -> None:
    # 70,000 against 70,001 purchases: a float32 count plus a fraction for popularity would blur.
    pairs = [(0, 0)] * 70_000 + [(0, 1)] * 70_001 + [(buyer, 0) for buyer in range(1, 50)]

    assert ranked(PersonalFrequency(as_events(pairs, 50, 3), CUTOFF), buyer=0) == [1, 0, 2]


def test_item_knn_by_hand() -> None:
    # Buyers per product: 0 {0}, 1 {0 1 2}, 2 {1}, 3 {1 2}, 4 {2}.
    scores = ItemKNN(ten_purchases(), neighbours=5, shrinkage=1).scores(np.array([0], dtype=np.int32))

    root3, root6 = 1 / (np.sqrt(3) + 1), 2 / (np.sqrt(6) + 1)
    # From 0 comes product 1; from 1 come 0, 2, 4 with one buyer in common and 3 with two. Product 5 has no buyer.
    assert_allclose(scores[0, :5], [root3, root3, root3, root6, root3], rtol=1e-6)
    assert -1 <= scores[0, 5] < 0


def test_item_knn_fills_with_popularity() -> None:
    assert ranked(ItemKNN(ten_purchases()), buyer=3) == [1, 3, 0, 2, 4, 5]


def test_item_knn_neighbour_ties_go_to_the_lower_position() -> None:
    # Product 3 shares its only buyer with 0, 1 and 2, all alike; with two neighbours 0 and 1 stay.
    events = as_events([(0, 0), (0, 1), (0, 2), (0, 3), (1, 4)], 2, 5)
    scores = ItemKNN(events, neighbours=2, shrinkage=0).scores(np.array([0], dtype=np.int32))

    # 0 and 1 hear from all three others, 2 only from 0 and 1, and 3 from nobody.
    assert_allclose(scores[0, :3], [3, 3, 2], rtol=1e-6)
    assert scores[0, 3] < 0


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(0, 1.0), (5, -0.1)])
def test_item_knn_refuses_its_parameters(neighbours: int, shrinkage: float) -> None:
    with pytest.raises(ValueError, match="neighbours"):
        ItemKNN(ten_purchases(), neighbours, shrinkage)


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


@settings(max_examples=150, deadline=None)
@given(purchases, st.integers(1, 10), st.sampled_from([0.0, 1.0, 10.0]), st.sampled_from([1, 7, 1000]))
def test_item_knn_is_its_dense_definition(
    pairs: list[tuple[int, int]], neighbours: int, shrinkage: float, chunk_cells: int
) -> None:
    events = as_events(pairs, 6, 9)
    scores = ItemKNN(events, neighbours, shrinkage, chunk_cells).scores(np.arange(6, dtype=np.int32))

    expected = dense_item_knn(events, neighbours, shrinkage)
    assert_array_equal(scores > 0, expected > 0)
    assert_allclose(np.maximum(scores, 0), expected, rtol=1e-5)
    fill = np.where(expected > 0, np.nan, scores)
    assert ((fill >= -1) & (fill < 0) | np.isnan(fill)).all()


@settings(max_examples=100, deadline=None)
@given(purchases)
def test_personal_frequency_is_a_sort_by_count_then_recent_popularity(pairs: list[tuple[int, int]]) -> None:
    events = as_events(pairs, 6, 9)
    ranker = PersonalFrequency(events, cutoff_ms=1)
    n_buyers = [len({buyer for buyer, product in pairs if product == wanted}) for wanted in range(9)]
    for buyer in range(6):
        keys = [(-pairs.count((buyer, product)), -n_buyers[product], product) for product in range(9)]
        assert ranked(ranker, buyer) == [product for *_, product in sorted(keys)]


@pytest.mark.parametrize("buyer", [-1, 4])
def test_every_ranker_refuses_an_unknown_buyer(buyer: int) -> None:
    for ranker in all_rankers(ten_purchases()):
        with pytest.raises(ValueError, match="buyers must lie between 0 and 3"):
            ranker.scores(np.array([buyer], dtype=np.int32))


@pytest.mark.parametrize("events", [ten_purchases(), as_events([], 4, 6)], ids=["ten purchases", "no event"])
def test_every_ranker_gives_finite_float32_for_any_number_of_buyers(events: TrainingEvents) -> None:
    for ranker in all_rankers(events):
        scores = ranker.scores(EVERYONE)
        assert scores.shape == (4, 6)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()
        assert ranker.scores(EVERYONE[:0]).shape == (0, 6)
        assert_array_equal(ranker.scores(EVERYONE[::-1]), scores[::-1])


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
