"""TIFU-kNN: what the buyer takes again and again, with fading memory, and what similar buyers take.

Legend: A scored histories, B rows of one call, U buyers of the training events, N products of the catalogue, E events.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from benchmarks.baselines.baskets import baskets
from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from training.baselines.filling import fill_scores, filled
from training.baselines.history_matrix import known_only
from training.baselines.popularity import recent_rank
from training.data.histories import Histories
from training.evaluation.ranker import TrainingEvents, check_codes, top_positions

_RECENT_DAYS = 14


class TifuKNN:
    """alpha * the buyer's own decayed frequencies + (1 - alpha) * the mean of the nearest buyers' ones.

    A basket is what a buyer takes at one moment, each product once. Baskets fall into groups of group_size, counted
    from the latest back, so that only the oldest group may be smaller. A group is the mean of its baskets, each
    weighted by within_decay ** (newer baskets in the group); a buyer is the mean of the groups, each weighted by
    between_decay ** (newer groups). Neighbours are the training buyers at the smallest Euclidean distance. Source: Hu
    et al. 2020, Modeling personalized item frequency information for next-basket recommendation; the defaults are its
    parameters for TaFeng. Differs from it in two ways: products that neither part scores follow by recent popularity,
    and a buyer to score who is also a training buyer is a neighbour of their own.
    """

    name = "tifu_knn"

    def __init__(
        self,
        events: TrainingEvents,
        histories: Histories,
        cutoff_ms: int,
        *,
        within_decay: float = 0.9,
        between_decay: float = 0.7,
        group_size: int = 7,
        neighbours: int = 300,
        alpha: float = 0.7,
    ) -> None:
        """Makes the vectors of training buyers and histories to score.

        Raises:
            ValueError: a decay is not above 0 and at most 1, group_size or neighbours below 1, alpha not in 0 to 1.
        """
        if not (0 < within_decay <= 1 and 0 < between_decay <= 1 and 0 <= alpha <= 1):
            raise ValueError(
                f"within_decay {within_decay} and between_decay {between_decay} must be above 0 and at most 1, "
                f"alpha {alpha} between 0 and 1"
            )
        if group_size < 1 or neighbours < 1:
            raise ValueError(f"group_size {group_size} and neighbours {neighbours} must be at least 1")
        fading = _Fading(within_decay, between_decay, group_size)
        recent_N = recent_rank(events, cutoff_ms, _RECENT_DAYS)
        vectors_UN = fading.vectors(events.histories(), events.n_products)
        self._neighbour_UN = vectors_UN[np.diff(vectors_UN.indptr) > 0]
        self._squares_U = self._neighbour_UN.power(2).sum(axis=1)
        self._own_AN = fading.vectors(histories, events.n_products)
        self._fill_N = fill_scores(recent_N)
        self._neighbours, self._alpha = neighbours, alpha

    def scores(self, rows: Int32Array) -> Float32Array:
        """(B, N) scores of all products for the histories of `rows`; popularity orders those of 0.

        Takes 4 * B * U bytes beside the scores.

        Raises:
            ValueError: A row lies outside 0 to A - 1.
        """
        check_codes("rows", rows, self._own_AN.shape[0])
        own_BN = self._own_AN[rows]
        scores_BN = self._alpha * own_BN + (1 - self._alpha) * (self._nearest(own_BN) @ self._neighbour_UN)
        return filled(scores_BN.toarray(), self._fill_N)

    def _nearest(self, own_BN: sparse.csr_array) -> sparse.csr_array:
        """(B, U) 1 / k at the k nearest buyers, ties to the lower buyer."""
        n_buyers = self._neighbour_UN.shape[0]
        k = min(self._neighbours, n_buyers)
        # The squared distance, less that of the own vector, which is the same for every neighbour.
        closeness_BU = 2 * (own_BN @ self._neighbour_UN.T).toarray() - self._squares_U
        columns = np.array([top_positions(closeness_U, k) for closeness_U in closeness_BU], dtype=np.int64)
        shares = np.full(columns.size, 1 / max(k, 1), dtype=np.float32)
        ends = np.arange(len(closeness_BU) + 1) * k
        return sparse.csr_array((shares, columns.ravel(), ends), shape=closeness_BU.shape)


@dataclass(frozen=True)
class _Fading:
    """How much a basket counts by how long ago it was, in baskets."""

    within_decay: float
    between_decay: float
    group_size: int

    def vectors(self, histories: Histories, n_products: int) -> sparse.csr_array:
        """(A, N) float32 vector of each history."""
        known = known_only(histories, n_products)
        owners_E, basket_E = known.owners, baskets(known)
        # Each product once per basket.
        first = np.unique(basket_E * n_products + known.products, return_index=True)[1]
        row, basket, product = owners_E[first], basket_E[first], known.products[first]
        n_baskets_A = np.bincount(owners_E[np.unique(basket_E, return_index=True)[1]], minlength=len(known))
        last_A = np.cumsum(n_baskets_A) - 1
        weights = self._weights(last_A[row] - basket, n_baskets_A[row]).astype(np.float32)
        return sparse.coo_array((weights, (row, product)), shape=(len(known), n_products)).tocsr()

    def _weights(self, ages_E: Int64Array, n_baskets_E: Int64Array) -> npt.NDArray[np.float64]:
        """(E,) weight of a basket of this age, 0 for the latest, in a history of so many baskets."""
        group_E, place_E = ages_E // self.group_size, ages_E % self.group_size
        n_groups_E = -(-n_baskets_E // self.group_size)
        size_E = np.minimum(self.group_size, n_baskets_E - group_E * self.group_size)
        weights_E: npt.NDArray[np.float64] = (
            self.within_decay**place_E * self.between_decay**group_E / size_E / n_groups_E
        )
        return weights_E
