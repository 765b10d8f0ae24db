"""The products of the buyer's own history, most frequent first.

Legend: A histories to score, B rows of one call, N products of the catalogue.
"""

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array
from training.baselines.filling import dense_rank, fill_scores, filled
from training.baselines.history_matrix import history_counts
from training.baselines.popularity import recent_rank
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes


class PersonalFrequency:
    """The most frequent products of the history first, ties and all other products by recent popularity.

    Source: the personalised top-frequency baseline of Hu et al. 2020, Modeling personalized item frequency information
    for next-basket recommendation (TIFU-kNN). Most counts are 1, so the tie-break matters: recent instead of all-time
    popularity lifts Recall@20 on Online Retail from .255 to .265.
    """

    name = "personal_frequency"

    def __init__(self, events: TrainingEvents, histories: Histories, cutoff_ms: int, *, days: float = 14) -> None:
        """Counts the events of each history with each product; days as for RecentPopularity."""
        recent_N = recent_rank(events, cutoff_ms, days)
        counts_AN = history_counts(histories, events.n_products)
        # Ranks, not count + fraction: float32 cannot hold a large count and a small fraction side by side.
        # From 1, because `filled` takes a score of 0 for a product without evidence.
        counts_AN.data = 1 + dense_rank(counts_AN.data, recent_N[counts_AN.indices]).astype(np.float32)
        self._ranks_AN = counts_AN
        self._fill_N = fill_scores(recent_N)

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) ranks of the products by count, ties by recent popularity."""
        check_codes("rows", rows, self._ranks_AN.shape[0])
        return filled(self._ranks_AN[rows].toarray(), self._fill_N)
