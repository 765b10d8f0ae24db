"""Rankers for the question "what that is new to this buyer?".

Legend: B rows of one call, N products of the catalogue.
"""

import numpy as np

from training.baselines.history_matrix import known_only
from training.data.histories import Histories
from training.evaluation.ranker import Codes, Ranker, Scores


class MaskedRanker:
    """Another ranker that never recommends what is in the asked history; it keeps its name."""

    def __init__(self, ranker: Ranker, asked: Histories) -> None:
        """Takes the ranker and the A histories that its rows mean."""
        self.name = ranker.name
        self._ranker = ranker
        self._asked = asked

    def scores(self, rows: Codes) -> Scores:
        """See Ranker.scores."""
        scores_BN = np.array(self._ranker.scores(rows))  # a copy: the ranker's own may be read-only
        seen = known_only(self._asked.take(rows.astype(np.int64)), scores_BN.shape[1])
        scores_BN[seen.owners, seen.products] = -np.inf
        return scores_BN
