"""EASE: a linear autoencoder over products, in closed form.

Legend: A scored histories, B rows of one call, U buyers of the training events, N products of the catalogue, M products
that take part.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.linalg import lapack

from feature_repo.common.arrays import Float32Array, Int32Array
from training.baselines.filling import fill_scores, filled
from training.baselines.history_matrix import history_weights
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes, top_positions

_BLOCK = 1024


class EASE:
    """Each product predicted from all others by ridge regression over the buyers; ties by popularity.

    Rows are binary (bought or not), as in the paper; the history to score weighs each product by decay ** age (see
    history_weights). Source: Steck 2019, Embarrassingly shallow autoencoders for sparse data. Products beyond the
    most bought `max_products` score 0, as the method itself gives to a product without buyers.
    """

    name = "ease"

    def __init__(
        self,
        events: TrainingEvents,
        histories: Histories,
        cutoff_ms: int,
        *,
        l2: float = 200.0,
        decay: float = 1.0,
        max_products: int = 20_000,
    ) -> None:
        """Solves for the weights.

        Takes 4 M^2 bytes (1.6 GB for 20,000 products) and about M^3 multiplications. With less than a quarter as many
        buyers as products, 4 M^2 + 16 U M bytes and about U M^2 multiplications.

        Raises:
            ValueError: l2 is not positive or too small for float32, max_products below 1, or decay not above 0 and at
                most 1.
        """
        if l2 <= 0 or max_products < 1:
            raise ValueError(f"l2 {l2} must be positive and max_products {max_products} at least 1")
        events.require_before(cutoff_ms)
        popularity_N = events.popularity()
        self._fill_N = fill_scores(popularity_N)
        self._kept_M = np.sort(top_positions(popularity_N.astype(np.float32), max_products))
        self._history_AM = history_weights(histories, events.n_products, decay)[:, self._kept_M].tocsr()
        bought_UM = events.counts()[:, self._kept_M].tocsr()
        bought_UM.data[:] = 1
        self._weights_MM = _autoencoder(bought_UM, l2)

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) scores of all products for the histories of `rows`; popularity orders those without a weight.

        Raises:
            ValueError: A row lies outside 0 to A - 1.
        """
        check_codes("rows", rows, self._history_AM.shape[0])
        scores_BN = np.zeros((len(rows), len(self._fill_N)), dtype=np.float32)
        scores_BN[:, self._kept_M] = self._history_AM[rows] @ self._weights_MM
        return filled(scores_BN, self._fill_N)


def _autoencoder(bought_UM: sparse.csr_array, l2: float) -> Float32Array:
    """(M, M) weight of each product of a history (row) for each product to score, 0 for itself.

    With P the inverse of the regularised Gram matrix, the weight of i for j is -P_ij / P_jj (equation 8 of the paper).
    """
    n_buyers, n_products = bought_UM.shape
    weights_MM = _inverse_by_buyers(bought_UM, l2) if 4 * n_buyers < n_products else _inverse(_gram(bought_UM), l2)
    weights_MM /= -weights_MM.diagonal()
    np.fill_diagonal(weights_MM, 0)
    return weights_MM


def _inverse_by_buyers(bought_UM: sparse.csr_array, l2: float) -> Float32Array:
    """The same inverse through that of (U, U), which takes seconds for few buyers (the Woodbury identity).

    (X^T X + l2 I)^-1 = (I - X^T (X X^T + l2 I)^-1 X) / l2
    """
    gram_UU = (bought_UM @ bought_UM.T).toarray().astype(np.float64)
    np.fill_diagonal(gram_UU, gram_UU.diagonal() + l2)
    solved_UM = np.linalg.solve(gram_UU, bought_UM.toarray()).astype(np.float32)
    inverse_MM: Float32Array = bought_UM.T.tocsr() @ solved_UM
    inverse_MM /= np.float32(-l2)
    np.fill_diagonal(inverse_MM, inverse_MM.diagonal() + np.float32(1 / l2))
    return inverse_MM


def _gram(bought_UM: sparse.csr_array) -> Float32Array:
    """(M, M) number of buyers in common, dense; made block by block, since sparse it may take several times as much."""
    buyers_MU = bought_UM.T.tocsr()
    n_products = buyers_MU.shape[0]
    gram_MM = np.empty((n_products, n_products), dtype=np.float32)
    for start in range(0, n_products, _BLOCK):
        gram_MM[start : start + _BLOCK] = (buyers_MU[start : start + _BLOCK] @ bought_UM).toarray()
    return gram_MM


def _inverse(gram_MM: Float32Array, l2: float) -> Float32Array:
    """The inverse of gram_MM + l2 I, in the memory of gram_MM."""
    np.fill_diagonal(gram_MM, gram_MM.diagonal() + np.float32(l2))
    # The transpose of a symmetric matrix is the Fortran layout in which LAPACK works without a copy.
    factor_MM, failed = lapack.spotrf(gram_MM.T, overwrite_a=True)
    if failed:
        raise ValueError(f"l2 {l2} is too small to invert the products' Gram matrix in float32; raise it")
    inverse_MM: npt.NDArray[np.float32] = lapack.spotri(factor_MM, overwrite_c=True)[0]
    for start in range(0, len(inverse_MM), _BLOCK):  # LAPACK fills the upper triangle only
        stop = start + _BLOCK
        corner = np.triu(inverse_MM[start:stop, start:stop])
        inverse_MM[start:stop, start:stop] = corner + np.triu(corner, 1).T
        inverse_MM[stop:, start:stop] = inverse_MM[start:stop, stop:].T
    return inverse_MM.T  # symmetric; in the C layout that sparse products want
