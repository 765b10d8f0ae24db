"""Scores that several rankers build on, computed once.

Legend: B rows of one call, N products of the catalogue.
"""

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array
from training.evaluation.ranker import Ranker


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
