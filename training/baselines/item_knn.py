"""Item-based k nearest neighbours.

Legend: A histories to score, B rows of one call, U buyers of the training events, N products of the catalogue.
"""

from feature_repo.common.arrays import Float32Array, Int32Array
from training.artifacts.scoring.co_occurrence import similar_products
from training.baselines.filling import fill_scores, filled
from training.baselines.history_matrix import history_weights
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes


class ItemKNN:
    """Products with the same buyers as those of the history; products without a score are ordered by popularity.

    Each product of the history votes for its most similar products (see artifacts.scoring.co_occurrence), but not for
    itself, with their similarity times decay ** age (see history_weights). The decay is in the manner of Ludewig et al.
    2018, Evaluation of session-based recommendation algorithms (V-SkNN).
    """

    name = "item_knn"

    def __init__(
        self,
        events: TrainingEvents,
        histories: Histories,
        cutoff_ms: int,
        *,
        neighbours: int = 200,
        shrinkage: float = 10.0,
        decay: float = 1.0,
        chunk_cells: int = 8_000_000,
    ) -> None:
        """Finds the nearest `neighbours` of each product; ties go to the lower position.

        At most chunk_cells co-occurrences (or those of one product) are in memory at once, about 30 bytes each. The
        result takes 8 bytes for each of the N * neighbours similarities.

        Raises:
            ValueError: neighbours is below 1, shrinkage negative, or decay not above 0 and at most 1.
        """
        if neighbours < 1 or shrinkage < 0:
            raise ValueError(f"neighbours {neighbours} must be at least 1 and shrinkage {shrinkage} not negative")
        events.require_before(cutoff_ms)
        self._weights_AN = history_weights(histories, events.n_products, decay)
        bought_UN = events.counts()
        # A similarity counts buyers, so repeats of one buyer count once.
        bought_UN.data[:] = 1
        self._similar_NN = similar_products(bought_UN, neighbours, shrinkage, chunk_cells)
        self._fill_N = fill_scores(events.popularity())

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) sums of the votes."""
        check_codes("rows", rows, self._weights_AN.shape[0])
        return filled((self._weights_AN[rows] @ self._similar_NN).toarray(), self._fill_N)
