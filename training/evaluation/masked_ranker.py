"""Rankers around a ranker: one for lists of new products only, and one whose scores are computed once for several.

Legend: A histories, B rows of one call, N products of the catalogue.
"""

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array
from training.baselines.history_matrix import known_only
from training.data.histories import Histories
from training.evaluation.ranker import Ranker


class MaskedRanker:
    """Wraps a ranker, under its name, and never recommends the products of a given history."""

    def __init__(self, ranker: Ranker, excluded: Histories) -> None:
        """Wraps `ranker`; `excluded` has, for each of its A rows, the history whose products are never recommended."""
        self.name = ranker.name
        self._ranker = ranker
        self._excluded = excluded

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) the wrapped ranker's scores, -inf for excluded products."""
        scores_BN = np.array(self._ranker.scores(rows))  # a copy, since the ranker's own array may be read-only
        excluded = known_only(self._excluded.take(rows.astype(np.int64)), scores_BN.shape[1])
        scores_BN[excluded.owners, excluded.products] = -np.inf
        return scores_BN


class SharedScores:
    """Wraps a ranker, under its name, and keeps the scores of the last rows for whoever asks for the same ones next."""

    def __init__(self, ranker: Ranker) -> None:
        """Wraps `ranker`."""
        self.name = ranker.name
        self._ranker = ranker
        self._rows: Int32Array = np.empty(0, dtype=np.int32)
        self._scores_BN: Float32Array | None = None

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """(B, N) the wrapped ranker's scores, read-only."""
        if self._scores_BN is None or not np.array_equal(rows, self._rows):
            self._scores_BN = None  # its memory is free before the next scores take theirs
            scores_BN = self._ranker.scores(rows).view()
            scores_BN.flags.writeable = False  # a ranker that changed them would change them for the others
            self._rows, self._scores_BN = rows.copy(), scores_BN
        return self._scores_BN
