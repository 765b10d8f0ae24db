"""Product text alone: products that read like the history.

Legend: A scored histories, B rows of one call, N products of the catalogue, T text dimensions.
"""

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, Int32Array
from training.baselines.filling import fill_scores, filled
from training.baselines.history_matrix import history_weights
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes


class ContentOnly:
    """Cosine-like similarity of each product's text to the mean text of the history; without one by popularity.

    The mean over the catalogue is taken off first: text encoders put all products of one shop into a narrow cone, and
    what they share says nothing (Mu & Viswanath 2018, All-but-the-top). The mean over the history weighs each product
    by decay ** age (see history_weights). It can rank products that nobody has bought yet.
    """

    name = "content_only"

    def __init__(
        self,
        events: TrainingEvents,
        histories: Histories,
        cutoff_ms: int,
        *,
        text_NT: npt.NDArray[np.float32],
        decay: float = 1.0,
    ) -> None:
        """Averages the text vectors of each history.

        Raises:
            ValueError: text_NT is not of N products, or decay not above 0 and at most 1.
        """
        events.require_before(cutoff_ms)
        if len(text_NT) != events.n_products:
            raise ValueError(f"text_NT has {len(text_NT)} rows for {events.n_products} products; encode the catalogue")
        self._product_NT = _centred(text_NT)
        weights_AN = history_weights(histories, events.n_products, decay)
        total_A = np.maximum(weights_AN.sum(axis=1), np.finfo(np.float32).tiny)
        self._history_AT: Float32Array = (weights_AN @ self._product_NT) / total_A[:, None]
        self._fill_N = fill_scores(events.popularity())

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) inner products of the histories of `rows` with all products; popularity orders those of 0.

        Raises:
            ValueError: A row lies outside 0 to A - 1.
        """
        check_codes("rows", rows, len(self._history_AT))
        return filled(self._history_AT[rows] @ self._product_NT.T, self._fill_N)


def _centred(text_NT: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Unit vectors of what sets each text apart from the mean; zeros where nothing does."""
    centred_NT = text_NT - text_NT.mean(axis=0, dtype=np.float64).astype(np.float32)
    norms_N1 = np.linalg.norm(centred_NT, axis=1, keepdims=True)
    unit_NT: npt.NDArray[np.float32] = centred_NT / np.where(norms_N1 > 0, norms_N1, 1)
    return unit_NT
