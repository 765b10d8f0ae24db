"""Events and histories for the tests of baselines, small enough to see."""

from collections.abc import Sequence

import numpy as np

from training.data.histories import DAY_MS, Histories
from training.evaluation.ranker import Ranker, TrainingEvents, top_positions

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
BY_POPULARITY = [1, 3, 0, 2, 4, 5]
# Days 27 to 40: product 3 twice, 2 and 4 once. Of the rest product 1 had more buyers than 0, and 5 none.
BY_RECENT_POPULARITY = [3, 2, 4, 1, 0, 5]


def ten_purchases() -> TrainingEvents:
    return as_events([(buyer, product) for buyer, product, _ in PURCHASES], 4, 6, [day for *_, day in PURCHASES])


def as_events(
    pairs: Sequence[tuple[int, int]], n_buyers: int, n_products: int, days: Sequence[int] | None = None
) -> TrainingEvents:
    buyers = np.array([buyer for buyer, _ in pairs], dtype=np.int32)
    products = np.array([product for _, product in pairs], dtype=np.int32)
    times = np.array(days or [0] * len(pairs), dtype=np.int64) * DAY_MS
    return TrainingEvents(buyers, products, times, n_buyers, n_products)


def as_histories(products: Sequence[Sequence[int]], days: Sequence[Sequence[int]] | None = None) -> Histories:
    """One history per list of products; without days, one event a day."""
    flat = [product for history in products for product in history]
    times = [day for history in days or [range(len(history)) for history in products] for day in history]
    return Histories(
        np.cumsum([0] + [len(history) for history in products]).astype(np.int64),
        np.array(flat, dtype=np.int32),
        np.zeros(len(flat), dtype=np.int32),
        np.array(times, dtype=np.int64) * DAY_MS,
    )


def all_rows(histories: Histories) -> np.ndarray:
    return np.arange(len(histories), dtype=np.int32)


def ranked(ranker: Ranker, row: int) -> list[int]:
    scores = ranker.scores(np.array([row], dtype=np.int32))
    positions: list[int] = top_positions(scores[0], scores.shape[1]).tolist()
    return positions


# The four training buyers as they were, and one who came later.
HISTORIES = as_histories(
    [[0, 0, 0, 1], [1, 2, 3], [1, 3, 4], [], [4, 1]], [[1, 2, 3, 3], [4, 30, 31], [5, 40, 40], [], [41, 42]]
)
