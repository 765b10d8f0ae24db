"""Popularity baselines: the same list for everyone.

Legend: A histories to score, B rows of one call, N products of the catalogue.
"""

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from training.baselines.filling import dense_rank
from training.data.histories import DAY_MS, Histories
from training.evaluation.ranker import TrainingEvents, check_codes


class Popularity:
    """Products with the most buyers first."""

    name = "popularity"

    def __init__(self, events: TrainingEvents, histories: Histories, cutoff_ms: int) -> None:
        """Counts the buyers of each product."""
        events.require_before(cutoff_ms)
        self._n_histories = len(histories)
        self._scores_N = events.popularity().astype(np.float32)

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) the same scores for every row."""
        return _same_for_all(self._scores_N, rows, self._n_histories)


class RecentPopularity:
    """Products with the most buyers in the last days before the cut-off first, ties and the rest by all buyers."""

    name = "recent_popularity"

    def __init__(self, events: TrainingEvents, histories: Histories, cutoff_ms: int, *, days: float = 14) -> None:
        """Counts the buyers from cutoff_ms - days (inclusive) to cutoff_ms (exclusive).

        Raises:
            ValueError: `days` is not positive.
        """
        self._n_histories = len(histories)
        self._scores_N = recent_rank(events, cutoff_ms, days).astype(np.float32)

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) the same scores for every row."""
        return _same_for_all(self._scores_N, rows, self._n_histories)


def recent_rank(events: TrainingEvents, cutoff_ms: int, days: float) -> Int64Array:
    """(N,) rank of each product from 0, the most popular of the last days highest, ties by all-time popularity.

    Raises:
        ValueError: An event lies at or after cutoff_ms, or `days` is not positive.
    """
    events.require_before(cutoff_ms)
    if days <= 0:
        raise ValueError(f"days {days} must be positive")
    return dense_rank(events.since(cutoff_ms - days * DAY_MS).popularity(), events.popularity())


def _same_for_all(scores_N: Float32Array, rows: Int32Array, n_histories: int) -> Float32Array:
    check_codes("rows", rows, n_histories)
    # A read-only view of one row; no copy for each buyer.
    return np.broadcast_to(scores_N, (len(rows), len(scores_N)))
