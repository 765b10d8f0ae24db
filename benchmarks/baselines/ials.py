"""Matrix factorisation by alternating least squares, with the library `implicit`.

Legend: A scored histories, B rows of one call, U buyers of the training events, N products of the catalogue, F factors.
"""

import importlib
from types import ModuleType

import numpy as np
import numpy.typing as npt
from scipy import sparse
from threadpoolctl import threadpool_limits

from feature_repo.common.arrays import Float32Array, Int32Array
from training.baselines.filling import fill_scores, filled
from training.baselines.history_matrix import history_counts
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes


class ImplicitALS:
    """Inner product of learned buyer and product factors; a history that says nothing by popularity.

    A product taken r times is a 1 with confidence 1 + alpha * r, any other a 0 with confidence 1. A history to score
    becomes a buyer by one exact least-squares step against the product factors. Source: Hu, Koren & Volinsky 2008,
    Collaborative filtering for implicit feedback datasets; on why its parameters want tuning: Rendle et al. 2022,
    Revisiting the performance of iALS on item recommendation benchmarks.
    """

    name = "ials"

    def __init__(
        self,
        events: TrainingEvents,
        histories: Histories,
        cutoff_ms: int,
        *,
        factors: int = 64,
        regularization: float = 1.0,
        alpha: float = 10.0,
        iterations: int = 15,
        seed: int = 0,
    ) -> None:
        """Factorises the counts of buyers and products on all cores.

        Raises:
            ValueError: factors or iterations is below 1, or regularization or alpha not positive.
            RuntimeError: The library is not installed; the message names the extra.
        """
        if factors < 1 or iterations < 1 or regularization <= 0 or alpha <= 0:
            raise ValueError(
                f"factors {factors} and iterations {iterations} must be at least 1, "
                f"regularization {regularization} and alpha {alpha} positive"
            )
        events.require_before(cutoff_ms)
        # The library warns of (and suffers from) a BLAS that starts threads of its own beneath the library's.
        with threadpool_limits(1, "blas"):
            model = _library().AlternatingLeastSquares(
                factors=factors, regularization=regularization, iterations=iterations, random_state=seed
            )
            model.fit(_confidence(events.counts(), alpha), show_progress=False)
            history_AN = _confidence(history_counts(histories, events.n_products), alpha)
            self._buyer_AF: npt.NDArray[np.float32] = model.recalculate_user(np.arange(len(histories)), history_AN)
        self._product_NF: npt.NDArray[np.float32] = model.item_factors
        self._fill_N = fill_scores(events.popularity())

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) inner products of the buyer factors of `rows` with all products; popularity orders those of 0.

        Raises:
            ValueError: A row lies outside 0 to A - 1.
        """
        check_codes("rows", rows, len(self._buyer_AF))
        return filled(self._buyer_AF[rows] @ self._product_NF.T, self._fill_N)


def _library() -> ModuleType:
    """The library's module for CPUs, imported only here: it is an extra that no other part needs."""
    try:
        return importlib.import_module("implicit.cpu.als")
    except ModuleNotFoundError as error:
        raise RuntimeError("the baseline ials needs the package implicit; run pip install 'tawsiya[bench]'") from error


def _confidence(counts: sparse.csr_array, alpha: float) -> sparse.csr_matrix:
    """1 + alpha * count where there is a count; a csr_matrix, since the library knows no csr_array."""
    return sparse.csr_matrix((1 + alpha * counts.data, counts.indices, counts.indptr), shape=counts.shape)
