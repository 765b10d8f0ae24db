"""Item-based k nearest neighbours.

Legend: A histories to score, B rows of one call, U buyers of the training events, N products of the catalogue.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from feature_repo.common.arrays import Float32Array, Int32Array
from training.baselines.filling import fill_scores, filled
from training.baselines.history_matrix import history_weights
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes, top_positions


class ItemKNN:
    """Products with the same buyers as those of the history; products without a score are ordered by popularity.

    With n_i buyers of product i and c_ij buyers of both, the similarity of two products is
    c_ij / (sqrt(n_i n_j) + shrinkage). Each product of the history votes for its most similar products, but not for
    itself, with that similarity times decay ** age (see history_weights). Source: Deshpande & Karypis 2004, Item-based
    top-N recommendation algorithms; shrinkage as in Ferrari Dacrema et al. 2019, Are we really making much progress?;
    decay in the manner of Ludewig et al. 2018, Evaluation of session-based recommendation algorithms (V-SkNN).
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
        self._similar_NN = _nearest(bought_UN, neighbours, shrinkage, chunk_cells)
        self._fill_N = fill_scores(events.popularity())

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) sums of the votes."""
        check_codes("rows", rows, self._weights_AN.shape[0])
        return filled((self._weights_AN[rows] @ self._similar_NN).toarray(), self._fill_N)


def _nearest(bought_UN: sparse.csr_array, neighbours: int, shrinkage: float, chunk_cells: int) -> sparse.csr_array:
    """(N, N) similarities of each product (row) to its nearest other products."""
    buyers_NU = bought_UN.T.tocsr()
    norms_N = np.sqrt(np.diff(buyers_NU.indptr)).astype(np.float32)
    columns, values, lengths = [], [], [0]
    for start, stop in _chunks(bought_UN, buyers_NU, chunk_cells):
        both = buyers_NU[start:stop] @ bought_UN
        both.sort_indices()  # ties go to the lower position
        rows = np.repeat(np.arange(start, stop), np.diff(both.indptr))
        similarity = both.data / (norms_N[rows] * norms_N[both.indices] + np.float32(shrinkage))
        # No vote for itself. With one, products that the buyer has bought rank higher (ADR 0002 has the figures).
        similarity[rows == both.indices] = 0
        for begin, end in zip(both.indptr[:-1], both.indptr[1:], strict=True):
            top = begin + top_positions(similarity[begin:end], neighbours)
            top = top[similarity[top] > 0]
            columns.append(both.indices[top])
            values.append(similarity[top])
            lengths.append(len(top))
    arrays = np.concatenate(values), np.concatenate(columns), np.cumsum(lengths)
    return sparse.csr_array(arrays, shape=(len(norms_N), len(norms_N)))


def _chunks(bought_UN: sparse.csr_array, buyers_NU: sparse.csr_array, chunk_cells: int) -> Iterator[tuple[int, int]]:
    """Ranges of products with at most chunk_cells co-occurrences, or of one product."""
    n_products = buyers_NU.shape[0]
    # The product with the buyers' list lengths bounds the co-occurrences of each product without computing them.
    cells_N = np.minimum(buyers_NU @ np.diff(bought_UN.indptr).astype(np.float64), n_products)
    ends_N = np.cumsum(cells_N)
    start = 0
    while start < n_products:
        done = ends_N[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(ends_N, done + chunk_cells, side="right")))
        yield start, stop
        start = stop
